//! What fails.

use std::io;
use std::path::PathBuf;

/// Why a spool cannot do what it was asked for. Nothing that is stored is harmed.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// A file or folder cannot be made, read, written or removed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Another process has the spool.
    #[error("the spool {} is in use by another process", path.display())]
    InUse {
        /// Its folder.
        path: PathBuf,
    },
    /// The bound is too low.
    #[error(
        "a spool of {max_bytes} bytes is too small: {} is the least",
        crate::MIN_BYTES
    )]
    TooSmall {
        /// The bound that was asked for.
        max_bytes: u64,
    },
    /// A record is too long for this spool.
    #[error("a record of {bytes} bytes is longer than the {limit} that the spool takes")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The most that is taken.
        limit: usize,
    },
    /// A position is acknowledged that no record has yet.
    #[error("position {position} is acknowledged, and {newest} is the newest there is")]
    Unknown {
        /// The position.
        position: u64,
        /// The newest one.
        newest: u64,
    },
}

impl SpoolError {
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
        source: impl Into<io::Error>,
    ) -> SpoolError {
        SpoolError::Io {
            action,
            path: path.into(),
            source: source.into(),
        }
    }

    /// Whether the disk, or this user's share of it, is full: the same call may work later.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, SpoolError::Io { source, .. }
            if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }
}
