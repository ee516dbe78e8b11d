//! The acknowledged position: two slots of a file that are written in turns, in place, so that a full
//! disk does not keep anything from being acknowledged and a torn write leaves the other slot.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// Bytes of one slot: position and CRC-32.
const SLOT: usize = 12;

#[derive(Debug)]
pub(crate) struct Acks {
    file: File,
    position: u64,
    /// The slot that is written next.
    next: u64,
}

impl Acks {
    /// Opens the file, and makes it where there is none. Where no slot is whole, nothing counts
    /// as acknowledged.
    pub(crate) fn open(path: &Path) -> io::Result<Acks> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        let mut acks = Acks {
            file,
            position: 0,
            next: 0,
        };
        let slots = [acks.read(0), acks.read(1)];
        if let [None, None] = slots {
            // Both slots have their place on the disk from now on.
            acks.write(0)?;
            acks.write(0)?;
        }
        for (slot, position) in (0..).zip(slots) {
            if let Some(position) = position
                && position >= acks.position
            {
                acks.position = position;
                acks.next = 1 - slot;
            }
        }
        Ok(acks)
    }

    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Makes `position` the acknowledged one, for good.
    pub(crate) fn write(&mut self, position: u64) -> io::Result<()> {
        let mut slot = position.to_le_bytes().to_vec();
        slot.extend(crc32fast::hash(&slot).to_le_bytes());
        self.file.write_all_at(&slot, self.next * SLOT as u64)?;
        self.file.sync_data()?;
        self.position = position;
        self.next = 1 - self.next;
        Ok(())
    }

    fn read(&self, slot: u64) -> Option<u64> {
        let mut bytes = [0; SLOT];
        self.file
            .read_exact_at(&mut bytes, slot * SLOT as u64)
            .ok()?;
        let (position, sum) = bytes.split_first_chunk::<8>()?;
        let sum = u32::from_le_bytes(*sum.first_chunk()?);
        (crc32fast::hash(position) == sum).then(|| u64::from_le_bytes(*position))
    }
}
