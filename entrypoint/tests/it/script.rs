//! Scripts.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

use baton_protocol::script::{MAX_SCRIPT_BYTES, encode};

use crate::support::{Scratch, binary, text};

#[test]
fn a_script_runs_in_a_shell_that_stops_at_errors() {
    let script = encode(b"echo one; false; echo two");
    let output = Scratch::new().run(["--script", &script]);
    assert_eq!(
        (output.status.code(), &output.stdout[..]),
        (Some(1), &b"one\n"[..])
    );
}

#[test]
fn the_first_line_and_the_arguments_count() {
    let script = encode(
        b"#!/usr/bin/env -S python3 -u\nimport sys\nprint(sys.argv[1:], sys.stdout.write_through)\n",
    );
    let output = Scratch::new().run(["--script", &script, "--command", "a", "--", "b c"]);
    assert_eq!(text(&output.stdout), "['a', 'b c'] True\n", "{output:?}");
}

#[test]
fn crlf_keeps_its_meaning() {
    let script = encode(b"#!/bin/sh\r\nprintf '%s' 'a\r\nb\r'\n");
    let output = Scratch::new().run(["--script", &script]);
    assert_eq!(text(&output.stdout), "a\r\nb\r", "{output:?}");
}

#[test]
fn a_script_of_a_megabyte() {
    let mut script = String::new();
    for i in 0..40_000 {
        script.push_str(&format!("# line {i} of a long, long script\n"));
    }
    script.push_str("echo done\n");
    assert!(script.len() > 1_000_000);
    let scratch = Scratch::new();
    scratch.write("packed", encode(script.as_bytes()));
    let output = scratch.run(["--encode-file", "packed"]);
    assert_eq!(text(&output.stdout), "done\n", "{output:?}");
}

#[test]
fn it_is_placed_in_the_steps_folder_where_there_is_one() {
    let scratch = Scratch::new();
    scratch.step("s");
    for _ in 0..2 {
        let output = scratch.run(["--step-dir", "s", "--script", &encode(b"echo $0")]);
        assert_eq!(text(&output.stdout), "s/script\n", "{output:?}");
    }
}

#[test]
fn the_seed_form_unpacks_in_place() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new();
    scratch.write("packed", encode(b"echo unpacked $1"));
    let output = scratch.run([
        "--encodefile",
        "packed",
        "--command",
        "sh",
        "packed",
        "word",
    ]);
    assert_eq!(text(&output.stdout), "unpacked word\n", "{output:?}");
    assert_eq!(scratch.read("packed"), "echo unpacked $1");
    assert_eq!(
        fs::metadata(scratch.path("packed"))
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o600
    );
}

#[test]
fn what_cannot_be_unpacked_is_refused_with_the_steps_name() {
    let scratch = Scratch::new();
    let bomb = encode(&vec![b'\n'; MAX_SCRIPT_BYTES + 1]);
    let cut = encode(b"echo a whole script");
    for (packed, want) in [
        (
            bomb.as_str(),
            "the script unpacks to more than 16777216 bytes",
        ),
        ("#!/bin/sh", "the script is not base64"),
        (
            "aGVsbG8=",
            "the script is base64 of something that gzip cannot unpack",
        ),
        (
            &cut[..cut.len() - 8],
            "the script is base64 of something that gzip cannot unpack",
        ),
    ] {
        let output = scratch.run(["--step", "four", "--script", packed]);
        assert_eq!(output.status.code(), Some(125));
        assert!(
            text(&output.stderr).starts_with(&format!("entrypoint: four: {want}")),
            "{output:?}"
        );
    }
    let output = scratch.run(["--step", "four", "--encode-file", "missing"]);
    assert!(
        text(&output.stderr)
            .starts_with("entrypoint: four: cannot read the script's file missing: ")
    );
}

#[test]
fn a_missing_interpreter_is_named() {
    let output = Scratch::new().run(["--script", &encode(b"#!/no/such/interpreter\n")]);
    assert_eq!(output.status.code(), Some(127));
    assert!(
        text(&output.stderr).contains("\"/no/such/interpreter\""),
        "{output:?}"
    );
}

/// A read-only root, a noexec /tmp, UID 65534: the script is only ever read.
#[test]
#[ignore = "needs root"]
fn a_script_runs_anywhere_as_anybody() {
    let script = encode(b"id -u; touch /tmp/x && chmod +x /tmp/x && ! /tmp/x 2>/dev/null; ! touch /x 2>/dev/null; echo fine");
    let mounts = "mount -t tmpfs none /dev/shm && \
                  cp \"$1\" /dev/shm/entrypoint && chmod 755 /dev/shm/entrypoint && \
                  mount --make-rprivate / && mount -t tmpfs -o noexec,mode=1777 none /tmp && \
                  mount -o remount,bind,ro / && cd / && shift && \
                  exec setpriv --reuid 65534 --regid 65534 --clear-groups /dev/shm/entrypoint \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", mounts, "sh"]);
    command
        .arg(binary())
        .args(["--script", &script])
        .process_group(0);
    let output = command.output().unwrap();
    assert_eq!(text(&output.stdout), "65534\nfine\n", "{output:?}");
}
