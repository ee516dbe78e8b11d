//! Work below an open folder, one component at a time and never through a link.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    self as rfs, AtFlags, FileType, Mode, OFlags, RawDir, Stat, Timespec, Timestamps, UTIME_OMIT,
    XattrFlags,
};
use rustix::io::Errno;

use super::tree::{Attrs, MAX_DEPTH, Time};

/// How folders are opened: themselves, never what a link points to.
pub const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
/// How files are opened for reading: a pipe that lies there instead does not block us.
pub const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);
/// How files are made: new ones only.
pub const CREATE: OFlags = OFlags::WRONLY
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Largest list of extended attributes, or value of one, that the kernel has.
const MAX_XATTR: usize = 64 << 10;

/// Opens the folder at a path below `root`; an empty path is `root` itself.
///
/// # Errors
/// Where a component is missing, no folder, or a link.
pub fn open_dir(root: impl AsFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    let mut dir = rfs::openat(&root, ".", FOLDER, Mode::empty())?;
    for name in path.split(|&b| b == b'/').filter(|name| !name.is_empty()) {
        dir = rfs::openat(&dir, name, FOLDER, Mode::empty())?;
    }
    Ok(dir)
}

/// What is at a name, links not followed; None where there is nothing.
///
/// # Errors
/// Where the file system refuses to tell.
pub fn stat(dir: impl AsFd, name: &[u8]) -> Result<Option<Stat>, Errno> {
    match rfs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

/// What kind of thing a stat describes.
pub fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// A stat's last modification.
pub fn mtime(stat: &Stat) -> Time {
    Time {
        secs: stat.st_mtime,
        nanos: u32::try_from(stat.st_mtime_nsec).unwrap_or_default(),
    }
}

/// A stat's attributes.
pub fn attrs(stat: &Stat) -> Attrs {
    Attrs {
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: mtime(stat),
    }
}

/// The names in a folder, in no order, `.` and `..` left out.
///
/// # Errors
/// Where the folder cannot be read.
pub fn names(dir: impl AsFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut buffer = [MaybeUninit::uninit(); 32 << 10];
    let fresh = rfs::openat(dir, ".", FOLDER, Mode::empty())?;
    let mut raw = RawDir::new(fresh, &mut buffer);
    let mut names = Vec::new();
    while let Some(entry) = raw.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}

/// The mode bits of an attribute set.
pub fn mode(mode: u32) -> Mode {
    Mode::from_raw_mode(mode & 0o7777)
}

/// Times for a call that sets the modification and leaves the access time alone.
pub fn times(mtime: Time) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT as _,
        },
        last_modification: Timespec {
            tv_sec: mtime.secs,
            tv_nsec: i64::from(mtime.nanos) as _,
        },
    }
}

/// Whether a refusal only says that we may not, or that the file system cannot: owners and extended
/// attributes are kept where they are allowed.
pub fn tolerated(e: Errno) -> bool {
    matches!(
        e,
        Errno::PERM | Errno::ACCESS | Errno::NOTSUP | Errno::NOSYS | Errno::INVAL
    )
}

/// An extended attribute: its name and value.
pub type Xattr = (Vec<u8>, Vec<u8>);

