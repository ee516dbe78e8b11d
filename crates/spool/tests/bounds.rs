//! A spool as a queue with a bound: against a model, and when it is full.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use baton_spool::{Entry, Importance, MIN_BYTES, Options, Spool, SpoolError};
use proptest::prelude::*;

fn on_disk(dir: &Path) -> u64 {
    let files = fs::read_dir(dir).unwrap();
    files.map(|f| f.unwrap().metadata().unwrap().len()).sum()
}

/// The lock, and the acknowledged position.
const BESIDES: u64 = 24;

#[derive(Debug, Clone)]
enum Op {
    Append(Importance, usize),
    Peek(usize, usize),
    AckSome(usize),
    Reopen,
    Sync,
}

fn op() -> impl Strategy<Value = Op> {
    let importance = prop_oneof![3 => Just(Importance::Normal), 1 => Just(Importance::Keep)];
    prop_oneof![
        12 => (importance, 0..3000_usize).prop_map(|(i, len)| Op::Append(i, len)),
        2 => (1..20_usize, 0..9000_usize).prop_map(|(n, bytes)| Op::Peek(n, bytes)),
        2 => (1..12_usize).prop_map(Op::AckSome),
        1 => Just(Op::Reopen),
        1 => Just(Op::Sync),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn every_record_is_there_or_missed_and_the_bound_holds(
        ops in proptest::collection::vec(op(), 1..150),
    ) {
        let options = Options { max_bytes: MIN_BYTES };
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(dir.path(), options).unwrap();
        let mut model = BTreeMap::new();
        let (mut acknowledged, mut newest) = (0, 0);
        let mut dropped_keep = 0;
        for op in ops {
            match op {
                Op::Append(importance, len) => {
                    let content = vec![u8::try_from(newest % 251).unwrap(); len];
                    let position = spool.append(&content, importance).unwrap();
                    prop_assert_eq!(position, newest + 1);
                    newest = position;
                    model.insert(position, (importance, content));
                }
                Op::Peek(n, bytes) => {
                    let some = spool.peek(n, bytes).unwrap();
                    prop_assert!(some.len() <= n);
                    let all = spool.peek(usize::MAX, usize::MAX).unwrap();
                    prop_assert_eq!(&all[..some.len()], &some[..]);
                    let size = |e: &Entry| match e {
                        Entry::Record { content, .. } => content.len(),
                        Entry::Missing { .. } => 0,
                    };
                    let records = some.iter().filter(|e| matches!(e, Entry::Record { .. }));
                    prop_assert!(
                        records.count() <= 1 || some.iter().map(size).sum::<usize>() <= bytes
                    );
                }
                Op::AckSome(n) => {
                    if let Some(last) = spool.peek(n, usize::MAX).unwrap().last() {
                        acknowledged = last.position();
                        spool.ack(acknowledged).unwrap();
                    }
                }
                Op::Reopen => {
                    drop(spool);
                    spool = Spool::open(dir.path(), options).unwrap();
                    prop_assert_eq!((spool.recovery().damaged, spool.recovery().torn_bytes), (0, 0));
                    dropped_keep = 0;
                }
                Op::Sync => spool.sync().unwrap(),
            }
            prop_assert!(on_disk(dir.path()) <= options.max_bytes + BESIDES);
            let (mut next, mut records) = (acknowledged + 1, 0);
            let mut least_normal = None;
            for entry in spool.peek(usize::MAX, usize::MAX).unwrap() {
                match entry {
                    Entry::Missing { position, count } => {
                        prop_assert_eq!(next + count, position + 1);
                        next = position + 1;
                    }
                    Entry::Record { position, importance, content, .. } => {
                        prop_assert_eq!(position, next);
                        prop_assert_eq!(&model[&position], &(importance, content));
                        next += 1;
                        records += 1;
                        if importance == Importance::Normal {
                            least_normal = least_normal.or(Some(position));
                        }
                    }
                }
            }
            prop_assert_eq!(next, newest + 1, "the newest is always there");
            let stats = spool.stats().unwrap();
            prop_assert_eq!(stats.records, records);
            prop_assert_eq!(stats.oldest.is_some(), records > 0);
            // What is to be kept goes only where nothing else is left.
            if stats.dropped_keep > dropped_keep {
                prop_assert!(least_normal.is_none_or(|at| at == newest));
                dropped_keep = stats.dropped_keep;
            }
        }
    }
}

#[test]
fn a_full_spool_keeps_what_is_to_be_kept_and_says_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        max_bytes: 256 << 10,
    };
    let mut spool = Spool::open(dir.path(), options).unwrap();
    let (mut kept, total) = (Vec::new(), 20_000);
    for i in 1..=total {
        // 40 ends of 2 KiB among two hundred times as much chatter.
        let position = if i % 500 == 0 {
            kept.push(i);
            spool.append(&[b'k'; 2048], Importance::Keep)
        } else {
            spool.append(&[b'n'; 800], Importance::Normal)
        };
        assert_eq!(position.unwrap(), i);
    }
    let stats = spool.stats().unwrap();
    assert_eq!(stats.dropped_keep, 0);
    assert!(stats.bytes > options.max_bytes / 2, "{stats:?}");
    let entries = spool.peek(usize::MAX, usize::MAX).unwrap();
    let (mut found, mut missing, mut there) = (Vec::new(), 0, 0);
    for entry in entries {
        match entry {
            Entry::Missing { count, .. } => missing += count,
            Entry::Record {
                position,
                importance,
                ..
            } => {
                there += 1;
                if importance == Importance::Keep {
                    found.push(position);
                }
            }
        }
    }
    assert_eq!(found, kept);
    assert_eq!((missing, there), (stats.dropped_normal, stats.records));
    assert_eq!(missing + there, total);
    let files = fs::read_dir(dir.path()).unwrap().count();
    assert!(files <= 2 + 16, "{files} files");
}

#[test]
fn a_spool_full_of_what_is_to_be_kept_drops_the_oldest() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        max_bytes: MIN_BYTES,
    };
    let mut spool = Spool::open(dir.path(), options).unwrap();
    for _ in 0..200 {
        spool.append(&[b'k'; 500], Importance::Keep).unwrap();
    }
    let stats = spool.stats().unwrap();
    assert_eq!(stats.dropped_keep + stats.records, 200);
    let count = stats.dropped_keep;
    assert!(count > 100);
    let entries = spool.peek(2, usize::MAX).unwrap();
    let position = count;
    assert_eq!(entries[0], Entry::Missing { position, count });
    assert_eq!(entries[1].position(), count + 1);
}

#[test]
fn what_is_out_of_bounds_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let max_bytes = MIN_BYTES - 1;
    assert!(matches!(
        Spool::open(dir.path(), Options { max_bytes }),
        Err(SpoolError::TooSmall { .. })
    ));
    let max_bytes = MIN_BYTES;
    let mut spool = Spool::open(dir.path(), Options { max_bytes }).unwrap();
    let limit = spool.longest_record();
    let e = spool
        .append(&vec![0; limit + 1], Importance::Keep)
        .unwrap_err();
    assert!(matches!(e, SpoolError::TooLong { .. }));
    spool.append(&vec![0; limit], Importance::Keep).unwrap();
    assert!(matches!(
        spool.ack(2),
        Err(SpoolError::Unknown { newest: 1, .. })
    ));
    spool.ack(1).unwrap();
    spool.ack(1).unwrap();
    spool.ack(0).unwrap();
    assert_eq!(spool.peek(1, 0).unwrap(), []);
}
