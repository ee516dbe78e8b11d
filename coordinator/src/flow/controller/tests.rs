//! What the loop does with answers; no API server answers here.

use serde_json::{Value, json};

use super::*;
use crate::control::Known;
use crate::flow::children::{Child, ChildKind};
use crate::flow::watches::Thing;

fn controller() -> Controller {
    controller_and_stories().0
}

fn controller_and_stories() -> (Controller, mpsc::Receiver<Story>) {
    let config = kube::Config::new("http://127.0.0.1:9".parse().unwrap());
    let client = Client::try_from(config).unwrap();
    let settings = Settings {
        namespaces: Vec::new(),
        replica: "r".into(),
    };
    let (stories, told) = mpsc::channel(1);
    let lists = Lists::new(Vec::new());
    let metrics = Metrics::new();
    let controller = Controller::new(client, &settings, metrics, lists, stories);
    (controller, told)
}

/// A flow whose only node succeeded.
fn flow(spec: Value, version: &str) -> Thing {
    told_flow(spec, version, json!([]))
}

fn told_flow(spec: Value, version: &str, callbacks: Value) -> Thing {
    let mut all = json!({"flows": [{"name": "a", "jobTemplate":
        {"template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}}}]});
    for (key, value) in spec.as_object().unwrap() {
        all[key] = value.clone();
    }
    let at = "2026-01-02T03:04:05Z";
    let object = json!({
        "metadata": {"name": "f", "namespace": "ci", "uid": "u", "generation": 1,
                     "resourceVersion": version},
        "spec": all,
        "status": {"phase": "Succeeded", "run": 1, "startedAt": at, "finishedAt": at,
                   "callbacks": callbacks, "nodes": [
            {"name": "a", "state": "Succeeded", "finishedAt": at,
             "jobs": [{"name": "f-a", "state": "Succeeded", "attempts": 1, "startedAt": at}]}]},
    });
    Thing::Flow(serde_json::from_value(object).unwrap())
}

/// Its Job, which runs all the same.
fn job(uid: &str, version: &str) -> Thing {
    let job = json!({
        "metadata": {"name": "f-a", "namespace": "ci", "uid": uid, "resourceVersion": version,
            "labels": {"baton.dev/flow": "a"}, "annotations": {"baton.dev/attempt": "1"},
            "ownerReferences": [{"apiVersion": "baton.dev/v1alpha1", "kind": "JobFlow", "name": "f",
                                 "uid": "u", "controller": true}]},
        "spec": {"template": {"spec": {"containers": []}}},
    });
    let child = Child::of_job(&serde_json::from_value(job).unwrap()).unwrap();
    Thing::Child(Box::new(child))
}

#[tokio::test]
async fn a_flow_that_is_gone_is_not_deleted_again_at_once() {
    let mut controller = controller();
    controller.put(flow(json!({"ttlSecondsAfterFinished": 0}), "7"));
    controller.reconcile("u");
    let is_called = |controller: &Controller| controller.flows["u"].busy.flow;
    assert!(is_called(&controller));
    controller.done("u", &What::Flow, Done::Gone);
    controller.reconcile("u");
    assert!(!is_called(&controller));
    assert!(controller.shell.queue.due().is_some(), "later it is");
}

#[tokio::test]
async fn a_job_that_is_gone_is_not_stopped_again_until_it_is_seen() {
    let mut controller = controller();
    controller.put(flow(json!({}), "7"));
    let key = (ChildKind::Job, "f-a".to_owned());
    let stops = |controller: &mut Controller| {
        controller.reconcile("u");
        controller.flows["u"].busy.children.contains(&key)
    };
    controller.put(job("j", "8"));
    assert!(stops(&mut controller));
    let missing = || Done::Missing(key.clone(), "j".to_owned());
    let what = What::Ending(key.clone());
    controller.done("u", &what, missing());
    assert!(!stops(&mut controller), "the watch is late");
    for next in [job("j", "9"), job("k", "10")] {
        controller.put(next);
        assert!(stops(&mut controller), "it is there, whatever was answered");
        controller.done("u", &what, missing());
    }
    assert!(stops(&mut controller), "the answer was about another one");
}

#[tokio::test]
async fn an_end_that_is_known_to_be_untold_is_told_after_a_restart() {
    // Its node starts, ends, and then the flow does: four events with its own start.
    for (settled, is_told) in [(3, true), (4, false)] {
        let (mut controller, mut told) = controller_and_stories();
        let callbacks = json!([{"sink": "https://ci.example.com/", "settled": settled}]);
        controller.put(told_flow(json!({}), "7", callbacks));
        assert_eq!(told.try_recv().is_ok(), is_told, "{settled}");
    }
}

#[tokio::test]
async fn what_somebody_else_wrote_counts_but_for_what_was_told() {
    let mut controller = controller();
    controller.put(flow(json!({}), "7"));
    let told = |settled| baton_api::status::CallbackStatus {
        sink: "https://ci.example.com/".into(),
        settled,
        ..Default::default()
    };
    let progress = crate::callbacks::Progress {
        task: "u".into(),
        run: 1,
        callbacks: vec![told(4)],
    };
    controller.progress(progress);
    let theirs = json!([{"sink": "https://ci.example.com/", "settled": 3}]);
    let Thing::Flow(theirs) = told_flow(json!({}), "8", theirs) else {
        panic!("it is a flow");
    };
    controller.done("u", &What::Flow, Done::Conflict(theirs));
    let memory = &controller.flows["u"].memory;
    assert_eq!(memory.durable.callbacks, [told(3)]);
    assert_eq!(memory.status.callbacks, [told(4)]);
}
