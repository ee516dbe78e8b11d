//! Captured output.

use std::fs;
use std::io::Read;
use std::process::Stdio;

use crate::support::{Running, Scratch, record, text, until};

#[test]
fn output_goes_to_both_places_in_order() {
    let scratch = Scratch::new();
    let script = "for i in 1 2 3; do echo out $i; echo err $i >&2; done";
    let output = scratch.run(["--out", "o", "--err", "e", "--command", "sh", "-c", script]);
    assert_eq!(text(&output.stdout), "out 1\nout 2\nout 3\n");
    assert_eq!(text(&output.stderr), "err 1\nerr 2\nerr 3\n");
    assert_eq!(scratch.read("o").as_bytes(), output.stdout);
    assert_eq!(scratch.read("e").as_bytes(), output.stderr);
}

#[test]
fn one_file_for_both_streams_keeps_their_order() {
    let scratch = Scratch::new();
    let script = "for i in 1 2 3; do echo out $i; echo err $i >&2; done";
    scratch.run(["--out", "f", "--err", "f", "--command", "sh", "-c", script]);
    assert_eq!(
        scratch.read("f"),
        "out 1\nerr 1\nout 2\nerr 2\nout 3\nerr 3\n"
    );
}

#[test]
fn nothing_is_lost_at_the_end() {
    let scratch = Scratch::new();
    let output = scratch.run([
        "--out",
        "f",
        "--command",
        "sh",
        "-c",
        "seq 1 300000; printf end",
    ]);
    let want: String = (1..=300_000)
        .map(|n| format!("{n}\n"))
        .chain(["end".into()])
        .collect();
    assert!(
        output.stdout == want.as_bytes(),
        "{} bytes",
        output.stdout.len()
    );
    assert!(
        scratch.read("f") == want,
        "{} bytes",
        scratch.read("f").len()
    );
}

