//! Watching by inotify.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

use super::{folder_of, or_here, tells};

/// The inotify instance and what it watches. It is never closed before the command runs: closing the
/// last descriptor of an instance waits for a grace period of the kernel, 10 to 20 ms.
#[derive(Debug, Default)]
pub(super) struct Ears {
    inotify: Option<Inotify>,
    watched: BTreeSet<WatchDescriptor>,
}

/// What arming came to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Armed {
    /// Something is watched that was not before.
    pub(super) news: bool,
    /// There is nothing to arm again, unless an event says so.
    pub(super) settled: bool,
    /// A file's changes may come without an event.
    pub(super) deaf: bool,
}

/// What was heard.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heard {
    pub(super) any: bool,
    /// A watch is gone, or events were dropped.
    pub(super) lost: bool,
}

/// How well one file is watched.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Grip {
    /// Every change shows in the folder that is watched.
    Firm,
    /// Watched, and to be armed again after each event.
    Provisional,
    /// Events are not to be relied on.
    Deaf,
}

impl Ears {
    /// Watches whatever a change of `files` shows in.
    ///
    /// # Errors
    /// Where inotify is used up.
    pub(super) fn arm(&mut self, files: &[PathBuf]) -> Result<Armed, Errno> {
        let inotify = match self.inotify.take() {
            Some(inotify) => inotify,
            None => Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?,
        };
        let inotify = self.inotify.insert(inotify);
        let mut watched = BTreeSet::new();
        let mut armed = Armed {
            news: false,
            settled: true,
            deaf: false,
        };
        for file in files {
            let grip = arm_file(inotify, file, &mut watched)?;
            armed.settled &= grip == Grip::Firm;
            armed.deaf |= grip == Grip::Deaf;
        }
        for old in self.watched.difference(&watched) {
            let _ = inotify.rm_watch(*old);
        }
        armed.news = watched != self.watched;
        self.watched = watched;
        Ok(armed)
    }

    /// Takes the events that are there.
    pub(super) fn drain(&self) -> Heard {
        let gone = AddWatchFlags::IN_IGNORED
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_UNMOUNT
            | AddWatchFlags::IN_Q_OVERFLOW;
        let mut heard = Heard {
            any: false,
            lost: false,
        };
        while let Some(Ok(events)) = self.inotify.as_ref().map(Inotify::read_events) {
            heard.any = true;
            heard.lost |= events.iter().any(|event| event.mask.intersects(gone));
        }
        heard
    }

    /// The descriptor that is readable when there are events.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(AsFd::as_fd)
    }
}

fn arm_file(
    inotify: &Inotify,
    file: &Path,
    watched: &mut BTreeSet<WatchDescriptor>,
) -> Result<Grip, Errno> {
    let changes = AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_MODIFY
        | AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_ATTRIB
        | AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_MOVE_SELF
        | AddWatchFlags::IN_ONLYDIR;
    let folder = folder_of(file);
    for above in folder.ancestors().map(or_here) {
        match inotify.add_watch(above, changes) {
            Ok(wd) => watched.insert(wd),
            Err(Errno::ENOENT | Errno::ENOTDIR) => continue,
            Err(Errno::EACCES) => return Ok(Grip::Deaf), // not ours to watch
            Err(used_up) => return Err(used_up),
        };
        return match tells(above) {
            false => Ok(Grip::Deaf),
            true if above == folder => arm_inode(inotify, file, watched),
            true => Ok(Grip::Provisional),
        };
    }
    Ok(Grip::Deaf)
}

/// A file that is a link into another folder, or a mount of its own, changes unseen by its folder.
fn arm_inode(
    inotify: &Inotify,
    file: &Path,
    watched: &mut BTreeSet<WatchDescriptor>,
) -> Result<Grip, Errno> {
    match std::fs::symlink_metadata(file) {
        Ok(meta) if meta.is_file() && !is_mount(file) => return Ok(Grip::Firm),
        Ok(_) => {}
        // Not there yet: what appears may be a link, so look again then.
        Err(_) => return Ok(Grip::Provisional),
    }
    let changes =
        AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_DELETE_SELF;
    match inotify.add_watch(file, changes) {
        Ok(wd) => watched.insert(wd),
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(Grip::Provisional), // leads nowhere yet
        Err(Errno::EACCES) => return Ok(Grip::Deaf),
        Err(used_up) => return Err(used_up),
    };
    Ok(if tells(file) {
        Grip::Provisional
    } else {
        Grip::Deaf
    })
}

fn is_mount(file: &Path) -> bool {
    let Ok(path) = CString::new(file.as_os_str().as_encoded_bytes()) else {
        return true;
    };
    let mut stat = MaybeUninit::<libc::statx>::zeroed();
    let flags = libc::AT_SYMLINK_NOFOLLOW;
    // SAFETY: the path is NUL-terminated, and there is room for the answer.
    let got = unsafe { libc::statx(libc::AT_FDCWD, path.as_ptr(), flags, 0, stat.as_mut_ptr()) };
    // SAFETY: zeroed before, filled by the kernel.
    let stat = unsafe { stat.assume_init_ref() };
    let mount = libc::STATX_ATTR_MOUNT_ROOT as u64;
    // A kernel that cannot tell may hide a mount.
    got != 0 || stat.stx_attributes_mask & mount == 0 || stat.stx_attributes & mount != 0
}
