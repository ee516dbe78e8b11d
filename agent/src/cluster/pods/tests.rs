use super::*;
use baton_protocol::layout::ORDER_ANNOTATION;
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};

fn at(secs: u64) -> Timestamp {
    Timestamp(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + secs))
}

/// A pod of steps `a` and `b`, with these annotations, volumes and status.
fn pod(annotations: Value, volumes: Value, status: Value) -> Pod {
    let container = |name: &str| json!({ "name": name, "image": "i", "command": ["/baton/bin/entrypoint", "--termination-message", "/dev/termination-log", "--", "true"] });
    serde_json::from_value(json!({
        "metadata": { "name": "p", "namespace": "ns", "uid": "u", "annotations": annotations },
        "spec": { "nodeName": "n", "containers": [container("a"), container("b")], "volumes": volumes },
        "status": status,
    }))
    .unwrap()
}

fn volume() -> Value {
    let plan = Plan::of_steps(["a", "b"]).to_json();
    json!([{ "name": "baton", "csi": { "driver": "csi.baton.dev", "volumeAttributes": { "plan": plan } } }])
}

fn status(phase: &str, states: &[(&str, Value)]) -> Value {
    let statuses: Vec<_> = states
        .iter()
        .map(|(name, state)| {
            json!({ "name": name, "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state })
        })
        .collect();
    json!({ "phase": phase, "containerStatuses": statuses })
}

fn running() -> Value {
    json!({ "running": { "startedAt": "2023-11-14T22:13:20Z" } })
}

fn ended(code: i32, reason: &str) -> Value {
    json!({ "terminated": { "exitCode": code, "reason": reason } })
}

fn waiting(reason: &str) -> Value {
    json!({ "waiting": { "reason": reason, "message": "no such image" } })
}

fn order(happened: &Happened) -> Option<&str> {
    let (_, annotations) = happened.patch.as_ref()?;
    annotations.get(ORDER_ANNOTATION).map(String::as_str)
}

#[test]
fn a_volumes_keeper_is_told_each_thing_once() {
    let mut pods = Pods::default();
    let see = |pods: &mut Pods, annotations: Value, status: Value| {
        let happened = pods.see(pod(annotations, volume(), status), at(0));
        assert_eq!(happened, Happened::default());
    };
    see(&mut pods, json!({}), status("Pending", &[]));
    assert_eq!(pods.commands("u"), []);
    let killed = status(
        "Running",
        &[("a", ended(137, "OOMKilled")), ("b", running())],
    );
    see(&mut pods, json!({}), killed.clone());
    see(
        &mut pods,
        json!({ "baton.dev/cancel": "true" }),
        killed.clone(),
    );
    see(&mut pods, json!({ "baton.dev/cancel": "true" }), killed);
    let told = [Command::Died(1, Death::Signal(9)), Command::Cancel];
    assert_eq!(pods.commands("u"), told);
    assert_eq!(pods.commands("u"), []);
    assert_eq!(pods.annotated().len(), 0);
}

#[test]
fn only_the_word_true_cancels() {
    let mut pods = Pods::default();
    let asks = json!({ "baton.dev/cancel": "no" });
    pods.see(pod(asks, volume(), status("Running", &[])), at(0));
    assert_eq!(pods.commands("u"), []);
}

#[test]
fn what_can_never_start_is_told() {
    let ends_of = |status: Value| {
        let mut pods = Pods::default();
        pods.see(pod(json!({}), volume(), status), at(0));
        pods.commands("u")
    };
    let commands = ends_of(status(
        "Pending",
        &[("a", running()), ("b", waiting("ErrImagePull"))],
    ));
    assert!(
        matches!(&commands[..], [Command::Died(2, Death::NeverStarted(why))]
            if why.contains("ErrImagePull") && why.contains("no such image")),
        "{commands:?}"
    );
    // A back-off alone does not tell why.
    assert_eq!(
        ends_of(status("Pending", &[("b", waiting("ImagePullBackOff"))])),
        []
    );
    let commands = ends_of(status("Running", &[("a", ended(128, "StartError"))]));
    assert!(
        matches!(&commands[..], [Command::Died(1, Death::NeverStarted(_))]),
        "{commands:?}"
    );
    let evicted = json!({ "phase": "Failed", "reason": "Evicted", "message": "low on memory" });
    let commands = ends_of(evicted);
    assert!(
        matches!(&commands[..], [Command::Died(1, Death::NeverStarted(why)), Command::Died(2, _)]
            if why.contains("Evicted: low on memory")),
        "{commands:?}"
    );
    let code = ends_of(status("Running", &[("a", ended(7, "Error"))]));
    assert_eq!(code, [Command::Died(1, Death::Exited(7))]);
}

#[test]
fn a_hand_written_pod_is_ordered_to_its_end() {
    let mut pods = Pods::default();
    let mut see = |secs, states: &[(&str, Value)]| {
        let phase = match states.iter().all(|(_, s)| s.get("terminated").is_some()) {
            true => "Succeeded",
            false => "Running",
        };
        let pod = pod(json!({}), json!([]), status(phase, states));
        pods.see(pod, at(secs))
    };
    let first = see(0, &[("a", running()), ("b", running())]);
    assert_eq!(order(&first), Some("1"));
    assert!(first.told.iter().any(|t| t.what == What::TaskStarted));
    let second = see(5, &[("a", ended(0, "Completed")), ("b", running())]);
    assert_eq!(order(&second), Some("2"));
    let done = [("a", ended(0, "Completed")), ("b", ended(0, "Completed"))];
    let third = see(9, &done);
    assert_eq!(order(&third), Some("3"));
    let ended = third.told.last().map(Told::id);
    assert_eq!(ended.as_deref(), Some("u-task-finished"));
    let view = &pods.annotated()[0];
    assert!(view.outcome.is_some() && view.since == at(9));
    pods.gone("u", at(10));
    assert!(!pods.contains("u"));
}

#[test]
fn a_hand_written_pod_is_cancelled_by_its_annotation() {
    let mut pods = Pods::default();
    let both = [("a", running()), ("b", running())];
    pods.see(pod(json!({}), json!([]), status("Running", &both)), at(0));
    let asks = json!({ "baton.dev/cancel": "true", "baton.dev/order": "1" });
    let happened = pods.see(pod(asks, json!([]), status("Running", &both)), at(1));
    assert_eq!(order(&happened), Some("-1"));
}

#[test]
fn the_coordinators_pods_and_those_that_are_over_are_left_alone() {
    let both = [("a", running()), ("b", running())];
    let mut pods = Pods::default();
    let by = json!({ "baton.dev/ordered-by": "coordinator" });
    let happened = pods.see(pod(by, json!([]), status("Running", &both)), at(0));
    assert_eq!(happened, Happened::default());
    let over = [("a", ended(0, "Completed")), ("b", ended(0, "Completed"))];
    let mut pods = Pods::default();
    let third = json!({ "baton.dev/order": "3" });
    let happened = pods.see(pod(third, json!([]), status("Succeeded", &over)), at(0));
    assert_eq!(happened, Happened::default());
    assert_eq!(pods.annotated().len(), 0);
}

#[test]
fn a_bad_plan_gives_one_warning() {
    let mut pods = Pods::default();
    let bad = || {
        pod(
            json!({ "baton.dev/plan": "{" }),
            json!([]),
            status("Running", &[]),
        )
    };
    let first = pods.see(bad(), at(0));
    assert!(
        matches!(&first.told[..], [Told { what: What::Warning { message, .. }, .. }]
            if message.contains("the pod is not ordered")),
        "{first:?}"
    );
    assert_eq!(pods.see(bad(), at(1)), Happened::default());
}

#[test]
fn who_is_not_listed_is_gone() {
    let mut pods = Pods::default();
    pods.list();
    pods.see(pod(json!({}), volume(), status("Running", &[])), at(0));
    assert!(pods.list_is_complete(at(0)).is_empty());
    assert!(pods.contains("u"));
    pods.list();
    let gone = pods.list_is_complete(at(1));
    assert_eq!(gone.len(), 1);
    assert!(!pods.contains("u"));
}
