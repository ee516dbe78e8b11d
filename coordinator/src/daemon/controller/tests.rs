//! What the loop does with answers; no API server answers here.

use baton_api::daemon_status::NodeStatus;
use baton_flow::daemon::{DaemonNode, DaemonPhase};
use serde_json::{Value, json};

use super::*;
use crate::control::Known;
use crate::daemon::jobs::JobView;
use crate::daemon::watches::Thing;

fn controller() -> Controller {
    let config = kube::Config::new("http://127.0.0.1:9".parse().unwrap());
    let client = Client::try_from(config).unwrap();
    let settings = Settings {
        namespaces: Vec::new(),
        replica: "r".into(),
    };
    Controller::new(client, &settings, Metrics::new(), Lists::new(Vec::new()))
}

/// A DaemonJob that is over: its only node failed.
fn daemon(spec: Value) -> Thing {
    let mut all = json!({"template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}});
    for (key, value) in spec.as_object().unwrap() {
        all[key] = value.clone();
    }
    let at = Some(Timestamp(std::time::UNIX_EPOCH));
    let node = DaemonNode {
        name: "n".into(),
        state: DaemonPhase::Failed,
        attempts: 1,
        ..DaemonNode::default()
    };
    let status = DaemonJobStatus {
        run: 1,
        started_at: at,
        finished_at: at,
        nodes: vec![NodeStatus {
            node,
            ..NodeStatus::default()
        }],
        ..DaemonJobStatus::default()
    };
    let object = json!({
        "metadata": {"name": "d", "namespace": "ci", "uid": "u", "generation": 1,
                     "resourceVersion": "7"},
        "spec": all,
        "status": status,
    });
    Thing::Daemon(serde_json::from_value(object).unwrap())
}

/// The node's Job, which runs all the same.
fn job(uid: &str, version: &str) -> Thing {
    let job = json!({
        "metadata": {"name": "d-n", "namespace": "ci", "uid": uid, "resourceVersion": version,
            "annotations": {"baton.dev/node": "n", "baton.dev/attempt": "1"},
            "ownerReferences": [{"apiVersion": "baton.dev/v1alpha1", "kind": "DaemonJob", "name": "d",
                                 "uid": "u", "controller": true}]},
        "spec": {"template": {"spec": {"containers": []}}},
    });
    let view = JobView::read(&serde_json::from_value(job).unwrap()).unwrap();
    Thing::Job(Some(Box::new(view)))
}

#[tokio::test]
async fn one_that_is_gone_is_not_deleted_again_at_once() {
    let mut controller = controller();
    controller.put(daemon(json!({"ttlSecondsAfterFinished": 0})));
    controller.reconcile("u");
    assert!(controller.daemons["u"].writing);
    controller.done(("u".into(), None), Done::Gone);
    controller.reconcile("u");
    assert!(!controller.daemons["u"].writing);
    assert!(controller.shell.queue.due().is_some(), "later it is");
}

#[tokio::test]
async fn a_job_that_goes_is_not_deleted_again_until_it_is_seen() {
    let mut controller = controller();
    controller.put(daemon(json!({})));
    let key = ("n".to_owned(), 1);
    let deletes = |controller: &mut Controller| {
        controller.reconcile("u");
        controller.daemons["u"].calls.contains_key(&key)
    };
    controller.put(job("j", "8"));
    assert!(deletes(&mut controller));
    let goes = || {
        (
            ("u".to_owned(), Some(key.clone())),
            Done::JobGoes("j".into()),
        )
    };
    controller.called(goes());
    assert!(!deletes(&mut controller), "the watch is late");
    for next in [job("j", "9"), job("k", "10")] {
        controller.put(next);
        assert!(
            deletes(&mut controller),
            "it is there, whatever was answered"
        );
        controller.called(goes());
    }
    assert!(deletes(&mut controller), "the answer was about another one");
}
