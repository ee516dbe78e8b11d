use baton_protocol::Reason;
use baton_steps::{Death, Plan};
use serde_json::{Value, json};

use super::*;

fn pod(status: Value) -> Pod {
    let container = |name: &str, args: &[&str]| json!({"name": name, "args": args});
    serde_json::from_value(json!({
        "metadata": {"name": "p", "annotations": {"baton.dev/order": "2"}},
        "spec": {"nodeName": "n1", "containers": [
            container("a", &["--wait=x", "--termination-message=/dev/termination-log", "--command=c", "--", "--when=no"]),
            container("b", &["--when={}", "--command", "c"]),
        ]},
        "status": status,
    }))
    .unwrap()
}

fn read(status: Value) -> PodFacts {
    facts(&pod(status), &Plan::of_steps(["a", "b"]))
}

fn ended(name: &str, terminated: Value) -> PodFacts {
    read(json!({"phase": "Running", "containerStatuses": [
        {"name": name, "imageID": "i@sha256:1", "state": {"terminated": terminated}},
    ]}))
}

const RECORD: &str = r#"{"reason":"Completed","exitCode":0,"attempts":2,"startedAt":"2026-01-01T00:00:01.5Z","finishedAt":"2026-01-01T00:00:02.25Z","results":{"tag":"v1","../x":"bad"},"moreResults":1}"#;

#[test]
fn an_entrypoints_message_is_its_record() {
    let seen = ended(
        "a",
        json!({"exitCode": 0, "reason": "Completed", "message": RECORD}),
    );
    assert_eq!(
        (seen.order, seen.node.as_deref()),
        (Some(Order::Turn(2)), Some("n1"))
    );
    let a = seen.container(1).unwrap();
    assert_eq!(a.image_id, "i@sha256:1");
    assert!(a.leaves_record && !a.conditional);
    assert!(seen.container(2).unwrap().conditional);
    let left = a.left().unwrap();
    assert_eq!(left.results.len(), 1, "a name that is a path is no result");
    assert_eq!(left.more_results, 1);
    let Some(End::Record(record)) = a.end() else {
        panic!("{a:?}");
    };
    assert_eq!((record.reason, record.attempts), (Reason::Completed, 2));
}

#[test]
fn a_message_counts_only_with_its_exit_code() {
    let died = |exit_code, message: &str| {
        let seen = ended(
            "a",
            json!({"exitCode": exit_code, "reason": "Error", "message": message}),
        );
        seen.container(1).unwrap().end().unwrap()
    };
    assert_eq!(died(137, RECORD), End::Died(Death::Signal(9)));
    assert_eq!(died(3, RECORD), End::Died(Death::Exited(3)));
    assert_eq!(died(3, "garbage"), End::Died(Death::Exited(3)));
    assert_eq!(died(3, &"x".repeat(1 << 20)), End::Died(Death::Exited(3)));
    let timed_out = RECORD
        .replace("Completed", "TimedOut")
        .replace("\"exitCode\":0", "\"exitCode\":7");
    assert!(matches!(died(124, &timed_out), End::Record(r) if r.reason == Reason::TimedOut));
    let continued = timed_out.replace("\"attempts\"", "\"continued\":true,\"attempts\"");
    let seen = ended("a", json!({"exitCode": 0, "message": continued}));
    assert!(matches!(seen.container(1).unwrap().end(), Some(End::Record(r)) if r.continued));
}

#[test]
fn a_container_without_an_entrypoints_message_tells_by_its_end() {
    let end = |name, terminated| {
        ended(name, terminated)
            .containers
            .iter()
            .find_map(ContainerFacts::end)
    };
    let reason = |terminated| match end("b", terminated) {
        Some(End::Record(record)) => (record.reason, record.exit_code, record.message),
        other => panic!("{other:?}"),
    };
    let done = json!({"exitCode": 0, "reason": "Completed", "message": "its own words"});
    assert_eq!(reason(done), (Reason::Completed, 0, String::new()));
    let failed = json!({"exitCode": 4, "reason": "Error", "message": "no disk"});
    assert_eq!(reason(failed), (Reason::Error, 4, "no disk".to_owned()));
    let oom = json!({"exitCode": 137, "reason": "OOMKilled"});
    assert_eq!(reason(oom).0, Reason::OomKilled);
    let absent = json!({"exitCode": 128, "reason": "StartError", "message": "exec: no such file"});
    assert_eq!(
        reason(absent),
        (Reason::StartError, 128, "exec: no such file".to_owned())
    );
    let rebooted = json!({"exitCode": 137, "reason": "ContainerStatusUnknown"});
    assert_eq!(end("b", rebooted), Some(End::Died(Death::Gone)));
    assert_eq!(
        end("b", json!({"exitCode": 0, "signal": 11})),
        Some(End::Died(Death::Signal(11)))
    );
}

#[test]
fn a_container_that_was_never_made_did_not_begin_whatever_its_end_is_called() {
    let lost = |id: Value| {
        let state = json!({"terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown"}});
        let container = json!({"name": "b", "containerID": id, "state": state});
        read(json!({"phase": "Failed", "containerStatuses": [container]})).has_begun()
    };
    assert!(!lost(Value::Null));
    assert!(!lost("".into()));
    assert!(lost("containerd://1".into()));
    assert!(ended("b", json!({"exitCode": 0})).has_begun());
}