/// The extended attributes of an open file or folder. Labels of a security module belong to the
/// volume and are left out.
///
/// # Errors
/// Where the file system refuses to tell; one that has no such attributes has none.
pub fn xattrs(fd: impl AsFd) -> Result<Vec<Xattr>, Errno> {
    let fd = fd.as_fd();
    let len = match rfs::flistxattr_query(fd) {
        Ok(0) => return Ok(Vec::new()),
        Ok(len) => len,
        Err(e) if tolerated(e) => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut list = vec![0; len.min(MAX_XATTR)];
    let len = rfs::flistxattr(fd, list.as_mut_slice())?;
    list.truncate(len);
    let mut found = Vec::new();
    for name in list.split(|&b| b == 0).filter(|name| !name.is_empty()) {
        if name == b"security.selinux" {
            continue;
        }
        let mut value = vec![0; MAX_XATTR];
        match rfs::fgetxattr(fd, name, value.as_mut_slice()) {
            Ok(len) => {
                value.truncate(len);
                found.push((name.to_vec(), value));
            }
            Err(e) if tolerated(e) || e == Errno::NODATA => {}
            Err(e) => return Err(e),
        }
    }
    Ok(found)
}

/// Gives a file or folder of ours its owner, extended attributes, mode and time, in the order in
/// which none of them undoes another: a change of owner drops capabilities and setuid bits, and a
/// read-only mode forbids attributes.
///
/// # Errors
/// Where mode or time cannot be set; owners and attributes are kept where that is allowed.
pub fn dress(fd: impl AsFd, attrs: &Attrs, xattrs: &[Xattr]) -> Result<(), Errno> {
    let fd = fd.as_fd();
    let stat = rfs::fstat(fd)?;
    if (stat.st_uid, stat.st_gid) != (attrs.uid, attrs.gid) {
        own(|uid, gid| rfs::fchown(fd, uid, gid), attrs)?;
    }
    set_xattrs(fd, xattrs)?;
    rfs::fchmod(fd, mode(attrs.mode))?;
    rfs::futimens(fd, &times(attrs.mtime))
}

/// Sets extended attributes, as far as that is allowed.
///
/// # Errors
/// Where it fails for another reason, as on a full volume.
pub fn set_xattrs(fd: impl AsFd, xattrs: &[Xattr]) -> Result<(), Errno> {
    for (name, value) in xattrs {
        match rfs::fsetxattr(&fd, name.as_slice(), value, XattrFlags::empty()) {
            Err(e) if !tolerated(e) => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

/// Changes owner and group, or the group alone where only that is allowed, or neither.
///
/// # Errors
/// Where it fails for another reason than permission.
pub fn own(
    change: impl Fn(Option<rfs::Uid>, Option<rfs::Gid>) -> Result<(), Errno>,
    attrs: &Attrs,
) -> Result<(), Errno> {
    // An id of all ones means "leave it" to the kernel.
    let uid = (attrs.uid != u32::MAX).then(|| rfs::Uid::from_raw(attrs.uid));
    let gid = (attrs.gid != u32::MAX).then(|| rfs::Gid::from_raw(attrs.gid));
    match change(uid, gid) {
        Err(e) if tolerated(e) => match change(None, gid) {
            Err(e) if !tolerated(e) => Err(e),
            _ => Ok(()),
        },
        other => other,
    }
}

/// Removes whatever is at a name, folders with all that is in them. Nothing there is no error.
///
/// # Errors
/// Where something cannot be removed, or lies deeper than is ever seeded.
pub fn remove_all(dir: impl AsFd, name: &[u8]) -> Result<(), Errno> {
    remove_below(dir.as_fd(), name, 0)
}

fn remove_below(dir: rustix::fd::BorrowedFd<'_>, name: &[u8], depth: usize) -> Result<(), Errno> {
    match rfs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(e) => return Err(e),
    }
    if depth > MAX_DEPTH + 8 {
        return Err(Errno::LOOP);
    }
    match rfs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTEMPTY | Errno::EXIST | Errno::ACCESS) => {}
        Err(e) => return Err(e),
    }
    let inner = open_own(dir, name)?;
    for child in names(&inner)? {
        remove_below(inner.as_fd(), &child, depth + 1)?;
    }
    rfs::unlinkat(dir, name, AtFlags::REMOVEDIR)?;
    Ok(())
}

/// Opens a folder of ours for changes, also where its mode forbids them (and we are not root).
///
/// # Errors
/// Where it cannot be opened, or is none.
pub fn open_own(dir: impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let dir = dir.as_fd();
    let inner = match rfs::openat(dir, name, FOLDER, Mode::empty()) {
        // Only someone without privileges gets here, so a link that slips in opens nothing new.
        Err(Errno::ACCESS) => {
            rfs::chmodat(dir, name, Mode::RWXU, AtFlags::empty())?;
            rfs::openat(dir, name, FOLDER, Mode::empty())?
        }
        other => other?,
    };
    if rfs::fstat(&inner)?.st_mode & 0o700 != 0o700 {
        rfs::fchmod(&inner, Mode::RWXU)?;
    }
    Ok(inner)
}
