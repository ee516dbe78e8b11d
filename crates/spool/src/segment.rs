//! One file of records.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::Importance;
use crate::error::SpoolError;
use crate::record::{self, HEADER, Head};

/// Longest segment. What a file has behind that is not read.
pub(crate) const MAX_SEGMENT_BYTES: u64 = 4 << 20;
const SUFFIX: &str = ".segment";

/// A segment and what is known of it without its contents.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    file: File,
    /// The number in its name: its records are not below it.
    pub(crate) first: u64,
    /// The position of its last record; one below `first` where it has none.
    pub(crate) last: u64,
    /// Where its last record ends: its length, but for what a crash or the disk left behind it.
    pub(crate) end: u64,
    /// Its records of either kind, acknowledged or not.
    pub(crate) normal: u64,
    pub(crate) keep: u64,
    /// Bytes that are no record, with records behind them.
    pub(crate) holes: Vec<Range<u64>>,
    /// It was written to since it was last synced.
    dirty: bool,
}

/// A record as it was read.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) head: Head,
    pub(crate) content: Vec<u8>,
    /// Where the next record begins.
    pub(crate) next: u64,
}

pub(crate) fn path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}{SUFFIX}"))
}

/// The number in a segment's name; `None` for any other file.
pub(crate) fn number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    let plain = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|_| plain)
}

impl Segment {
    pub(crate) fn create(dir: &Path, first: u64) -> Result<Segment, SpoolError> {
        let path = path(dir, first);
        // A file of that name can only be one without any record.
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .map_err(|e| SpoolError::io("make", &path, e))?;
        Ok(Segment {
            path,
            file,
            first,
            last: first.saturating_sub(1),
            end: 0,
            normal: 0,
            keep: 0,
            holes: Vec::new(),
            dirty: true,
        })
    }

    /// Opens the segment, reads it through, and gives the length of the file.
    pub(crate) fn open(dir: &Path, first: u64) -> Result<(Segment, u64), SpoolError> {
        let path = path(dir, first);
        let file = OpenOptions::new().read(true).write(true).open(&path);
        let file = file.map_err(|e| SpoolError::io("open", &path, e))?;
        let meta = file.metadata();
        let len = meta.map_err(|e| SpoolError::io("look at", &path, e))?.len();
        Ok((Segment::load(file, path, first)?, len))
    }

    /// The segment that a file holds.
    pub(crate) fn load(file: File, path: PathBuf, first: u64) -> Result<Segment, SpoolError> {
        let mut segment = Segment {
            path,
            file,
            first,
            last: first.saturating_sub(1),
            end: 0,
            normal: 0,
            keep: 0,
            holes: Vec::new(),
            dirty: false,
        };
        segment.rescan()?;
        Ok(segment)
    }

    /// Finds its records anew.
    pub(crate) fn rescan(&mut self) -> Result<(), SpoolError> {
        let bytes = self.bytes()?;
        let floor = self.first.saturating_sub(1);
        let (mut normal, mut keep, mut last) = (0, 0, floor);
        let scan = record::scan(&bytes, floor, |_, found| {
            *match found.head.importance {
                Importance::Normal => &mut normal,
                Importance::Keep => &mut keep,
            } += 1;
            last = found.head.position;
        });
        (self.normal, self.keep, self.end) = (normal, keep, scan.end);
        self.last = self.last.max(last);
        self.holes = scan.holes;
        Ok(())
    }

    /// All that it holds, as far as a segment can be long.
    pub(crate) fn bytes(&self) -> Result<Vec<u8>, SpoolError> {
        let mut bytes = Vec::new();
        let mut at = At {
            file: &self.file,
            offset: 0,
        };
        at.by_ref()
            .take(MAX_SEGMENT_BYTES)
            .read_to_end(&mut bytes)
            .map_err(|e| self.failed("read", e))?;
        Ok(bytes)
    }

    pub(crate) fn records(&self) -> u64 {
        self.normal + self.keep
    }

    /// Appends a record. Where that fails the segment is as it was.
    pub(crate) fn append(&mut self, head: Head, content: &[u8]) -> Result<(), SpoolError> {
        let bytes = record::encode(head, content);
        self.dirty = true;
        if let Err(e) = self.file.write_all_at(&bytes, self.end) {
            // If this fails, too, the next record is written over it.
            let _ = self.file.set_len(self.end);
            return Err(self.failed("append to", e));
        }
        self.end += bytes.len() as u64;
        self.last = head.position;
        match head.importance {
            Importance::Normal => self.normal += 1,
            Importance::Keep => self.keep += 1,
        }
        Ok(())
    }

    /// Cuts off what is behind the last record.
    pub(crate) fn cut(&mut self) -> Result<(), SpoolError> {
        self.file
            .set_len(self.end)
            .map_err(|e| self.failed("cut", e))
    }

    /// The record at `offset`, or behind the hole there; `None` at the end. A record that was damaged
    /// since the segment was opened is found out here, and passed over.
    pub(crate) fn read(&mut self, offset: u64) -> Result<Option<Stored>, SpoolError> {
        if let Some(read) = self.try_read(offset)? {
            return Ok(Some(read));
        }
        if self.skip(offset) >= self.end {
            return Ok(None);
        }
        self.rescan()?;
        self.try_read(offset)
    }

    fn try_read(&self, offset: u64) -> Result<Option<Stored>, SpoolError> {
        let offset = self.skip(offset);
        if offset >= self.end {
            return Ok(None);
        }
        let mut bytes = vec![0; HEADER];
        if !self.fill(&mut bytes, offset)? {
            return Ok(None);
        }
        let Some(len) = bytes.first_chunk().and_then(record::content_len) else {
            return Ok(None);
        };
        bytes.resize(HEADER + len, 0);
        let Some(rest) = bytes.get_mut(HEADER..) else {
            return Ok(None);
        };
        if !self.fill(rest, offset + HEADER as u64)? {
            return Ok(None);
        }
        let Some(head) = record::parse(&bytes).map(|found| found.head) else {
            return Ok(None);
        };
        Ok(Some(Stored {
            head,
            next: offset + bytes.len() as u64,
            content: bytes.split_off(HEADER),
        }))
    }

    /// Reads all of `bytes`; false where the file ends before.
    fn fill(&self, bytes: &mut [u8], offset: u64) -> Result<bool, SpoolError> {
        match self.file.read_exact_at(bytes, offset) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(e) => Err(self.failed("read", e)),
        }
    }

    fn skip(&self, offset: u64) -> u64 {
        let hole = self.holes.iter().find(|hole| hole.contains(&offset));
        hole.map_or(offset, |hole| hole.end)
    }

    pub(crate) fn sync(&mut self) -> Result<(), SpoolError> {
        if self.dirty {
            self.file.sync_data().map_err(|e| self.failed("sync", e))?;
            self.dirty = false;
        }
        Ok(())
    }

    fn failed(&self, action: &'static str, e: io::Error) -> SpoolError {
        SpoolError::io(action, &self.path, e)
    }
}

/// Reads a file from an offset of its own.
struct At<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for At<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(bytes, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}
