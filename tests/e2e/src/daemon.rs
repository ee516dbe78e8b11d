//! What the tests of DaemonJobs share.

use std::time::Duration;

use crate::Namespace;
use baton_api::daemon_status::DaemonJobStatus;
use baton_flow::daemon::DaemonPhase;
use serde_json::Value;

/// Long enough for a few pods, on a machine that does much else.
pub const SOON: Duration = Duration::from_secs(120);

/// A DaemonJob of one container that runs `script`, with more fields of its spec (two spaces before each
/// line), and of its pod template (six).
pub fn yaml(name: &str, script: &str, spec: &str, pod: &str) -> String {
    format!(
        "apiVersion: baton.dev/v1alpha1
kind: DaemonJob
metadata: {{name: {name}}}
spec:
{spec}
  template:
    spec:
      terminationGracePeriodSeconds: 1
{pod}
      containers:
        - name: main
          image: busybox:1.28
          command: [sh, -c, {script:?}]
          env:
            - name: NODE
              valueFrom: {{fieldRef: {{fieldPath: spec.nodeName}}}}
"
    )
}

/// The status in a DaemonJob's object.
pub fn status(object: &Value) -> DaemonJobStatus {
    match object.get("status") {
        Some(status) => serde_json::from_value(status.clone())
            .unwrap_or_else(|e| panic!("a status that cannot be read: {e}: {status}")),
        None => DaemonJobStatus::default(),
    }
}

/// Waits until its status is as `condition` says.
pub fn until(
    ns: &Namespace,
    name: &str,
    what: &str,
    condition: impl Fn(&DaemonJobStatus) -> bool,
) -> DaemonJobStatus {
    let object = ns.wait("daemonjob", name, SOON, what, |object| {
        condition(&status(object))
    });
    status(&object)
}

/// Waits until it is over.
pub fn finished(ns: &Namespace, name: &str) -> DaemonJobStatus {
    until(ns, name, "its end", |status| status.phase.is_over())
}

/// How each node stands, and why.
pub fn nodes(status: &DaemonJobStatus) -> Vec<(&str, DaemonPhase, &str)> {
    let nodes = status.nodes.iter().map(|n| &n.node);
    nodes
        .map(|n| (n.name.as_str(), n.state, n.reason.as_str()))
        .collect()
}

/// Waits until this node's Job runs a pod.
pub fn runs(ns: &Namespace, job: &str) {
    ns.wait("job", job, SOON, "its pod runs", |job| {
        job["status"]["active"].as_u64() == Some(1)
    });
    let selector = format!("--selector=job-name={job}");
    ns.kubectl(&[
        "wait",
        "pod",
        &selector,
        "--for=condition=Ready",
        "--timeout=120s",
    ])
    .success("its pod is ready");
}

/// The reasons of the Kubernetes Events of a DaemonJob, each once, as soon as `wanted` is among them.
pub fn events(ns: &Namespace, name: &str, wanted: &str) -> Vec<String> {
    crate::until(SOON, &format!("an event {wanted}"), || {
        let all = ns.list("events", "");
        let of = |event: &&Value| {
            event["involvedObject"]["kind"] == "DaemonJob"
                && event["involvedObject"]["name"] == name
        };
        let reasons = all.iter().filter(of).filter_map(|e| e["reason"].as_str());
        let reasons: Vec<_> = reasons.map(str::to_owned).collect();
        reasons.iter().any(|r| r == wanted).then_some(reasons)
    })
}
