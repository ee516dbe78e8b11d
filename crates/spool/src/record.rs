//! One record as it stands in a segment, and how a segment's records are found. No I/O.

use std::ops::Range;

use crate::{Importance, MAX_RECORD_BYTES};

/// Bytes before a record's content.
pub(crate) const HEADER: usize = 32;
/// What a record begins with.
const MAGIC: [u8; 4] = *b"bSp1";

/// What stands before a record's content, but its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) position: u64,
    /// Milliseconds since 1970.
    pub(crate) at: u64,
    pub(crate) importance: Importance,
}

/// A record and its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parsed<'a> {
    pub(crate) head: Head,
    pub(crate) content: &'a [u8],
}

impl Parsed<'_> {
    /// How much of the segment it takes.
    pub(crate) fn len(&self) -> usize {
        HEADER + self.content.len()
    }
}

/// The record's bytes. `content` is at most [`MAX_RECORD_BYTES`] long.
pub(crate) fn encode(head: Head, content: &[u8]) -> Vec<u8> {
    let len = u32::try_from(content.len()).unwrap_or(u32::MAX);
    let mut rest = Vec::with_capacity(HEADER - 8);
    rest.extend(head.position.to_le_bytes());
    rest.extend(head.at.to_le_bytes());
    rest.extend(len.to_le_bytes());
    rest.extend([matches!(head.importance, Importance::Keep).into(), 0, 0, 0]);
    let mut bytes = Vec::with_capacity(HEADER + content.len());
    bytes.extend(MAGIC);
    bytes.extend(checksum(&rest, content).to_le_bytes());
    bytes.extend(rest);
    bytes.extend(content);
    bytes
}

fn checksum(rest: &[u8], content: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(rest);
    crc.update(content);
    crc.finalize()
}

/// The length of the content that follows these first bytes of a record, if they can be such.
pub(crate) fn content_len(header: &[u8; HEADER]) -> Option<usize> {
    let (magic, rest) = header.split_first_chunk::<4>()?;
    let len = u32::from_le_bytes(*rest.get(20..)?.first_chunk()?);
    let len = usize::try_from(len).ok()?;
    (*magic == MAGIC && len <= MAX_RECORD_BYTES).then_some(len)
}

/// The record that `bytes` begin with, where there is one and it is whole.
pub(crate) fn parse(bytes: &[u8]) -> Option<Parsed<'_>> {
    let (header, after) = bytes.split_first_chunk::<HEADER>()?;
    let content = after.get(..content_len(header)?)?;
    let (_, checked) = header.split_first_chunk::<4>()?;
    let (sum, checked) = checked.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*sum) != checksum(checked, content) {
        return None;
    }
    let (position, checked) = checked.split_first_chunk::<8>()?;
    let (at, checked) = checked.split_first_chunk::<8>()?;
    let head = Head {
        position: u64::from_le_bytes(*position),
        at: u64::from_le_bytes(*at),
        importance: match checked.get(4)? {
            0 => Importance::Normal,
            1 => Importance::Keep,
            _ => return None,
        },
    };
    Some(Parsed { head, content })
}

/// What is between the records of a segment.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Scan {
    /// Bytes that are no record, with records behind them.
    pub(crate) holes: Vec<Range<u64>>,
    /// Where the last record ends.
    pub(crate) end: u64,
}

/// Visits the records of a segment that are above position `after`, in order.
pub(crate) fn scan(bytes: &[u8], mut after: u64, mut visit: impl FnMut(u64, Parsed<'_>)) -> Scan {
    let mut scan = Scan::default();
    let mut offset = 0;
    while let Some((hole, found)) = next(bytes, offset, after) {
        let start = offset + hole;
        if hole > 0 {
            scan.holes.push(offset as u64..start as u64);
        }
        visit(start as u64, found);
        after = found.head.position;
        offset = start + found.len();
        scan.end = offset as u64;
    }
    scan
}

/// The next record from `offset` on, and how many bytes before it are none.
fn next(bytes: &[u8], offset: usize, after: u64) -> Option<(usize, Parsed<'_>)> {
    let rest = bytes.get(offset..)?;
    let starts = rest.windows(MAGIC.len()).enumerate();
    starts
        .filter(|(_, window)| *window == MAGIC)
        .filter_map(|(skipped, _)| Some((skipped, parse(rest.get(skipped..)?)?)))
        .find(|(_, found)| found.head.position > after)
}
