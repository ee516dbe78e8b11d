//! Nodes that join, go, are tainted and cordoned amid a run.

use baton_api::flow_status::JobFlowPhase;
use baton_e2e::{Cluster, Kubectl, Made, UNTIL_TOLD};
use baton_flow::daemon::DaemonPhase::{Removed, Running, Succeeded, Waiting};

use baton_e2e::daemon::{events, finished, nodes, runs, until, yaml};
use baton_e2e::system::{self, Undo};

fn label(kubectl: &Kubectl, node: &str, label: &str) {
    kubectl
        .run(&["label", "node", node, label, "--overwrite"])
        .success("label");
}

#[test]
#[ignore = "needs a cluster"]
fn nodes_join_and_leave_by_their_labels() {
    let cluster = Cluster::shared();
    let kubectl = cluster.kubectl();
    let ns = cluster.namespace("daemon-labels");
    // A label of this test's own: others do not see it.
    let key = format!("e2e/{}", ns.name());
    let _undo = Undo(|| {
        for node in ["node1", "node2"] {
            kubectl.run(&["label", "node", node, &format!("{key}-")]);
        }
    });
    let here = format!("{key}=yes");
    let selector = format!("      nodeSelector: {{{key:?}: \"yes\"}}");
    let made = Made::follow(&ns);
    ns.apply(&yaml("all", UNTIL_TOLD, "", &selector));
    ns.apply(&yaml(
        "initial",
        UNTIL_TOLD,
        "  completionPolicy: InitialNodes",
        &selector,
    ));
    ns.apply(&yaml(
        "never",
        "true",
        "  completionPolicy: Never",
        &selector,
    ));
    for name in ["all", "initial", "never"] {
        let waits = until(&ns, name, "it waits", |s| s.reason == "NoEligibleNodes");
        assert_eq!(waits.phase, JobFlowPhase::Pending);
    }
    label(kubectl, "node1", &here);
    runs(&ns, "all-node1");
    runs(&ns, "initial-node1");
    until(&ns, "never", "the first node", |s| s.counts.succeeded == 1);

    // One joins: not where the initial nodes alone count.
    label(kubectl, "node2", &here);
    runs(&ns, "all-node2");
    until(&ns, "never", "the second node", |s| s.counts.succeeded == 2);
    ns.tell("initial-node1");
    let status = finished(&ns, "initial");
    assert_eq!(nodes(&status), [("node1", Succeeded, "")]);

    // One leaves: its Job ends, and that is no failure.
    label(kubectl, "node2", &format!("{key}=no"));
    let status = until(&ns, "all", "node2 counts no more", |s| {
        s.counts.removed == 1
    });
    assert_eq!(nodes(&status)[1], ("node2", Removed, "NotEligible"));
    events(&ns, "all", "NodeRemoved");
    ns.kubectl(&["wait", "job/all-node2", "--for=delete", "--timeout=60s"])
        .success("its Job goes");
    // It comes back, and has another Job.
    label(kubectl, "node2", &here);
    ns.tell("all-node2-r2");
    ns.tell("all-node1");
    let status = finished(&ns, "all");
    assert_eq!(status.phase, JobFlowPhase::Succeeded);
    assert_eq!(
        nodes(&status),
        [("node1", Succeeded, ""), ("node2", Succeeded, "")]
    );

    // What never ends goes on until it is cancelled, and what succeeded is not run again.
    assert_eq!(
        until(&ns, "never", "its nodes", |_| true).phase,
        JobFlowPhase::Running
    );
    ns.kubectl(&[
        "patch",
        "daemonjob",
        "never",
        "--type=merge",
        "-p",
        r#"{"spec":{"cancel":true}}"#,
    ])
    .success("cancel");
    assert_eq!(finished(&ns, "never").phase, JobFlowPhase::Cancelled);
    let made = made.stop();
    assert!(made.values().all(|n| *n == 1), "{made:?}");
    assert_eq!(made.len(), 6, "{made:?}");
}

#[test]
#[ignore = "needs a cluster"]
fn a_tainted_node_counts_where_the_template_tolerates_it() {
    let cluster = Cluster::alone();
    let kubectl = cluster.kubectl();
    let ns = cluster.namespace("daemon-taints");
    let _undo = Undo(|| {
        kubectl.run(&["taint", "node", "node2", "e2e-daemon-"]);
    });
    let taint = |effect: &str| {
        let taint = format!("e2e-daemon=x:{effect}");
        kubectl
            .run(&["taint", "node", "node2", &taint])
            .success("taint");
    };
    ns.apply(&yaml("running", UNTIL_TOLD, "", ""));
    runs(&ns, "running-node2");
    taint("NoSchedule");
    let tolerates = "      tolerations: [{key: e2e-daemon, operator: Exists}]";
    ns.apply(&yaml("plain", "true", "", ""));
    ns.apply(&yaml("tolerant", "true", "", tolerates));
    assert_eq!(nodes(&finished(&ns, "plain")), [("node1", Succeeded, "")]);
    let both = [("node1", Succeeded, ""), ("node2", Succeeded, "")];
    assert_eq!(nodes(&finished(&ns, "tolerant")), both);

    // What runs there goes on, until the taint ends it.
    let status = until(&ns, "running", "both run", |s| s.counts.running == 2);
    assert!(
        status.nodes.iter().all(|n| n.node.state == Running),
        "{status:?}"
    );
    taint("NoExecute");
    let status = until(&ns, "running", "node2 counts no more", |s| {
        s.counts.removed == 1
    });
    assert_eq!(nodes(&status)[1], ("node2", Removed, "NotEligible"));
    ns.tell("running-node1");
    assert_eq!(finished(&ns, "running").phase, JobFlowPhase::Succeeded);
}

