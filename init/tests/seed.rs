//! `init seed` from a folder: what it copies, what it follows, what it leaves alone, what it refuses.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail as tests do"
)]

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::Command;

use common::{INIT, Run, Sandbox, assert_same, old, set_time, snapshot, state, varied};

#[test]
fn a_seed_is_faithful_and_happens_once() {
    let s = Sandbox::new();
    varied(&s, "src");
    s.seed(&[]).ok().says("seeded vol from src: ");
    let seeded = snapshot(&s.path("vol"));
    assert_same(&seeded, &snapshot(&s.path("src")), "seeded");
    assert_eq!(state(&s), ["lock", "manifest"]);
    let blocks = fs::metadata(s.path("vol/sparse")).unwrap().blocks();
    assert!(blocks <= 64, "holes stay holes: {blocks} blocks");

    let manifest = fs::metadata(s.path("vol/.baton-seed/manifest")).unwrap();
    s.seed(&[]).ok().says("vol is up to date");
    assert_eq!(snapshot(&s.path("vol")), seeded);
    let again = fs::metadata(s.path("vol/.baton-seed/manifest")).unwrap();
    assert_eq!(manifest.ino(), again.ino(), "nothing was written");
}

#[test]
fn folders_on_the_way_are_made_and_a_folder_that_exists_keeps_its_mode_only_if_mounted() {
    let s = Sandbox::new();
    s.write("src/f", "f");
    fs::set_permissions(s.path("src"), fs::Permissions::from_mode(0o700)).unwrap();
    let run = |to: &str| {
        let mut command = Command::new(INIT);
        command.current_dir(s.0.path());
        Run::of(command.args(["seed", "--from", "src", "--to", to])).ok()
    };
    run("x/y/z");
    let mode = |path: &str| fs::metadata(s.path(path)).unwrap().mode() & 0o7777;
    assert_eq!((mode("x"), mode("x/y/z")), (0o755, 0o700));
    fs::create_dir(s.path("there")).unwrap();
    run("there");
    assert_eq!(mode("there"), 0o700);
}

#[test]
fn what_the_user_touched_is_his_and_the_rest_follows() {
    let s = Sandbox::new();
    for name in [
        "same",
        "updated",
        "edited",
        "deleted",
        "dropped",
        "gone/deep/f",
        "dir/kept",
    ] {
        s.write(format!("src/{name}"), "one");
    }
    symlink("one", s.path("src/link")).unwrap();
    s.seed(&["--version", "1"]).ok();
    s.write("vol/edited", "mine");
    fs::remove_file(s.path("vol/deleted")).unwrap();
    fs::remove_dir_all(s.path("vol/gone")).unwrap();
    s.write("vol/own", "mine");
    s.write("vol/clash", "mine");
    fs::set_permissions(s.path("vol/updated"), fs::Permissions::from_mode(0o660)).unwrap();

    for name in ["updated", "edited", "deleted", "gone/deep/f"] {
        s.write(format!("src/{name}"), "two two");
    }
    s.write("src/gone/deep/more", "two");
    s.write("src/added/new", "two");
    s.write("src/clash", "two");
    s.write("src/dir/new", "two");
    fs::remove_file(s.path("src/dropped")).unwrap();
    fs::remove_file(s.path("src/link")).unwrap();
    symlink("two", s.path("src/link")).unwrap();

    let before = snapshot(&s.path("vol"));
    let plan = s.seed(&["--version", "2", "--dry-run"]).ok();
    assert_eq!(
        snapshot(&s.path("vol")),
        before,
        "a dry run changes nothing"
    );
    let mut lines: Vec<_> = plan.out.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "add added",
            "add added/new",
            "add dir/new",
            "keep (changed here) edited",
            "keep (no longer in the source) dropped",
            "keep (not from a seed) clash",
            "keep deleted deleted",
            "keep deleted gone",
            "update link",
            "update updated",
        ]
    );

    let run = s.seed(&["--version", "2"]).ok();
    for line in lines.iter().filter(|l| !l.contains("no longer")) {
        assert!(run.err.contains(line), "{line:?} in {:?}", run.err);
    }
    for (name, content) in [
        ("same", "one"),
        ("updated", "two two"),
        ("edited", "mine"),
        ("own", "mine"),
        ("clash", "mine"),
        ("added/new", "two"),
        ("dir/new", "two"),
        ("dir/kept", "one"),
        ("dropped", "one"),
    ] {
        assert_eq!(s.read(&format!("vol/{name}")), content, "{name}");
    }
    assert!(!s.exists("vol/deleted") && !s.exists("vol/gone"));
    assert_eq!(
        fs::read_link(s.path("vol/link")).unwrap().to_str(),
        Some("two")
    );
    let mode = fs::metadata(s.path("vol/updated")).unwrap().mode() & 0o7777;
    assert_eq!(mode, 0o660, "a mode that was changed here stays");
    assert_eq!(state(&s), ["lock", "manifest"]);

    // What has been left alone once is left alone for good.
    s.write("src/edited", "three");
    s.write("src/deleted", "three");
    s.write("src/clash", "three");
    s.seed(&["--version", "3"]).ok();
    assert_eq!(s.read("vol/edited"), "mine");
    assert_eq!(s.read("vol/clash"), "mine");
    assert!(!s.exists("vol/deleted"));

    // Pruning removes what was dropped, now or earlier, and never what was changed.
    s.seed(&["--version", "3", "--prune"])
        .ok()
        .says("remove dropped");
    assert!(!s.exists("vol/dropped"));
    s.seed(&["--version", "3", "--prune"])
        .ok()
        .says("up to date");
}

