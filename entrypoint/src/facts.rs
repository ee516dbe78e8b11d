//! Telling what happened: the event file, the final record, the termination message.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use baton_protocol::event::{Fact, StepEvent};
use baton_protocol::layout::{self, MAX_RESULT_BYTES, MAX_TERMINATION_BYTES};
use baton_protocol::record::termination_message;
use baton_protocol::{Record, Timestamp};

use crate::inputs::read_bounded;
use crate::say;

const TERMINATION_LOG: &str = "/dev/termination-log";

/// Why facts cannot be kept.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}", path.display())]
pub(crate) struct FactsError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// The step's own folder, where there is one.
#[derive(Debug)]
pub(crate) struct Facts {
    folder: Option<PathBuf>,
    /// Open for the step's whole life: its closing tells the reader that we are gone, however.
    events: Option<File>,
}

impl Facts {
    /// Opens the event file, and makes the results folder if it is not there.
    pub(crate) fn open(folder: Option<&Path>) -> Result<Facts, FactsError> {
        let Some(folder) = folder else {
            return Ok(Facts {
                folder: None,
                events: None,
            });
        };
        let results = folder.join(layout::RESULTS);
        match fs::DirBuilder::new().mode(0o777).create(&results) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                return Err(FactsError {
                    action: "make the folder",
                    path: results,
                    source: e,
                });
            }
            _ => {}
        }
        let path = folder.join(layout::EVENTS);
        let events = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o644)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)
            .map_err(|source| FactsError {
                action: "open the event file",
                path,
                source,
            })?;
        Ok(Facts {
            folder: Some(folder.to_owned()),
            events: Some(events),
        })
    }

    /// Whether anybody is told.
    pub(crate) fn are_kept(&self) -> bool {
        self.events.is_some() || Path::new(TERMINATION_LOG).exists()
    }

    /// Appends an event. It informs and decides nothing, so a failure is said and no more.
    pub(crate) fn emit(&mut self, fact: Fact) {
        let Some(events) = &mut self.events else {
            return;
        };
        let event = StepEvent { at: now(), fact };
        if let Err(e) = events.write_all(&event.to_line()) {
            say(&format_args!("cannot append to the event file: {e}"));
        }
    }

    /// Empties the results folder, so that what a failed attempt left is not taken for a result.
    pub(crate) fn clear_results(&self) {
        let Some(folder) = &self.folder else { return };
        for entry in fs::read_dir(folder.join(layout::RESULTS))
            .into_iter()
            .flatten()
            .flatten()
        {
            let path = entry.path();
            let removed = match entry.file_type() {
                Ok(kind) if kind.is_dir() => fs::remove_dir_all(&path),
                _ => fs::remove_file(&path),
            };
            if let Err(e) = removed {
                say(&format_args!(
                    "cannot remove the failed attempt's {}: {e}",
                    path.display()
                ));
            }
        }
    }

    /// The name of a result that is too large to be passed on.
    pub(crate) fn oversized_result(&self) -> Option<String> {
        let too_large = |(_, len): &(String, u64)| *len > MAX_RESULT_BYTES;
        result_files(self.folder.as_deref()?)
            .find(too_large)
            .map(|(name, _)| name)
    }

    /// Writes the final record, which hands the turn on, and then what need not delay that: the event, which
    /// repeats it for those who read on, and the termination message, which nobody can read before we are gone.
    pub(crate) fn finish(
        &mut self,
        record: &Record,
        termination: Option<&Path>,
    ) -> Result<(), FactsError> {
        let written = self.write_record(record);
        if written.is_ok() {
            self.emit(Fact::Finished(record.clone()));
        }
        self.write_termination(record, termination);
        written
    }

    fn write_record(&self, record: &Record) -> Result<(), FactsError> {
        if let Some(folder) = &self.folder {
            let (made, path) = (folder.join(".exit"), folder.join(layout::EXIT));
            // The command may have left anything under this name; opening its FIFO would hang.
            let _ = fs::remove_file(&made);
            OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(&made)
                .and_then(|mut file| file.write_all(&record.to_json()))
                .and_then(|()| fs::rename(&made, &path))
                .map_err(|source| FactsError {
                    action: "write the final record",
                    path,
                    source,
                })?;
        }
        Ok(())
    }

    fn write_termination(&self, record: &Record, path: Option<&Path>) {
        let mut open = OpenOptions::new();
        open.write(true)
            .truncate(true)
            .custom_flags(libc::O_NONBLOCK);
        // The default is the container runtime's file: it is there, or nobody wants it.
        let opened = match path {
            Some(path) => open.create(true).mode(0o644).open(path),
            None => match open.open(TERMINATION_LOG) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => return,
                opened => opened,
            },
        };
        let small = |folder| results(folder, MAX_TERMINATION_BYTES as u64);
        let results = self.folder.as_deref().map(small).unwrap_or_default();
        let message = termination_message(record, &results);
        if let Err(e) = opened.and_then(|mut file| file.write_all(&message)) {
            let path = path.unwrap_or(Path::new(TERMINATION_LOG)).display();
            say(&format_args!(
                "cannot write the termination message to {path}: {e}"
            ));
        }
    }
}

/// Now, by the wall clock.
pub(crate) fn now() -> Timestamp {
    SystemTime::now().into()
}

/// The results of at most `most` bytes that are text.
fn results(folder: &Path, most: u64) -> BTreeMap<String, String> {
    let small = result_files(folder).filter(|(_, len)| *len <= most);
    small
        .filter_map(|(name, _)| {
            let value = read_bounded(&folder.join(layout::RESULTS).join(&name), most).ok()?;
            Some((name, String::from_utf8(value).ok()?))
        })
        .collect()
}

/// The names and lengths of what is a result by its name and its kind.
fn result_files(folder: &Path) -> impl Iterator<Item = (String, u64)> + use<> {
    let entries = fs::read_dir(folder.join(layout::RESULTS))
        .into_iter()
        .flatten()
        .flatten();
    entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let meta = entry.metadata().ok()?;
        (meta.is_file() && layout::is_name(&name)).then_some((name, meta.len()))
    })
}
