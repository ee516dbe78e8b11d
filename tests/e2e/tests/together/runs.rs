//! A Task's runs: a changed spec, a re-run, retries of the whole, and the time after the end.

use std::time::Duration;

use baton_api::status::{TaskPhase, TaskStatus};
use baton_e2e::{Cluster, Namespace};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(120);

/// Waits for the end of a run, and for the Task to be told of it.
fn finished(ns: &Namespace, task: &str, run: u32) -> TaskStatus {
    ns.wait("task", task, SOON, &format!("run {run} is over"), |task| {
        let status = &task["status"];
        let over = ["Succeeded", "Failed", "Cancelled", "TimedOut"];
        status["run"] == run && over.iter().any(|phase| status["phase"] == *phase)
    });
    ns.status(task)
}

fn running(ns: &Namespace, task: &str, run: u32) {
    ns.wait("task", task, SOON, &format!("run {run} runs"), |task| {
        let status = &task["status"];
        status["run"] == run && status["steps"][0]["state"] == "Running"
    });
}

/// The names of a Task's pods.
fn pods(ns: &Namespace, task: &str) -> Vec<String> {
    let pods = ns.list("pods", &format!("baton.dev/task={task}"));
    let name = |pod: &Value| pod["metadata"]["name"].as_str().map(str::to_owned);
    pods.iter().filter_map(name).collect()
}

#[test]
#[ignore = "needs a cluster"]
fn a_changed_spec_and_a_rerun_begin_runs() {
    let cluster = Cluster::shared();
    let ns = cluster.namespace("runs");
    let task = |seconds: &str, text: &str| {
        format!(
            r#"
apiVersion: baton.dev/v1alpha1
kind: Task
metadata: {{name: changing}}
spec:
  gracePeriod: 1s
  steps:
  - {{name: one, image: busybox, command: [sh, -c, 'echo {text}; exec sleep {seconds}']}}
"#
        )
    };
    ns.apply(&task("600", "first"));
    running(&ns, "changing", 1);
    // A label changes nothing that runs.
    ns.kubectl(&["label", "task", "changing", "a=b"])
        .success("label");
    ns.apply(&task("0", "second"));
    let status = finished(&ns, "changing", 2);
    assert_eq!(status.phase, TaskPhase::Succeeded, "{status:?}");
    assert_eq!(status.observed_generation, Some(2));
    assert_eq!(status.runs.len(), 1);
    assert_eq!(
        (status.runs[0].run, status.runs[0].pod.as_str()),
        (1, "changing-1")
    );
    assert_eq!(ns.log("changing-2", "one"), "second\n");
    assert_eq!(
        pods(&ns, "changing"),
        ["changing-2"],
        "the old pod was stopped first"
    );

    ns.kubectl(&["annotate", "task", "changing", "baton.dev/rerun=again"])
        .success("annotate");
    let status = finished(&ns, "changing", 3);
    assert_eq!(status.phase, TaskPhase::Succeeded, "{status:?}");
    let runs: Vec<_> = status.runs.iter().map(|r| (r.run, r.phase)).collect();
    assert_eq!(runs[0], (2, TaskPhase::Succeeded));
    assert_eq!(runs.len(), 2);
    assert_eq!(ns.log("changing-3", "one"), "second\n");
}

#[test]
#[ignore = "needs a cluster"]
fn whole_tasks_are_retried_and_go_when_their_time_is_over() {
    let cluster = Cluster::shared();
    let ns = cluster.namespace("retries");
    let mut yaml = String::from(
        r#"
apiVersion: baton.dev/v1alpha1
kind: Task
metadata: {name: fails}
spec:
  taskRetries: {failure: 1}
  steps:
  - {name: one, image: busybox, command: [sh, -c, exit 7]}
---
apiVersion: baton.dev/v1alpha1
kind: Task
metadata: {name: goes}
spec:
  ttlSecondsAfterFinished: 2
  steps:
  - {name: one, image: busybox, command: ["true"]}
"#,
    );
    for (name, retries) in [("deleted", 1), ("evicted", 1), ("not-retried", 0)] {
        yaml.push_str(&format!(
            r#"
---
apiVersion: baton.dev/v1alpha1
kind: Task
metadata: {{name: {name}}}
spec:
  gracePeriod: 1s
  taskRetries: {{infrastructure: {retries}}}
  steps:
  - {{name: one, image: busybox, command: [sleep, "600"]}}
  - {{name: two, image: busybox, command: ["true"]}}
"#
        ));
    }
    ns.apply(&yaml);
    for task in ["deleted", "evicted", "not-retried"] {
        running(&ns, task, 1);
    }
    for task in ["deleted", "not-retried"] {
        let pod = format!("{task}-1");
        ns.kubectl(&["delete", "pod", &pod, "--wait=false"])
            .success("delete");
    }
    let evict = format!(
        r#"{{"apiVersion":"policy/{}","kind":"Eviction","metadata":{{"name":"evicted-1","namespace":"{}"}}}}"#,
        if cluster.at_least(22) {
            "v1"
        } else {
            "v1beta1"
        },
        ns.name(),
    );
    let path = format!("/api/v1/namespaces/{}/pods/evicted-1/eviction", ns.name());
    cluster
        .kubectl()
        .run_with(&["create", "--raw", &path, "-f", "-"], &evict)
        .success("evict");

    let status = ns.finished("not-retried", SOON);
    assert_eq!(
        (status.phase, status.reason.as_str()),
        (TaskPhase::Failed, "PodDeleted")
    );
    for task in ["deleted", "evicted"] {
        running(&ns, task, 2);
        let status = ns.status(task);
        assert_eq!(
            (status.infrastructure_retries, status.failure_retries),
            (1, 0)
        );
        assert_eq!(status.runs[0].phase, TaskPhase::Failed);
        assert_eq!(status.runs[0].reason, "PodDeleted");
        assert_eq!(pods(&ns, task), [format!("{task}-2")]);
    }
    let status = finished(&ns, "fails", 2);
    assert_eq!(
        (status.phase, status.exit_code),
        (TaskPhase::Failed, Some(7))
    );
    assert_eq!(
        (status.infrastructure_retries, status.failure_retries),
        (0, 1)
    );
    ns.kubectl(&["wait", "--for=delete", "task/goes", "--timeout=60s"])
        .success("it goes");
    let gone = ns.kubectl(&["wait", "--for=delete", "pod/goes-1", "--timeout=60s"]);
    assert!(
        gone.ok || gone.stderr.contains("NotFound"),
        "{}",
        gone.stderr
    );
    // The second time it is over.
    ns.kubectl(&["delete", "pod", "deleted-2", "--wait=false"])
        .success("delete");
    let status = finished(&ns, "deleted", 2);
    assert_eq!(
        (status.phase, status.reason.as_str()),
        (TaskPhase::Failed, "PodDeleted")
    );
}