#[test]
fn a_changed_source_is_seen_with_and_without_a_version() {
    let s = Sandbox::new();
    s.write("src/d/f", "one");
    // A kernel may give what comes at once after it the same time.
    set_time(&s.path("src/d/f"), 5, 0);
    set_time(&s.path("src/d"), 5, 0);
    s.seed(&[]).ok();
    // In place, at the same size.
    s.write("src/d/f", "two");
    s.seed(&[]).ok().says("update d/f");
    assert_eq!(s.read("vol/d/f"), "two");
    // A new entry shows in its folder's time.
    s.write("src/d/g", "new");
    s.seed(&[]).ok().says("add d/g");
    // A new time alone is followed, and is no change by the user.
    old(&s.path("src/d/f"));
    s.seed(&[]).ok().says("update d/f");
    assert_eq!(
        fs::metadata(s.path("vol/d/f")).unwrap().mtime(),
        981_173_106
    );

    // A version is believed; the next one looks at the contents, also behind clamped times.
    s.seed(&["--version", "1"]).ok();
    s.write("src/d/f", "TWO");
    old(&s.path("src/d/f"));
    s.seed(&["--version", "1"]).ok().says("up to date");
    assert_eq!(s.read("vol/d/f"), "two");
    s.seed(&["--version", "2"]).ok().says("update d/f");
    assert_eq!(s.read("vol/d/f"), "TWO");
}

#[test]
fn an_edit_that_hides_behind_the_old_size_and_time_is_kept() {
    let s = Sandbox::new();
    s.write("src/f", "one");
    old(&s.path("src/f"));
    s.seed(&["--version", "1"]).ok();
    s.write("vol/f", "own");
    old(&s.path("vol/f"));
    s.write("src/f", "two");
    s.seed(&["--version", "2"])
        .ok()
        .says("keep (changed here) f");
    assert_eq!(s.read("vol/f"), "own");
}

#[test]
fn a_volume_that_was_copied_without_its_times_is_still_as_seeded() {
    let s = Sandbox::new();
    s.write("src/f", "one");
    old(&s.path("src/f"));
    s.seed(&["--version", "1"]).ok();
    set_time(&s.path("vol/f"), 5, 0);
    s.write("src/f", "two");
    s.seed(&["--version", "2"]).ok().says("update f");
    assert_eq!(s.read("vol/f"), "two");
}

#[test]
fn kinds_may_change() {
    let s = Sandbox::new();
    s.write("src/file", "one");
    s.write("src/dir/a", "one");
    s.write("src/mine/a", "one");
    s.seed(&[]).ok();
    s.write("vol/mine/b", "the user's");
    fs::remove_file(s.path("src/file")).unwrap();
    fs::remove_dir_all(s.path("src/dir")).unwrap();
    fs::remove_dir_all(s.path("src/mine")).unwrap();
    s.write("src/file/inner", "two");
    s.write("src/dir", "two");
    s.write("src/mine", "two");
    s.seed(&[]).ok().says("keep (changed here) mine");
    assert_eq!(s.read("vol/file/inner"), "two");
    assert_eq!(s.read("vol/dir"), "two");
    assert_eq!(s.read("vol/mine/b"), "the user's");
    s.seed(&[]).ok().says("up to date");
}

#[test]
fn data_of_somebody_else_is_refused_unless_adopted() {
    let s = Sandbox::new();
    s.write("src/a", "seed");
    s.write("src/b", "seed");
    s.write("src/c", "same");
    s.write("vol/a", "user");
    s.write("vol/c", "same");
    s.write("vol/z", "user");
    let before = snapshot(&s.path("vol"));
    s.seed(&[])
        .fails(1, "vol holds data that was not seeded (a and 2 more)");
    assert_eq!(snapshot(&s.path("vol")), before);
    assert!(!s.exists("vol/.baton-seed"));
    s.seed(&["--dry-run"]).fails(1, "not seeded");

    s.seed(&["--adopt"]).ok().says("keep (not from a seed) a");
    assert_eq!(s.read("vol/a"), "user");
    assert_eq!(s.read("vol/b"), "seed");
    // What was the same counts as seeded from now on.
    s.write("src/c", "newer");
    s.seed(&[]).ok().says("update c");
    s.write("src/a", "newer");
    s.seed(&[]).ok().says("keep (changed here) a");
}

