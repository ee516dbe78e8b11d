//! As PID 1 of a PID namespace, as in a container.

use std::process::Command;

use crate::support::{Running, Scratch, binary, text, until};

/// An entrypoint as PID 1.
fn pid1(scratch: &Scratch, args: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(["--pid", "--fork", "--mount-proc", "--kill-child"])
        .arg(binary())
        .args(args)
        .current_dir(scratch.path("."));
    command
}

/// The PIDs, outside, of a process's children, zombies among them.
fn children(pid: i32) -> Vec<i32> {
    let output = Command::new("pgrep")
        .args(["-P", &pid.to_string()])
        .output()
        .unwrap();
    let pids = text(&output.stdout);
    pids.lines().map(|line| line.parse().unwrap()).collect()
}

/// The PID, outside, of the namespace's PID 1.
fn inner(outer: i32) -> i32 {
    let mut pid = None;
    until("the namespace's PID 1", || {
        pid = children(outer).first().copied();
        pid.is_some()
    });
    pid.unwrap()
}

#[test]
#[ignore = "needs root"]
fn it_is_pid_1_and_reaps_and_passes_the_code_on() {
    let scratch = Scratch::new();
    let script = "for i in 1 2; do (sh -c 'echo $$ >>orphans; exec sleep 0.01' &); done
        until [ \"$(wc -l 2>/dev/null <orphans)\" = 2 ]; do sleep 0.01; done
        for orphan in $(cat orphans); do while [ -e /proc/$orphan ]; do sleep 0.01; done; done
        ps -e -o pid,stat,comm; exit 4";
    let (code, table, err) =
        Running::start(pid1(&scratch, &["--command", "sh", "-c", script])).end();
    assert_eq!(code, 4, "{err}");
    assert!(!table.contains('Z'), "{table}");
    assert!(
        table.lines().any(|line| line.trim().starts_with("1 ")),
        "{table}"
    );
}

#[test]
#[ignore = "needs root"]
fn every_process_of_the_namespace_gets_sigterm_and_then_sigkill() {
    let scratch = Scratch::new();
    let child = "trap 'echo child' TERM; echo up; while :; do sleep 0.02; done";
    let script =
        format!("trap 'exit 9' TERM; setsid sh -c \"{child}\" & while :; do sleep 0.02; done");
    let mut step = Running::start(pid1(
        &scratch,
        &["--grace", "1h", "--command", "sh", "-c", &script],
    ));
    assert_eq!(step.line(), "up");
    let pid = inner(step.pid());
    let command = children(pid);
    // SAFETY: touches no memory.
    unsafe { libc::kill(pid, libc::SIGTERM) };
    assert_eq!(step.line(), "child");
    until("the command's end", || {
        let left = children(pid);
        !left.is_empty() && left != command
    });
    // SAFETY: as before.
    unsafe { libc::kill(pid, libc::SIGTERM) };
    assert_eq!(step.end().0, 9);
}

/// To a PID 1 the kernel drops what is neither blocked nor handled, so the time in which a SIGTERM can
/// be lost ends with the instruction that blocks it: the static binary's first. From then on none is.
#[test]
#[ignore = "needs root"]
fn no_sigterm_is_lost_by_a_pid_1_once_it_is_blocked() {
    let scratch = Scratch::new();
    for i in 0..100_u64 {
        let mut command = pid1(&scratch, &["--command", "sleep", "1000"]);
        let mut child = command.stderr(std::process::Stdio::null()).spawn().unwrap();
        let pid = inner(child.id() as i32);
        until("the block", || blocks_everything(pid));
        let delay = std::time::Duration::from_micros((i * 7919) % 3000);
        let start = std::time::Instant::now();
        while start.elapsed() < delay {
            std::hint::spin_loop();
        }
        // SAFETY: touches no memory.
        unsafe { libc::kill(pid, libc::SIGTERM) };
        let status = crate::support::wait_for(&mut child);
        assert!(!status.success(), "{status:?} after {delay:?}");
    }
}

fn blocks_everything(pid: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.contains("SigBlk:\tfffffffe7ffbfeff") || status.contains("SigBlk:\tfffffffffffbfeff")
}
