//! Telling what happened: the step folder's event file, where there is one.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use baton_protocol::event::{Fact, StepEvent};
use baton_protocol::{Timestamp, layout};

/// The event file cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the event file {}: {source}", path.display())]
pub(super) struct EventsError {
    path: PathBuf,
    source: io::Error,
}

/// The event file. Its closing tells the reader that we are gone, however.
#[derive(Debug, Default)]
pub(super) struct Events {
    file: Option<File>,
}

impl Events {
    pub(super) fn open(folder: Option<&Path>) -> Result<Events, EventsError> {
        let Some(folder) = folder else {
            return Ok(Events::default());
        };
        let path = folder.join(layout::EVENTS);
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o644)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)
            .map_err(|source| EventsError { path, source })?;
        Ok(Events { file: Some(file) })
    }

    /// Appends an event. It informs and decides nothing: a failure is given, to be said once.
    pub(super) fn emit(&mut self, fact: Fact) -> Result<(), io::Error> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        let event = StepEvent { at: now(), fact };
        let written = file.write_all(&event.to_line());
        if written.is_err() {
            self.file = None;
        }
        written
    }
}

/// Now, by the wall clock.
pub(super) fn now() -> Timestamp {
    SystemTime::now().into()
}
