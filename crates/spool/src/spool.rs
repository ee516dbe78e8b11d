//! The queue.

use std::collections::VecDeque;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};

use crate::acks::Acks;
use crate::error::SpoolError;
use crate::record::{HEADER, Head};
use crate::segment::{self, MAX_SEGMENT_BYTES, Segment};
use crate::{MAX_RECORD_BYTES, MIN_BYTES};

/// From this length on the segment that is appended to is removed, too, once all of it is acknowledged.
const WORTH_REMOVING: u64 = 64 << 10;

/// How a spool is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Most that its segments take on the disk together, in bytes; at least [`MIN_BYTES`].
    pub max_bytes: u64,
}

/// What goes first where a spool is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Importance {
    /// It is dropped before any that is to be kept.
    Normal,
    /// It is dropped last.
    Keep,
}

/// What a reader finds, in order of position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A record.
    Record {
        /// What [`Spool::ack`] takes. Each record has a higher one than all before it.
        position: u64,
        /// When it was appended.
        at: SystemTime,
        /// As it was appended.
        importance: Importance,
        /// What was appended.
        content: Vec<u8>,
    },
    /// Records that were here: a full spool dropped them, or the disk damaged them.
    Missing {
        /// The position of the last of them.
        position: u64,
        /// How many.
        count: u64,
    },
}

impl Entry {
    /// What to [acknowledge](Spool::ack) for this entry and all before it.
    pub fn position(&self) -> u64 {
        match self {
            Entry::Record { position, .. } | Entry::Missing { position, .. } => *position,
        }
    }
}

/// What opening found of the life before.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Recovery {
    /// Records that are still to be acknowledged.
    pub records: u64,
    /// Bytes at the very end that were no whole record: one that was being written.
    pub torn_bytes: u64,
    /// Places in between that hold no record any more.
    pub damaged: u64,
    /// Their bytes together.
    pub damaged_bytes: u64,
}

/// How a spool stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Records that are to be acknowledged.
    pub records: u64,
    /// Bytes of its segments on the disk; those of acknowledged records go by and by.
    pub bytes: u64,
    /// When the oldest record was appended that is not acknowledged.
    pub oldest: Option<SystemTime>,
    /// [`Importance::Normal`] records that were dropped in this life, because it was full.
    pub dropped_normal: u64,
    /// [`Importance::Keep`] records that were dropped in this life, because it was full.
    pub dropped_keep: u64,
}

/// A queue on disk. See the [crate](crate) for what it promises.
#[derive(Debug)]
pub struct Spool {
    pub(crate) dir: PathBuf,
    /// The spool is this process's as long as this file is open.
    _lock: File,
    acks: Acks,
    pub(crate) max_bytes: u64,
    /// Oldest first. Records are appended to the last one, unless it is sealed.
    pub(crate) segments: VecDeque<Segment>,
    pub(crate) sealed: bool,
    pub(crate) head: Consumed,
    pub(crate) next: u64,
    pub(crate) dropped_normal: u64,
    pub(crate) dropped_keep: u64,
    /// A file was made, renamed or removed since the folder was synced.
    pub(crate) dir_dirty: bool,
    recovery: Recovery,
}

/// What of the first segment is acknowledged.
#[derive(Debug, Default)]
pub(crate) struct Consumed {
    /// Where the first record is that is not, or a hole before it.
    pub(crate) offset: u64,
    pub(crate) normal: u64,
    pub(crate) keep: u64,
}

impl Spool {
    /// Opens the spool in this folder, after whatever end its last life had, and makes it where there is
    /// none.
    ///
    /// # Errors
    /// Where the bound is too low, another process has the spool, or a file cannot be used.
    pub fn open(dir: &Path, options: Options) -> Result<Spool, SpoolError> {
        let max_bytes = options.max_bytes;
        if max_bytes < MIN_BYTES {
            return Err(SpoolError::TooSmall { max_bytes });
        }
        let failed = |e| SpoolError::io("make the folder", dir, e);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(failed)?;
        let lock = lock(dir)?;
        let path = dir.join("acknowledged");
        let acks = Acks::open(&path).map_err(|e| SpoolError::io("open", &path, e))?;
        let mut spool = Spool {
            dir: dir.to_owned(),
            _lock: lock,
            next: acks.position().saturating_add(1),
            acks,
            max_bytes,
            segments: VecDeque::new(),
            sealed: false,
            head: Consumed::default(),
            dropped_normal: 0,
            dropped_keep: 0,
            dir_dirty: true,
            recovery: Recovery::default(),
        };
        spool.recover()?;
        Ok(spool)
    }