#[test]
#[ignore = "needs a cluster"]
fn a_cordoned_node_is_waited_for_and_what_runs_there_goes_on() {
    let cluster = Cluster::alone();
    let kubectl = cluster.kubectl();
    let ns = cluster.namespace("daemon-cordon");
    let _undo = Undo(|| {
        kubectl.run(&["uncordon", "node2"]);
    });
    ns.apply(&yaml("before", UNTIL_TOLD, "", ""));
    runs(&ns, "before-node2");
    kubectl.run(&["cordon", "node2"]).success("cordon");
    ns.apply(&yaml("after", "true", "", ""));
    // The one that ran there before ends there.
    ns.tell("before-node2");
    ns.tell("before-node1");
    let both = [("node1", Succeeded, ""), ("node2", Succeeded, "")];
    assert_eq!(nodes(&finished(&ns, "before")), both);
    let status = until(&ns, "after", "node1 is over", |s| s.counts.succeeded == 1);
    assert_eq!(nodes(&status)[1], ("node2", Waiting, "Cordoned"));
    assert_eq!(
        (status.phase, status.reason.as_str()),
        (JobFlowPhase::Running, "Cordoned")
    );
    kubectl.run(&["uncordon", "node2"]).success("uncordon");
    assert_eq!(nodes(&finished(&ns, "after")), both);
}

#[test]
#[ignore = "needs a cluster"]
fn a_node_that_is_removed_is_no_failure_and_comes_back_as_a_new_one() {
    let cluster = Cluster::alone();
    let kubectl = cluster.kubectl();
    let parts = system::parts(&cluster);
    let ns = cluster.namespace("daemon-removed");
    ns.apply(&yaml("run", UNTIL_TOLD, "", ""));
    runs(&ns, "run-node1");
    runs(&ns, "run-node2");
    let before = until(&ns, "run", "both run", |s| s.counts.running == 2);
    parts.stop("kubelet2", "TERM");
    let _undo = Undo(|| {
        parts.start("kubelet2");
        system::whole(kubectl);
    });
    kubectl
        .run(&["delete", "node", "node2"])
        .success("delete node");
    let status = until(&ns, "run", "node2 is gone", |s| s.counts.removed == 1);
    assert_eq!(nodes(&status)[1], ("node2", Removed, "NodeRemoved"));
    // The kubelet registers a new node of this name.
    parts.start("kubelet2");
    ns.tell("run-node2-r2");
    ns.tell("run-node1");
    let status = finished(&ns, "run");
    assert_eq!(
        nodes(&status),
        [("node1", Succeeded, ""), ("node2", Succeeded, "")]
    );
    assert_ne!(status.nodes[1].node.uid, before.nodes[1].node.uid);
    assert_eq!(status.nodes[0].node.attempts, 1);
}

#[test]
#[ignore = "needs a cluster"]
fn a_node_that_is_not_ready_for_too_long_fails() {
    let cluster = Cluster::alone();
    let kubectl = cluster.kubectl();
    let parts = system::parts(&cluster);
    let ns = cluster.namespace("daemon-not-ready");
    ns.apply(&yaml("run", UNTIL_TOLD, "  notReadySeconds: 5", ""));
    runs(&ns, "run-node1");
    runs(&ns, "run-node2");
    parts.stop("kubelet2", "TERM");
    let _undo = Undo(|| {
        parts.start("kubelet2");
        system::whole(kubectl);
    });
    // The cluster itself takes 40 s to call the node not ready.
    let limit = std::time::Duration::from_secs(120);
    let failed = |s: &serde_json::Value| baton_e2e::daemon::status(s).counts.failed == 1;
    ns.wait("daemonjob", "run", limit, "node2 failed", failed);
    ns.tell("run-node1");
    let status = finished(&ns, "run");
    assert_eq!(status.reason, "NodeNotReady", "{status:?}");
    assert_eq!(nodes(&status)[0], ("node1", Succeeded, ""));
    // Once the node is back its Job goes, and only then another can run.
    parts.start("kubelet2");
    system::ready(kubectl);
    ns.kubectl(&["annotate", "daemonjob", "run", "baton.dev/rerun=1"])
        .success("annotate");
    ns.tell("run-node2-r2");
    let status = until(&ns, "run", "it succeeds", |s| {
        s.phase == JobFlowPhase::Succeeded
    });
    assert_eq!((status.run, status.nodes[0].node.attempts), (2, 1));
}
