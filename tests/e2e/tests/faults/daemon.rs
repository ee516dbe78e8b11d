//! The DaemonSet: brought up to date while Tasks run, and away while pods are removed by force.

use std::time::Duration;

use baton_api::status::TaskPhase;
use baton_e2e::{Cluster, Kubectl, Parts, until};

use crate::batch::{Batch, Shape};
use crate::system::{self, SYSTEM, Undo};

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
    let batch = Batch::apply(&ns, &parts, cluster.nodes().len(), shape);
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

#[test]
#[ignore = "needs a cluster"]
fn pods_removed_by_force_while_the_agents_are_away_leave_nothing() {
    let cluster = Cluster::alone();
    let kubectl = cluster.kubectl();
    let parts = system::parts(&cluster);
    let ns = cluster.namespace("removed");
    system::whole(kubectl);
    for node in ["node1", "node2"] {
        ns.apply(&format!(
            "apiVersion: baton.dev/v1alpha1\nkind: Task\nmetadata: {{name: on-{node}}}\nspec:\n  \
             podTemplate: {{spec: {{nodeSelector: {{kubernetes.io/hostname: {node}}}}}}}\n  \
             steps: [{{name: long, image: busybox, command: [sleep, '600']}}]\n"
        ));
    }
    let running = |task: &str| {
        let limit = Duration::from_secs(60);
        let task = ns.wait("task", task, limit, "its step runs", |task| {
            task["status"]["steps"][0]["state"] == "Running"
        });
        let pod = &task["status"]["pod"];
        let text = |key: &str| pod[key].as_str().expect("a text").to_owned();
        (text("name"), text("uid"), system::number(&text("node")))
    };
    let pods = ["on-node1", "on-node2"].map(running);
    for (_, uid, node) in &pods {
        let left = left(&parts, *node, uid);
        assert!(
            left.contains("csi.baton.dev") || left.contains("kubernetes.io~csi"),
            "{left}"
        );
    }
    let _back = Undo(|| away(kubectl, false));
    away(kubectl, true);
    until(Duration::from_secs(60), "no agent runs", || {
        system::running(kubectl, "agent").is_empty().then_some(())
    });
    for (pod, ..) in &pods {
        ns.kubectl(&["delete", "pod", pod, "--force", "--grace-period=0"])
            .success("delete");
    }
    away(kubectl, false);
    system::whole(kubectl);
    for (_, uid, node) in &pods {
        until(Duration::from_secs(90), "nothing is left", || {
            left(&parts, *node, uid).trim().is_empty().then_some(())
        });
    }
    for task in ["on-node1", "on-node2"] {
        let status = ns.finished(task, Duration::from_secs(30));
        assert_eq!(status.phase, TaskPhase::Failed, "{status:?}");
    }
}
