//! Nodes with the agent and without, and pods that no Task made.

use std::time::Duration;

use baton_api::status::{Carrier, TaskPhase};
use baton_e2e::{Cluster, Kubectl};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(120);
const SYSTEM: &str = "baton-system";
/// The label by which `tests/cluster/deploy` keeps the agent from a node.
const NO_AGENT: &str = "baton-e2e/agent";

#[test]
#[ignore = "needs a cluster"]
fn tasks_run_on_every_node() {
    let cluster = Cluster::shared();
    let ns = cluster.namespace("nodes");
    let nodes = cluster.nodes();
    for node in &nodes {
        ns.apply(&format!(
            "
apiVersion: baton.dev/v1alpha1
kind: Task
metadata: {{name: on-{node}}}
spec:
  podTemplate: {{spec: {{nodeSelector: {{kubernetes.io/hostname: {node}}}}}}}
  steps:
  - {{name: one, image: busybox, results: [{{name: r}}], script: 'printf {node} > $(results.r.path)'}}
  - {{name: two, image: busybox, command: [echo, $(steps.one.results.r)]}}
"
        ));
    }
    for node in &nodes {
        let status = ns.finished(&format!("on-{node}"), SOON);
        assert_eq!(status.phase, TaskPhase::Succeeded, "{status:?}");
        let pod = status.pod.expect("it had a pod");
        assert_eq!((&pod.node, pod.carrier), (node, Carrier::Volume));
        assert_eq!(ns.log(&pod.name, "two"), format!("{node}\n"));
    }
}

/// A node without the agent until the end of a test.
struct NoAgent<'a> {
    cluster: &'a Cluster,
    node: &'a str,
}

impl<'a> NoAgent<'a> {
    fn new(cluster: &'a Cluster, node: &'a str) -> Self {
        let label = format!("{NO_AGENT}=none");
        cluster
            .kubectl()
            .run(&["label", "node", node, &label, "--overwrite"])
            .success("label");
        let made = NoAgent { cluster, node };
        baton_e2e::until(SOON, "the node has no agent", || {
            (!has_driver(cluster.kubectl(), node)).then_some(())
        });
        made
    }
}

impl Drop for NoAgent<'_> {
    fn drop(&mut self) {
        let kubectl = self.cluster.kubectl();
        kubectl.run(&["label", "node", self.node, &format!("{NO_AGENT}-")]);
        kubectl.run(&["taint", "node", "--all", &format!("{NO_AGENT}-")]);
        if !std::thread::panicking() {
            baton_e2e::until(SOON, "the node has its agent again", || {
                has_driver(kubectl, self.node).then_some(())
            });
        }
    }
}

fn has_driver(kubectl: &Kubectl, node: &str) -> bool {
    let out = kubectl.run(&[
        "get",
        "csinode",
        node,
        "-o",
        "jsonpath={.spec.drivers[*].name}",
    ]);
    out.stdout.contains("csi.baton.dev")
}

