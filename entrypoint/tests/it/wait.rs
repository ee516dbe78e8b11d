//! Waiting for the turn.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use baton_protocol::Reason;
use baton_protocol::event::Fact;

use crate::support::{Running, Scratch, binary, facts, is_polling, record, until};

fn waiting(scratch: &Scratch, args: &[&str]) -> Running {
    let mut all = args.to_vec();
    all.extend(["--command", "echo", "ran"]);
    let running = scratch.start(&all);
    until("the wait", || is_polling(running.pid()));
    running
}

fn ran(running: Running) {
    assert_eq!(running.end(), (0, "ran\n".to_owned(), String::new()));
}

#[test]
fn a_turn_that_has_come_needs_no_wait() {
    let scratch = Scratch::new();
    scratch.write("order", "2\n");
    let output = scratch.run([
        "--wait",
        "order",
        "--wait-content",
        "2",
        "--command",
        "echo",
        "ran",
    ]);
    assert_eq!(output.stdout, b"ran\n");
}

#[test]
fn an_order_replaced_by_rename_is_seen() {
    let scratch = Scratch::new();
    scratch.write("order", "0");
    let step = waiting(&scratch, &["--wait", "order", "--wait-content", "2"]);
    scratch.replace("order", "1");
    scratch.replace("order", "2\n");
    ran(step);
}

#[test]
fn an_order_rewritten_in_place_is_seen() {
    let scratch = Scratch::new();
    scratch.write("order", "1");
    let step = waiting(&scratch, &["--wait", "order", "--wait-content", "2"]);
    scratch.write("order", "2");
    ran(step);
}

#[test]
fn a_file_that_does_not_exist_yet_is_awaited() {
    let scratch = Scratch::new();
    let step = waiting(&scratch, &["--wait", "order", "--wait-content", "1"]);
    scratch.write("order", "1");
    ran(step);
    let step = waiting(&scratch, &["--wait", "marker"]);
    scratch.write("marker", "");
    ran(step);
}

#[test]
fn folders_that_do_not_exist_yet_are_awaited() {
    let scratch = Scratch::new();
    let step = waiting(&scratch, &["--wait", "a/b/c/order", "--wait-content", "1"]);
    fs::create_dir(scratch.path("a")).unwrap();
    until("the next wait", || is_polling(step.pid()));
    fs::create_dir_all(scratch.path("a/b/c")).unwrap();
    scratch.write("a/b/c/order", "0");
    until("the next wait", || is_polling(step.pid()));
    scratch.write("a/b/c/order", "1");
    ran(step);
}

#[test]
fn a_folder_that_is_removed_and_made_again_is_awaited() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("a")).unwrap();
    let step = waiting(&scratch, &["--wait", "a/order", "--wait-content", "1"]);
    fs::remove_dir(scratch.path("a")).unwrap();
    until("the next wait", || is_polling(step.pid()));
    fs::create_dir(scratch.path("a")).unwrap();
    scratch.write("a/order", "1");
    ran(step);
}

/// The kubelet's way: `order` is a link to `..data/order`, and `..data` one to a dated folder.
#[test]
fn the_swap_of_the_downward_api_is_seen() {
    let scratch = Scratch::new();
    let publish = |version: &str, content: &str| {
        fs::create_dir(scratch.path(version)).unwrap();
        scratch.write(&format!("{version}/order"), content);
        symlink(version, scratch.path("..data_tmp")).unwrap();
        fs::rename(scratch.path("..data_tmp"), scratch.path("..data")).unwrap();
    };
    publish("..2026_1", "0");
    symlink("..data/order", scratch.path("order")).unwrap();
    let step = waiting(&scratch, &["--wait", "order", "--wait-content", "2"]);
    publish("..2026_2", "1");
    until("the next wait", || is_polling(step.pid()));
    publish("..2026_3", "2");
    ran(step);
}

#[test]
fn a_link_into_another_folder_is_followed() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("elsewhere")).unwrap();
    scratch.write("elsewhere/order", "0");
    symlink("elsewhere/order", scratch.path("order")).unwrap();
    let step = waiting(&scratch, &["--wait", "order", "--wait-content", "1"]);
    scratch.write("elsewhere/order", "1");
    ran(step);
}

