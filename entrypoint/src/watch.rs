//! Watching order files.
//!
//! inotify tells of changes at once. It is told of the file's *folder*, since both carriers replace
//! the file by a rename; where the folder does not exist yet, of the nearest one above it; where the
//! file is a link or a mount of its own, of the file as well. Where inotify is used up, the kernel's
//! older [`dnotify`] takes its place; a file system that sends no events is polled.

mod dnotify;
mod inotify;

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use baton_protocol::order::{MAX_ORDER_BYTES, Verdict};
use nix::sys::statfs::{self, FsType, statfs};

use crate::say;
use dnotify::Folders;
use inotify::Ears;

/// How often a file is looked at where no event can be relied on.
const POLL: Duration = Duration::from_millis(500);
/// How often it is looked at all the same where events are sent: for what no event tells (dnotify,
/// for one, does not tell that the folder itself was replaced).
const NET: Duration = Duration::from_secs(30);

/// File systems known to send an event for every change that can be seen on them.
const TELLING: &[FsType] = &[
    statfs::TMPFS_MAGIC,
    statfs::EXT4_SUPER_MAGIC, // ext2 and ext3 as well
    statfs::OVERLAYFS_SUPER_MAGIC,
    statfs::XFS_SUPER_MAGIC,
    statfs::BTRFS_SUPER_MAGIC,
];

/// The order files of one step.
#[derive(Debug)]
pub(crate) struct Watch<'a> {
    files: &'a [PathBuf],
    ears: Ears,
    folders: Folders,
    /// Every file's folder is watched and cannot change unseen: there is nothing to arm again.
    settled: bool,
    patience: Duration,
    /// The failure to read that was reported last.
    reported: Option<(PathBuf, io::ErrorKind)>,
}

impl<'a> Watch<'a> {
    /// Watches nothing yet.
    pub(crate) fn new(files: &'a [PathBuf]) -> Watch<'a> {
        Watch {
            files,
            ears: Ears::default(),
            folders: Folders::default(),
            settled: false,
            patience: POLL,
            reported: None,
        }
    }

    /// Looks at every file. The file that is furthest on tells the truth: the others lag behind it.
    pub(crate) fn look(&mut self, judge: impl Fn(&[u8]) -> Verdict) -> Verdict {
        let mut found = Verdict::Wait;
        for file in self.files {
            match read(file) {
                Ok(content) => found = furthest(found, judge(&content)),
                Err(e) if is_absence(&e) => {}
                Err(e) => report(&mut self.reported, file, &e),
            }
        }
        found
    }

    /// Makes sure that a change is noticed. True where something new is watched: what changed before
    /// is not told, so look again.
    pub(crate) fn arm(&mut self) -> bool {
        if self.settled {
            return false;
        }
        if let Ok(armed) = self.ears.arm(self.files) {
            self.settled = armed.settled;
            self.patience = if armed.deaf { POLL } else { NET };
            return armed.news;
        }
        // Used up. It may be free again when something changes, so nothing is settled.
        match self.folders.arm(self.files) {
            Ok(news) => {
                self.patience = NET;
                news
            }
            Err(_) => {
                self.patience = POLL;
                false
            }
        }
    }

    /// Takes the events that are there, and tells whether there were any. The next
    /// [`arm`](Watch::arm) sees to what they changed. Those of dnotify come as signals.
    pub(crate) fn drain(&mut self) -> bool {
        let heard = self.ears.drain();
        self.settled &= !heard.lost;
        heard.any
    }

    /// The descriptor that is readable when something changed.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.ears.fd()
    }

    /// How long to wait for an event at most; then look again.
    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }
}

/// The folder of a file.
fn folder_of(file: &Path) -> &Path {
    file.parent().map_or(Path::new("/"), or_here)
}

/// The nearest folder above a file that exists.
fn nearest_folder(file: &Path) -> &Path {
    folder_of(file)
        .ancestors()
        .map(or_here)
        .find(|folder| folder.is_dir())
        .unwrap_or(Path::new("/"))
}

fn or_here(folder: &Path) -> &Path {
    if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    }
}

fn tells(path: &Path) -> bool {
    statfs(path).is_ok_and(|fs| TELLING.contains(&fs.filesystem_type()))
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    let file: File = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(file)?;
    let mut content = Vec::with_capacity(64);
    file.take(MAX_ORDER_BYTES as u64 + 1)
        .read_to_end(&mut content)?;
    if content.len() > MAX_ORDER_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it is longer than {MAX_ORDER_BYTES} bytes, which is no order"),
        ));
    }
    Ok(content)
}

fn is_absence(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn furthest(a: Verdict, b: Verdict) -> Verdict {
    let rank = |verdict: Verdict| match verdict {
        Verdict::Wait => 0,
        Verdict::Go => 1,
        Verdict::Passed(_) => 2,
        Verdict::Cancelled => 3,
    };
    if rank(b) > rank(a) { b } else { a }
}

/// Says once that a file cannot be read; the step goes on waiting, as it may become readable.
fn report(reported: &mut Option<(PathBuf, io::ErrorKind)>, file: &Path, e: &io::Error) {
    let failure = (file.to_owned(), e.kind());
    if reported.as_ref() != Some(&failure) {
        say(&format_args!(
            "cannot read the order file {}: {e}; waiting on",
            file.display()
        ));
        *reported = Some(failure);
    }
}
