//! What is no Task, JobFlow, JobTemplate or DaemonJob: refused where the webhook is, told in a condition where it is not; and pods of which
//! the agent refuses the volume.

use std::time::Duration;

use baton_api::status::TaskPhase;
use baton_e2e::{Cluster, Kubectl, UNTIL_TOLD};
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

const BAD_GRAPHS: &str = r#"
apiVersion: baton.dev/v1alpha1
kind: JobFlow
metadata: {name: bad}
spec:
  globalParams: {labels: {baton.dev/mine: "1"}}
  flows:
  - {name: a, dependencies: [c], jobTemplateRef: t}
  - {name: b, dependencies: [a], jobTemplateRef: t}
  - {name: c, dependencies: [b, nope], jobTemplateRef: t}
  - {name: c, jobTemplateRef: t}
  - {name: d, dependencies: [{name: a, condition: Done}], jobTemplateRef: t}
  - {name: e, dependencies: [e], jobTemplateRef: t}
  - name: f
    jobTemplate: {template: {spec: {containers: [{name: x, image: i, comand: [a]}]}}}
---
apiVersion: baton.dev/v1alpha1
kind: JobFlow
metadata: {name: bad-fields}
spec:
  globalParams: {labels: {baton.dev/mine: "1"}}
  flows:
  - name: a
    jobTemplate: {template: {spec: {containers: [{name: x, image: i, resources: {limits: 7}}]}}}
---
apiVersion: baton.dev/v1alpha1
kind: JobTemplate
metadata: {name: bad}
spec:
  jobTemplate: {template: {spec: {containers: [{name: x, image: i, resources: {limits: {memory: 4q}}}]}}}
---
apiVersion: baton.dev/v1alpha1
kind: DaemonJob
metadata: {name: bad}
spec:
  parallelism: 200%
  excludeNodeList: "node1, no de"
  template: {spec: {containers: [{name: x, image: i}]}}
"#;

/// What is wrong with [`BAD_GRAPHS`].
const GRAPHS_MISTAKES: [&str; 11] = [
    "spec.flows[0].dependencies: flows depend on one another in a circle: a -> c -> b -> a",
    "spec.flows[2].dependencies[1]: \"c\" depends on \"nope\", and there is no flow of this name",
    "spec.flows[3].name: two flows are called \"c\"",
    "spec.flows[4].dependencies[0]: its condition has to be Complete, Failed or Finished",
    "spec.flows[5].dependencies[0]: \"e\" depends on itself",
    "spec.flows[6].jobTemplate.template.spec.containers[0].comand: unknown field; did you mean command?",
    "spec.globalParams.labels[\"baton.dev/mine\"]: names that begin with baton.dev/ are Baton's own",
    "spec.flows[0].jobTemplate.template.spec.containers[0].resources",
    "spec.jobTemplate.template.spec.containers[0].resources.limits.memory: \"4q\" is not a quantity",
    "spec.parallelism: expected a number from 1 or a share such as 25%, found \"200%\"",
    "spec.excludeNodeList: \"no de\" is no node's name",
];

