//! Timeouts, retries, conditions, results of earlier steps.

use std::fs;

use baton_protocol::Reason;
use baton_protocol::event::Fact;

use crate::support::{Scratch, exists, facts, free_port, record, text, until};

#[test]
fn a_timeout_ends_the_whole_tree() {
    let script = "trap '' TERM; sleep 1000 & echo $!; setsid sleep 1000 & echo $!; (setsid sh -c 'trap \"\" TERM; echo $$; sleep 1000') & wait; wait";
    // Where the machine is slow a short timeout comes before all of them have begun.
    let (_scratch, dir, pids) = ["200ms", "2s", "15s"]
        .into_iter()
        .find_map(|timeout| {
            let scratch = Scratch::new();
            let dir = scratch.step("s");
            let args = [
                "--step-dir",
                "s",
                "--timeout",
                timeout,
                "--grace",
                "100ms",
                "--command",
                "sh",
                "-c",
                script,
            ];
            let (code, out, err) = scratch.start(args).end();
            assert_eq!(code, 124);
            let why = "it ran longer than its timeout of";
            assert_eq!(err, format!("entrypoint: this step: {why} {timeout}\n"));
            let pids: Vec<i32> = out.lines().map(|line| line.parse().unwrap()).collect();
            (pids.len() == 3).then_some((scratch, dir, pids))
        })
        .unwrap();
    assert!(!pids.iter().any(|pid| exists(*pid)), "{pids:?}");
    let record = record(&dir);
    assert_eq!(
        (record.reason, record.exit_code, record.signal),
        (Reason::TimedOut, 137, Some(9))
    );
    assert!(facts(&dir).contains(&Fact::Stopping {
        reason: Reason::TimedOut
    }));
}

#[test]
fn a_command_that_exits_with_0_at_its_timeout_is_no_success() {
    let scratch = Scratch::new();
    let args = [
        "--timeout",
        "100ms",
        "--command",
        "sh",
        "-c",
        "trap 'exit 0' TERM; while :; do sleep 0.02; done",
    ];
    assert_eq!(scratch.run(args).status.code(), Some(124));
}

#[test]
fn a_failure_is_retried_until_it_succeeds() {
    let scratch = Scratch::new();
    let dir = scratch.step("s");
    let script =
        "echo $BATON_ATTEMPT >$BATON_RESULTS/attempt-$BATON_ATTEMPT; exit $((3 - BATON_ATTEMPT))";
    let output = scratch.run([
        "--step-dir",
        "s",
        "--retries",
        "5",
        "--retry-delay",
        "1ms",
        "--command",
        "sh",
        "-c",
        script,
    ]);
    assert!(output.status.success());
    assert_eq!(
        (record(&dir).reason, record(&dir).attempts),
        (Reason::Completed, 3)
    );
    let retrying = |attempt, exit_code, delay_ms| Fact::Retrying {
        attempt,
        reason: Reason::Error,
        exit_code,
        delay_ms,
    };
    assert_eq!(
        facts(&dir)[..5],
        [
            Fact::Started { attempt: 1 },
            retrying(1, 2, 1),
            Fact::Started { attempt: 2 },
            retrying(2, 1, 2),
            Fact::Started { attempt: 3 },
        ]
    );
    let results: Vec<_> = fs::read_dir(dir.join("results"))
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(
        results,
        ["attempt-3"],
        "what failed attempts wrote is no result"
    );
}

#[test]
fn retries_end() {
    let scratch = Scratch::new();
    let args = [
        "--retries",
        "2",
        "--retry-delay",
        "1ms",
        "--command",
        "sh",
        "-c",
        "echo x; exit 4",
    ];
    let output = scratch.run(args);
    assert_eq!(
        (output.status.code(), text(&output.stdout).lines().count()),
        (Some(4), 3)
    );
}

