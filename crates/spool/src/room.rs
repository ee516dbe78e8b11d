//! Room for new records in a full spool.
//!
//! The segments take at most the bound less one segment, which is left for the copy of a segment that is
//! made without the dropped records. Where the next record would go past that, a whole segment's
//! worth of room is made at once: so each segment is copied a few times at most, however many records come.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use crate::Importance;
use crate::error::SpoolError;
use crate::record;
use crate::segment::{self, Segment};
use crate::spool::{Consumed, Spool, remove};

/// What the names of copies end with that are not whole yet.
pub(crate) const HALF_MADE: &str = ".half-made";

impl Spool {
    /// Makes room for a record of so many bytes.
    pub(crate) fn make_room(&mut self, needed: u64) -> Result<(), SpoolError> {
        let most = self.max_bytes - self.segment_bytes();
        if self.bytes() + needed <= most {
            return Ok(());
        }
        let aim = most - self.segment_bytes();
        // What is acknowledged goes first: nobody misses it.
        if self.head.offset > 0 {
            self.rewrite(0, true)?;
        }
        while self.bytes() + needed > aim && !self.segments.is_empty() {
            match self.segments.iter().position(|s| s.normal > 0) {
                Some(index) => self.rewrite(index, false)?,
                None => self.drop_first()?,
            }
        }
        Ok(())
    }

    /// Drops the oldest segment, which holds records that are to be kept alone.
    fn drop_first(&mut self) -> Result<(), SpoolError> {
        let Some(first) = self.segments.front() else {
            return Ok(());
        };
        remove(&first.path)?;
        self.dropped_keep += first.keep.saturating_sub(self.head.keep);
        if self.segments.len() == 1 {
            self.sealed = false;
        }
        self.segments.pop_front();
        self.head = Consumed::default();
        self.dir_dirty = true;
        Ok(())
    }

    /// Copies a segment without what is acknowledged and, unless they are to stay, without its
    /// [`Importance::Normal`] records; together with the one before, where both fit into one.
    fn rewrite(&mut self, index: usize, normal_too: bool) -> Result<(), SpoolError> {
        let acknowledged = self.acknowledged();
        let Some(old) = self.segments.get(index) else {
            return Ok(());
        };
        let mut kept = Vec::new();
        let mut dropped = 0;
        record::scan(&old.bytes()?, old.first.saturating_sub(1), |_, found| {
            let head = found.head;
            if head.position <= acknowledged {
            } else if normal_too || head.importance == Importance::Keep {
                kept.extend(record::encode(head, found.content));
            } else {
                dropped += 1;
            }
        });
        let (mut first, mut into) = (old.first, index);
        if let Some(before) = index.checked_sub(1).and_then(|i| self.segments.get(i))
            && !kept.is_empty()
            && before.end + kept.len() as u64 <= self.segment_bytes()
        {
            let mut both = Vec::new();
            record::scan(&before.bytes()?, before.first.saturating_sub(1), |_, f| {
                if f.head.position > acknowledged {
                    both.extend(record::encode(f.head, f.content));
                }
            });
            both.append(&mut kept);
            (kept, first, into) = (both, before.first, index - 1);
        }
        let path = segment::path(&self.dir, old.first);
        let copy = if kept.is_empty() {
            None
        } else {
            Some(self.replace(first, &kept)?)
        };
        self.dir_dirty = true;
        // From here on the records are gone from the disk: say so whatever comes.
        self.dropped_normal += dropped;
        if index + 1 == self.segments.len() {
            self.sealed = true;
        }
        let gone = copy.is_none() || into != index;
        if into == 0 {
            self.head = Consumed::default();
        }
        if let Some((place, copy)) = self.segments.get_mut(into).zip(copy) {
            *place = copy;
        }
        if gone {
            self.segments.remove(index);
            remove(&path)?;
        }
        Ok(())
    }

    /// Puts these records in the place of a segment's, all or none.
    fn replace(&self, first: u64, records: &[u8]) -> Result<Segment, SpoolError> {
        let path = segment::path(&self.dir, first);
        let copy = path.with_extension("half-made");
        let written = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&copy)
            .and_then(|mut file| {
                file.write_all(records)?;
                file.sync_data()?;
                Ok(file)
            })
            .map_err(|e| SpoolError::io("write", &copy, e))
            .and_then(|file| Segment::load(file, path.clone(), first));
        let renamed = written.and_then(|segment| {
            fs::rename(&copy, &path).map_err(|e| SpoolError::io("replace", &path, e))?;
            Ok(segment)
        });
        renamed.inspect_err(|_| {
            let _ = fs::remove_file(&copy);
        })
    }
}
