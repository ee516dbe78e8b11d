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

/// Runs a seed and kills it after `part` of the time that one takes undisturbed. Tells whether it
/// was still at work.
fn killed(s: &Sandbox, from: &str, part: Duration) -> bool {
    let mut child = start(s, from);
    let started = Instant::now();
    while started.elapsed() < part {
        std::hint::spin_loop();
    }
    child.kill().unwrap();
    !child.wait().unwrap().success()
}

fn marker(s: &Sandbox) -> Vec<u8> {
    fs::read(s.path("vol/.baton-seed/manifest")).unwrap()
}

/// Instants spread evenly over a run, so that every phase is hit.
fn instants(whole: Duration) -> impl Iterator<Item = Duration> {
    let kills = kills();
    (0..kills).map(move |n| whole.mul_f64(f64::from(n) / f64::from(kills)))
}

fn first_seeds(from: &str, s: &Sandbox) {
    let started = Instant::now();
    assert!(start(s, from).wait().unwrap().success());
    let whole = started.elapsed();
    let (wanted, wanted_marker) = (snapshot(&s.path("vol")), marker(s));
    let mut hit = 0;
    for instant in instants(whole) {
        remove(&s.path("vol"));
        hit += u32::from(killed(s, from, instant));
        // Sometimes the one that goes on is killed, too.
        hit += u32::from(killed(s, from, whole.saturating_sub(instant)));
        s.seed_from(from, &[]).ok();
        assert_same(
            &snapshot(&s.path("vol")),
            &wanted,
            &format!("killed after {instant:?}"),
        );
        assert_eq!(marker(s), wanted_marker, "killed after {instant:?}");
        assert_eq!(state(s), ["lock", "manifest"], "killed after {instant:?}");
    }
    assert!(hit > kills() / 4, "only {hit} kills met a seed at work");
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
    let mut hit = 0;
    for instant in instants(whole) {
        remove(&s.path("vol"));
        prepare();
        hit += u32::from(killed(&s, &from("2"), instant));
        s.seed_from(&from("2"), &[]).ok();
        assert_same(&end(), &wanted, &format!("killed after {instant:?}"));
        assert_eq!(s.read("vol/many3/3"), "the user's");
        assert_eq!(s.read("vol/many5/own"), "the user's");
        // Removals belong to the run that committed, and it was the same upgrade.
        assert_eq!(marker(&s), wanted_marker, "killed after {instant:?}");
        assert_eq!(state(&s), ["lock", "manifest"], "killed after {instant:?}");
    }
    assert!(hit > kills() / 4, "only {hit} kills met an upgrade at work");
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
    for instant in instants(whole) {
        remove(&s.path("vol"));
        killed(&s, "src", instant);
        s.seed_from("other", &["--prune"]).ok();
        // A second look settles what the first image's folders held: they are empty by now.
        assert_eq!(
            s.read("vol/a/b/c/deep"),
            "other",
            "killed after {instant:?}"
        );
        assert_eq!(
            s.read("vol/many1"),
            "a file now",
            "killed after {instant:?}"
        );
        assert!(!s.exists("vol/settings.json"), "killed after {instant:?}");
        assert_eq!(state(&s), ["lock", "manifest"], "killed after {instant:?}");
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
