//! What is no Task: refused where the webhook is, told in a condition where it is not; and pods of which
//! the agent refuses the volume.

use std::time::Duration;

use baton_api::status::TaskPhase;
use baton_e2e::{Cluster, Kubectl};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(120);
const HOOK: &str = "validatingwebhookconfiguration/baton-coordinator";

const BAD: &str = r#"
apiVersion: baton.dev/v1alpha1
kind: Task
metadata: {name: bad}
spec:
  timeout: soon
  steps:
  - {name: one, image: busybox}
  - {name: one, image: busybox, command: [echo, "$(params.nope)"]}
"#;

/// What is wrong with [`BAD`], a line each.
const MISTAKES: [&str; 4] = [
    "spec.steps[0]: has neither command nor script",
    "spec.steps[1].command[1]: $(params.nope): there is no parameter \"nope\"",
    "spec.steps[1].name: \"one\" is the name of spec.steps[0] already",
    "spec.timeout: \"soon\" is not a duration",
];

#[test]
#[ignore = "needs a cluster"]
fn each_mistake_has_its_message_and_nothing_is_made() {
    let cluster = Cluster::shared();
    let ns = cluster.namespace("admission");
    let out = ns.try_apply(BAD);
    assert!(!out.ok, "{}", out.stdout);
    for mistake in MISTAKES {
        assert_eq!(
            out.stderr.matches(mistake).count(),
            1,
            "{mistake}: {}",
            out.stderr
        );
    }
    assert!(ns.get("task", "bad").is_none());

    // Native fields are checked as well, and so is a change.
    let good = "
apiVersion: baton.dev/v1alpha1
kind: Task
metadata: {name: good}
spec:
  steps:
  - {name: one, image: busybox, command: ['true'], resources: {limits: RESOURCES}}
";
    let out = ns.try_apply(&good.replace("RESOURCES", "7"));
    assert!(
        !out.ok && out.stderr.contains("spec.steps[0].resources"),
        "{}",
        out.stderr
    );
    ns.apply(&good.replace("RESOURCES", "{memory: 64Mi}"));
    let bad = r#"{"spec":{"timeout":"soon"}}"#;
    let out = ns.kubectl(&["patch", "task", "good", "--type=merge", "-p", bad]);
    assert!(
        !out.ok && out.stderr.contains(MISTAKES[3]),
        "{}",
        out.stderr
    );
    assert_eq!(ns.finished("good", SOON).phase, TaskPhase::Succeeded);
}

/// The webhook, taken away until the end of a test.
struct NoHook<'a> {
    kubectl: &'a Kubectl,
    was: String,
}

impl<'a> NoHook<'a> {
    fn new(kubectl: &'a Kubectl) -> Self {
        let was = kubectl
            .run(&["get", HOOK, "-o", "json"])
            .success("the webhook");
        let mut object: Value = serde_json::from_str(&was).expect("JSON");
        for field in [
            "resourceVersion",
            "uid",
            "creationTimestamp",
            "managedFields",
            "generation",
        ] {
            object["metadata"]
                .as_object_mut()
                .expect("an object")
                .remove(field);
        }
        kubectl.run(&["delete", HOOK]).success("delete the webhook");
        NoHook {
            kubectl,
            was: object.to_string(),
        }
    }
}

impl Drop for NoHook<'_> {
    fn drop(&mut self) {
        let out = self.kubectl.run_with(&["create", "-f", "-"], &self.was);
        if !out.ok && !std::thread::panicking() {
            panic!("the webhook is back: {}", out.stderr);
        }
    }
}

#[test]
#[ignore = "needs a cluster"]
fn without_the_webhook_a_condition_tells() {
    let cluster = Cluster::alone();
    let ns = cluster.namespace("no-webhook");
    let no_hook = NoHook::new(cluster.kubectl());
    // Until every API server has noticed, it is still asked.
    baton_e2e::until(Duration::from_secs(30), "it is not asked", || {
        ns.try_apply(BAD).ok.then_some(())
    });
    let status = ns.finished("bad", SOON);
    assert_eq!(
        (status.phase, status.reason.as_str()),
        (TaskPhase::Failed, "Invalid")
    );
    let valid = status
        .conditions
        .iter()
        .find(|c| c.kind == "Valid")
        .expect("there");
    assert_eq!(valid.status, "False");
    for mistake in MISTAKES {
        assert_eq!(
            valid.message.matches(mistake).count(),
            1,
            "{mistake}: {valid:?}"
        );
    }
    assert!(ns.list("pods", "").is_empty(), "nothing is half-made");
    drop(no_hook);
    // Once it is mended it runs.
    let out = ns.try_apply(
        "
apiVersion: baton.dev/v1alpha1
kind: Task
metadata: {name: bad}
spec:
  timeout: 1m
  steps: [{name: one, image: busybox, command: ['true']}]
",
    );
    out.success("mend");
    ns.wait("task", "bad", SOON, "it runs", |task| {
        task["status"]["phase"] == "Succeeded"
    });
}

#[test]
#[ignore = "needs a cluster"]
fn a_foreign_volume_is_refused_with_a_reason() {
    let cluster = Cluster::shared();
    let ns = cluster.namespace("foreign");
    let pod = |name: &str, csi: &str| {
        format!(
            "
---
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  containers: [{{name: one, image: busybox, command: ['true'], volumeMounts: [{{name: baton, mountPath: /baton}}]}}]
  volumes: [{{name: baton, csi: {{driver: csi.baton.dev, {csi}}}}}]
"
        )
    };
    let plan = r#"{"version":1,"steps":[{"name":"one"}],"graceMs":1000}"#;
    let cases = [
        (
            "no-plan",
            "volumeAttributes: {}".to_owned(),
            "the volume attribute \\\"plan\\\" is missing",
        ),
        (
            "garbage",
            "volumeAttributes: {plan: '{\"version\":1,'}".to_owned(),
            "cannot be used",
        ),
        (
            "identity",
            format!("volumeAttributes: {{plan: '{plan}', pod: other}}"),
            "is not known; a baton volume takes",
        ),
        (
            "claims",
            format!("volumeAttributes: {{plan: '{plan}', csi.storage.k8s.io/pod.uid: other}}"),
            "",
        ),
        (
            "read-only",
            format!("readOnly: true, volumeAttributes: {{plan: '{plan}'}}"),
            "csi.readOnly has to be false",
        ),
    ];
    let all: String = cases.iter().map(|(name, csi, _)| pod(name, csi)).collect();
    ns.apply(&all);
    for (name, _, reason) in cases {
        if reason.is_empty() {
            // What the kubelet says of the pod wins over what the pod says of itself.
            ns.wait("pod", name, SOON, "it runs", |pod| {
                pod["status"]["phase"] == "Succeeded"
            });
            continue;
        }
        let reason = reason.replace("\\\"", "\"");
        baton_e2e::until(SOON, &format!("{name}: {reason}"), || {
            let text = ns.kubectl(&["describe", "pod", name]).success("describe");
            text.replace("\\\"", "\"").contains(&reason).then_some(())
        });
    }
}
