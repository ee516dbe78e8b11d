//! Reading a source that is an archive: tar, plain or packed with gzip or zstd.
//!
//! An archive is read from front to back, and what it holds is kept in a [`Tree`] first. Only the
//! content of files is written while reading; folders, links and pipes are made from the tree
//! afterwards. So no member can be written through a link, whatever the archive says.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use super::at::{self, Xattr};
use super::error::Error;
use super::file::StreamDigest;
use super::manifest::Origin;
use super::members::Builder;
use super::scan::size as size_of;
use super::tree::{Attrs, Digest, Tree};
use super::zstd;

/// Most bytes that the headers before one member may take: long names and attributes.
const MAX_HEADERS: u64 = 4 << 20;

/// A source that is an archive.
#[derive(Debug)]
pub struct Archive {
    /// The open file.
    pub file: OwnedFd,
    /// Its path, for messages.
    pub path: String,
}

/// What an archive holds.
#[derive(Debug, Default)]
pub struct Contents {
    /// Everything, with digests.
    pub tree: Tree,
    /// Extended attributes of folders, by path.
    pub folder_xattrs: BTreeMap<Vec<u8>, Vec<Xattr>>,
    /// Whether it says anything about its root.
    pub has_root: bool,
}

/// A file of an archive on its way to where it goes.
pub struct Member<'a> {
    /// Its path.
    pub path: &'a [u8],
    /// Its attributes.
    pub attrs: Attrs,
    /// Its extended attributes.
    pub xattrs: &'a [Xattr],
    /// Its size.
    pub size: u64,
    /// The archive knows it to have holes: zeros need no space.
    pub sparse: bool,
}

impl Archive {
    pub(super) fn error(&self, cause: impl ToString) -> Error {
        Error::Archive {
            path: self.path.clone(),
            cause: cause.to_string(),
        }
    }

    /// What a later start compares.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn origin(&self) -> Result<Origin, Error> {
        let stat = rustix::fs::fstat(&self.file).map_err(|e| self.error(io::Error::from(e)))?;
        let mut content = StreamDigest::default();
        let mut reader = self.reader()?;
        loop {
            let piece = reader.fill_buf().map_err(|e| self.error(e))?;
            if piece.is_empty() {
                break;
            }
            content.add(piece);
            let n = piece.len();
            reader.consume(n);
        }
        Ok(Origin::Archive {
            size: size_of(&stat),
            mtime: at::mtime(&stat),
            digest: content.finish(),
        })
    }

    /// Whether this is, by size and time or by content, what a manifest names as its origin.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn is(&self, origin: &Origin) -> Result<bool, Error> {
        let Origin::Archive {
            size,
            mtime,
            digest,
        } = origin
        else {
            return Ok(false);
        };
        let stat = rustix::fs::fstat(&self.file).map_err(|e| self.error(io::Error::from(e)))?;
        if *size != size_of(&stat) {
            return Ok(false);
        }
        Ok(*mtime == at::mtime(&stat)
            || matches!(self.origin()?, Origin::Archive { digest: now, .. } if now == *digest))
    }

    /// The file from its start.
    fn reader(&self) -> Result<BufReader<File>, Error> {
        let file = self.file.as_fd().try_clone_to_owned();
        let file = file.map_err(|e| self.error(e))?;
        rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))
            .map_err(|e| self.error(io::Error::from(e)))?;
        Ok(BufReader::with_capacity(256 << 10, File::from(file)))
    }

    /// Reads all of the archive and gives each file's content to `sink`, which must read all of it
    /// or fail, and returns its digest. A member that comes twice counts as it comes last.
    ///
    /// # Errors
    /// Where the archive is broken or refused, or `sink` fails.
    pub fn read(
        &self,
        mut sink: impl FnMut(Member<'_>, &mut dyn Read) -> Result<Digest, Error>,
    ) -> Result<Contents, Error> {
        let mut packed = self.reader()?;
        let magic = packed.fill_buf().map_err(|e| self.error(e))?;
        let stream: Box<dyn Read> = match magic {
            [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(packed)),
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
                Box::new(zstd::Reader::new(packed))
            }
            bytes if bytes.get(257..262) == Some(b"ustar") || is_v7(bytes) => Box::new(packed),
            _ => return Err(self.error("not a tar, tar.gz or tar.zst file")),
        };
        let allowance = Rc::new(Cell::new(0));
        let mut tar = tar::Archive::new(Metered {
            inner: stream,
            left: Rc::clone(&allowance),
        });
        let mut members = tar.entries().map_err(|e| self.error(e))?;
        let mut found = Builder::new(self);
        loop {
            allowance.set(MAX_HEADERS);
            let Some(member) = members.next() else { break };
            let mut member = member.map_err(|e| self.error(e))?;
            allowance.set(u64::MAX);
            found.add(&mut member, &mut sink)?;
            io::copy(&mut member, &mut io::sink()).map_err(|e| self.error(e))?;
        }
        Ok(found.finish())
    }
}

/// A header of the oldest format has no magic, but a checksum.
fn is_v7(block: &[u8]) -> bool {
    let Some(block) = block.get(..512) else {
        return false;
    };
    let said = block.get(148..156).unwrap_or_default();
    let said = std::str::from_utf8(said).unwrap_or_default();
    let said = u32::from_str_radix(said.trim_matches([' ', '\0']), 8);
    let sum = block.iter().enumerate().map(|(i, &b)| match i {
        148..156 => u32::from(b' '),
        _ => u32::from(b),
    });
    said == Ok(sum.sum())
}

/// Stops a reader after so many bytes.
struct Metered<R> {
    inner: R,
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left.get();
        if left == 0 && !buffer.is_empty() {
            return Err(io::Error::other("the headers of a member are too long"));
        }
        let most = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let n = self
            .inner
            .read(buffer.get_mut(..most).unwrap_or_default())?;
        if left != u64::MAX {
            self.left.set(left - n as u64);
        }
        Ok(n)
    }
}