#[test]
#[ignore = "needs a cluster"]
fn without_the_agent_the_coordinator_orders() {
    let cluster = Cluster::alone();
    let ns = cluster.namespace("fallback");
    let nodes = cluster.nodes();
    let node = nodes.last().expect("a node");
    let no_agent = NoAgent::new(&cluster, node);
    let orders = ns.orders();
    ns.apply(&format!(
        r#"
apiVersion: baton.dev/v1alpha1
kind: Task
metadata: {{name: chosen}}
spec:
  podTemplate: {{spec: {{nodeSelector: {{kubernetes.io/hostname: {node}}}}}}}
  volumes: [{{name: work, emptyDir: {{}}}}]
  sidecars:
  - name: beside
    image: busybox
    volumeMounts: [{{name: work, mountPath: /work}}]
    command: [sh, -c, 'touch /work/up; exec sleep 600']
    readiness: {{command: [test, -e, /work/up]}}
  steps:
  - name: one
    image: busybox
    volumeMounts: [{{name: work, mountPath: /work}}]
    results: [{{name: r}}]
    script: test -e /work/up && printf found > $(results.r.path)
  - {{name: fails, image: busybox, onError: continue, retries: 1, retryDelay: 100ms, command: ["false"]}}
  - {{name: two, image: busybox, command: [echo, $(steps.one.results.r)]}}
  finally:
  - {{name: tidy, image: busybox, command: [echo, tidied]}}
"#
    ));
    let status = ns.finished("chosen", SOON);
    assert_eq!(status.phase, TaskPhase::Succeeded, "{status:?}");
    let pod = status.pod.clone().expect("it had a pod");
    assert_eq!((&pod.node, pod.carrier), (node, Carrier::DownwardAPI));
    let reasons: Vec<_> = status.steps.iter().map(|s| s.reason.as_str()).collect();
    assert_eq!(
        reasons[..4],
        ["Completed", "Continued", "Completed", "Completed"]
    );
    assert_eq!(status.steps[0].results[0].value, "found");
    assert_eq!(status.steps[1].attempts, 2);
    assert_eq!(ns.log(&pod.name, "two"), "found\n");
    orders.until_last(SOON, "5");
    drop(orders);

    // Cancelled in its first step; and a failure.
    ns.apply(&format!(
        "
apiVersion: baton.dev/v1alpha1
kind: Task
metadata: {{name: cancelled}}
spec:
  podTemplate: {{spec: {{nodeSelector: {{kubernetes.io/hostname: {node}}}}}}}
  steps:
  - {{name: one, image: busybox, command: [sleep, '600']}}
  - {{name: two, image: busybox, command: ['true']}}
---
apiVersion: baton.dev/v1alpha1
kind: Task
metadata: {{name: fails}}
spec:
  podTemplate: {{spec: {{nodeSelector: {{kubernetes.io/hostname: {node}}}}}}}
  steps:
  - {{name: one, image: busybox, command: [sh, -c, exit 7]}}
  - {{name: two, image: busybox, command: ['true']}}
"
    ));
    ns.wait("task", "cancelled", SOON, "it runs", |task| {
        task["status"]["steps"][0]["state"] == "Running"
    });
    let cancel = r#"{"spec":{"cancel":true}}"#;
    ns.kubectl(&["patch", "task", "cancelled", "--type=merge", "-p", cancel])
        .success("cancel");
    let status = ns.finished("cancelled", SOON);
    assert_eq!(status.phase, TaskPhase::Cancelled, "{status:?}");
    let status = ns.finished("fails", SOON);
    assert_eq!(
        (status.phase, status.exit_code),
        (TaskPhase::Failed, Some(7)),
        "{status:?}"
    );

    // The scheduler's choice is not the coordinator's guess: the pod is made anew for its node.
    let others: Vec<_> = nodes.iter().filter(|n| *n != node).collect();
    for other in &others {
        cluster
            .kubectl()
            .run(&[
                "taint",
                "node",
                other,
                &format!("{NO_AGENT}=x:NoSchedule"),
                "--overwrite",
            ])
            .success("taint");
    }
    ns.apply(
        "
apiVersion: baton.dev/v1alpha1
kind: Task
metadata: {name: misplaced}
spec:
  steps:
  - {name: one, image: busybox, command: ['true']}
",
    );
    let status = ns.finished("misplaced", SOON);
    assert_eq!(status.phase, TaskPhase::Succeeded, "{status:?}");
    let pod = status.pod.expect("it had a pod");
    // With one node alone the guess is right at once.
    assert_eq!((&pod.node, pod.carrier), (node, Carrier::DownwardAPI));
    assert_eq!(status.run, 1, "nothing of it had run");
    drop(no_agent);
}

/// The coordinator, away until the end of a test.
struct NoCoordinator<'a> {
    kubectl: &'a Kubectl,
    replicas: String,
}

impl<'a> NoCoordinator<'a> {
    const NAME: &'static str = "deployment/baton-coordinator";

    fn new(kubectl: &'a Kubectl) -> Self {
        let replicas = kubectl
            .run(&[
                "get",
                "-n",
                SYSTEM,
                Self::NAME,
                "-o",
                "jsonpath={.spec.replicas}",
            ])
            .success("the replicas");
        let away = NoCoordinator { kubectl, replicas };
        away.scale("0");
        let selector = "app.kubernetes.io/component=coordinator";
        kubectl
            .run(&[
                "wait",
                "-n",
                SYSTEM,
                "--for=delete",
                "pod",
                "-l",
                selector,
                "--timeout=60s",
            ])
            .success("they go");
        away
    }

