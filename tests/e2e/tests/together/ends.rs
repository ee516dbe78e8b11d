//! Ends that are not the steps' own: cancelling, deaths that no entrypoint can report, images that are
//! not there.

use std::time::{Duration, Instant};

use baton_api::status::{StepPhase, TaskPhase, TaskStatus};
use baton_e2e::{Cluster, Namespace, until};
use nix::sys::signal::Signal;

const SOON: Duration = Duration::from_secs(120);

fn reasons(status: &TaskStatus) -> Vec<(&str, &str)> {
    let steps = status.steps.iter();
    steps
        .map(|s| (s.name.as_str(), s.reason.as_str()))
        .collect()
}

/// Waits until a step runs: its number, from 1.
fn runs(ns: &Namespace, task: &str, number: usize) -> TaskStatus {
    ns.wait("task", task, SOON, "its step runs", |task| {
        task["status"]["steps"][number - 1]["state"] == "Running"
    });
    ns.status(task)
}

fn cancel(ns: &Namespace, task: &str) {
    ns.kubectl(&[
        "patch",
        "task",
        task,
        "--type=merge",
        "-p",
        r#"{"spec":{"cancel":true}}"#,
    ])
    .success("cancel");
}

#[test]
#[ignore = "needs a cluster"]
fn cancelling_keeps_the_pod_and_its_logs() {
    let cluster = Cluster::shared();
    let ns = cluster.namespace("cancel");
    ns.apply(
        r#"
apiVersion: baton.dev/v1alpha1
kind: Task
metadata: {name: runs}
spec:
  steps:
  - name: work
    image: busybox
    script: |
      trap 'echo stopping; exit 0' TERM
      echo working
      while :; do sleep 0.1; done
  - {name: after, image: busybox, command: ["true"]}
  finally:
  - {name: tidy, image: busybox, command: [echo, tidied]}
---
apiVersion: baton.dev/v1alpha1
kind: Task
metadata: {name: waits}
spec:
  sidecars:
  - {name: never, image: busybox, command: [sleep, "600"], readiness: {command: ["false"]}}
  steps:
  - {name: work, image: busybox, command: ["true"]}
---
apiVersion: baton.dev/v1alpha1
kind: Task
metadata: {name: no-node}
spec:
  podTemplate: {spec: {nodeSelector: {baton-e2e: nowhere}}}
  steps:
  - {name: work, image: busybox, command: ["true"]}
"#,
    );
    runs(&ns, "runs", 1);
    ns.says("runs-1", "work", "working");
    cancel(&ns, "runs");
    let status = ns.finished("runs", SOON);
    assert_eq!(
        (status.phase, status.reason.as_str()),
        (TaskPhase::Cancelled, "Cancelled")
    );
    assert_eq!(
        reasons(&status),
        [
            ("work", "Cancelled"),
            ("after", "NotRun"),
            ("tidy", "Completed")
        ]
    );
    let pod = status.pod.expect("it had a pod").name;
    let log = ns.log(&pod, "work");
    // Before or behind it the shell may say that its `sleep` was terminated, too.
    assert!(
        log.starts_with("working\n") && log.contains("stopping\n"),
        "{log}"
    );
    assert_eq!(ns.log(&pod, "tidy"), "tidied\n");
    // To -1, and on to the `finally` step and the end.
    ns.wait("pod", &pod, SOON, "its order follows", |pod| {
        pod["metadata"]["annotations"]["baton.dev/order"] == "4"
    });
    ns.kubectl(&[
        "wait",
        "--for=condition=Succeeded=false",
        "task/runs",
        "--timeout=60s",
    ])
    .success("wait");

    runs(&ns, "waits", 2);
    let before = Instant::now();
    cancel(&ns, "waits");
    let status = ns.finished("waits", SOON);
    assert!(
        before.elapsed() < Duration::from_secs(60),
        "{:?}",
        before.elapsed()
    );
    assert_eq!(status.phase, TaskPhase::Cancelled);
    assert_eq!(status.steps[0].attempts, 0, "it never ran");
    ns.wait("pod", "waits-1", SOON, "its order follows", |pod| {
        pod["metadata"]["annotations"]["baton.dev/order"] == "-1"
    });

    ns.wait("task", "no-node", SOON, "it has a pod", |task| {
        task["status"]["pod"]["uid"].is_string()
    });
    cancel(&ns, "no-node");
    let status = ns.finished("no-node", SOON);
    assert_eq!(
        (status.phase, status.reason.as_str()),
        (TaskPhase::Cancelled, "Cancelled")
    );
    assert_eq!(status.steps[0].state, StepPhase::NotRun);
}

