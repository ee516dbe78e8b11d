//! What can go wrong with a seed. Each message says what was attempted, on what, and why it failed.

use std::io;
use std::path::{Path, PathBuf};

use super::manifest::Damaged;
use super::tree::shown;

/// Why a seed did not happen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused something.
    #[error("cannot {attempt} {path}: {cause}")]
    Io {
        /// What was attempted, as a verb.
        attempt: &'static str,
        /// On what.
        path: String,
        /// Why not.
        cause: io::Error,
    },
    /// The volume is full, or the user's quota of it.
    #[error(
        "cannot write {path}: {cause}; the seed needs about {needed} and the volume has {free} free"
    )]
    Full {
        /// What was being written.
        path: String,
        /// As the system puts it.
        cause: io::Error,
        /// Size of the seed.
        needed: String,
        /// Space that the volume reports.
        free: String,
    },
    /// The source changed under our hands.
    #[error("{0} changed while it was being copied")]
    Changed(String),
    /// The source holds what is never seeded.
    #[error("{path}: {cause}")]
    Refused {
        /// The offending entry.
        path: String,
        /// Why it is refused.
        cause: &'static str,
    },
    /// The archive cannot be read.
    #[error("archive {path}: {cause}")]
    Archive {
        /// The archive.
        path: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The volume holds data of somebody else.
    #[error(
        "{path} holds data that was not seeded ({example}{more}); nothing was changed; \
         --adopt keeps it and adds what is missing"
    )]
    Foreign {
        /// The target.
        path: String,
        /// One of the entries.
        example: String,
        /// How many others there are.
        more: String,
    },
    /// The marker is no marker.
    #[error(
        "{path} is damaged ({cause}); nothing was changed; --adopt starts a new one, \
         keeps what is there and adds what is missing"
    )]
    Manifest {
        /// The file.
        path: String,
        /// What is wrong with it.
        cause: Damaged,
    },
    /// Somebody else took the lock in the middle of our work.
    #[error("another seed took over {0}; the network or the clock of one of the two stood still")]
    LostLock(String),
}

impl Error {
    /// An error of the file system at a path.
    pub fn io(attempt: &'static str, path: &Path, cause: impl Into<io::Error>) -> Error {
        Error::Io {
            attempt,
            path: path.display().to_string(),
            cause: cause.into(),
        }
    }

    /// Whether the volume is full.
    pub(crate) fn is_full(cause: &io::Error) -> bool {
        matches!(
            cause.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
    }
}

/// A place for messages: a root and a path below it.
#[derive(Debug, Clone)]
pub struct Place(pub PathBuf);

impl Place {
    /// The place of `path` below this, for people.
    pub fn at(&self, path: &[u8]) -> String {
        let root = self.0.display();
        match path {
            [] => root.to_string(),
            _ => format!("{root}/{}", shown(path)),
        }
    }

    /// Turns a system error at `path` into ours.
    pub fn err<E: Into<io::Error>>(
        &self,
        attempt: &'static str,
        path: &[u8],
    ) -> impl FnOnce(E) -> Error + use<E> {
        let path = self.at(path);
        move |cause| Error::Io {
            attempt,
            path,
            cause: cause.into(),
        }
    }
}
