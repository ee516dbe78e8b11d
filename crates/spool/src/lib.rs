//! A durable, bounded queue on disk: bytes in, bytes out, oldest first.
//!
//! One process owns a [`Spool`]. It [appends](Spool::append) records, [reads](Spool::peek) the oldest
//! ones without removing them, and [acknowledges](Spool::ack) what was delivered. What is not
//! acknowledged is read again, also in the next life of the process: delivery is at least once.
//!
//! # What a crash loses
//! - The process is killed, at whatever instruction: nothing whose `append` or `ack` returned.
//! - The machine loses power: what was appended after the last [`sync`](Spool::sync); an
//!   acknowledgement is synced before `ack` returns.
//! - The disk damages a record: that record. The others are read as before.
//!
//! # What a full spool loses
//! The files together never take more than [`Options::max_bytes`]. Where the next record does not fit,
//! room is made by the oldest [`Importance::Normal`] records, as many of them as one segment (an
//! eighth of the bound, 4 MiB at most) has; where there are none left, by the oldest
//! [`Importance::Keep`] ones. Every record has the number after its predecessor's, so a reader
//! sees in place what is missing, for whichever reason and also after a restart:
//! [`Entry::Missing`].
//!
//! # On the disk
//! Segments named by a number that none of their records is below, each a row of records with a CRC-32
//! of their own; a file of two slots that holds the acknowledged position; a lock. Segments are removed
//! once everything in them is acknowledged. In memory there is a row of numbers for each segment,
//! and none of their contents.

mod acks;
mod error;
mod record;
mod room;
mod segment;
mod spool;

pub use error::SpoolError;
pub use spool::{Entry, Importance, Options, Recovery, Spool, Stats};

/// Longest record that any spool takes, in bytes; a small spool takes an eighth of its bound less 32.
pub const MAX_RECORD_BYTES: usize = 1 << 20;
/// Least [`Options::max_bytes`].
pub const MIN_BYTES: u64 = 32 << 10;
