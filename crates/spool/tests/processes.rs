//! Processes that are killed at any instruction, and one on a full disk.
//!
//! They have a file to themselves: between fork and exec a child of one test holds another's lock.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use baton_spool::{Entry, Importance, Options, Spool, SpoolError};

const OPTIONS: Options = Options {
    max_bytes: 256 << 10,
};

/// Opens it once no child of another test holds its lock any more.
fn open(dir: &Path) -> Spool {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match Spool::open(dir, OPTIONS) {
            Err(SpoolError::InUse { .. }) if Instant::now() < deadline => std::thread::yield_now(),
            spool => return spool.unwrap(),
        }
    }
}

fn all(spool: &mut Spool) -> Vec<Entry> {
    spool.peek(usize::MAX, usize::MAX).unwrap()
}

/// Set in a process that is to append and acknowledge until it is killed.
const CHILD: &str = "BATON_SPOOL_CHILD";

/// Set where it is to fill the spool, and nothing acknowledges.
const FULL: &str = "BATON_SPOOL_FULL";

/// What such a process appends that is to be kept, at most: that of all of them has room, however late
/// each is killed.
const MOST_KEPT: u64 = 8;

/// No test: what the tests below run as a process of its own.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(CHILD) else {
        return;
    };
    let mut spool = open(Path::new(&dir));
    let full = std::env::var_os(FULL).is_some();
    let mut out = std::io::stdout();
    let mut say = |what: &str, position| {
        out.write_all(format!("{what} {position}\n").as_bytes())
            .unwrap();
        out.flush().unwrap();
    };
    for i in 0_u64.. {
        if full {
            let important = i % 60 == 59 && i / 60 < MOST_KEPT;
            let importance = if important {
                Importance::Keep
            } else {
                Importance::Normal
            };
            let position = spool.append(&[b'z'; 700], importance).unwrap();
            if important {
                say("+", position);
            }
            continue;
        }
        // The content tells the position that the record has to have.
        let next = spool.append(b"", Importance::Keep).unwrap() + 1;
        say("+", next - 1);
        let content = format!("{next} {}", "y".repeat((i % 900) as usize));
        let position = spool.append(content.as_bytes(), Importance::Keep).unwrap();
        assert_eq!(position, next);
        say("+", position);
        if i % 5 == 4 {
            let entries = spool.peek(7, 4000).unwrap();
            let last = entries.last().unwrap().position();
            spool.ack(last).unwrap();
            say("-", last);
        }
        // The reader keeps up with the writer, whenever the child before this one was killed: a full
        // spool would drop records.
        if i % 100 == 0 {
            let old = position.saturating_sub(100);
            if entries_before(&mut spool, old) {
                spool.ack(old).unwrap();
                say("-", old);
            }
        }
    }
}

/// Whether something up to this position is still to be read.
fn entries_before(spool: &mut Spool, position: u64) -> bool {
    spool
        .peek(1, usize::MAX)
        .unwrap()
        .first()
        .is_some_and(|e| e.position() <= position)
}

/// Lets a child say so much, kills it, and gives all that it said.
fn until_killed(dir: &Path, full: bool, count: usize) -> Vec<(char, u64)> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture"]);
    command.env(CHILD, dir).stdout(Stdio::piped());
    if full {
        command.env(FULL, "1");
    }
    let mut child = command.spawn().unwrap();
    let mut said = Vec::new();
    // What is still in the pipe when it is killed was done as well.
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        // The harness's own words may stand before the first.
        let Some(at) = line.find(['+', '-']) else {
            continue;
        };
        let what = line[at..].chars().next().unwrap();
        if let Ok(position) = line[at + 1..].trim().parse() {
            said.push((what, position));
        }
        if said.len() == count {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(said.len() >= count, "the child ended by itself");
    said
}