#[test]
fn what_can_never_start_is_told_from_what_takes_its_time() {
    let waiting = |reason: &str, message: &str| {
        read(json!({"phase": "Pending", "containerStatuses": [
            {"name": "b", "state": {"waiting": {"reason": reason, "message": message}}},
        ]}))
    };
    for (reason, message) in [
        ("ErrImageNeverPull", "m"),
        ("InvalidImageName", "m"),
        ("CreateContainerConfigError", "m"),
        ("ErrImagePull", "no such image"),
        (
            "ImagePullBackOff",
            "Back-off pulling image \"x\": ErrImagePull: no such image",
        ),
    ] {
        let seen = waiting(reason, message);
        assert_eq!(
            seen.never_starting().collect::<Vec<_>>(),
            [(2, format!("{reason}: {message}"))]
        );
    }
    for (reason, message) in [
        ("ErrImagePull", "pull QPS exceeded"),
        ("ImagePullBackOff", "Back-off pulling image \"x\""),
        (
            "ImagePullBackOff",
            "Back-off pulling image \"x\": ErrImagePull: pull QPS exceeded",
        ),
    ] {
        let seen = waiting(reason, message);
        assert_eq!(seen.never_starting().count(), 0, "{reason}: {message}");
        assert_eq!(
            seen.container(2).unwrap().trouble(),
            Some((reason, format!("{reason}: {message}")))
        );
    }
    let seen = waiting("ContainerCreating", "m");
    assert_eq!(
        (
            seen.never_starting().count(),
            seen.container(2).unwrap().trouble()
        ),
        (0, None)
    );
    assert!(!seen.has_begun());
}

#[test]
fn losses_are_told_apart() {
    let loss = |status: Value| read(status).loss;
    let failed = |reason: &str| json!({"phase": "Failed", "reason": reason, "message": "m"});
    let ran = |reason: &str| {
        let mut status = failed(reason);
        status["containerStatuses"] =
            json!([{"name": "a", "state": {"terminated": {"exitCode": 1}}}]);
        status
    };
    let m = || "m".to_owned();
    assert_eq!(loss(failed("Evicted")), Some(PodLoss::Evicted(m())));
    assert_eq!(loss(ran("Evicted")), Some(PodLoss::Evicted(m())));
    assert_eq!(loss(failed("Preempting")), Some(PodLoss::Preempted(m())));
    assert_eq!(loss(failed("Terminated")), Some(PodLoss::NodeLost(m())));
    assert_eq!(
        loss(failed("OutOfcpu")),
        Some(PodLoss::Rejected("OutOfcpu: m".to_owned()))
    );
    assert_eq!(loss(ran("SomethingElse")), None);
    assert_eq!(
        loss(json!({"phase": "Unknown", "reason": "NodeLost"})),
        Some(PodLoss::NodeLost(String::new()))
    );
    assert_eq!(loss(ran("")), None);
    assert_eq!(loss(json!({"phase": "Running"})), None);
    let deadline = loss(failed("DeadlineExceeded")).unwrap();
    assert!(!deadline.is_infrastructure());
    let target = json!([{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": "m"}]);
    let mut status = ran("");
    status["conditions"] = target.clone();
    assert_eq!(loss(status), Some(PodLoss::Preempted(m())));
    // Nothing came of it yet.
    assert_eq!(
        loss(json!({"phase": "Running", "conditions": target})),
        None
    );
}

#[test]
fn a_pod_that_nobody_takes_says_why() {
    let seen = read(json!({"phase": "Pending", "conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2 nodes"},
    ]}));
    assert_eq!(seen.unschedulable.as_deref(), Some("0/2 nodes"));
    let empty = facts(&Pod::default(), &Plan::of_steps(["a"]));
    assert_eq!(empty.container(1).unwrap().state, ContainerState::Unknown);
    assert_eq!((empty.container(0), empty.container(2)), (None, None));
}

#[test]
fn a_container_is_ready_as_soon_as_its_only_probe_says_so() {
    let ready = |has_readiness: bool, said: Value| {
        let mut status = json!({"name": "a", "state": {"running": {}}});
        status
            .as_object_mut()
            .unwrap()
            .extend(said.as_object().unwrap().clone());
        let mut pod = pod(json!({"phase": "Running", "containerStatuses": [status]}));
        let container = &mut pod.spec.as_mut().unwrap().containers[0];
        container.startup_probe = Some(Default::default());
        container.readiness_probe = has_readiness.then(Default::default);
        facts(&pod, &Plan::of_steps(["a"])).containers[0].ready
    };
    let started = json!({"ready": false, "started": true});
    assert!(ready(false, started.clone()));
    assert!(!ready(true, started));
    assert!(!ready(false, json!({"ready": false, "started": false})));
    assert!(!ready(false, json!({"ready": false})));
    assert!(ready(true, json!({"ready": true, "started": true})));
}