    fn recover(&mut self) -> Result<(), SpoolError> {
        let numbers = self.numbers()?;
        let newest = numbers.last().copied();
        for first in numbers {
            // A crash while two segments were made one: what is in it is in the one before.
            if self.segments.back().is_some_and(|s| s.last >= first) {
                remove(&segment::path(&self.dir, first))?;
                continue;
            }
            let (mut segment, len) = Segment::open(&self.dir, first)?;
            let behind = len.saturating_sub(segment.end);
            if behind > 0 && Some(first) == newest {
                self.recovery.torn_bytes = behind;
            } else if behind > 0 {
                self.recovery.damaged += 1;
                self.recovery.damaged_bytes += behind;
            }
            if behind > 0 {
                segment.cut()?;
            }
            self.recovery.damaged += segment.holes.len() as u64;
            let holes = segment.holes.iter().map(|hole| hole.end - hole.start);
            self.recovery.damaged_bytes += holes.sum::<u64>();
            self.next = self.next.max(segment.last.saturating_add(1)).max(first);
            self.segments.push_back(segment);
        }
        self.forget(self.acks.position())?;
        self.recovery.records = self.records();
        self.sync()
    }

    /// The numbers of its segments, in order. What a crash left half made is removed.
    fn numbers(&self) -> Result<Vec<u64>, SpoolError> {
        let failed = |e| SpoolError::io("list", &self.dir, e);
        let mut numbers = Vec::new();
        for file in fs::read_dir(&self.dir).map_err(failed)? {
            let name = file.map_err(failed)?.file_name();
            let name = name.to_str().unwrap_or_default();
            if name.ends_with(crate::room::HALF_MADE) {
                remove(&self.dir.join(name))?;
            }
            numbers.extend(segment::number(name));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// What opening it found of the life before.
    pub fn recovery(&self) -> Recovery {
        self.recovery
    }

    /// Appends a record and gives its position. Where there is no room, makes some.
    ///
    /// # Errors
    /// Where the record is too long, or a file cannot be written: nothing is appended then, and what
    /// is stored stays.
    pub fn append(&mut self, content: &[u8], importance: Importance) -> Result<u64, SpoolError> {
        let limit = self.longest_record();
        let bytes = content.len();
        if bytes > limit {
            return Err(SpoolError::TooLong { bytes, limit });
        }
        let needed = (HEADER + bytes) as u64;
        self.make_room(needed)?;
        let full = |s: &Segment| s.end + needed > self.segment_bytes();
        if self.sealed || self.segments.back().is_none_or(full) {
            let segment = Segment::create(&self.dir, self.next)?;
            self.segments.push_back(segment);
            self.sealed = false;
            self.dir_dirty = true;
        }
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let head = Head {
            position: self.next,
            at: since.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)),
            importance,
        };
        if let Some(segment) = self.segments.back_mut() {
            segment.append(head, content)?;
        }
        self.next = self.next.saturating_add(1);
        Ok(head.position)
    }

    /// Reads the oldest entries that are not acknowledged: at most so many, and as many as have
    /// `max_bytes` of content together, but one at least. They stay until they are acknowledged.
    ///
    /// # Errors
    /// Where a file cannot be read.
    pub fn peek(&mut self, max_entries: usize, max_bytes: usize) -> Result<Vec<Entry>, SpoolError> {
        let mut entries = Vec::new();
        let (mut bytes, mut before) = (0, self.acks.position());
        let mut offset = self.head.offset;
        for segment in &mut self.segments {
            while let Some(read) = segment.read(offset)? {
                bytes += read.content.len();
                let Head { position, at, .. } = read.head;
                if entries.len() >= max_entries || bytes > max_bytes && !entries.is_empty() {
                    return Ok(entries);
                }
                let count = position.saturating_sub(before.saturating_add(1));
                if count > 0 {
                    let position = position - 1;
                    entries.push(Entry::Missing { position, count });
                    if entries.len() >= max_entries {
                        return Ok(entries);
                    }
                }
                entries.push(Entry::Record {
                    position,
                    at: time(at),
                    importance: read.head.importance,
                    content: read.content,
                });
                before = position;
                offset = read.next;
            }
            offset = 0;
        }
        Ok(entries)
    }

