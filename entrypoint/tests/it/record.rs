//! What is told: events, the final record, the termination message.

use std::fs;
use std::io::{Read as _, Write as _};
use std::process::Command;

use baton_protocol::Reason;
use baton_protocol::event::Fact;
use baton_protocol::layout::MAX_RECORD_BYTES;
use baton_protocol::record::Termination;

use crate::support::{Scratch, binary, facts, record, text};

#[test]
fn a_step_that_succeeds() {
    let scratch = Scratch::new();
    let dir = scratch.step("s");
    let script =
        "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo -n abc >$BATON_RESULTS/digest";
    let output = scratch.run([
        "--step-dir",
        "s",
        "--termination-message",
        "t",
        "--command",
        "sh",
        "-c",
        script,
    ]);
    assert!(output.status.success(), "{output:?}");
    let record = record(&dir);
    assert_eq!(
        (record.reason, record.exit_code, record.attempts),
        (Reason::Completed, 0, 1)
    );
    assert!(
        record.user_us + record.system_us > 0 && record.peak_bytes > 100_000,
        "{record:?}"
    );
    assert!(record.started_at.unwrap() <= record.finished_at);
    assert_eq!(
        facts(&dir),
        [Fact::Started { attempt: 1 }, Fact::Finished(record.clone())]
    );
    let message: Termination = serde_json::from_str(&scratch.read("t")).unwrap();
    assert_eq!(message.record, record);
    assert_eq!(message.results["digest"], "abc");
}