#[test]
fn a_lost_and_found_folder_is_nobodys_data() {
    let s = Sandbox::new();
    s.write("src/a", "seed");
    fs::create_dir_all(s.path("vol/lost+found")).unwrap();
    s.seed(&[]).ok();
}

#[test]
fn bad_sources_and_targets_leave_no_trace() {
    let s = Sandbox::new();
    s.seed(&[])
        .fails(1, "cannot open the source src: No such file");
    assert!(!s.exists("vol"));
    s.write("src", "no archive");
    s.seed(&[])
        .fails(1, "archive src: not a tar, tar.gz or tar.zst file");
    assert!(!s.exists("vol"));
    s.write("tree/.baton-seed/x", "");
    s.seed_from("tree", &[])
        .fails(1, "tree/.baton-seed: a source may not hold");
    assert!(!s.exists("vol"));
    s.write("vol", "a file");
    fs::create_dir(s.path("empty")).unwrap();
    s.seed_from("empty", &[])
        .fails(1, "cannot open the target vol");
}

#[test]
fn a_target_inside_the_source_is_refused() {
    let s = Sandbox::new();
    s.write("src/a", "x");
    let mut command = Command::new(INIT);
    let run = Run::of(
        command
            .current_dir(s.0.path())
            .args(["seed", "--from", "src", "--to", "src/in"]),
    );
    run.fails(1, "the target lies inside the source");
    assert!(!s.exists("src/in"));
}

#[test]
fn a_damaged_marker_is_said_and_may_be_adopted_over() {
    let s = Sandbox::new();
    s.write("src/a", "x");
    s.seed(&[]).ok();
    let marker = s.path("vol/.baton-seed/manifest");
    let text = fs::read(&marker).unwrap();
    fs::write(&marker, &text[..text.len() / 2]).unwrap();
    s.seed(&[]).fails(1, "vol/.baton-seed/manifest is damaged");
    s.seed(&["--adopt"]).ok();
    assert_eq!(
        fs::read(&marker).unwrap().len(),
        text.len() - "root source\n".len()
    );
    s.seed(&[]).ok().says("up to date");
}

#[test]
fn links_on_the_volume_are_never_followed() {
    let s = Sandbox::new();
    s.write("src/d/f", "one");
    s.write("src/e", "one");
    s.seed(&[]).ok();
    // The user points a seeded folder, and a seeded file, out of the volume.
    s.write("outside/f", "one");
    s.write("outside/e", "one");
    old(&s.path("outside/f"));
    fs::remove_dir_all(s.path("vol/d")).unwrap();
    symlink(s.path("outside"), s.path("vol/d")).unwrap();
    fs::remove_file(s.path("vol/e")).unwrap();
    symlink(s.path("outside/e"), s.path("vol/e")).unwrap();
    let before = snapshot(&s.path("outside"));
    s.write("src/d/f", "two");
    s.write("src/d/new", "two");
    s.write("src/e", "two");
    s.seed(&["--prune"]).ok();
    assert_eq!(snapshot(&s.path("outside")), before);
    assert!(fs::symlink_metadata(s.path("vol/d")).unwrap().is_symlink());
    assert!(fs::symlink_metadata(s.path("vol/e")).unwrap().is_symlink());

    // A state folder that is a link is refused.
    let s = Sandbox::new();
    s.write("src/a", "x");
    fs::create_dir_all(s.path("vol")).unwrap();
    fs::create_dir_all(s.path("outside")).unwrap();
    symlink(s.path("outside"), s.path("vol/.baton-seed")).unwrap();
    s.seed(&["--adopt"]).fails(1, "cannot open vol/.baton-seed");
    assert_eq!(fs::read_dir(s.path("outside")).unwrap().count(), 0);
}

#[test]
fn planted_state_cannot_lead_out_of_the_volume() {
    let s = Sandbox::new();
    s.write("src/d/f", "seed");
    s.write("outside/f", "precious");
    fs::create_dir_all(s.path("vol/.baton-seed/stage")).unwrap();
    symlink(s.path("outside"), s.path("vol/.baton-seed/stage/d")).unwrap();
    s.seed(&[]).ok();
    assert_eq!(s.read("outside/f"), "precious");
    assert_eq!(snapshot(&s.path("vol")), snapshot(&s.path("src")));
}

#[test]
fn usage_errors_exit_with_2() {
    let run = |args: &[&str]| Run::of(Command::new(INIT).args(args));
    run(&["seed", "--form", "x"]).fails(2, "did you mean --from?");
    run(&["sede"]).fails(2, "did you mean init seed?");
    run(&["seed", "--from", "x"]).fails(2, "needs --to DIR");
    assert!(
        run(&["--help"])
            .ok()
            .out
            .contains("init seed --from SOURCE")
    );
}
