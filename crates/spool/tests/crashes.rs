//! What is left after a crash, or a damaged disk.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::path::{Path, PathBuf};

use baton_spool::{Entry, Importance, Options, Spool, SpoolError};

const OPTIONS: Options = Options {
    max_bytes: 256 << 10,
};

fn open(dir: &Path) -> Spool {
    Spool::open(dir, OPTIONS).unwrap()
}

fn all(spool: &mut Spool) -> Vec<Entry> {
    spool.peek(usize::MAX, usize::MAX).unwrap()
}

fn contents(spool: &mut Spool) -> Vec<Vec<u8>> {
    let entries = all(spool).into_iter();
    let contents = entries.filter_map(|entry| match entry {
        Entry::Record { content, .. } => Some(content),
        Entry::Missing { .. } => None,
    });
    contents.collect()
}

fn record(i: u64) -> Vec<u8> {
    format!("record {i} {}", "x".repeat((i % 7) as usize)).into_bytes()
}

/// The only segment of a spool of these records.
fn filled(dir: &Path, records: u64) -> PathBuf {
    let mut spool = open(dir);
    for i in 0..records {
        spool.append(&record(i), Importance::Normal).unwrap();
    }
    let segments = fs::read_dir(dir).unwrap().map(|f| f.unwrap().path());
    let mut segments = segments.filter(|f| f.extension().is_some_and(|e| e == "segment"));
    segments.next().unwrap()
}

#[test]
fn a_cut_at_any_byte_loses_what_is_behind_it_alone() {
    let dir = tempfile::tempdir().unwrap();
    let segment = filled(dir.path(), 6);
    let whole = fs::read(&segment).unwrap();
    let mut ends = vec![0];
    for i in 0..6 {
        ends.push(ends[i as usize] + 32 + record(i).len());
    }
    assert_eq!(ends[6], whole.len());
    for len in 0..=whole.len() {
        fs::write(&segment, &whole[..len]).unwrap();
        let mut spool = open(dir.path());
        let kept = ends.iter().filter(|end| **end <= len).count() - 1;
        let want: Vec<_> = (0..kept as u64).map(record).collect();
        assert_eq!(contents(&mut spool), want, "cut at {len}");
        let recovery = spool.recovery();
        assert_eq!(recovery.records, kept as u64);
        assert_eq!(recovery.torn_bytes, (len - ends[kept]) as u64);
        assert_eq!(recovery.damaged, 0);
        // The next one takes the place of the torn one.
        spool.append(b"next", Importance::Keep).unwrap();
        drop(spool);
        let mut spool = open(dir.path());
        assert_eq!(contents(&mut spool).len(), kept + 1);
        assert_eq!(spool.recovery().torn_bytes, 0);
    }
}

#[test]
fn a_damaged_byte_anywhere_loses_one_record_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let segment = filled(dir.path(), 6);
    let whole = fs::read(&segment).unwrap();
    let mut end = 0;
    let mut of = Vec::new();
    for i in 0..6_u64 {
        end += 32 + record(i).len();
        of.resize(end, i);
    }
    for (place, victim) in of.into_iter().enumerate() {
        let mut bytes = whole.clone();
        bytes[place] ^= 0x41;
        fs::write(&segment, &bytes).unwrap();
        let mut spool = open(dir.path());
        let want: Vec<_> = (0..6).filter(|i| *i != victim).map(record).collect();
        assert_eq!(contents(&mut spool), want, "garbled at {place}");
        let position = victim + 1;
        let missing = Entry::Missing { position, count: 1 };
        if victim < 5 {
            assert_eq!(all(&mut spool)[victim as usize], missing);
            assert_eq!(spool.recovery().damaged, 1);
            assert_eq!(
                spool.recovery().damaged_bytes,
                32 + record(victim).len() as u64
            );
        } else {
            // The last one cannot be told from one that was being written.
            assert_eq!(spool.recovery().torn_bytes, 32 + record(5).len() as u64);
        }
        spool.ack(6 - u64::from(victim == 5)).unwrap();
        assert_eq!(all(&mut spool), []);
        drop(spool);
        fs::remove_file(dir.path().join("acknowledged")).unwrap();
    }
}

#[test]
fn what_is_damaged_while_it_is_open_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let segment = filled(dir.path(), 6);
    let mut spool = open(dir.path());
    let mut bytes = fs::read(&segment).unwrap();
    let place = 32 + record(0).len() + 33;
    bytes[place] ^= 1;
    fs::write(&segment, &bytes).unwrap();
    let want: Vec<_> = [0, 2, 3, 4, 5].into_iter().map(record).collect();
    assert_eq!(contents(&mut spool), want);
    let position = 2;
    assert_eq!(all(&mut spool)[1], Entry::Missing { position, count: 1 });
}

#[test]
fn garbage_in_every_file_is_no_reason_to_give_up() {
    let dir = tempfile::tempdir().unwrap();
    let segment = filled(dir.path(), 3);
    for file in [&segment, &dir.path().join("acknowledged")] {
        fs::write(file, b"bSp1 no record at all, but long enough to be one").unwrap();
    }
    fs::write(dir.path().join("00000000000000000009.half-made"), "x").unwrap();
    fs::write(dir.path().join("notes.txt"), "a person's").unwrap();
    let mut spool = open(dir.path());
    assert_eq!(all(&mut spool), []);
    spool.append(b"goes on", Importance::Normal).unwrap();
    assert_eq!(contents(&mut spool), [b"goes on".to_vec()]);
    assert!(!dir.path().join("00000000000000000009.half-made").exists());
    assert!(dir.path().join("notes.txt").exists());
}

#[test]
fn a_crash_between_the_two_halves_of_a_merge_repeats_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let segment = filled(dir.path(), 6);
    // The second half of the first segment's records, once more under a name of their own.
    let bytes = fs::read(&segment).unwrap();
    let half: usize = (0..3).map(|i| 32 + record(i).len()).sum();
    fs::write(
        dir.path().join("00000000000000000004.segment"),
        &bytes[half..],
    )
    .unwrap();
    let mut spool = open(dir.path());
    assert_eq!(contents(&mut spool), (0..6).map(record).collect::<Vec<_>>());
    assert!(!dir.path().join("00000000000000000004.segment").exists());
}

#[test]
fn a_second_owner_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    let refused = Spool::open(dir.path(), OPTIONS).unwrap_err();
    assert!(matches!(refused, SpoolError::InUse { .. }), "{refused}");
    drop(first);
    open(dir.path());
}
