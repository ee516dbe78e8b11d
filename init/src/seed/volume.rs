//! The user's volume, as the plan looks at it.

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicBool;

use rustix::fs::{self as rfs, FileType, Mode, Stat};
use rustix::io::Errno;

use super::at::{self, READ};
use super::file::Copier;
use super::plan::{Found, Look};
use super::progress::Progress;
use super::scan::{read_link, size as size_of};
use super::tree::{Entry, Kind, split};

/// Looks at an open target folder.
pub struct Volume<'a> {
    root: &'a OwnedFd,
    copier: RefCell<Copier<'a>>,
}

/// What [`Volume`] needs to live as long as it does.
#[derive(Default)]
pub struct Scratch {
    progress: Progress,
    never: AtomicBool,
}

impl<'a> Volume<'a> {
    /// The volume whose target folder is open as `root`.
    pub fn new(root: &'a OwnedFd, scratch: &'a Scratch) -> Volume<'a> {
        let copier = Copier::new(&scratch.progress, &scratch.never, &scratch.never);
        Volume {
            root,
            copier: RefCell::new(copier),
        }
    }

    fn stat(&self, path: &[u8]) -> Result<Option<(OwnedFd, Stat)>, Errno> {
        let (parent, name) = split(path);
        let dir = match at::open_dir(self.root, parent) {
            Err(Errno::NOENT) => return Ok(None),
            other => other?,
        };
        Ok(at::stat(&dir, name)?.map(|stat| (dir, stat)))
    }

    /// Whether an entry of the volume, in an open folder, is as it was recorded: by size and time
    /// where these are the same, else by content.
    pub fn untouched(&self, dir: &OwnedFd, stat: &Stat, entry: &Entry) -> bool {
        match (&entry.kind, at::file_type(stat)) {
            (Kind::File { size, .. }, FileType::RegularFile)
                if *size == size_of(stat) && entry.attrs.mtime == at::mtime(stat) =>
            {
                true
            }
            _ => self.same_content(dir, stat, entry),
        }
    }

    fn same_content(&self, dir: &OwnedFd, stat: &Stat, entry: &Entry) -> bool {
        match (&entry.kind, at::file_type(stat)) {
            (Kind::File { size, digest, .. }, FileType::RegularFile) => {
                *size == size_of(stat)
                    && match digest {
                        None => entry.attrs.mtime == at::mtime(stat),
                        Some(digest) => {
                            let name = entry.name.as_slice();
                            let file = rfs::openat(dir, name, READ, Mode::empty());
                            file.is_ok_and(|file| {
                                let found = self.copier.borrow_mut().digest(&file, *size);
                                found.is_ok_and(|found| found.as_ref() == Some(digest))
                            })
                        }
                    }
            }
            (Kind::Symlink { target }, FileType::Symlink) => {
                read_link(dir, &entry.name).is_ok_and(|found| found == *target)
            }
            (Kind::Fifo, FileType::Fifo) => true,
            _ => false,
        }
    }
}

impl Look for Volume<'_> {
    fn find(&self, path: &[u8]) -> Found {
        match self.stat(path) {
            Ok(None) => Found::Absent,
            Ok(Some((_, stat))) => match at::file_type(&stat) {
                FileType::Directory => Found::Dir,
                _ => Found::Other,
            },
            Err(_) => Found::Hidden,
        }
    }

    fn holds(&self, path: &[u8], entry: &Entry) -> bool {
        match self.stat(path) {
            Ok(Some((dir, stat))) => self.same_content(&dir, &stat, entry),
            _ => false,
        }
    }

    fn mode(&self, path: &[u8]) -> Option<u32> {
        let (_, stat) = self.stat(path).ok()??;
        Some(stat.st_mode & 0o7777)
    }

    fn names(&self, path: &[u8]) -> Vec<Vec<u8>> {
        at::open_dir(self.root, path)
            .and_then(at::names)
            .unwrap_or_default()
    }
}
