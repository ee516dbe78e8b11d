//! The DaemonSet: brought up to date while Tasks run, and away while pods are removed by force.

use std::time::Duration;

use baton_api::status::TaskPhase;
use baton_e2e::{Cluster, Kubectl, Namespace, Parts, until};

use crate::batch::{Batch, Shape};
use baton_e2e::system::{self, SYSTEM, Undo};

#[test]
#[ignore = "needs a cluster"]
fn the_daemon_set_is_brought_up_to_date_while_tasks_run() {
    let cluster = Cluster::alone();
    let kubectl = cluster.kubectl();
    let parts = system::parts(&cluster);
    let ns = cluster.namespace("upgrade");
    system::whole(kubectl);
    let before = system::running(kubectl, "agent");
    let shape = Shape {
        tasks: 12,
        steps: 5,
        sleep: "1.5",
        ..Shape::default()
    };
    let batch = Batch::apply(&ns, &parts, cluster.size(), shape);
    until(Duration::from_secs(60), "some run", || {
        (batch.marks().len() >= 4).then_some(())
    });
    let args = ["-n", SYSTEM, "rollout", "restart", "daemonset/baton-agent"];
    kubectl.run(&args).success("restart");
    system::whole(kubectl);
    let after = system::running(kubectl, "agent");
    assert_eq!(after.len(), before.len());
    for agent in &after {
        assert!(
            before.iter().all(|old| old.pod != agent.pod),
            "{agent:?} is new"
        );
    }
    batch.ran_once(Duration::from_secs(90));
}

/// Sends the agents away (or back) by a label that no node has.
fn away(kubectl: &Kubectl, away: bool) {
    let label = if away { "\"nowhere\"" } else { "null" };
    let patch = format!(
        "{{\"spec\": {{\"template\": {{\"spec\": {{\"nodeSelector\": {{\"baton.dev/test\": {label}}}}}}}}}}}"
    );
    let args = [
        "-n",
        SYSTEM,
        "patch",
        "daemonset/baton-agent",
        "--type=merge",
        "-p",
        &patch,
    ];
    kubectl.run(&args).success("patch");
}

/// What a node has of a pod: mounts, and its folder with the kubelet.
fn left(parts: &Parts, node: u32, uid: &str) -> String {
    let script = "grep -F \"$1\" /proc/mounts; ls -d /var/lib/kubelet/pods/$1 2>/dev/null; \
                  find /var/lib/baton -path \"*$1*\"; true";
    let out = parts.in_node(node, &["sh", "-c", script, "sh", uid]);
    out.success("what is left")
}

/// A Task's pod: its name, its UID, and the number of its node.
type Pod = (String, String, u32);

/// A Task of one long step on a node, and its pod once that runs.
fn runs_on(ns: &Namespace, node: &str) -> Pod {
    ns.apply(&format!(
        "apiVersion: baton.dev/v1alpha1\nkind: Task\nmetadata: {{name: on-{node}}}\nspec:\n  \
         podTemplate: {{spec: {{nodeSelector: {{kubernetes.io/hostname: {node}}}}}}}\n  \
         steps: [{{name: long, image: busybox, command: [sleep, '600']}}]\n"
    ));
    let limit = Duration::from_secs(120);
    let task = ns.wait(
        "task",
        &format!("on-{node}"),
        limit,
        "its step runs",
        |task| task["status"]["steps"][0]["state"] == "Running",
    );
    let pod = &task["status"]["pod"];
    let text = |key: &str| pod[key].as_str().expect("a text").to_owned();
    (text("name"), text("uid"), system::number(&text("node")))
}

/// Sends the agents away, and waits until none runs.
fn none_runs(kubectl: &Kubectl) {
    away(kubectl, true);
    until(Duration::from_secs(60), "no agent runs", || {
        system::running(kubectl, "agent").is_empty().then_some(())
    });
}

fn remove_by_force(ns: &Namespace, pod: &str) {
    let args = ["delete", "pod", pod, "--force", "--grace-period=0"];
    ns.kubectl(&args).success("delete");
}

/// Waits until nothing of these pods is left on their nodes, and sees that their Tasks have failed.
fn nothing_is_left(ns: &Namespace, parts: &Parts, pods: &[Pod]) {
    for (_, uid, node) in pods {
        until(Duration::from_secs(90), "nothing is left", || {
            left(parts, *node, uid).trim().is_empty().then_some(())
        });
        let status = ns.finished(&format!("on-node{node}"), Duration::from_secs(90));
        assert_eq!(status.phase, TaskPhase::Failed, "{status:?}");
    }
}

#[test]
#[ignore = "needs a cluster"]
fn pods_removed_by_force_while_the_agents_are_away_leave_nothing() {
    let cluster = Cluster::alone();
    let kubectl = cluster.kubectl();
    let parts = system::parts(&cluster);
    let ns = cluster.namespace("removed");
    system::whole(kubectl);
    let pods = ["node1", "node2"].map(|node| runs_on(&ns, node));
    for (_, uid, node) in &pods {
        let left = left(&parts, *node, uid);
        assert!(left.contains("kubernetes.io~csi"), "{left}");
    }
    let _back = Undo(|| away(kubectl, false));
    none_runs(kubectl);
    for (pod, ..) in &pods {
        remove_by_force(&ns, pod);
    }
    away(kubectl, false);
    system::whole(kubectl);
    nothing_is_left(&ns, &parts, &pods);
}

#[test]
#[ignore = "needs a cluster"]
fn a_pod_that_its_kubelet_has_forgotten_leaves_nothing() {
    let cluster = Cluster::alone();
    let kubectl = cluster.kubectl();
    let parts = system::parts(&cluster);
    let ns = cluster.namespace("forgotten");
    system::whole(kubectl);
    let pods = [runs_on(&ns, "node2")];
    let [(pod, uid, node)] = &pods;
    let _back = Undo(|| {
        parts.start("kubelet2");
        away(kubectl, false);
    });
    none_runs(kubectl);
    parts.stop("kubelet2", "KILL");
    remove_by_force(&ns, pod);
    parts.start("kubelet2");
    system::ready(kubectl);
    // A kubelet of this age gives the volume up where the driver is away; one that does not is as good.
    until(Duration::from_secs(60), "its container is gone", || {
        let all = parts
            .in_node(*node, &["cat", "/proc/mounts"])
            .success("mounts");
        let of_container = |line: &&str| line.contains(uid.as_str()) && line.contains("overlay");
        (all.lines().filter(of_container).count() == 0).then_some(())
    });
    away(kubectl, false);
    system::whole(kubectl);
    nothing_is_left(&ns, &parts, &pods);
}