#[test]
fn a_cancel_or_a_signal_ends_the_delay_between_attempts() {
    for by_signal in [false, true] {
        let scratch = Scratch::new();
        let dir = scratch.step("s");
        scratch.write("order", "1");
        let args = [
            ["--step-dir", "s", "--wait", "order", "--wait-content", "1"],
            [
                "--retries",
                "3",
                "--retry-delay",
                "1h",
                "--command",
                "false",
            ],
        ];
        let step = scratch.start(args.concat());
        let waits = |fact: &Fact| matches!(fact, Fact::Retrying { .. });
        until("the delay", || facts(&dir).iter().any(waits));
        if by_signal {
            step.signal(libc::SIGTERM);
            assert_eq!(step.end().0, 143);
        } else {
            scratch.replace("order", "-1");
            assert_eq!(step.end().0, 1);
        }
        assert_eq!(record(&dir).reason, Reason::Cancelled);
    }
}

#[test]
fn a_condition_that_does_not_hold_skips() {
    let scratch = Scratch::new();
    let dir = scratch.step("s");
    let when = r#"{"input":"dev","operator":"in","values":["main","release"]}"#;
    let output = scratch.run([
        "--step-dir",
        "s",
        "--when",
        when,
        "--command",
        "touch",
        "ran",
    ]);
    assert!(output.status.success() && !scratch.path("ran").exists());
    let record = record(&dir);
    assert_eq!((record.reason, record.attempts), (Reason::Skipped, 0));
    assert_eq!(
        record.message,
        r#"when: "dev" is not in ["main", "release"]"#
    );
    let when = r#"{"input":"dev","operator":"notin","values":["main"]}"#;
    scratch.run(["--when", when, "--command", "touch", "ran"]);
    assert!(scratch.path("ran").exists());
}

fn earlier_step(scratch: &Scratch) {
    let dir = scratch.step("one");
    let script = "echo v1.2 >$BATON_RESULTS/version; printf 'a\\0b' >$BATON_RESULTS/binary; ln -s /etc/passwd $BATON_RESULTS/link";
    assert!(
        scratch
            .run(["--step-dir", "one", "--command", "sh", "-c", script])
            .status
            .success()
    );
    assert_eq!(record(&dir).reason, Reason::Completed);
}

#[test]
fn results_of_earlier_steps_stand_in_arguments_environment_and_conditions() {
    let scratch = Scratch::new();
    earlier_step(&scratch);
    let when = r#"{"input":"$(steps.build.results.version)","operator":"in","values":["v1.2"]}"#;
    let args = [
        "--results-of",
        "build=one",
        "--when",
        when,
        "--command",
        "sh",
        "-c",
        "echo $1 $VERSION",
        "sh",
        "<$(steps.build.results.version)>",
    ];
    let mut command = scratch.entrypoint(args);
    let output = command
        .env("VERSION", "is $(steps.build.results.version)")
        .output()
        .unwrap();
    assert_eq!(text(&output.stdout), "<v1.2> is v1.2\n", "{output:?}");
}

#[test]
fn a_result_that_does_not_exist_is_a_clear_failure() {
    let scratch = Scratch::new();
    earlier_step(&scratch);
    for (reference, want) in [
        (
            "$(steps.build.results.vresion)",
            "step build did not write it; write it to the file $BATON_RESULTS/NAME",
        ),
        (
            "$(steps.test.results.version)",
            "names a step that is not before this one",
        ),
        ("$(steps.build.results.binary)", "holds a NUL byte"),
        (
            "$(steps.build.results.link)",
            "cannot read one/results/link",
        ),
    ] {
        let args = [
            "--step",
            "two",
            "--results-of",
            "build=one",
            "--command",
            "echo",
            reference,
        ];
        let output = scratch.run(args);
        assert_eq!(
            (output.status.code(), &output.stdout[..]),
            (Some(125), &b""[..]),
            "{output:?}"
        );
        let err = text(&output.stderr);
        assert!(
            err.starts_with("entrypoint: two: ") && err.contains(want),
            "{err}"
        );
    }
}

