//! Mounts below the kubelet's folder. Every path is resolved from that folder without following any
//! link, and what was resolved is what is used.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, fstat, mkdirat};
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};
use nix::sys::statvfs::{FsFlags, fstatvfs};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::VolumeError;

/// The name of our mounts, as /proc/self/mountinfo shows it.
const SOURCE: &str = "baton";
/// Most mounts that are taken from one folder: two publishes at the same time, and some room.
const MAX_STACKED: usize = 16;

/// What a folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// It is not there.
    Absent,
    /// A folder on which nothing is mounted.
    Plain,
    /// A tmpfs is mounted on it.
    Tmpfs {
        /// Which file system that is.
        device: u64,
        /// It is read-only.
        read_only: bool,
    },
    /// Something else is mounted on it.
    Other,
}

/// The kubelet's folder.
#[derive(Debug)]
pub(super) struct Kubelet {
    path: PathBuf,
    dir: OwnedFd,
}

impl Kubelet {
    pub(super) fn open(dir: &Path) -> Result<Kubelet, VolumeError> {
        let path =
            std::fs::canonicalize(dir).map_err(|e| VolumeError::io("find the folder", dir, e))?;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let dir = open(&path, flags, Mode::empty())
            .map_err(|e| VolumeError::io("open the folder", dir, e))?;
        Ok(Kubelet { path, dir })
    }

    /// A path below the kubelet's folder, for messages and for what has a folder of its own there.
    pub(super) fn path(&self, relative: &Path) -> PathBuf {
        self.path.join(relative)
    }

    fn below(&self, relative: &Path) -> Result<OwnedFd, Errno> {
        resolve(&self.dir, relative)
    }

    pub(super) fn exists(&self, relative: &Path) -> bool {
        self.below(relative).is_ok()
    }

    /// What `folder/name` is.
    pub(super) fn find(&self, folder: &Path, name: &str) -> Result<Found, VolumeError> {
        let failed = |e| VolumeError::io("look at", self.path(folder).join(name), e);
        let parent = match self.below(folder) {
            Ok(parent) => parent,
            Err(Errno::ENOENT) => return Ok(Found::Absent),
            Err(e) => return Err(failed(e)),
        };
        let found = || -> Result<Found, Errno> {
            let there = match resolve(&parent, Path::new(name)) {
                Ok(there) => there,
                Err(Errno::ENOENT) => return Ok(Found::Absent),
                Err(e) => return Err(e),
            };
            let device = fstat(&there)?.st_dev;
            if device == fstat(&parent)?.st_dev {
                return Ok(Found::Plain);
            }
            if fstatfs(&there)?.filesystem_type() != TMPFS_MAGIC {
                return Ok(Found::Other);
            }
            let read_only = fstatvfs(&there)?.flags().contains(FsFlags::ST_RDONLY);
            Ok(Found::Tmpfs { device, read_only })
        };
        found().map_err(failed)
    }

    /// Makes `folder/name` where it is not there.
    pub(super) fn make_dir(&self, folder: &Path, name: &str, mode: u32) -> Result<(), VolumeError> {
        let parent = self
            .below(folder)
            .map_err(|e| VolumeError::io("open the folder", self.path(folder), e))?;
        match mkdirat(&parent, name, Mode::from_bits_truncate(mode)) {
            Ok(()) | Err(Errno::EEXIST) => Ok(()),
            Err(e) => Err(VolumeError::io(
                "make the folder",
                self.path(folder).join(name),
                e,
            )),
        }
    }

    /// Mounts an empty tmpfs on a folder. `options` are tmpfs(5)'s.
    pub(super) fn mount_tmpfs(&self, at: &Path, options: &str) -> Result<(), VolumeError> {
        // Not noexec: the tools are run from one, and steps' scripts from others.
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        self.below(at)
            .and_then(|fd| {
                mount(
                    Some(SOURCE),
                    &by_fd(&fd),
                    Some("tmpfs"),
                    flags,
                    Some(options),
                )
            })
            .map_err(|e| VolumeError::io("mount a tmpfs on", self.path(at), e))
    }

    /// Makes a tmpfs read-only for everyone, wherever it is mounted, now or later.
    pub(super) fn freeze_tmpfs(&self, at: &Path) -> Result<(), VolumeError> {
        let flags =
            MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        let none = None::<&str>;
        self.below(at)
            .and_then(|fd| mount(none, &by_fd(&fd), none, flags, none))
            .map_err(|e| VolumeError::io("make read-only", self.path(at), e))
    }

    /// Shows the folder `from` at `to` as well, with the flags of its mount.
    pub(super) fn bind(&self, from: &Path, to: &Path) -> Result<(), VolumeError> {
        let none = None::<&str>;
        let bind = || -> Result<(), Errno> {
            let (from, to) = (self.below(from)?, self.below(to)?);
            mount(
                Some(&by_fd(&from)),
                &by_fd(&to),
                none,
                MsFlags::MS_BIND,
                none,
            )
        };
        bind().map_err(|e| VolumeError::io("bind the tools at", self.path(to), e))
    }

    /// Takes every mount from `folder/name`, with those below it, and removes the folder. What is not
    /// there is no error.
    pub(super) fn unmount(&self, folder: &Path, name: &str) -> Result<(), VolumeError> {
        self.take_mounts(folder, name, |parent| {
            unlinkat(parent, name, UnlinkatFlags::RemoveDir)
        })
    }

    /// The same of what the kubelet made for a container, which may be a file that a file is mounted on.
    pub(super) fn unmount_sub_path(&self, folder: &Path, name: &str) -> Result<(), VolumeError> {
        self.take_mounts(folder, name, |parent| {
            match unlinkat(parent, name, UnlinkatFlags::RemoveDir) {
                Err(Errno::ENOTDIR) => unlinkat(parent, name, UnlinkatFlags::NoRemoveDir),
                removed => removed,
            }
        })
    }

    fn take_mounts(
        &self,
        folder: &Path,
        name: &str,
        remove: impl FnOnce(&OwnedFd) -> Result<(), Errno>,
    ) -> Result<(), VolumeError> {
        let path = self.path(folder).join(name);
        let parent = match self.below(folder) {
            Ok(parent) => parent,
            Err(Errno::ENOENT) => return Ok(()),
            Err(e) => return Err(VolumeError::io("open the folder", self.path(folder), e)),
        };
        let at = by_fd(&parent).join(name);
        // Lazily, so that whoever still has a file open there does not keep the pod from ending.
        let flags = MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW;
        for _ in 0..MAX_STACKED {
            match umount2(&at, flags) {
                Ok(()) => {}
                // Nothing is mounted there; nothing is there.
                Err(Errno::EINVAL | Errno::ENOENT) => break,
                Err(e) => return Err(VolumeError::io("unmount", path, e)),
            }
        }
        match remove(&parent) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(e) => Err(VolumeError::io("remove the folder", path, e)),
        }
    }

    /// The names in a folder.
    pub(super) fn list(&self, folder: &Path) -> Result<Vec<String>, VolumeError> {
        let failed = |e: io::Error| VolumeError::io("read the folder", self.path(folder), e);
        let names = std::fs::read_dir(self.path(folder)).map_err(failed)?;
        names
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<_>>()
            .map_err(failed)
    }
}

/// Opens a folder below another without following any link.
fn resolve(dir: &OwnedFd, relative: &Path) -> Result<OwnedFd, Errno> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    openat2(dir, relative, how)
}

/// A path that leads to just what was opened, for system calls that take paths alone.
fn by_fd(fd: &OwnedFd) -> PathBuf {
    format!("/proc/self/fd/{}", fd.as_raw_fd()).into()
}
