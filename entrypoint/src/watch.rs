//! Watching order files.
//!
//! inotify tells of changes at once. It is told of the file's *folder*, since both carriers replace
//! the file by a rename; where the folder does not exist yet, of the nearest one above it; where the
//! file is a link or a mount of its own, of the file as well. A file system that sends no events,
//! and an inotify that is used up, are polled.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use baton_protocol::order::{MAX_ORDER_BYTES, Verdict};
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use nix::sys::statfs::{self, FsType, statfs};

use crate::say;

/// How often a file is looked at where no event can be relied on.
const POLL: Duration = Duration::from_millis(500);
/// How often it is looked at all the same where events are sent.
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
    inotify: Option<Inotify>,
    watched: BTreeSet<WatchDescriptor>,
    /// Every file's folder is watched and cannot change unseen: there is nothing to arm again.
    settled: bool,
    /// Events cannot be relied on.
    poll: bool,
    /// The failure to read that was reported last.
    reported: Option<(PathBuf, io::ErrorKind)>,
}

impl<'a> Watch<'a> {
    /// Watches nothing yet.
    pub(crate) fn new(files: &'a [PathBuf]) -> Watch<'a> {
        Watch {
            files,
            inotify: None,
            watched: BTreeSet::new(),
            settled: false,
            poll: false,
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
        if self.inotify.is_none() {
            match Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK) {
                Ok(inotify) => self.inotify = Some(inotify),
                Err(_) => {
                    self.poll = true; // used up; it may be free again at the next look
                    return false;
                }
            }
        }
        let Some(inotify) = &self.inotify else {
            return false;
        };
        let mut armed = BTreeSet::new();
        (self.settled, self.poll) = (true, false);
        for file in self.files {
            let outcome = arm_one(inotify, file, &mut armed);
            self.settled &= outcome == Armed::Settled;
            self.poll |= outcome == Armed::Deaf;
        }
        for old in self.watched.difference(&armed) {
            let _ = inotify.rm_watch(*old);
        }
        let news = armed != self.watched;
        self.watched = armed;
        news
    }

    /// Takes the events that are there, and tells whether there were any. The next
    /// [`arm`](Watch::arm) sees to what they changed.
    pub(crate) fn drain(&mut self) -> bool {
        let lost = AddWatchFlags::IN_IGNORED
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_UNMOUNT
            | AddWatchFlags::IN_Q_OVERFLOW;
        let mut any = false;
        while let Some(Ok(events)) = self.inotify.as_ref().map(Inotify::read_events) {
            any = true;
            self.settled &= !events.iter().any(|event| event.mask.intersects(lost));
        }
        any
    }

    /// The descriptor that is readable when something changed.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(AsFd::as_fd)
    }

    /// How long to wait for an event at most; then look again.
    pub(crate) fn patience(&self) -> Duration {
        if self.poll { POLL } else { NET }
    }
}

#[derive(PartialEq)]
enum Armed {
    /// The folder is watched, and every change shows there.
    Settled,
    /// Watched, and to be armed again after each event.
    Provisional,
    /// Not to be relied on.
    Deaf,
}

fn arm_one(inotify: &Inotify, file: &Path, armed: &mut BTreeSet<WatchDescriptor>) -> Armed {
    let changes = AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_MODIFY
        | AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_ATTRIB
        | AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_MOVE_SELF;
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    for above in folder.ancestors() {
        let above = if above.as_os_str().is_empty() {
            Path::new(".")
        } else {
            above
        };
        match inotify.add_watch(above, changes | AddWatchFlags::IN_ONLYDIR) {
            Ok(wd) => armed.insert(wd),
            Err(Errno::ENOENT | Errno::ENOTDIR) => continue,
            Err(_) => return Armed::Deaf, // ENOSPC: used up; EACCES: not ours to watch
        };
        if !tells(above) {
            return Armed::Deaf;
        }
        if above != folder {
            return Armed::Provisional;
        }
        return arm_inode(inotify, file, armed);
    }
    Armed::Deaf
}

/// A file that is a link into another folder, or a mount of its own, changes unseen by its folder.
fn arm_inode(inotify: &Inotify, file: &Path, armed: &mut BTreeSet<WatchDescriptor>) -> Armed {
    match std::fs::symlink_metadata(file) {
        Ok(meta) if meta.is_file() && !is_mount(file) => return Armed::Settled,
        Ok(_) => {}
        // Not there yet: what appears may be a link, so look again then.
        Err(_) => return Armed::Provisional,
    }
    let changes =
        AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_DELETE_SELF;
    match inotify.add_watch(file, changes) {
        Ok(wd) => armed.insert(wd),
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Armed::Provisional, // a link to nothing yet
        Err(_) => return Armed::Deaf,
    };
    if tells(file) {
        Armed::Provisional
    } else {
        Armed::Deaf
    }
}

fn is_mount(file: &Path) -> bool {
    let Ok(path) = std::ffi::CString::new(file.as_os_str().as_encoded_bytes()) else {
        return true;
    };
    let mut stat = std::mem::MaybeUninit::<libc::statx>::zeroed();
    let flags = libc::AT_SYMLINK_NOFOLLOW;
    // SAFETY: the path is NUL-terminated, and there is room for the answer.
    let got = unsafe { libc::statx(libc::AT_FDCWD, path.as_ptr(), flags, 0, stat.as_mut_ptr()) };
    // SAFETY: zeroed before, filled by the kernel.
    let stat = unsafe { stat.assume_init_ref() };
    let mount = libc::STATX_ATTR_MOUNT_ROOT as u64;
    // A kernel that cannot tell may hide a mount.
    got != 0 || stat.stx_attributes_mask & mount == 0 || stat.stx_attributes & mount != 0
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