#[test]
fn a_result_of_a_skipped_or_failed_step_says_why_it_is_missing() {
    let scratch = Scratch::new();
    scratch.step("one");
    let when = r#"{"input":"a","operator":"in","values":[]}"#;
    scratch.run(["--step-dir", "one", "--when", when, "--command", "true"]);
    let args = [
        "--results-of",
        "build=one",
        "--command",
        "echo",
        "$(steps.build.results.x)",
    ];
    assert!(text(&scratch.run(args).stderr).contains("step build was skipped and has no results"));
    scratch.run([
        "--step-dir",
        "one",
        "--on-error",
        "continue",
        "--command",
        "false",
    ]);
    assert!(text(&scratch.run(args).stderr).contains("step build failed (exit code 1)"));
}

#[test]
fn an_argument_past_what_the_kernel_takes_says_so() {
    let scratch = Scratch::new();
    let script = "head -c 200000 /dev/zero | tr '\\0' x >$BATON_RESULTS/long";
    scratch.step("one");
    scratch.run(["--step-dir", "one", "--command", "sh", "-c", script]);
    let args = [
        "--results-of",
        "build=one",
        "--command",
        "echo",
        "$(steps.build.results.long)",
    ];
    let output = scratch.run(args);
    assert_eq!(output.status.code(), Some(126));
    assert!(
        text(&output.stderr).contains("pass what is longer by file"),
        "{output:?}"
    );
}

#[test]
fn a_sidecar_tells_when_it_is_ready() {
    let scratch = Scratch::new();
    let dir = scratch.step("s");
    let args = [
        "--step-dir",
        "s",
        "--wait",
        "order",
        "--until",
        "1",
        "--ready-command",
        r#"["test","-e","up"]"#,
        "--command",
        "sleep",
        "1000",
    ];
    scratch.write("order", "0");
    let sidecar = scratch.start(args);
    until("the start", || {
        facts(&dir).contains(&Fact::Started { attempt: 1 })
    });
    assert!(!facts(&dir).contains(&Fact::Ready { port: None }));
    scratch.write("up", "");
    until("readiness", || {
        facts(&dir).contains(&Fact::Ready { port: None })
    });
    scratch.replace("order", "1");
    assert_eq!(sidecar.end().0, 0);
}

#[test]
fn a_port_shows_readiness_once_it_accepts() {
    let scratch = Scratch::new();
    let dir = scratch.step("s");
    let port = free_port().to_string();
    let server = format!(
        "import socket,time,os\nwhile not os.path.exists('go'): time.sleep(.01)\ns=socket.create_server(('127.0.0.1',{port}))\ntime.sleep(1000)"
    );
    scratch.write("order", "0");
    let args = [
        "--step-dir",
        "s",
        "--wait",
        "order",
        "--until",
        "1",
        "--ready-port",
        &port,
        "--command",
        "python3",
        "-c",
        &server,
    ];
    let sidecar = scratch.start(args);
    until("the start", || {
        facts(&dir).contains(&Fact::Started { attempt: 1 })
    });
    assert!(!facts(&dir).contains(&Fact::Ready { port: None }));
    scratch.write("go", "");
    until("readiness", || {
        facts(&dir).contains(&Fact::Ready { port: None })
    });
    scratch.replace("order", "1");
    assert_eq!(sidecar.end().0, 0);
}

#[test]
fn a_port_is_looked_at_once() {
    let scratch = Scratch::new();
    for address in ["127.0.0.1", "::1"] {
        let port = free_port();
        let Ok(server) = std::net::TcpListener::bind((address, port)) else {
            continue; // no IPv6 here
        };
        let port = port.to_string();
        let look = || scratch.run(["--check-port", &port]).status.code();
        assert_eq!(look(), Some(0), "{address}");
        drop(server);
        // A process that a test beside is just starting may hold it a moment longer.
        until("the closing of the port", || look() == Some(1));
    }
}
