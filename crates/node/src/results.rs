//! The results of a step, as its command left them.

use std::ffi::CStr;
use std::path::Path;

use baton_protocol::layout::{self, MAX_RESULT_BYTES, RESULTS, STEPS};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::notice::NodeError;
use crate::untrusted::{self, ReadError};

/// Most results of one step; what is past them is not looked at.
pub const MAX_RESULTS: usize = 1000;

/// Most bytes of the results of one step, together.
pub const MAX_RESULTS_BYTES: usize = 64 << 20;

/// A result's content, or why it cannot be given.
pub type ResultValue = Result<Vec<u8>, ResultError>;

/// Why a result is not given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResultError {
    /// Its name is none that a result can have.
    #[error("its name is none that a result can have")]
    Name,
    /// With it, the results are longer together than is allowed: [`MAX_RESULTS_BYTES`] a step, or what
    /// the caller of [`results_within`] said.
    #[error("with it, the results are longer together than is allowed")]
    Sum,
    /// It is no regular file, or too long, or cannot be read.
    #[error("{0}")]
    File(String),
}

/// The results of step `number` of the pod at `root`, by name: the content of each, or why it cannot
/// be given. No folder means no results. At most [`MAX_RESULTS`], of at most [`MAX_RESULT_BYTES`]
/// each.
///
/// # Errors
/// Where the folder is not a folder, cannot be read, or holds more than [`MAX_RESULTS`] entries.
pub fn results(root: &Path, number: u32) -> Result<Vec<(String, ResultValue)>, NodeError> {
    results_within(root, number, MAX_RESULTS_BYTES)
}

/// [`results`] of at most `most` bytes together: never more than that is in memory.
///
/// # Errors
/// As of [`results`].
pub fn results_within(
    root: &Path,
    number: u32,
    most: usize,
) -> Result<Vec<(String, ResultValue)>, NodeError> {
    let path = layout::step_dir(root, number).join(RESULTS);
    let failed = |e: Errno| NodeError::io("read the folder", &path, e);
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NONBLOCK;
    let root = open(root, flags | OFlag::O_CLOEXEC, Mode::empty());
    let below = format!("{STEPS}/{number}/{RESULTS}");
    let opened = root.and_then(|root| untrusted::open_below(root, below.as_str(), flags));
    let mut dir = match opened.and_then(Dir::from_fd) {
        Ok(dir) => dir,
        Err(Errno::ENOENT) => return Ok(Vec::new()),
        Err(e) => return Err(failed(e)),
    };
    let mut names = Vec::new();
    for entry in dir.iter() {
        let name = entry.map_err(failed)?.file_name().to_owned();
        if matches!(name.as_bytes(), b"." | b"..") {
            continue;
        }
        if names.len() == MAX_RESULTS {
            return Err(failed(Errno::E2BIG));
        }
        names.push(name);
    }
    names.sort();
    let mut room = most.min(MAX_RESULTS_BYTES);
    let mut value = |name: &CStr| {
        if !name.to_str().is_ok_and(layout::is_name) {
            return Err(ResultError::Name);
        }
        let bound = MAX_RESULT_BYTES.min(room as u64);
        let value = untrusted::read(&dir, name, bound).map_err(|e| match e {
            ReadError::TooLong(_) if bound < MAX_RESULT_BYTES => ResultError::Sum,
            e => ResultError::File(e.to_string()),
        })?;
        room = room.saturating_sub(value.len());
        Ok(value)
    };
    Ok(names
        .iter()
        .map(|name| (name.to_string_lossy().into_owned(), value(name)))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn each_result_is_given_or_named_with_its_fault() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(results(root.path(), 1).unwrap(), []);
        let dir = layout::step_dir(root.path(), 1).join(RESULTS);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("digest"), "sha256:abc").unwrap();
        fs::write(dir.join("empty"), "").unwrap();
        fs::write(dir.join("-bad name"), "x").unwrap();
        fs::create_dir(dir.join("folder")).unwrap();
        symlink("/etc/passwd", dir.join("link")).unwrap();
        nix::unistd::mkfifo(&dir.join("pipe"), Mode::from_bits_truncate(0o600)).unwrap();
        let huge = fs::File::create(dir.join("huge")).unwrap();
        huge.set_len(1 << 40).unwrap();
        let file = |text: &str| Err(ResultError::File(text.to_owned()));
        let want: Vec<(String, ResultValue)> = [
            ("-bad name", Err(ResultError::Name)),
            ("digest", Ok(b"sha256:abc".to_vec())),
            ("empty", Ok(Vec::new())),
            ("folder", file("it is not a regular file")),
            ("huge", file("it is longer than 1048576 bytes")),
            ("link", file("it is a symbolic link")),
            ("pipe", file("it is not a regular file")),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        assert_eq!(results(root.path(), 1).unwrap(), want);
    }

    #[test]
    fn a_flood_of_results_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let dir = layout::step_dir(root.path(), 1).join(RESULTS);
        fs::create_dir_all(&dir).unwrap();
        for i in 0..=MAX_RESULTS {
            fs::write(dir.join(i.to_string()), "").unwrap();
        }
        assert!(results(root.path(), 1).is_err());
        fs::remove_dir_all(&dir).unwrap();
        symlink("/etc", &dir).unwrap();
        assert!(results(root.path(), 1).is_err());
        // Nor is a link followed on the way.
        let elsewhere = tempfile::tempdir().unwrap();
        fs::create_dir_all(elsewhere.path().join("1").join(RESULTS)).unwrap();
        let steps = root.path().join(STEPS);
        fs::remove_dir_all(&steps).unwrap();
        symlink(elsewhere.path(), &steps).unwrap();
        assert!(results(root.path(), 1).is_err());
    }
}
