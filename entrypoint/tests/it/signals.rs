//! Signals, where we are not PID 1.

use std::os::unix::process::CommandExt;
use std::process::Stdio;

use baton_protocol::Reason;

use crate::support::{Running, Scratch, exists, is_polling, record, until, wait_for};

/// A shell that says which signals it gets.
const TELL: &str = "for s in HUP USR1 USR2 WINCH ALRM 34 40 64 SEGV FPE; do trap \"echo $s\" $s; done; echo up; while :; do sleep 0.02; done";

#[test]
fn every_signal_is_passed_on_fatal_and_real_time_ones_too() {
    let scratch = Scratch::new();
    let mut step = scratch.start(["--command", "bash", "-c", TELL]);
    assert_eq!(step.line(), "up");
    for (signal, name) in [
        (libc::SIGHUP, "HUP"),
        (libc::SIGUSR1, "USR1"),
        (libc::SIGUSR2, "USR2"),
        (libc::SIGWINCH, "WINCH"),
        (libc::SIGALRM, "ALRM"),
        (34, "34"),
        (40, "40"),
        (64, "64"),
        (libc::SIGSEGV, "SEGV"),
        (libc::SIGFPE, "FPE"),
    ] {
        step.signal(signal);
        assert_eq!(step.line(), name);
    }
    step.signal(libc::SIGTERM);
    assert_eq!(step.end().0, 143);
}

#[test]
fn the_group_gets_a_signal_and_so_do_sessions_of_their_own() {
    let scratch = Scratch::new();
    let child = "trap 'echo child; exit' TERM; echo up; while :; do sleep 0.02; done";
    let script = format!(
        "trap 'wait; exit 5' TERM; sh -c \"{child}\" & setsid sh -c \"{child}\" & wait; wait"
    );
    let mut step = scratch.start(["--grace", "1h", "--command", "sh", "-c", &script]);
    assert_eq!(
        (step.line(), step.line()),
        ("up".to_owned(), "up".to_owned())
    );
    step.signal(libc::SIGTERM);
    let (code, out, _) = step.end();
    assert_eq!((code, out.as_str()), (5, "child\nchild\n"));
}

#[test]
fn in_single_child_mode_only_the_command_gets_it() {
    let scratch = Scratch::new();
    let child = "trap 'echo child' USR1; echo up; while [ ! -e stop ]; do sleep 0.02; done";
    let script = format!("trap 'echo main; touch stop' USR1; sh -c \"{child}\" & wait; wait; wait");
    let mut step = scratch.start(["--single-child", "--command", "sh", "-c", &script]);
    assert_eq!(step.line(), "up");
    step.signal(libc::SIGUSR1);
    let (_, out, _) = step.end();
    assert_eq!(out, "main\n");
}

#[test]
fn after_the_grace_comes_sigkill_for_everything() {
    let scratch = Scratch::new();
    let script = "trap '' TERM; sh -c 'trap \"\" TERM; echo $$; while :; do sleep 0.02; done' & while :; do sleep 0.02; done";
    let mut step = scratch.start(["--grace", "100ms", "--command", "sh", "-c", script]);
    let child: i32 = step.line().parse().unwrap();
    step.signal(libc::SIGTERM);
    assert_eq!(step.end().0, 137);
    assert!(!exists(child));
}

#[test]
fn a_second_sigterm_skips_the_grace() {
    let scratch = Scratch::new();
    let script = "trap 'echo got' TERM; echo up; while :; do sleep 0.02; done";
    let mut step = scratch.start(["--grace", "1h", "--command", "sh", "-c", script]);
    assert_eq!(step.line(), "up");
    step.signal(libc::SIGTERM);
    assert_eq!(step.line(), "got");
    step.signal(libc::SIGTERM);
    assert_eq!(step.end().0, 137);
}

#[test]
fn orders_that_come_while_it_stops_are_slept_through() {
    let scratch = Scratch::new();
    scratch.replace("order", "1");
    let script = "trap 'echo got' TERM; echo up; while :; do sleep 0.02; done";
    let mut step = scratch.start([
        "--wait",
        "order",
        "--wait-content",
        "1",
        "--grace",
        "1h",
        "--command",
        "sh",
        "-c",
        script,
    ]);
    assert_eq!(step.line(), "up");
    until("its sleep", || is_polling(step.pid()));
    step.signal(libc::SIGTERM);
    assert_eq!(step.line(), "got");
    scratch.replace("order", "2");
    until("its sleep", || is_polling(step.pid()));
    step.signal(libc::SIGTERM);
    assert_eq!(step.end().0, 137);
}

