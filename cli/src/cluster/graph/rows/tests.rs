use kube::runtime::watcher::Event;
use serde_json::{Value, json};

use super::*;
use crate::report::{End, Role, StepFacts};

fn object(kind: &str, name: &str, spec: Value, status: Value) -> Object {
    serde_json::from_value(json!({
        "kind": kind, "metadata": {"name": name}, "spec": spec, "status": status,
    }))
    .unwrap()
}

fn ended(start: &str, end: &str, reason: &str, code: i32) -> Value {
    json!({"terminated": {
        "startedAt": format!("2026-03-01T09:{start}Z"), "finishedAt": format!("2026-03-01T09:{end}Z"),
        "reason": reason, "exitCode": code, "message": "line 1\nline 2",
    }})
}

/// A pod of a Job, with one container that stands so.
fn pod(job: &str, name: &str, made: &str, status: Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {
            "name": name, "creationTimestamp": format!("2026-03-01T09:{made}Z"),
            "labels": {"job-name": job},
        },
        "spec": {
            "initContainers": [{"name": TOOLS_CONTAINER}],
            "containers": [{"name": "c", "command": ["sh", "-c"], "args": ["exit 3"]}],
        },
        "status": {"phase": "Failed", "containerStatuses": [status]},
    }))
    .unwrap()
}