    /// Acknowledges all entries up to this position, for good: they are not read again.
    ///
    /// # Errors
    /// Where no record has had that position yet, or a file cannot be written or removed: it is to be
    /// called again then.
    pub fn ack(&mut self, position: u64) -> Result<(), SpoolError> {
        let newest = self.next - 1;
        if position > newest {
            return Err(SpoolError::Unknown { position, newest });
        }
        if position > self.acks.position() {
            self.acks
                .write(position)
                .map_err(|e| SpoolError::io("acknowledge in", &self.dir, e))?;
        }
        self.forget(self.acks.position())
    }

    /// Passes over what is acknowledged, and removes the segments that have nothing else.
    fn forget(&mut self, acknowledged: u64) -> Result<(), SpoolError> {
        while let Some(first) = self.segments.front()
            && first.last <= acknowledged
            && (self.sealed || self.segments.len() > 1 || first.end >= WORTH_REMOVING)
        {
            remove(&first.path)?;
            self.dir_dirty = true;
            self.segments.pop_front();
            self.head = Consumed::default();
        }
        let Some(first) = self.segments.front_mut() else {
            return Ok(());
        };
        while let Some(read) = first.read(self.head.offset)?
            && read.head.position <= acknowledged
        {
            self.head.offset = read.next;
            match read.head.importance {
                Importance::Normal => self.head.normal += 1,
                Importance::Keep => self.head.keep += 1,
            }
        }
        Ok(())
    }

    /// Has the disk keep all that was appended, whatever happens to the machine.
    ///
    /// # Errors
    /// Where a file cannot be synced: nobody knows then what the disk keeps.
    pub fn sync(&mut self) -> Result<(), SpoolError> {
        for segment in &mut self.segments {
            segment.sync()?;
        }
        if self.dir_dirty {
            File::open(&self.dir)
                .and_then(|dir| dir.sync_all())
                .map_err(|e| SpoolError::io("sync", &self.dir, e))?;
            self.dir_dirty = false;
        }
        Ok(())
    }

    /// How it stands.
    ///
    /// # Errors
    /// Where the oldest record cannot be read.
    pub fn stats(&mut self) -> Result<Stats, SpoolError> {
        let mut oldest = None;
        let mut offset = self.head.offset;
        for segment in &mut self.segments {
            oldest = segment.read(offset)?.map(|read| time(read.head.at));
            if oldest.is_some() {
                break;
            }
            offset = 0;
        }
        Ok(Stats {
            records: self.records(),
            bytes: self.bytes(),
            oldest,
            dropped_normal: self.dropped_normal,
            dropped_keep: self.dropped_keep,
        })
    }

    /// Longest record that it takes, in bytes.
    pub fn longest_record(&self) -> usize {
        let most = usize::try_from(self.segment_bytes()).unwrap_or(usize::MAX);
        MAX_RECORD_BYTES.min(most - HEADER)
    }

    fn records(&self) -> u64 {
        let stored: u64 = self.segments.iter().map(Segment::records).sum();
        stored.saturating_sub(self.head.normal + self.head.keep)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.segments.iter().map(|s| s.end).sum()
    }

    /// Longest that a segment gets.
    pub(crate) fn segment_bytes(&self) -> u64 {
        (self.max_bytes / 8).min(MAX_SEGMENT_BYTES)
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.acks.position()
    }
}

fn lock(dir: &Path) -> Result<File, SpoolError> {
    let path = dir.join("lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|e| SpoolError::io("open", &path, e))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(SpoolError::InUse {
            path: dir.to_owned(),
        }),
        Err(e) => Err(SpoolError::io("lock", path, e)),
    }
}

/// Removes a file, if it is there.
pub(crate) fn remove(path: &Path) -> Result<(), SpoolError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(SpoolError::io("remove", path, e)),
        _ => Ok(()),
    }
}

fn time(millis: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_millis(millis))
        .unwrap_or(SystemTime::UNIX_EPOCH)
}