#[test]
fn what_outlives_the_command_has_time_to_clean_up() {
    let scratch = Scratch::new();
    let child = "trap 'sleep 0.2; echo clean; exit' TERM; echo up; while :; do sleep 0.02; done";
    let script = format!("setsid sh -c \"{child}\" & read -r _ <fifo; exit 3");
    let made = std::process::Command::new("mkfifo")
        .arg(scratch.path("fifo"))
        .status();
    assert!(made.unwrap().success());
    let mut step = scratch.start(["--grace", "1h", "--command", "sh", "-c", &script]);
    assert_eq!(step.line(), "up");
    scratch.write("fifo", "go\n");
    let (code, out, _) = step.end();
    assert_eq!((code, out.as_str()), (3, "clean\n"));
}

#[test]
fn orphans_are_reaped_while_the_command_runs() {
    let scratch = Scratch::new();
    let script = "(sh -c 'echo $$' &); read -r _ <fifo";
    let made = std::process::Command::new("mkfifo")
        .arg(scratch.path("fifo"))
        .status();
    assert!(made.unwrap().success());
    let mut step = scratch.start(["--command", "sh", "-c", script]);
    let orphan: i32 = step.line().parse().unwrap();
    until("the orphan's end, zombie and all", || !exists(orphan));
    scratch.write("fifo", "go\n");
    assert_eq!(step.end().0, 0);
}

#[test]
fn stop_and_continue_reach_the_command() {
    let scratch = Scratch::new();
    let mut step = scratch.start(["--command", "sh", "-c", "echo $$; exec sleep 1000"]);
    let child: i32 = step.line().parse().unwrap();
    let state = || {
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap();
        stat.rsplit(") ").next().unwrap().chars().next()
    };
    step.signal(libc::SIGTSTP);
    until("the stop", || state() == Some('T'));
    step.signal(libc::SIGCONT);
    until("the continuation", || state() != Some('T'));
    step.signal(libc::SIGTERM);
    assert_eq!(step.end().0, 143);
}

#[test]
fn a_command_that_is_stopped_can_clean_up_all_the_same() {
    let scratch = Scratch::new();
    let script = "trap 'echo clean; exit 4' TERM; echo $$; kill -STOP $$; while :; do :; done";
    let mut step = scratch.start(["--grace", "1h", "--command", "sh", "-c", script]);
    let child: i32 = step.line().parse().unwrap();
    let state = || std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap();
    until("the stop", || state().contains(") T "));
    step.signal(libc::SIGTERM);
    let (code, out, _) = step.end();
    assert_eq!((code, out.as_str()), (4, "clean\n"));
}

#[test]
fn a_command_that_leaves_gracefully_is_still_cancelled() {
    let scratch = Scratch::new();
    let dir = scratch.step("s");
    let script = "trap 'exit 0' TERM; echo up; while :; do sleep 0.02; done";
    let options = ["--step-dir", "s", "--grace", "1h"];
    let mut step = scratch.start([&options[..], &["--command", "sh", "-c", script]].concat());
    assert_eq!(step.line(), "up");
    step.signal(libc::SIGTERM);
    assert_eq!(step.end().0, 0);
    assert_eq!(
        (record(&dir).reason, record(&dir).exit_code),
        (Reason::Cancelled, 0)
    );
}

#[test]
fn signals_that_come_before_the_command_are_kept_for_it() {
    let scratch = Scratch::new();
    let script = "trap 'echo usr1; exit' USR1; while :; do sleep 0.02; done";
    // Blocked when the command starts, so that it does not come before the trap is set.
    let mut command = scratch.entrypoint([
        "--wait",
        "order",
        "--wait-content",
        "1",
        "--command",
        "bash",
        "-c",
        script,
    ]);
    command.stdout(Stdio::piped());
    let mut step = Running::start(command);
    until("the wait", || crate::support::is_polling(step.pid()));
    step.signal(libc::SIGWINCH);
    until("the next wait", || crate::support::is_polling(step.pid()));
    scratch.write("order", "1");
    step.signal(libc::SIGUSR1);
    // Either the trap is there in time, or the signal's default ends the shell: it is not lost.
    let line = step.line();
    let (code, _, _) = step.end();
    assert!(
        (line == "usr1" && code == 0) || code == 128 + libc::SIGUSR1,
        "{line} {code}"
    );
}

/// SIGTERM at any moment from the start on ends it: before the command it kills us or ends the wait,
/// afterwards it reaches the command.
#[test]
fn no_early_sigterm_is_lost() {
    let scratch = Scratch::new();
    for i in 0..400_u64 {
        let mut command = scratch.entrypoint(["--command", "sleep", "1000"]);
        let mut child = command
            .process_group(0)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let delay = std::time::Duration::from_micros((i * 7919) % 3000);
        let start = std::time::Instant::now();
        while start.elapsed() < delay {
            std::hint::spin_loop();
        }
        // SAFETY: touches no memory.
        unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
        let status = wait_for(&mut child);
        assert!(!status.success(), "{status:?} after {delay:?}");
    }
}
