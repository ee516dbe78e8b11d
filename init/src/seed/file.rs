//! Copying and digesting one file's content.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{self as rfs, SeekFrom};
use rustix::io::Errno;
use twox_hash::XxHash3_128;

use super::progress::Progress;
use super::tree::Digest;

/// From this size on a file is offered to the kernel (a clone, or a copy inside the file system or
/// its server), and can have holes.
const LARGE: u64 = 1 << 20;
/// Bytes that one call of the kernel copies: between two of them we can show progress and stop.
const STRIDE: usize = 32 << 20;
/// Bytes that pass through us at a time: what a core's cache holds.
pub const BUFFER: usize = 256 << 10;

/// Copies contents. One for each thread.
pub struct Copier<'a> {
    buffer: Vec<u8>,
    progress: &'a Progress,
    /// Source and target are on one file system, so the kernel may do better than we.
    one_device: &'a AtomicBool,
    /// This file system clones files; false after the first refusal.
    clones: &'a AtomicBool,
}

/// What a copy came to.
#[derive(Debug)]
pub enum Copied {
    /// All of it; the digest where the content passed through us.
    Whole(Option<Digest>),
    /// The source is shorter than it was.
    Short,
}

impl<'a> Copier<'a> {
    /// A copier that reports to `progress` and shares what it learns of the file systems.
    pub fn new(
        progress: &'a Progress,
        one_device: &'a AtomicBool,
        clones: &'a AtomicBool,
    ) -> Copier<'a> {
        Copier {
            buffer: vec![0; BUFFER],
            progress,
            one_device,
            clones,
        }
    }

    /// Copies `size` bytes from the start of `source` to the empty file `target`. `hash` false: the
    /// digest is known already.
    ///
    /// # Errors
    /// As the system gives them.
    pub fn copy(
        &mut self,
        source: impl AsFd,
        target: impl AsFd,
        size: u64,
        hash: bool,
    ) -> Result<Copied, Errno> {
        let (source, target) = (source.as_fd(), target.as_fd());
        if size >= LARGE {
            let one_device = self.one_device.load(Ordering::Relaxed);
            if one_device && self.clones.load(Ordering::Relaxed) {
                match rfs::ioctl_ficlone(target, source) {
                    Ok(()) => {
                        self.progress.add_bytes(size);
                        return Ok(Copied::Whole(None));
                    }
                    Err(_) => self.clones.store(false, Ordering::Relaxed),
                }
            }
            let stat = rfs::fstat(source)?;
            let allocated = u64::try_from(stat.st_blocks).unwrap_or_default() * 512;
            if allocated < size {
                return self.copy_sparse(source, target, size);
            }
            if one_device && let Some(copied) = self.copy_in_kernel(source, target, size)? {
                return Ok(copied);
            }
        }
        self.copy_through(source, target, size, hash)
    }

    /// Whether [`copy`](Copier::copy) gives no digest for a file like this: a large one on the same
    /// device, or one with holes.
    pub fn leaves_to_kernel(&self, dir: impl AsFd, name: &[u8], size: u64) -> bool {
        size >= LARGE
            && (self.one_device.load(Ordering::Relaxed)
                || super::at::stat(dir, name).is_ok_and(|stat| {
                    stat.is_some_and(|s| u64::try_from(s.st_blocks).unwrap_or(0) * 512 < size)
                }))
    }

    /// None where the kernel will not do it, and nothing was copied yet.
    fn copy_in_kernel(
        &self,
        source: BorrowedFd<'_>,
        target: BorrowedFd<'_>,
        size: u64,
    ) -> Result<Option<Copied>, Errno> {
        let mut at = 0_u64;
        while at < size {
            self.progress.check()?;
            let stride = usize::try_from(size - at).unwrap_or(STRIDE).min(STRIDE);
            match rfs::copy_file_range(source, None, target, None, stride) {
                Ok(0) => return Ok(Some(Copied::Short)),
                Ok(n) => {
                    at += n as u64;
                    self.progress.add_bytes(n as u64);
                }
                Err(Errno::INTR) => {}
                Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM)
                    if at == 0 =>
                {
                    self.one_device.store(false, Ordering::Relaxed);
                    return Ok(None);
                }
                Err(e) => return Err(e),
            }
        }
        Ok(Some(Copied::Whole(None)))
    }

    fn copy_through(
        &mut self,
        source: BorrowedFd<'_>,
        target: BorrowedFd<'_>,
        size: u64,
        hash: bool,
    ) -> Result<Copied, Errno> {
        let mut content = Content::new(size, hash);
        let mut left = size;
        while left > 0 {
            self.progress.check()?;
            let want = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
            let buffer = self.buffer.get_mut(..want).unwrap_or_default();
            let n = read_full(source, buffer)?;
            if n < want {
                return Ok(Copied::Short);
            }
            content.add(buffer);
            write_all(target, buffer)?;
            left -= n as u64;
            self.progress.add_bytes(n as u64);
        }
        Ok(Copied::Whole(content.finish()))
    }

    /// Copies what is not a hole. Digesting the holes would read terabytes of nothing, so there is
    /// no digest.
    fn copy_sparse(
        &mut self,
        source: BorrowedFd<'_>,
        target: BorrowedFd<'_>,
        size: u64,
    ) -> Result<Copied, Errno> {
        let mut at = 0;
        while at < size {
            let start = match rfs::seek(source, SeekFrom::Data(at)) {
                Ok(start) if start < size => start,
                Ok(_) | Err(Errno::NXIO) => break,
                Err(e) => return Err(e),
            };
            let end = rfs::seek(source, SeekFrom::Hole(start))?.min(size);
            rfs::seek(source, SeekFrom::Start(start))?;
            rfs::seek(target, SeekFrom::Start(start))?;
            self.progress.add_bytes(start - at);
            match self.copy_through(source, target, end - start, false)? {
                Copied::Whole(_) => at = end,
                Copied::Short => return Ok(Copied::Short),
            }
        }
        self.progress.add_bytes(size.saturating_sub(at));
        rfs::ftruncate(target, size)?;
        Ok(Copied::Whole(None))
    }

    /// The digest of an open file of `size` bytes; None where it is shorter, or larger.
    ///
    /// # Errors
    /// As the system gives them.
    pub fn digest(&mut self, file: impl AsFd, size: u64) -> Result<Option<Digest>, Errno> {
        let file = file.as_fd();
        let mut content = Content::new(size, true);
        let mut left = size;
        while left > 0 {
            self.progress.check()?;
            let want = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
            let buffer = self.buffer.get_mut(..want).unwrap_or_default();
            if read_full(file, buffer)? < want {
                return Ok(None);
            }
            content.add(buffer);
            left -= want as u64;
        }
        let mut more = [0; 1];
        Ok(match read_full(file, &mut more)? {
            0 => content.finish(),
            _ => None,
        })
    }
}