fn container(state: Value) -> Value {
    json!({"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state})
}

fn shown(object: &Object, kept: &Kept) -> (Vec<StepFacts>, Vec<String>) {
    let status = Status::of(object).unwrap();
    let (rows, notes) = rows(object, &status, kept);
    (rows.into_iter().flat_map(|r| r.steps).collect(), notes)
}

fn names(rows: &[StepFacts]) -> Vec<&str> {
    rows.iter().map(|r| r.name.as_str()).collect()
}

fn at(text: &str) -> Timestamp {
    serde_json::from_value(json!(format!("2026-03-01T09:{text}Z"))).unwrap()
}

#[test]
fn each_attempt_of_this_run_has_its_pods() {
    let spec = json!({"flows": [
        {"name": "a", "jobTemplate": {"template": {"spec": {"containers": []}}}},
        {"name": "b", "jobTemplate": {"template": {"spec": {"containers": []}}}},
    ]});
    let status = json!({"run": 2, "phase": "Failed", "nodes": [
        {"name": "a", "state": "Failed", "earlierAttempts": 1, "jobs": [{"name": "f-a-r3", "attempts": 3, "state": "Failed"}]},
        {"name": "b", "state": "Succeeded", "jobs": [{"name": "f-b", "attempts": 1, "state": "Succeeded"}]},
    ]});
    let flow = object("JobFlow", "f", spec, status);
    let mut kept = Kept::default();
    let failed = || container(ended("30:01", "30:04", "Error", 3));
    for (job, name, made) in [
        // Of the run before.
        ("f-a", "f-a-x", "29:00"),
        // In the order of their making, which is not that of their names.
        ("f-a-r3", "f-a-r3-y", "30:00"),
        ("f-a-r3", "f-a-r3-x", "30:10"),
        ("f-a-r2", "f-a-r2-x", "29:59"),
        // Of another flow.
        ("g-a", "g-a-x", "30:00"),
    ] {
        kept.pod(&Event::Apply(pod(job, name, made, failed())));
    }
    // What is seen later wins, and what is gone is kept.
    let first = pod("f-a-r2", "f-a-r2-x", "29:59", container(json!({})));
    kept.pod(&Event::Delete(first));
    kept.printed("f-a-r3-x", "c", b"printed\n");
    let (rows, notes) = shown(&flow, &kept);
    assert_eq!(names(&rows), ["f-a-r2-x", "f-a-r3-y", "f-a-r3-x"]);
    assert!(matches!(rows[0].end, End::NotRun), "{:?}", rows[0].end);
    let End::Recorded(record) = &rows[1].end else {
        panic!("{:?}", rows[1].end);
    };
    assert_eq!((record.reason, record.exit_code), (Reason::Error, 3));
    assert_eq!((record.waited_ms, record.ran_ms), (1000, 3000));
    assert_eq!(record.message, "line 1 line 2");
    assert_eq!(rows[1].attempts[0].started_at, at("30:01"));
    assert_eq!(rows[1].role, Role::Container);
    assert_eq!(rows[1].command, "sh -c 'exit 3'");
    assert_eq!(rows[2].log.text, b"printed\n");
    let unseen = "of 1 Job or Task no container was seen";
    assert_eq!(notes, [WHOLE_SECONDS, unseen]);
}

#[test]
fn restarts_in_place_are_attempts() {
    let mut status = container(ended("30:10", "30:11", "OOMKilled", 137));
    status["restartCount"] = json!(4);
    status["lastState"] = ended("30:05", "30:06", "Error", 1);
    let mut kept = Kept::default();
    kept.pod(&Event::Apply(pod("d-n1", "d-n1-x", "30:00", status)));
    let running = container(json!({"running": {"startedAt": "2026-03-01T09:30:02Z"}}));
    kept.pod(&Event::Delete(pod("d-n2", "d-n2-x", "30:00", running)));
    let nodes = ["n1", "n2", "n3"].map(
        |n| json!({"name": n, "job": if n == "n3" { String::new() } else { format!("d-{n}") }}),
    );
    let daemon = object(
        "DaemonJob",
        "d",
        json!({}),
        json!({"run": 1, "nodes": nodes}),
    );
    let (rows, notes) = shown(&daemon, &kept);
    assert_eq!(names(&rows), ["d-n1-x", "d-n2-x"]);
    assert_eq!(rows[0].attempts.len(), 2);
    assert_eq!(rows[0].attempts[0].failure, Some((Reason::Error, 1)));
    assert!(
        matches!(&rows[0].end, End::Recorded(r) if r.reason == Reason::OomKilled && r.attempts == 5),
        "{:?}",
        rows[0].end
    );
    assert!(matches!(rows[1].end, End::Died(_)), "{:?}", rows[1].end);
    assert_eq!(notes, [WHOLE_SECONDS]);
}

#[test]
fn a_task_has_its_steps_and_what_they_left() {
    let spec = json!({"flows": [{"name": "t", "taskTemplate": {"steps": [{"name": "s"}, {"name": "u"}]}}]});
    let status = json!({"run": 1, "phase": "Failed", "nodes": [
        {"name": "t", "state": "Failed", "jobs": [{"name": "f-t", "attempts": 1, "state": "Failed"}]},
    ]});
    let flow = object("JobFlow", "f", spec.clone(), status);
    let task = |phase: &str| {
        let step = |number: u32, name: &str, state: &str| {
            json!({
                "name": name, "number": number, "state": state, "attempts": 1, "exitCode": 3,
                "startedAt": "2026-03-01T09:30:01Z", "finishedAt": "2026-03-01T09:30:02Z",
                "results": [{"name": "r", "value": "v"}],
            })
        };
        let mut not_run = step(2, "u", "NotRun");
        not_run["attempts"] = json!(0);
        let status = json!({
            "phase": phase, "run": 1, "pod": {"name": "f-t-1", "uid": "u"},
            "startedAt": "2026-03-01T09:30:01Z", "finishedAt": "2026-03-01T09:30:02Z",
            "steps": [step(1, "s", "Failed"), not_run],
        });
        object(
            "Task",
            "f-t",
            spec["flows"][0]["taskTemplate"].clone(),
            status,
        )
    };
    let mut kept = Kept::default();
    kept.task(&Event::Apply(task("Running")));
    assert!(!kept.is_over("f-t"));
    let (rows, notes) = shown(&flow, &kept);
    assert_eq!((rows.len(), notes.len()), (0, 1));
    kept.task(&Event::Apply(task("Failed")));
    assert!(kept.is_over("f-t"));
    kept.printed("f-t-1", "s", b"said\n");
    let (rows, notes) = shown(&flow, &kept);
    assert_eq!(names(&rows), ["f-t/s", "f-t/u"]);
    assert_eq!(rows[0].log.text, b"said\n");
    assert_eq!(rows[0].waiting_since, Some(at("30:01")));
    assert!(matches!(&rows[0].end, End::Recorded(r) if r.exit_code == 3));
    assert!(matches!(rows[1].end, End::NotRun));
    assert_eq!(notes, [""; 0]);
    let (rows, _) = super::rows(&flow, &Status::of(&flow).unwrap(), &kept);
    assert_eq!(rows[0].results[0].step, "t/s");
}
