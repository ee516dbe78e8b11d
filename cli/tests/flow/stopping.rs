//! Flows that are told to stop: by a failure, by their time, by a person.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Place, flow, node, states, status};

#[test]
fn fail_fast_stops_the_rest_gracefully_and_finally_runs() {
    let place = Place::new();
    let long = "trap 'echo stopped >> told; exit 0' TERM; touch up; sleep 600 & wait";
    let bad = "until [ -e up ]; do sleep 0.01; done; exit 1";
    let mut text = flow(
        "failurePolicy: FailFast",
        &[
            node("long", "", long),
            node("bad", "", bad),
            node("later", "dependencies: [long]", "echo wrong >> told"),
        ],
    );
    let clean = node("clean", "", "echo clean >> told");
    let _ = writeln!(text, "  finally:\n  - {{{clean}}}");
    let (run, code) = place.json(&text);
    assert_eq!(code, 1);
    let expected = [
        ("long", "Cancelled"),
        ("bad", "Failed"),
        ("later", "Skipped"),
        ("clean", "Succeeded"),
    ];
    assert_eq!(states(&run), expected);
    assert_eq!(status(&run, "later")["reason"], "FailFast");
    assert_eq!(run["status"]["cause"]["node"], "bad");
    assert_eq!(place.lines("told"), ["stopped", "clean"]);
}

#[test]
fn a_flow_has_a_deadline() {
    let long = "trap 'echo stopped >> told; exit 0' TERM; touch up; sleep 600 & wait";
    // Where the machine is slow, the time may be up before the trap is set: then once more, with more.
    let (place, run, code) = [1, 5, 30]
        .into_iter()
        .find_map(|seconds| {
            let place = Place::new();
            let deadline = format!("activeDeadlineSeconds: {seconds}");
            let (run, code) = place.json(&flow(&deadline, &[node("long", "", long)]));
            let is_up = place.0.path().join("up").exists();
            is_up.then_some((place, run, code))
        })
        .unwrap();
    assert_eq!(code, 124, "{run}");
    assert_eq!(run["status"]["phase"], "Failed");
    assert_eq!(run["status"]["reason"], "DeadlineExceeded");
    assert_eq!(states(&run), [("long", "Cancelled")]);
    assert_eq!(place.lines("told"), ["stopped"]);
}

/// A Job and a Task that run until they are told to stop, and what runs in the end.
fn long_flow() -> String {
    let long = "trap 'echo job stopped >> told; exit 0' TERM; echo up; sleep 600 & wait";
    let task = "name: task, taskTemplate: {gracePeriod: 10m, steps: [{name: s, script: \"trap 'echo task stopped >> told; exit 0' TERM; echo up; sleep 600 & wait\"}]}";
    let nodes = [node("job", "", long), task.to_owned()];
    let clean = node("clean", "", "echo clean >> told; echo cleaned");
    format!("{}  finally:\n  - {{{clean}}}\n", flow("", &nodes))
}

#[test]
fn an_interrupt_stops_everything_and_finally_runs() {
    let place = Place::new();
    let mut child = place.start(&long_flow(), &["run", "-"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || lines.next().unwrap().unwrap();
    assert!(next().ends_with("up") && next().ends_with("up"));
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    assert!(next().ends_with("cleaned"));
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("jobflow f: Cancelled after"), "{said}");
    let mut told = place.lines("told");
    assert_eq!(told.pop().unwrap(), "clean");
    told.sort();
    assert_eq!(told, ["job stopped", "task stopped"]);
    assert_eq!(place.scratch_folders(), 0);
}

#[test]
fn a_second_signal_kills_what_is_deaf_to_the_first() {
    let place = Place::new();
    let deaf = "trap 'echo deaf' TERM; echo up; while :; do sleep 0.01; done";
    let job = node("job", "", deaf);
    let clean = node("clean", "", "echo wrong >> told");
    let text = format!("{}  finally:\n  - {{{clean}}}\n", flow("", &[job]));
    let mut child = place.start(&text, &["run", "-"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let pid = Pid::from_raw(child.id() as i32);
    for heard in ["up", "deaf"] {
        assert!(lines.any(|line| line.unwrap().ends_with(heard)));
        kill(pid, Signal::SIGTERM).unwrap();
    }
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(place.lines("told"), [""; 0]);
    assert_eq!(place.scratch_folders(), 0);
}
