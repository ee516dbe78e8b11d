//! SIGKILL at any instant, and several at once: the end is that of an undisturbed run.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail as tests do"
)]

mod common;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use common::{INIT, Sandbox, assert_same, old, snapshot, state, varied};

/// Kills of one kind; `BATON_KILLS` asks for more.
fn kills() -> u32 {
    let asked = std::env::var("BATON_KILLS").ok();
    asked.and_then(|n| n.parse().ok()).unwrap_or(20)
}

fn source(s: &Sandbox) {
    varied(s, "src");
    for dir in 0..20 {
        for file in 0..20 {
            s.write(
                format!("src/many{dir}/{file}"),
                format!("{dir} {file}").repeat(50),
            );
        }
        old(&s.path(&format!("src/many{dir}")));
    }
    old(&s.path("src"));
}

fn start(s: &Sandbox, from: &str) -> Child {
    Command::new(INIT)
        .current_dir(s.0.path())
        .args(["seed", "--quiet", "--from", from, "--to", "vol"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Kills seeds at instants that are spread evenly over a run, so that every phase is hit.
struct Killer {
    /// How long an undisturbed run takes: as long as the last one that was over before its kill.
    whole: Duration,
    rounds: u32,
    hits: u32,
}

impl Killer {
    fn new(whole: Duration) -> Killer {
        Killer {
            whole,
            rounds: 0,
            hits: 0,
        }
    }

    /// The part of a run after which the next one is killed. All parts come again where too few kills
    /// met a seed at work, as where the machine was busy at first.
    fn next_part(&mut self) -> Option<f64> {
        let (passes, part) = (self.rounds / kills(), self.rounds % kills());
        if part == 0 && passes > 0 && (self.is_enough() || passes == 10) {
            return None;
        }
        self.rounds += 1;
        Some(f64::from(part) / f64::from(kills()))
    }

    /// Runs a seed that has everything to do, and kills it after this part of the time that one takes.
    fn kill(&mut self, s: &Sandbox, from: &str, part: f64) {
        if let Some(took) = self.kill_one(s, from, part) {
            self.whole = took;
        }
    }

    /// Runs a seed and kills it after this part of the time that a whole one takes. Gives how long it
    /// took where it was over before.
    fn kill_one(&mut self, s: &Sandbox, from: &str, part: f64) -> Option<Duration> {
        let mut child = start(s, from);
        let started = Instant::now();
        let instant = self.whole.mul_f64(part);
        while started.elapsed() < instant {
            if let Some(status) = child.try_wait().unwrap() {
                assert!(status.success(), "{status:?}");
                return Some(started.elapsed());
            }
        }
        child.kill().unwrap();
        self.hits += u32::from(!child.wait().unwrap().success());
        None
    }

    fn is_enough(&self) -> bool {
        self.hits > kills() / 4
    }

    fn check(&self) {
        let (hits, rounds) = (self.hits, self.rounds);
        assert!(
            self.is_enough(),
            "in {rounds} rounds only {hits} kills met a seed at work"
        );
    }
}

fn marker(s: &Sandbox) -> Vec<u8> {
    fs::read(s.path("vol/.baton-seed/manifest")).unwrap()
}

fn first_seeds(from: &str, s: &Sandbox) {
    let started = Instant::now();
    assert!(start(s, from).wait().unwrap().success());
    let whole = started.elapsed();
    let (wanted, wanted_marker) = (snapshot(&s.path("vol")), marker(s));
    let mut killer = Killer::new(whole);
    while let Some(part) = killer.next_part() {
        remove(&s.path("vol"));
        killer.kill(s, from, part);
        // Sometimes the one that goes on is killed, too.
        killer.kill_one(s, from, 1.0 - part);
        s.seed_from(from, &[]).ok();
        assert_same(
            &snapshot(&s.path("vol")),
            &wanted,
            &format!("killed after {part} of a run"),
        );
        assert_eq!(marker(s), wanted_marker, "killed after {part} of a run");
        assert_eq!(
            state(s),
            ["lock", "manifest"],
            "killed after {part} of a run"
        );
    }
    killer.check();
}

/// Puts a folder aside. Removing it here would make ext4 slow for half a minute: it avoids inodes
/// that were freed a moment ago.
fn remove(path: &Path) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let aside = path.parent().unwrap().join(format!("aside-{count}"));
    fs::rename(path, aside).unwrap();
}

#[test]
fn a_first_seed_from_a_folder_survives_kills() {
    let s = Sandbox::new();
    source(&s);
    first_seeds("src", &s);
    assert_same(
        &snapshot(&s.path("vol")),
        &snapshot(&s.path("src")),
        "seeded",
    );
}

#[test]
fn a_first_seed_from_an_archive_survives_kills() {
    let s = Sandbox::new();
    source(&s);
    let file = fs::File::create(s.path("src.tar.gz")).unwrap();
    let packed = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    let mut tar = tar::Builder::new(packed);
    tar.follow_symlinks(false);
    // The tar crate packs no pipes; the holes and what is large only take time.
    for name in ["pipe", "sparse", "large"] {
        fs::remove_file(s.path("src").join(name)).unwrap();
    }
    tar.append_dir(".", s.path("src")).unwrap();
    tar.append_dir_all("", s.path("src")).unwrap();
    tar.into_inner().unwrap().finish().unwrap();
    first_seeds("src.tar.gz", &s);
}

#[test]
fn an_upgrade_survives_kills() {
    let s = Sandbox::new();
    source(&s);
    let from = |version: &str| format!("src{version}");
    fs::rename(s.path("src"), s.path("src1")).unwrap();
    // The second version: some of everything. A copy by the binary itself, which the other tests
    // compare with the source.
    let mut copy = Command::new(INIT);
    copy.current_dir(s.0.path())
        .args(["seed", "--quiet", "--from", "src1", "--to", "src2"]);
    assert!(copy.status().unwrap().success());
    fs::remove_dir_all(s.path("src2/.baton-seed")).unwrap();
    for dir in 0..20 {
        s.write(format!("src2/many{dir}/{dir}"), "second");
        s.write(format!("src2/many{dir}/new/file"), "second");
        fs::remove_file(s.path(&format!("src2/many{dir}/{}", (dir + 1) % 20))).unwrap();
    }
    s.write("src2/fresh/a", "second");
    let prepare = || {
        assert!(start(&s, &from("1")).wait().unwrap().success());
        s.write("vol/many3/3", "the user's");
        fs::remove_file(s.path("vol/many4/4")).unwrap();
        s.write("vol/many5/own", "the user's");
        old(&s.path("vol/many3/3"));
        old(&s.path("vol/many5/own"));
    };
    // Folders that the volume had get the time of the upgrade.
    let end = || {
        let mut found = snapshot(&s.path("vol"));
        for (path, text) in &mut found {
            if s.path("vol").join(path).is_dir() {
                *text = text.split(" time ").next().unwrap_or_default().to_owned();
            }
        }
        found
    };
    prepare();
    let started = Instant::now();
    assert!(start(&s, &from("2")).wait().unwrap().success());
    let whole = started.elapsed();
    let (wanted, wanted_marker) = (end(), marker(&s));
    let mut killer = Killer::new(whole);
    while let Some(part) = killer.next_part() {
        remove(&s.path("vol"));
        prepare();
        killer.kill(&s, &from("2"), part);
        s.seed_from(&from("2"), &[]).ok();
        assert_same(&end(), &wanted, &format!("killed after {part} of a run"));
        assert_eq!(s.read("vol/many3/3"), "the user's");
        assert_eq!(s.read("vol/many5/own"), "the user's");
        // Removals belong to the run that committed, and it was the same upgrade.
        assert_eq!(marker(&s), wanted_marker, "killed after {part} of a run");
        assert_eq!(
            state(&s),
            ["lock", "manifest"],
            "killed after {part} of a run"
        );
    }
    killer.check();
}

#[test]
fn a_kill_and_then_another_image_end_as_the_other_image() {
    let s = Sandbox::new();
    source(&s);
    s.write("other/a/b/c/deep", "other");
    s.write("other/many1", "a file now");
    let started = Instant::now();
    assert!(start(&s, "src").wait().unwrap().success());
    let whole = started.elapsed();
    let mut killer = Killer::new(whole);
    while let Some(part) = killer.next_part() {
        remove(&s.path("vol"));
        killer.kill(&s, "src", part);
        s.seed_from("other", &["--prune"]).ok();
        // A second look settles what the first image's folders held: they are empty by now.
        assert_eq!(
            s.read("vol/a/b/c/deep"),
            "other",
            "killed after {part} of a run"
        );
        assert_eq!(
            s.read("vol/many1"),
            "a file now",
            "killed after {part} of a run"
        );
        assert!(
            !s.exists("vol/settings.json"),
            "killed after {part} of a run"
        );
        assert_eq!(
            state(&s),
            ["lock", "manifest"],
            "killed after {part} of a run"
        );
    }
}

#[test]
fn several_at_once_seed_once() {
    let s = Sandbox::new();
    source(&s);
    for _ in 0..5 {
        let mut children: Vec<Child> = (0..4)
            .map(|_| {
                Command::new(INIT)
                    .current_dir(s.0.path())
                    .args(["seed", "--from", "src", "--to", "vol"])
                    .stderr(Stdio::piped())
                    .spawn()
                    .unwrap()
            })
            .collect();
        let mut seeded = 0;
        for child in children.drain(..) {
            let output = child.wait_with_output().unwrap();
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{text}");
            seeded += u32::from(text.contains("init: seeded vol"));
        }
        assert_eq!(seeded, 1);
        assert_same(
            &snapshot(&s.path("vol")),
            &snapshot(&s.path("src")),
            "seeded",
        );
        assert_eq!(state(&s), ["lock", "manifest"]);
        remove(&s.path("vol"));
    }
}