#[test]
#[ignore = "needs a cluster"]
fn mistakes_of_every_kind_are_refused() {
    let cluster = Cluster::shared();
    let ns = cluster.namespace("admission-graphs");
    let out = ns.try_apply(BAD_GRAPHS);
    assert!(!out.ok, "{}", out.stdout);
    for mistake in GRAPHS_MISTAKES {
        assert!(out.stderr.contains(mistake), "{mistake}: {}", out.stderr);
    }
    for (kind, name) in [
        ("jobflow", "bad"),
        ("jobflow", "bad-fields"),
        ("jobtemplate", "bad"),
        ("daemonjob", "bad"),
    ] {
        assert!(ns.get(kind, name).is_none(), "{kind} {name}");
    }

    // As many flows as there can be are taken, and one more is not.
    let flow = |name: &str, count: usize| {
        let flows = (0..count).map(|i| {
            let dependencies = match i {
                0 => Vec::new(),
                i => vec![format!("n{}", i / 2)],
            };
            let containers =
                serde_json::json!([{"name": "c", "image": "busybox", "command": ["true"]}]);
            serde_json::json!({
                "name": format!("n{i}"), "dependencies": dependencies,
                "jobTemplate": {"template": {"spec": {"containers": containers}}},
            })
        });
        let flows: Vec<Value> = flows.collect();
        let object = serde_json::json!({
            "apiVersion": "baton.dev/v1alpha1", "kind": "JobFlow", "metadata": {"name": name},
            "spec": {"suspend": true, "flows": flows},
        });
        // Not by `apply`, which would note the whole in an annotation.
        let create = ["-n", ns.name(), "create", "-f", "-"];
        cluster.kubectl().run_with(&create, &object.to_string())
    };
    // `n0` depends on nothing, `n1` on `n0`: `1 / 2`.
    flow("most", 1000).success("a thousand flows");
    let out = flow("too-many", 1001);
    assert!(!out.ok && out.stderr.contains("1000"), "{}", out.stderr);
    ns.wait("jobflow", "most", SOON, "it is taken up", |flow| {
        flow["status"]["phase"] == "Suspended" && flow["status"]["progress"] == "0/1000"
    });
    assert!(ns.list("jobs", "").is_empty(), "it is suspended");
}

#[test]
#[ignore = "needs a cluster"]
fn a_change_that_rewrites_history_is_refused() {
    let cluster = Cluster::shared();
    let ns = cluster.namespace("admission-history");
    let flow = |command: &str, more: &str| {
        format!(
            "
apiVersion: baton.dev/v1alpha1
kind: JobFlow
metadata: {{name: f}}
spec:
  flows:
  - name: a
    jobTemplate:
      template: {{spec: {{containers: [{{name: c, image: busybox, command: [sh, -c, '{command}']}}]}}}}
{more}"
        )
    };
    let more = "
  - name: b
    dependencies: [a]
    jobTemplate: {template: {spec: {containers: [{name: c, image: busybox, command: ['true']}]}}}
";
    ns.apply(&flow(UNTIL_TOLD, ""));
    ns.wait("jobflow", "f", SOON, "a runs", |flow| {
        flow["status"]["nodes"][0]["state"] == "Running"
    });
    let out = ns.try_apply(&flow("sleep 6", ""));
    assert!(
        !out.ok && out.stderr.contains("flow \"a\" runs and cannot change"),
        "{}",
        out.stderr
    );
    ns.apply(&flow(UNTIL_TOLD, more));
    ns.wait("jobflow", "f", SOON, "b is known", |flow| {
        flow["status"]["progress"] == "0/2"
    });
    ns.tell("f-a");
    let flow = ns.wait("jobflow", "f", SOON, "its end", |flow| {
        flow["status"]["phase"] == "Succeeded"
    });
    assert_eq!(flow["status"]["progress"], "2/2", "{flow}");
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
    baton_e2e::until(SOON, "it is not asked", || {
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
    let out = ns.try_apply(BAD_GRAPHS);
    assert!(out.ok, "{}", out.stderr);
    for (kind, name, mistake) in [
        ("jobflow", "bad", GRAPHS_MISTAKES[0]),
        ("daemonjob", "bad", GRAPHS_MISTAKES[9]),
    ] {
        let object = ns.wait(kind, name, SOON, "it is refused", |object| {
            object["status"]["reason"] == "Invalid"
        });
        assert_eq!(object["status"]["phase"], "Failed", "{object}");
        let conditions = object["status"]["conditions"].as_array();
        let mut conditions = conditions.expect("there").iter();
        let accepted = conditions.find(|c| c["type"] == "Accepted").expect("there");
        assert_eq!(accepted["status"], "False", "{accepted}");
        let message = accepted["message"].as_str().unwrap_or_default();
        assert!(message.contains(mistake), "{mistake}: {accepted}");
    }
    assert!(ns.list("pods", "").is_empty(), "nothing is half-made");
    assert!(ns.list("jobs", "").is_empty(), "nothing is half-made");
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