#[test]
fn the_record_hands_the_turn_on_before_the_termination_message_is_written() {
    let scratch = Scratch::new();
    let dir = scratch.step("s");
    nix::unistd::mkfifo(&scratch.path("t"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    // Both ends: the writer finds a reader, and the reader sees no end before there was a writer.
    let fifo = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(scratch.path("t"))
        .unwrap();
    let mut message = fifo.try_clone().unwrap();
    let exit = dir.join("exit");
    let reader = std::thread::spawn(move || {
        let mut first = [0];
        message.read_exact(&mut first).unwrap();
        (first, exit.exists())
    });
    let args = ["--step-dir", "s", "--termination-message", "t"];
    let output = scratch.run([&args[..], &["--command", "true"]].concat());
    assert!(output.status.success(), "{output:?}");
    // For a reader that nobody told anything.
    (&fifo).write_all(b"-").unwrap();
    assert_eq!(reader.join().unwrap(), (*b"{", true));
}

#[test]
fn a_failure_a_signal_and_a_missing_program_are_told_apart() {
    let scratch = Scratch::new();
    for (name, command, reason, code, signal) in [
        ("failure", "exit 3", Reason::Error, 3, None),
        ("signal", "kill -9 $$", Reason::Error, 137, Some(9)),
        ("look-alike", "exit 137", Reason::Error, 137, None),
        ("missing", "exec /no/such/program", Reason::Error, 127, None),
    ] {
        let dir = scratch.step(name);
        scratch.run(["--step-dir", name, "--command", "sh", "-c", command]);
        let record = record(&dir);
        assert_eq!(
            (record.reason, record.exit_code, record.signal),
            (reason, code, signal)
        );
    }
    let dir = scratch.step("start");
    scratch.run(["--step-dir", "start", "--command", "no-such-program"]);
    assert_eq!(
        (record(&dir).reason, record(&dir).exit_code),
        (Reason::StartError, 127)
    );
}

#[test]
fn an_ignored_failure_is_recorded_and_lets_the_next_one_start() {
    let scratch = Scratch::new();
    let dir = scratch.step("s");
    let output = scratch.run([
        "--step-dir",
        "s",
        "--on-error",
        "continue",
        "--command",
        "sh",
        "-c",
        "exit 3",
    ]);
    assert!(output.status.success());
    let record = record(&dir);
    assert_eq!(
        (record.reason, record.exit_code, record.continued),
        (Reason::Error, 3, true)
    );
    assert!(record.lets_next_start());
}

#[test]
fn results_of_any_number_and_size_are_whole_and_the_message_stays_small() {
    let scratch = Scratch::new();
    let dir = scratch.step("s");
    let script = "for i in $(seq 1 200); do printf 'value-%s' $i >$BATON_RESULTS/r$i; done; \
                  head -c 1048576 /dev/zero | tr '\\0' x >$BATON_RESULTS/large";
    let output = scratch.run([
        "--step-dir",
        "s",
        "--termination-message",
        "t",
        "--command",
        "sh",
        "-c",
        script,
    ]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        fs::metadata(dir.join("results/large")).unwrap().len(),
        1 << 20
    );
    assert_eq!(
        fs::read_to_string(dir.join("results/r200")).unwrap(),
        "value-200"
    );
    let message = scratch.read("t");
    assert!(message.len() <= 4096, "{} bytes", message.len());
    let message: Termination = serde_json::from_str(&message).unwrap();
    assert!(
        message.results.len() > 100,
        "{} results",
        message.results.len()
    );
}

#[test]
fn a_result_that_is_too_large_fails_the_step() {
    let scratch = Scratch::new();
    let dir = scratch.step("s");
    let script = "head -c 1048577 /dev/zero >$BATON_RESULTS/large";
    let output = scratch.run(["--step-dir", "s", "--command", "sh", "-c", script]);
    assert_eq!(output.status.code(), Some(125));
    assert!(
        record(&dir)
            .message
            .contains("its result large is larger than 1048576 bytes")
    );
}

#[test]
fn hostile_results_harm_nothing() {
    let scratch = Scratch::new();
    scratch.step("s");
    let script = "cd $BATON_RESULTS; ln -s /etc/passwd link; mkfifo fifo; mkdir folder; touch .hidden 'a b'; echo ok >good";
    let output = scratch.run([
        "--step-dir",
        "s",
        "--termination-message",
        "t",
        "--command",
        "sh",
        "-c",
        script,
    ]);
    assert!(output.status.success(), "{output:?}");
    let message: Termination = serde_json::from_str(&scratch.read("t")).unwrap();
    assert_eq!(message.results.keys().collect::<Vec<_>>(), ["good"]);
}

#[test]
fn a_folder_that_cannot_be_written_is_a_clear_failure_and_nothing_runs() {
    let scratch = Scratch::new();
    let output = scratch.run([
        "--step",
        "one",
        "--step-dir",
        "no/such",
        "--command",
        "touch",
        "ran",
    ]);
    assert_eq!(output.status.code(), Some(125));
    assert!(
        text(&output.stderr)
            .starts_with("entrypoint: one: cannot make the folder no/such/results: "),
        "{output:?}"
    );
    assert!(!scratch.path("ran").exists());
}

#[test]
fn a_record_that_cannot_be_written_does_not_pass_for_success() {
    let scratch = Scratch::new();
    let dir = scratch.step("s");
    fs::create_dir(dir.join("exit")).unwrap();
    let output = scratch.run(["--step-dir", "s", "--command", "true"]);
    assert_eq!(output.status.code(), Some(125));
    assert!(
        text(&output.stderr).contains("cannot write the final record"),
        "{output:?}"
    );
}

#[test]
fn what_the_command_leaves_in_the_way_of_the_record_is_put_aside() {
    let scratch = Scratch::new();
    let dir = scratch.step("s");
    let running = scratch.start(["--step-dir", "s", "--command", "mkfifo", "s/.exit"]);
    let (code, _, err) = running.end();
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(record(&dir).reason, Reason::Completed);
}

/// A memory cgroup of our own, by either version.
#[test]
#[ignore = "needs root and a writable memory cgroup"]
fn an_oom_kill_is_told_from_other_kills() {
    let scratch = Scratch::new();
    let dir = scratch.step("s");
    let setup = r#"
        for root in /sys/fs/cgroup/memory /sys/fs/cgroup; do
            own=$(sed -n 's/^[0-9]*:memory:\|^0:://p' /proc/self/cgroup | head -n 1)
            for parent in "$root$own" "$root"; do
                group=$parent/baton-test-$$
                mkdir "$group" 2>/dev/null || continue
                for limit in memory.limit_in_bytes memory.max; do
                    [ -e "$group/$limit" ] && echo 32M >"$group/$limit" && echo $$ >"$group/cgroup.procs" && exec "$@"
                done
                rmdir "$group"
            done
        done
        exit 99"#;
    let output = Command::new("sh")
        .args(["-c", setup, "sh"])
        .arg(binary())
        .args(["--step-dir", "s", "--command", "tail", "/dev/zero"])
        .current_dir(scratch.path("."))
        .output()
        .unwrap();
    assert_ne!(
        output.status.code(),
        Some(99),
        "no memory cgroup could be made"
    );
    let record = record(&dir);
    assert_eq!(
        (record.reason, record.exit_code),
        (Reason::OomKilled, 137),
        "{record:?} {output:?}"
    );
    assert!(record.message.contains("memory"), "{record:?}");
}

#[test]
fn a_condition_on_a_large_result_leaves_a_record_that_can_be_read() {
    let scratch = Scratch::new();
    let one = scratch.step("one");
    fs::create_dir(one.join("results")).unwrap();
    fs::write(one.join("results/text"), "\u{1}".repeat(1 << 20)).unwrap();
    let two = scratch.step("two");
    let when = r#"{"input":"$(steps.build.results.text)","operator":"in","values":["v1.2"]}"#;
    let args = [
        "--step-dir",
        "two",
        "--results-of",
        "build=one",
        "--when",
        when,
    ];
    let output = scratch.run(args.into_iter().chain(["--command", "true"]));
    assert!(output.status.success(), "{:?}", output.status);
    let length = fs::metadata(two.join("exit")).unwrap().len();
    assert!(length <= MAX_RECORD_BYTES, "{length} bytes");
    let record = record(&two);
    assert_eq!(record.reason, Reason::Skipped);
    assert!(record.message.starts_with("when: \"") && record.message.ends_with('…'));
    // Every line of the event file can be read as well.
    assert_eq!(facts(&two), [Fact::Finished(record)]);
}