#[test]
fn the_first_of_several_files_wins() {
    let scratch = Scratch::new();
    scratch.write("slow", "0");
    let args = [
        "--wait",
        "slow",
        "--wait",
        "none/fast",
        "--wait-content",
        "3",
    ];
    let step = waiting(&scratch, &args);
    fs::create_dir(scratch.path("none")).unwrap();
    scratch.write("none/fast", "3");
    ran(step);
}

#[test]
fn a_file_that_lags_does_not_run_a_step_that_is_over() {
    let scratch = Scratch::new();
    scratch.write("lags", "3");
    scratch.write("ahead", "4");
    let args = [
        "--wait",
        "lags",
        "--wait",
        "ahead",
        "--wait-content",
        "3",
        "--command",
        "echo",
        "ran",
    ];
    let output = scratch.run(args);
    assert_eq!(
        (output.status.code(), &output.stdout[..]),
        (Some(1), &b""[..])
    );
}

#[test]
fn a_text_is_compared_for_equality() {
    let scratch = Scratch::new();
    scratch.write("order", "not ready");
    let step = waiting(&scratch, &["--wait", "order", "--wait-content", "ready"]);
    scratch.write("order", "ready\n\n");
    ran(step);
}

#[test]
fn cancelled_before_the_turn() {
    let scratch = Scratch::new();
    let dir = scratch.step("s");
    scratch.write("order", "0");
    let args = [
        "--step",
        "two",
        "--step-dir",
        "s",
        "--wait",
        "order",
        "--wait-content",
        "2",
    ];
    let step = waiting(&scratch, &args);
    scratch.replace("order", "-1");
    let (code, out, err) = step.end();
    assert_eq!((code, out.as_str()), (1, ""));
    assert_eq!(err, "entrypoint: two: task cancelled\n");
    let record = record(&dir);
    assert_eq!(
        (record.reason, record.exit_code, record.attempts),
        (Reason::Cancelled, 1, 0)
    );
    assert!(
        record.started_at.is_none() && record.ran_ms == 0,
        "{record:?}"
    );
    assert!(matches!(
        &facts(&dir)[..],
        [Fact::Waiting, Fact::Finished(_)]
    ));
}

#[test]
fn a_finally_step_waits_through_a_cancel() {
    let scratch = Scratch::new();
    scratch.write("order", "-1");
    let step = waiting(
        &scratch,
        &["--wait", "order", "--wait-content", "4", "--through-cancel"],
    );
    scratch.replace("order", "4");
    ran(step);
}

#[test]
fn an_order_past_this_step_is_a_failure_that_says_so() {
    let scratch = Scratch::new();
    let dir = scratch.step("s");
    scratch.write("order", "5");
    let args = [
        "--step-dir",
        "s",
        "--wait",
        "order",
        "--wait-content",
        "2",
        "--command",
        "echo",
        "ran",
    ];
    let output = scratch.run(args);
    assert_eq!(
        (output.status.code(), &output.stdout[..]),
        (Some(1), &b""[..])
    );
    let message = "it was not run: the order is 5 already, past this step's 2";
    assert_eq!(record(&dir).reason, Reason::Passed);
    assert_eq!(record(&dir).message, message);
}

#[test]
fn what_is_no_order_is_waited_out() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("order")).unwrap();
    let mut step = waiting(&scratch, &["--wait", "order", "--wait-content", "1"]);
    fs::remove_dir(scratch.path("order")).unwrap();
    scratch.write("order", vec![b'1'; 5000]);
    until("the next wait", || is_polling(step.pid()));
    scratch.replace("order", "1");
    assert_eq!(step.line(), "ran");
    let (code, _, err) = step.end();
    assert_eq!(code, 0);
    assert!(err.contains("cannot read the order file order: "), "{err}");
}

#[test]
fn a_cancel_stops_the_running_step() {
    let scratch = Scratch::new();
    let dir = scratch.step("s");
    scratch.write("order", "1");
    let script = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done";
    let args = [
        "--grace",
        "1h",
        "--step-dir",
        "s",
        "--wait",
        "order",
        "--wait-content",
        "1",
        "--command",
        "sh",
        "-c",
        script,
    ];
    let mut step = scratch.start(args);
    assert_eq!(step.line(), "up");
    scratch.replace("order", "-1");
    assert_eq!(step.line(), "bye");
    assert_eq!(step.end().0, 1);
    assert_eq!(record(&dir).reason, Reason::Cancelled);
    assert!(facts(&dir).contains(&Fact::Stopping {
        reason: Reason::Cancelled
    }));
}