/// A digest in the making. Most files come in one piece, and need no state on the heap.
enum Content {
    Unwanted,
    Empty(u64),
    Whole(Digest),
    Pieces(Box<XxHash3_128>),
}

impl Content {
    fn new(size: u64, hash: bool) -> Content {
        match hash {
            true => Content::Empty(size),
            false => Content::Unwanted,
        }
    }

    fn add(&mut self, piece: &[u8]) {
        if let Content::Empty(size) = self {
            *self = if *size == piece.len() as u64 {
                return *self = Content::Whole(Digest(XxHash3_128::oneshot(piece)));
            } else {
                Content::Pieces(Box::default())
            };
        }
        if let Content::Pieces(state) = self {
            state.write(piece);
        }
    }

    fn finish(self) -> Option<Digest> {
        match self {
            Content::Unwanted => None,
            Content::Empty(_) => Some(Digest(XxHash3_128::oneshot(&[]))),
            Content::Whole(digest) => Some(digest),
            Content::Pieces(state) => Some(Digest(state.finish_128())),
        }
    }
}

/// A digest of a stream whose length is not known before its end.
#[derive(Default)]
pub struct StreamDigest(XxHash3_128);

impl StreamDigest {
    /// Adds what comes next.
    pub fn add(&mut self, piece: &[u8]) {
        self.0.write(piece);
    }

    /// The digest of all of it; the same as that of a whole file.
    pub fn finish(self) -> Digest {
        Digest(self.0.finish_128())
    }
}

/// Reads until the buffer is full or the file ends.
fn read_full(file: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize, Errno> {
    let mut n = 0;
    while let Some(rest) = buffer.get_mut(n..).filter(|rest| !rest.is_empty()) {
        match rustix::io::read(file, rest) {
            Ok(0) => break,
            Ok(more) => n += more,
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(n)
}

/// Writes all of a piece.
///
/// # Errors
/// As the system gives them.
pub fn write_all(file: impl AsFd, mut piece: &[u8]) -> Result<(), Errno> {
    while !piece.is_empty() {
        match rustix::io::write(&file, piece) {
            Ok(0) => return Err(Errno::IO),
            Ok(n) => piece = piece.get(n..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_give_the_digest_of_the_whole() {
        let bytes: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
        let whole = Digest(XxHash3_128::oneshot(&bytes));
        for step in [1_000, 4_096, 100_000] {
            let mut content = Content::new(bytes.len() as u64, true);
            let mut stream = StreamDigest::default();
            for piece in bytes.chunks(step) {
                content.add(piece);
                stream.add(piece);
            }
            assert_eq!(content.finish(), Some(whole));
            assert_eq!(stream.finish(), whole);
        }
        assert_eq!(
            Content::new(0, true).finish(),
            Some(StreamDigest::default().finish())
        );
    }
}
