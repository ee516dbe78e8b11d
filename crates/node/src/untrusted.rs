//! Reading files that tenants write.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;

use nix::NixPath;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::Mode;

/// Why a file that tenants write is not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// Nothing has this name.
    #[error("it does not exist")]
    Absent,
    /// It is of another kind or size than it may be, or its owner forbids to read it.
    #[error("{0}")]
    Bad(String),
    /// It is longer than it may be.
    #[error("it is longer than {0} bytes")]
    TooLong(u64),
    /// The fault is not the file's: out of descriptors or memory, an I/O error.
    #[error("{0}")]
    Trouble(io::Error),
}

impl From<io::Error> for ReadError {
    fn from(e: io::Error) -> Self {
        match e.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOENT) => ReadError::Absent,
            Some(Errno::ELOOP) => ReadError::Bad("it is a symbolic link".to_owned()),
            Some(Errno::ENXIO | Errno::ENODEV) => ReadError::Bad(NOT_REGULAR.to_owned()),
            Some(Errno::EACCES | Errno::EPERM | Errno::ENOTDIR) => ReadError::Bad(e.to_string()),
            _ => ReadError::Trouble(e),
        }
    }
}

/// fcntl(2)'s command, which the libc crate does not have; the same on every architecture we build for.
const F_SETSIG: i32 = 10;
const NOT_REGULAR: &str = "it is not a regular file";

/// A regular file, and its size when it was opened.
pub(crate) struct Opened {
    pub(crate) file: File,
    pub(crate) len: u64,
    pub(crate) inode: u64,
}

/// Opens what is below the folder `dir`, and no link on the way to it is followed.
pub(crate) fn open_below<P: ?Sized + NixPath>(
    dir: impl AsFd,
    path: &P,
    flags: OFlag,
) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS;
    match openat2(&dir, path, OpenHow::new().flags(flags).resolve(resolve)) {
        // Linux before 5.6, or a sandbox that does not know it: the last part at least is no link.
        Err(Errno::ENOSYS | Errno::EPERM) => openat(&dir, path, flags, Mode::empty()),
        opened => opened,
    }
}

/// Opens a regular file below the folder `dir`.
pub(crate) fn open<P: ?Sized + NixPath>(dir: impl AsFd, path: &P) -> Result<Opened, ReadError> {
    // A FIFO must not block us, a link must not lead us, a terminal must not become ours.
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = File::from(open_below(dir, path, flags).map_err(io::Error::from)?);
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(ReadError::Bad(NOT_REGULAR.to_owned()));
    }
    Ok(Opened {
        len: meta.len(),
        inode: std::os::unix::fs::MetadataExt::ino(&meta),
        file,
    })
}

/// Reads a whole file of at most `most` bytes.
pub(crate) fn read<P: ?Sized + NixPath>(
    dir: impl AsFd,
    path: &P,
    most: u64,
) -> Result<Vec<u8>, ReadError> {
    let opened = open(dir, path)?;
    if opened.len > most {
        return Err(ReadError::TooLong(most));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(opened.len).unwrap_or(0));
    opened.file.take(most + 1).read_to_end(&mut bytes)?;
    // It may have grown meanwhile.
    if bytes.len() as u64 > most {
        return Err(ReadError::TooLong(most));
    }
    Ok(bytes)
}

/// Whether anybody has the file open for writing; `None` where that cannot be told, as on file systems
/// without leases.
pub(crate) fn is_being_written(file: &File) -> Option<bool> {
    let fd = file.as_raw_fd();
    // SAFETY: these commands take an integer, and `fd` is open for as long as `file` is borrowed.
    let fcntl = |command, arg: i32| match unsafe { libc::fcntl(fd, command, arg) } {
        -1 => Err(Errno::last()),
        _ => Ok(()),
    };
    // A read lease is to be had only where nobody writes. Whoever opens the file while we have it waits
    // for us and has a signal sent to us: one that nobody minds, in place of SIGIO, which kills.
    fcntl(F_SETSIG, libc::SIGURG).ok()?;
    match fcntl(libc::F_SETLEASE, libc::F_RDLCK) {
        Ok(()) => {
            // It goes with the descriptor in any case.
            let _ = fcntl(libc::F_SETLEASE, libc::F_UNLCK);
            Some(false)
        }
        Err(Errno::EAGAIN) => Some(true),
        Err(_) => None,
    }
}

/// Reads one piece of a file from `offset`; empty at its end.
pub(crate) fn piece(file: &File, offset: u64, most: usize) -> Result<Vec<u8>, ReadError> {
    let mut bytes = vec![0; most];
    loop {
        match file.read_at(&mut bytes, offset) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            read => {
                bytes.truncate(read?);
                return Ok(bytes);
            }
        }
    }
}
