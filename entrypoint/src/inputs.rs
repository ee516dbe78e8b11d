//! What a step takes from earlier ones: results in its arguments, its environment and its
//! conditions.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use baton_pid1::spawn;
use baton_protocol::layout::{self, MAX_RECORD_BYTES, MAX_RESULT_BYTES};
use baton_protocol::reference::{ResultRef, When, resolve};
use baton_protocol::{Reason, Record};

/// Why a reference cannot be resolved.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InputError {
    /// The step is not among those that we were told of.
    #[error(
        "{reference} names a step that is not before this one (--results-of is missing for it)"
    )]
    UnknownStep { reference: ResultRef },
    /// The step did not write the result.
    #[error("{reference}: step {} {why}", .reference.step)]
    Missing { reference: ResultRef, why: String },
    /// The result is there and cannot be taken.
    #[error("{reference}: cannot read {}: {source}", path.display())]
    Unreadable {
        reference: ResultRef,
        path: PathBuf,
        source: io::Error,
    },
    /// A NUL byte cannot stand in an argument or a variable.
    #[error("{reference} holds a NUL byte, which no argument or variable can; pass it by file")]
    Nul { reference: ResultRef },
}

/// The folders of the earlier steps that are referred to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inputs<'a>(pub(crate) &'a [(String, PathBuf)]);

impl Inputs<'_> {
    /// Resolves the references of a text.
    pub(crate) fn resolve(&self, text: &OsStr) -> Result<OsString, InputError> {
        let bytes = resolve(text.as_bytes(), |reference| self.result(reference))?;
        Ok(OsString::from_vec(bytes))
    }

    /// The variables of the environment with references, resolved.
    pub(crate) fn environment(&self) -> Result<Vec<(OsString, OsString)>, InputError> {
        let mut resolved = Vec::new();
        if self.0.is_empty() {
            return Ok(resolved); // nobody refers to anything: what we were given stays untouched
        }
        for entry in spawn::given() {
            let mut halves = entry.to_bytes().splitn(2, |b| *b == b'=');
            let (Some(name), Some(value)) = (halves.next(), halves.next()) else {
                continue;
            };
            if value.windows(8).any(|w| w == b"$(steps.") {
                let value = self.resolve(OsStr::from_bytes(value))?;
                resolved.push((OsStr::from_bytes(name).to_owned(), value));
            }
        }
        Ok(resolved)
    }

    /// The first condition that does not hold, in words.
    pub(crate) fn unmet(&self, conditions: &[When]) -> Result<Option<String>, InputError> {
        for when in conditions {
            let input = self.resolve(OsStr::new(&when.input))?;
            let values = when
                .values
                .iter()
                .map(|value| self.resolve(OsStr::new(value)));
            let values = values.collect::<Result<Vec<_>, _>>()?;
            if !when.operator.holds(&input, &values) {
                let operator = match when.operator {
                    baton_protocol::reference::Operator::In => "not in",
                    baton_protocol::reference::Operator::NotIn => "in",
                };
                return Ok(Some(format!("when: {input:?} is {operator} {values:?}")));
            }
        }
        Ok(None)
    }

    /// A result as its step wrote it, without the newlines at its end, as a shell's `$(...)` takes it.
    fn result(&self, reference: &ResultRef) -> Result<Vec<u8>, InputError> {
        let (_, folder) = self
            .0
            .iter()
            .find(|(step, _)| *step == reference.step)
            .ok_or_else(|| InputError::UnknownStep {
                reference: reference.clone(),
            })?;
        let path = folder.join(layout::RESULTS).join(&reference.result);
        let mut value = read_bounded(&path, MAX_RESULT_BYTES).map_err(|source| {
            if source.kind() == io::ErrorKind::NotFound {
                InputError::Missing {
                    reference: reference.clone(),
                    why: why_missing(folder),
                }
            } else {
                InputError::Unreadable {
                    reference: reference.clone(),
                    path,
                    source,
                }
            }
        })?;
        while value.last() == Some(&b'\n') {
            value.pop();
        }
        if value.contains(&0) {
            return Err(InputError::Nul {
                reference: reference.clone(),
            });
        }
        Ok(value)
    }
}

fn why_missing(folder: &Path) -> String {
    let record = read_bounded(&folder.join(layout::EXIT), MAX_RECORD_BYTES)
        .ok()
        .and_then(|bytes| Record::from_json(&bytes).ok());
    match record {
        Some(Record {
            reason: Reason::Skipped,
            ..
        }) => "was skipped and has no results".to_owned(),
        Some(record) if !record.reason.is_success() => {
            format!(
                "failed (exit code {}) before it wrote this result",
                record.exit_code
            )
        }
        _ => format!(
            "did not write it; write it to the file ${}/NAME",
            layout::RESULTS_ENV
        ),
    }
}

/// Reads a regular file of at most `most` bytes, following no link.
pub(crate) fn read_bounded(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file: File = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is not a regular file",
        ));
    }
    let mut content = Vec::new();
    file.take(most + 1).read_to_end(&mut content)?;
    if content.len() as u64 > most {
        let cause = format!("it is larger than {most} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, cause));
    }
    Ok(content)
}