#[test]
fn a_kill_at_any_time_loses_nothing_and_repeats_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (mut appended, mut acknowledged) = (0, 0);
    for round in 0..60 {
        for (what, position) in until_killed(dir.path(), false, 1 + round * 37 % 1500) {
            match what {
                '+' => appended = position,
                _ => acknowledged = position,
            }
        }
        let mut spool = open(dir.path());
        let entries = all(&mut spool);
        assert_eq!(spool.recovery().damaged, 0);
        let mut next = None;
        for entry in &entries {
            let Entry::Record {
                position, content, ..
            } = entry
            else {
                panic!("{entry:?} after round {round}");
            };
            assert_eq!(*position, next.unwrap_or(*position));
            next = Some(position + 1);
            if !content.is_empty() {
                let text = std::str::from_utf8(content).unwrap();
                let told = text.split(' ').next().unwrap().parse::<u64>();
                assert_eq!(told, Ok(*position));
            }
        }
        // One append or acknowledgement may have been done that the child could not tell of.
        let first = entries.first().map_or(u64::MAX, Entry::position);
        assert!(first > acknowledged, "{first} was acknowledged");
        let newest = next.map_or(appended, |n| n - 1);
        assert!(newest >= appended, "{appended} is lost, {newest} is there");
        if let Some(entry) = entries.first() {
            acknowledged = entry.position() - 1;
        }
    }
}

#[test]
fn a_kill_of_a_full_spool_keeps_what_is_to_be_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut kept = BTreeSet::new();
    for round in 0..25 {
        kept.extend(
            until_killed(dir.path(), true, 1 + round % 7)
                .into_iter()
                .map(|(_, at)| at),
        );
        let mut spool = open(dir.path());
        let (mut next, mut found) = (1, BTreeSet::new());
        for entry in all(&mut spool) {
            let end = entry.position() + 1;
            match entry {
                Entry::Missing { position, count } => assert_eq!(position + 1, next + count),
                Entry::Record {
                    position,
                    importance,
                    ..
                } => {
                    assert_eq!(position, next);
                    if importance == Importance::Keep {
                        found.insert(position);
                    }
                }
            }
            next = end;
        }
        assert!(kept.is_subset(&found), "{kept:?} {found:?}");
        let recovery = spool.recovery();
        assert_eq!(recovery.damaged, 0, "{recovery:?}");
    }
    assert!(kept.len() > 80, "{}", kept.len());
}

/// Set in a process that has a file system of 128 KiB to itself.
const SMALL_DISK: &str = "BATON_SPOOL_SMALL_DISK";

/// No test: what the test below runs on a small disk.
#[test]
fn on_a_small_disk() {
    let Some(dir) = std::env::var_os(SMALL_DISK) else {
        return;
    };
    let dir = Path::new(&dir);
    let options = Options {
        max_bytes: 64 << 20,
    };
    let mut spool = Spool::open(dir, options).unwrap();
    let content = |i: u64| vec![u8::try_from(i % 251).unwrap(); 700];
    let mut appended = 0;
    let full = loop {
        match spool.append(&content(appended + 1), Importance::Keep) {
            Ok(position) => appended = position,
            Err(e) => break e,
        }
    };
    assert!(full.is_disk_full(), "{full}");
    assert!((100..190).contains(&appended), "{appended}");
    let check = |spool: &mut Spool, first: u64, last: u64| {
        let entries = spool.peek(usize::MAX, usize::MAX).unwrap();
        let got: Vec<_> = entries.iter().map(Entry::position).collect();
        assert_eq!(got, (first..=last).collect::<Vec<_>>());
        for entry in entries {
            let Entry::Record {
                position,
                content: c,
                ..
            } = entry
            else {
                panic!("{entry:?}");
            };
            assert_eq!(c, content(position));
        }
    };
    check(&mut spool, 1, appended);
    assert!(spool.append(&[0; 9000], Importance::Normal).is_err());
    // A full disk keeps nothing from being acknowledged, and that makes room in the end.
    spool.ack(10).unwrap();
    drop(spool);
    let mut spool = Spool::open(dir, options).unwrap();
    assert_eq!(spool.recovery().damaged, 0);
    check(&mut spool, 11, appended);
    spool.ack(appended).unwrap();
    assert_eq!(
        spool
            .append(&content(appended + 1), Importance::Keep)
            .unwrap(),
        appended + 1
    );
    check(&mut spool, appended + 1, appended + 1);
}

#[test]
fn a_full_disk_harms_nothing_that_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let script =
        r#"mount -t tmpfs -o size=128k none "$1" && exec "$2" --exact on_a_small_disk --nocapture"#;
    let run = Command::new("unshare")
        .args([
            "--user",
            "--map-root-user",
            "--mount",
            "sh",
            "-c",
            script,
            "sh",
        ])
        .arg(dir.path())
        .arg(std::env::current_exe().unwrap())
        .env(SMALL_DISK, dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    let errors = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}\n{errors}");
    assert!(said.contains("1 passed"), "{said}");
}