    fn scale(&self, replicas: &str) {
        let replicas = format!("--replicas={replicas}");
        self.kubectl
            .run(&["scale", "-n", SYSTEM, Self::NAME, &replicas])
            .success("scale");
    }
}

impl Drop for NoCoordinator<'_> {
    fn drop(&mut self) {
        self.scale(&self.replicas);
        let out = self.kubectl.run(&[
            "rollout",
            "status",
            "-n",
            SYSTEM,
            Self::NAME,
            "--timeout=120s",
        ]);
        if !out.ok && !std::thread::panicking() {
            panic!("the coordinator is back: {}", out.stderr);
        }
    }
}

#[test]
#[ignore = "needs a cluster"]
fn a_pod_written_by_hand_needs_the_agent_alone() {
    let cluster = Cluster::alone();
    let ns = cluster.namespace("by-hand");
    let tools = cluster
        .kubectl()
        .run(&[
            "get",
            "-n",
            SYSTEM,
            NoCoordinator::NAME,
            "-o",
            "jsonpath={.spec.template.spec.containers[0].args}",
        ])
        .success("the coordinator's arguments");
    let args: Vec<String> = serde_json::from_str(&tools).expect("JSON");
    let tools = args
        .iter()
        .find_map(|a| a.strip_prefix("--tools-image="))
        .expect("there");
    let away = NoCoordinator::new(cluster.kubectl());
    let container = |name: &str, number: u32, command: &str| {
        format!(
            r#"
  - name: {name}
    image: busybox
    command: [/baton/bin/entrypoint]
    args: [--wait, /etc/podinfo/order, --wait-content, "{number}", --termination-message, /dev/termination-log, --command, sh, --, -c, "{command}"]
    volumeMounts:
    - {{name: tools, mountPath: /baton/bin}}
    - {{name: order, mountPath: /etc/podinfo}}"#
        )
    };
    let pod = |name: &str, first: &str| {
        format!(
            r#"
---
apiVersion: v1
kind: Pod
metadata:
  name: {name}
  labels: {{baton.dev/managed: "true"}}
  annotations: {{baton.dev/order: "0"}}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 5
  initContainers:
  - name: tools
    image: {tools}
    imagePullPolicy: IfNotPresent
    command: [/bin/init, install, --to, /baton/bin]
    volumeMounts: [{{name: tools, mountPath: /baton/bin}}]
  containers:{}{}
  volumes:
  - {{name: tools, emptyDir: {{}}}}
  - name: order
    downwardAPI: {{items: [{{path: order, fieldRef: {{fieldPath: "metadata.annotations['baton.dev/order']"}}}}]}}
"#,
            container("first", 1, first),
            container("second", 2, "echo two"),
        )
    };
    let order = |pod: &Value| pod["metadata"]["annotations"]["baton.dev/order"].clone();
    ns.apply(&(pod("by-hand", "echo one") + &pod("failing", "exit 3")));
    let done = ns.wait(
        "pod",
        "by-hand",
        SOON,
        "it ends, and the order says so",
        |pod| pod["status"]["phase"] == "Succeeded" && order(pod) == "3",
    );
    let all = done["status"]["containerStatuses"]
        .as_array()
        .expect("a list");
    let at = |name: &str, field: &str| {
        let found = all.iter().find(|c| c["name"] == name).expect("there");
        found["state"]["terminated"][field]
            .as_str()
            .expect("a time")
            .to_owned()
    };
    assert!(at("first", "finishedAt") <= at("second", "finishedAt"));
    assert_eq!(ns.log("by-hand", "first"), "one\n");
    assert_eq!(ns.log("by-hand", "second"), "two\n");
    ns.wait("pod", "failing", SOON, "it is stopped", |pod| {
        pod["status"]["phase"] == "Failed" && order(pod) == "-1"
    });
    assert!(!ns.log("failing", "second").contains("two"));
    drop(away);
}
