//! `init install`, with the real binary.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail as tests do"
)]

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use common::{Run, Sandbox, copy_binary, old};

/// A folder with the tools as an image has them.
fn tools(s: &Sandbox) {
    s.write("img/entrypoint", "#!/bin/sh\necho entrypoint\n");
    copy_binary(&s.path("img/init"));
}

fn install(s: &Sandbox) -> Run {
    let mut command = Command::new(s.path("img/init"));
    command
        .current_dir(s.0.path())
        .args(["install", "--to", "to/bin"]);
    Run::of(&mut command)
}

#[test]
fn the_tools_are_placed_once_and_can_be_run() {
    let s = Sandbox::new();
    tools(&s);
    install(&s).ok().says("placed to/bin/entrypoint");
    let meta = |name: &str| fs::metadata(s.path("to/bin").join(name)).unwrap();
    for name in ["entrypoint", "init"] {
        assert_eq!(meta(name).permissions().mode() & 0o7777, 0o755);
    }
    assert!(
        Run::of(Command::new(s.path("to/bin/init")).arg("--version"))
            .ok()
            .out
            .starts_with("init ")
    );
    assert_eq!(
        Run::of(&mut Command::new(s.path("to/bin/entrypoint")))
            .ok()
            .out,
        "entrypoint\n"
    );

    // Again: nothing is touched, so that what runs from there goes on.
    let before = meta("init").ino();
    install(&s).ok().says("to/bin/init is up to date");
    assert_eq!(meta("init").ino(), before);
    assert_eq!(fs::read_dir(s.path("to/bin")).unwrap().count(), 2);

    // Another content, or a mode that not everybody can use, is replaced.
    s.write("to/bin/entrypoint", "old");
    fs::set_permissions(s.path("to/bin/init"), fs::Permissions::from_mode(0o700)).unwrap();
    install(&s).ok();
    assert_eq!(s.read("to/bin/entrypoint"), "#!/bin/sh\necho entrypoint\n");
    assert_eq!(meta("init").permissions().mode() & 0o7777, 0o755);
}

#[test]
fn a_tool_that_runs_can_be_replaced() {
    let s = Sandbox::new();
    tools(&s);
    install(&s).ok();
    // Installing from the place itself: the running binary is its own source.
    let mut command = Command::new(s.path("to/bin/init"));
    Run::of(command.args(["install", "--to"]).arg(s.path("to/bin")))
        .ok()
        .says("up to date");
    s.write("new/entrypoint", "new");
    s.write("new/init", "new");
    let mut command = Command::new(s.path("to/bin/init"));
    command
        .arg("install")
        .arg("--from")
        .arg(s.path("new"))
        .arg("--to")
        .arg(s.path("to/bin"));
    Run::of(&mut command).ok();
    assert_eq!(s.read("to/bin/init"), "new");
}

#[test]
fn drafts_of_killed_installations_go_when_they_are_old() {
    let s = Sandbox::new();
    tools(&s);
    s.write("to/bin/.init.installing-1", "half");
    s.write("to/bin/.entrypoint.installing-2", "half");
    old(&s.path("to/bin/.init.installing-1"));
    install(&s).ok();
    assert!(!s.exists("to/bin/.init.installing-1"));
    assert!(
        s.exists("to/bin/.entrypoint.installing-2"),
        "another one may be at work"
    );
}

#[test]
fn what_is_missing_is_said_and_nothing_is_placed() {
    let s = Sandbox::new();
    tools(&s);
    fs::remove_file(s.path("img/entrypoint")).unwrap();
    install(&s).fails(1, "img/entrypoint: No such file");
    assert!(!s.exists("to"));
    tools(&s);
    s.write("to", "a file");
    install(&s).fails(1, "cannot make the folder to/bin");
}