#[test]
#[ignore = "needs a cluster"]
fn deaths_that_no_entrypoint_can_report() {
    let cluster = Cluster::shared();
    let ns = cluster.namespace("deaths");
    ns.apply(
        r#"
apiVersion: baton.dev/v1alpha1
kind: Task
metadata: {name: oom-of-pid-1}
spec:
  steps:
  - name: greedy
    image: busybox
    resources: {limits: {memory: 24Mi, cpu: 100m}}
    script: |
      # PID 1 is to be the kernel's choice: no other has much of the memory.
      echo 1000 > /proc/1/oom_score_adj
      for i in 1 2 3 4; do head -c 100000000 /dev/zero | tail -c 100000000 > /dev/null & done
      wait
  - name: after
    image: busybox
    # With it the pod is of the class whose processes begin with a low score.
    resources: {limits: {memory: 24Mi, cpu: 100m}}
    command: ["true"]
---
apiVersion: baton.dev/v1alpha1
kind: Task
metadata: {name: killed}
spec:
  steps:
  - {name: victim, image: busybox, command: [sleep, "600"]}
  - {name: after, image: busybox, command: ["true"]}
  finally:
  - {name: tidy, image: busybox, command: [echo, tidied]}
"#,
    );
    let status = ns.finished("oom-of-pid-1", SOON);
    assert_eq!(status.phase, TaskPhase::Failed, "{status:?}");
    // Not every container runtime tells that it was for want of memory.
    let reason = status.reason.as_str();
    assert!(["OOMKilled", "Error"].contains(&reason), "{status:?}");
    let greedy = &status.steps[0];
    assert!(greedy.record.is_none(), "no entrypoint could report it");
    assert_eq!((greedy.exit_code, status.exit_code), (Some(137), Some(137)));
    assert_eq!(reasons(&status), [("greedy", reason), ("after", "NotRun")]);
    if let Some(parts) = cluster.parts() {
        let status = runs(&ns, "killed", 1);
        let pod = status.pod.expect("it has a pod");
        let pod = ns.wait("pod", &pod.name, SOON, "its container runs", |pod| {
            let all = pod["status"]["containerStatuses"].as_array();
            all.is_some_and(|all| {
                all.iter()
                    .any(|c| c["name"] == "victim" && c["containerID"].is_string())
            })
        });
        let all = pod["status"]["containerStatuses"]
            .as_array()
            .expect("a list");
        let victim = all.iter().find(|c| c["name"] == "victim").expect("there");
        let node = pod["spec"]["nodeName"].as_str().expect("a node");
        let node = node.trim_start_matches("node").parse().expect("a number");
        let before = Instant::now();
        parts.signal(
            node,
            victim["containerID"].as_str().expect("an ID"),
            Signal::SIGKILL,
        );
        let status = ns.finished("killed", SOON);
        assert!(
            before.elapsed() < Duration::from_secs(60),
            "{:?}",
            before.elapsed()
        );
        assert_eq!(status.phase, TaskPhase::Failed, "{status:?}");
        assert_eq!(status.exit_code, Some(137), "{status:?}");
        assert_eq!(
            reasons(&status),
            [
                ("victim", "Error"),
                ("after", "NotRun"),
                ("tidy", "Completed")
            ]
        );
    }
}

#[test]
#[ignore = "needs a cluster"]
fn containers_that_cannot_start_end_the_task_at_once() {
    let cluster = Cluster::shared();
    let ns = cluster.namespace("images");
    ns.apply(
        r#"
apiVersion: baton.dev/v1alpha1
kind: Task
metadata: {name: never-pulled}
spec:
  gracePeriod: 1s
  steps:
  - {name: first, image: busybox, command: [sleep, "600"]}
  - {name: missing, image: "baton.test/not-there:1", imagePullPolicy: Never, command: ["true"]}
---
apiVersion: baton.dev/v1alpha1
kind: Task
metadata: {name: bad-name}
spec:
  steps:
  - {name: bad, image: "baton.test/NOT AN IMAGE", command: ["true"]}
---
apiVersion: baton.dev/v1alpha1
kind: Task
metadata: {name: no-registry}
spec:
  steps:
  - {name: missing, image: "127.0.0.1:1/not-there:1", command: ["true"]}
---
apiVersion: baton.dev/v1alpha1
kind: Task
metadata: {name: no-program}
spec:
  steps:
  - {name: missing, image: busybox, command: [not-a-program]}
"#,
    );
    for (task, reason) in [
        ("never-pulled", "ErrImageNeverPull"),
        ("bad-name", "InvalidImageName"),
        ("no-registry", "ErrImagePull"),
        ("no-program", "StartError"),
    ] {
        let status = ns.finished(task, SOON);
        assert_eq!(
            (status.phase, status.reason.as_str()),
            (TaskPhase::Failed, reason),
            "{status:?}"
        );
        let failed = status.steps.iter().filter(|s| s.reason == reason).count();
        assert_eq!(failed, 1, "{:?}", reasons(&status));
    }
    // What ran was stopped, and nothing is left that holds its place on the node.
    for task in ["never-pulled", "bad-name", "no-registry"] {
        until(SOON, "nothing of it runs", || {
            // Half a minute later the pod itself goes.
            let rests = ns.get("pod", &format!("{task}-1")).is_none_or(|pod| {
                let all = pod["status"]["containerStatuses"].as_array();
                all.is_some_and(|all| all.iter().all(|c| !c["state"]["running"].is_object()))
            });
            rests.then_some(())
        });
    }
}