#[test]
fn the_cancel_after_a_turn_that_had_come_at_once_is_seen_too() {
    let scratch = Scratch::new();
    scratch.write("order", "1");
    let mut step = scratch.start([
        "--wait",
        "order",
        "--wait-content",
        "1",
        "--command",
        "sh",
        "-c",
        "echo up; exec sleep 60",
    ]);
    assert_eq!(step.line(), "up");
    until("the wait", || is_polling(step.pid()));
    scratch.write("order", "-1");
    assert_eq!(step.end().0, 1);
}

#[test]
fn a_sidecar_runs_at_once_and_stops_when_the_order_is_finished() {
    let scratch = Scratch::new();
    let dir = scratch.step("s");
    scratch.write("order", "0");
    let script = "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.05; done";
    let args = [
        "--grace",
        "1h",
        "--step-dir",
        "s",
        "--wait",
        "order",
        "--until",
        "3",
        "--command",
        "sh",
        "-c",
        script,
    ];
    let mut sidecar = scratch.start(args);
    assert_eq!(sidecar.line(), "up");
    scratch.replace("order", "1");
    scratch.replace("order", "2");
    scratch.replace("order", "3");
    assert_eq!(sidecar.line(), "bye");
    assert_eq!(sidecar.end().0, 0);
    assert_eq!(record(&dir).reason, Reason::Completed);
}

#[test]
fn a_sidecar_that_ignores_the_end_is_killed_after_the_grace() {
    let scratch = Scratch::new();
    scratch.write("order", "0");
    let script = "trap '' TERM; echo up; while :; do sleep 0.05; done";
    let args = [
        "--wait",
        "order",
        "--until",
        "1",
        "--grace",
        "100ms",
        "--command",
        "sh",
        "-c",
        script,
    ];
    let mut sidecar = scratch.start(args);
    assert_eq!(sidecar.line(), "up");
    scratch.replace("order", "-1");
    assert_eq!(sidecar.end().0, 1);
}

#[test]
fn a_signal_ends_the_wait_at_once() {
    let scratch = Scratch::new();
    let dir = scratch.step("s");
    let step = waiting(
        &scratch,
        &["--step-dir", "s", "--wait", "order", "--wait-content", "1"],
    );
    step.signal(libc::SIGTERM);
    assert_eq!(step.end().0, 143);
    assert_eq!(record(&dir).reason, Reason::Cancelled);
}

/// inotify used up: per-user limits are per user namespace too, where we may set them.
fn without_inotify(limit: &str) {
    let scratch = Scratch::new();
    scratch.write("order", "0");
    let set = format!("echo 0 >/proc/sys/user/{limit} && exec \"$@\"");
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--map-root-user", "sh", "-c", &set, "sh"])
        .arg(binary())
        .args([
            "--wait",
            "order",
            "--wait-content",
            "1",
            "--command",
            "echo",
            "ran",
        ])
        .current_dir(scratch.path("."));
    let step = Running::start(command);
    until("the wait", || is_polling(step.pid()));
    scratch.replace("order", "1");
    ran(step);
}

#[test]
#[ignore = "needs user namespaces"]
fn used_up_inotify_instances_end_the_wait_all_the_same() {
    without_inotify("max_inotify_instances");
}

#[test]
#[ignore = "needs user namespaces"]
fn used_up_inotify_watches_end_the_wait_all_the_same() {
    without_inotify("max_inotify_watches");
}

/// FUSE tells nothing of what changes behind it.
#[test]
#[ignore = "needs root, FUSE and bindfs"]
fn a_silent_file_system_ends_the_wait_all_the_same() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("real")).unwrap();
    fs::create_dir(scratch.path("seen")).unwrap();
    let mount = |program: &str, args: &[&str]| {
        let status = Command::new(program)
            .args(args)
            .current_dir(scratch.path("."))
            .status();
        assert!(status.unwrap().success(), "{program} {args:?}");
    };
    mount("bindfs", &["--no-allow-other", "real", "seen"]);
    let step = waiting(&scratch, &["--wait", "seen/order", "--wait-content", "1"]);
    scratch.write("real/order", "1");
    ran(step);
    mount("umount", &["seen"]);
}