#[test]
fn a_reader_that_is_slow_gets_everything() {
    let scratch = Scratch::new();
    let mut command = scratch.entrypoint([
        "--out",
        "f",
        "--command",
        "sh",
        "-c",
        "seq 1 100000; echo over >done",
    ]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stdout.take().unwrap();
    let mut got = Vec::new();
    let mut piece = [0; 777];
    loop {
        match pipe.read(&mut piece).unwrap() {
            0 => break,
            n => got.extend_from_slice(&piece[..n]),
        }
        std::thread::yield_now();
    }
    assert!(child.wait().unwrap().success());
    assert!(scratch.read("f").as_bytes() == got);
    assert!(got.ends_with(b"\n100000\n"));
}

#[test]
fn a_reader_that_goes_away_stops_neither_the_step_nor_the_file() {
    let scratch = Scratch::new();
    let mut command = scratch.entrypoint([
        "--out",
        "f",
        "--command",
        "sh",
        "-c",
        "seq 1 100000; exit 3",
    ]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(3));
    assert!(scratch.read("f").ends_with("\n100000\n"));
}

#[test]
fn a_closed_stdout_stops_neither_the_step_nor_the_file() {
    let scratch = Scratch::new();
    let mut command = std::process::Command::new("sh");
    command
        .args(["-c", r#"exec "$@" >&- 2>&-"#, "sh"])
        .arg(crate::support::binary())
        .args(["--out", "f", "--command", "seq", "100000"])
        .current_dir(scratch.path(""));
    assert_eq!(
        Running::start(command).end(),
        (0, String::new(), String::new())
    );
    assert!(scratch.read("f").ends_with("\n100000\n"));
}

#[test]
fn the_limit_cuts_the_file_and_says_so() {
    let scratch = Scratch::new();
    let dir = scratch.step("s");
    let output = scratch.run([
        "--step-dir",
        "s",
        "--out",
        "f",
        "--output-limit",
        "10",
        "--command",
        "echo",
        "0123456789abc",
    ]);
    assert_eq!(text(&output.stdout), "0123456789abc\n");
    assert_eq!(
        scratch.read("f"),
        "0123456789\n[baton: output cut here, at 10 bytes]\n"
    );
    assert!(record(&dir).output_cut);
    assert_eq!(record(&dir).message, "f was cut at 10 bytes");
}

#[test]
fn a_grandchild_that_keeps_the_pipe_open_delays_nothing() {
    let scratch = Scratch::new();
    for left in [
        "sleep 1000 &",
        "setsid sleep 1000 &",
        "(trap '' TERM; sleep 1000) &",
    ] {
        let script = format!("{left} echo done");
        let args = [
            "--grace",
            "1000s",
            "--out",
            "f",
            "--command",
            "sh",
            "-c",
            &script,
        ];
        let (code, out, _) = scratch.start(args).end();
        assert_eq!((code, out.as_str()), (0, "done\n"), "{left}");
        assert_eq!(scratch.read("f"), "done\n");
    }
}

#[test]
fn a_retry_appends() {
    let scratch = Scratch::new();
    let args = [
        "--out",
        "f",
        "--retries",
        "1",
        "--retry-delay",
        "1ms",
        "--command",
        "sh",
        "-c",
        "echo try; exit 1",
    ];
    scratch.run(args);
    assert_eq!(scratch.read("f"), "try\ntry\n");
    scratch.run(args);
    assert_eq!(scratch.read("f"), "try\ntry\n", "a new run begins anew");
}

#[test]
fn stdout_names_our_own() {
    let scratch = Scratch::new();
    let output = scratch.run([
        "--out",
        "stdout",
        "--err",
        "stderr",
        "--command",
        "echo",
        "x",
    ]);
    assert_eq!(output.stdout, b"x\n");
    assert!(!scratch.path("stdout").exists());
}

#[test]
fn a_file_that_cannot_be_opened_is_a_clear_failure() {
    let output = Scratch::new().run(["--out", "no/such/folder/f", "--command", "echo", "x"]);
    assert_eq!(output.status.code(), Some(125));
    assert!(
        text(&output.stderr).contains("cannot capture output in no/such/folder/f: "),
        "{output:?}"
    );
}

#[test]
fn a_full_disk_is_said_and_stops_nothing() {
    let scratch = Scratch::new();
    let dir = scratch.step("s");
    let output = scratch.run([
        "--step-dir",
        "s",
        "--out",
        "/dev/full",
        "--command",
        "echo",
        "x",
    ]);
    assert_eq!(
        (output.status.code(), &output.stdout[..]),
        (Some(0), &b"x\n"[..])
    );
    assert!(
        record(&dir).message.contains("cannot write to /dev/full: "),
        "{:?}",
        record(&dir)
    );
}

#[test]
fn a_stuck_reader_does_not_hold_back_the_end() {
    let scratch = Scratch::new();
    let mut command = scratch.entrypoint([
        "--out",
        "f",
        "--grace",
        "50ms",
        "--command",
        "sh",
        "-c",
        "touch up; exec seq 1 10000000",
    ]);
    command.stdout(Stdio::piped());
    let running = Running::start(command);
    until("a full pipe", || {
        fs::metadata(scratch.path("f")).is_ok_and(|meta| meta.len() >= 65_536)
    });
    running.signal(libc::SIGTERM);
    until("the end of the command", || {
        let children = fs::read_to_string(format!("/proc/{}/task/{0}/children", running.pid()));
        children.is_ok_and(|c| c.is_empty())
            || std::process::Command::new("pgrep")
                .args(["-P", &running.pid().to_string()])
                .output()
                .is_ok_and(|o| o.stdout.is_empty())
    });
    running.signal(libc::SIGTERM);
    let mut running = running;
    crate::support::wait_for(&mut running.child);
}

#[test]
fn a_stuck_reader_does_not_hold_back_a_timeout() {
    let scratch = Scratch::new();
    let dir = scratch.step("s");
    let mut command = scratch.entrypoint([
        "--out",
        "f",
        "--step-dir",
        "s",
        "--timeout",
        "100ms",
        "--grace",
        "50ms",
        "--command",
        "yes",
    ]);
    command.stdout(Stdio::piped());
    let mut running = Running::start(command);
    let status = crate::support::wait_for(&mut running.child);
    assert_eq!(status.code(), Some(124));
    assert_eq!(record(&dir).reason, baton_protocol::Reason::TimedOut);
}

#[test]
fn a_fifo_is_an_error_and_not_a_wait() {
    let scratch = Scratch::new();
    let made = std::process::Command::new("mkfifo")
        .arg(scratch.path("fifo"))
        .status();
    assert!(made.unwrap().success());
    let step = scratch.start(["--out", "fifo", "--command", "echo", "x"]);
    let (code, out, err) = step.end();
    assert_eq!((code, out.as_str()), (125, ""));
    assert!(err.contains("cannot capture output in fifo"), "{err}");
    let (code, _, err) = scratch.start(["--encode-file", "fifo"]).end();
    assert_eq!(code, 125, "{err}");
    let args = ["--termination-message", "fifo", "--command", "echo", "x"];
    let (code, out, _) = scratch.start(args).end();
    assert_eq!((code, out.as_str()), (0, "x\n"));
}
