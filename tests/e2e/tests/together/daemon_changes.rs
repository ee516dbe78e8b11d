//! What somebody does to a DaemonJob and its Jobs amid a run.

use baton_api::flow_status::JobFlowPhase;
use baton_e2e::{Cluster, Made, UNTIL_TOLD};
use baton_flow::daemon::DaemonPhase::{Failed, Succeeded, Waiting};

use baton_e2e::daemon::{events, finished, nodes, runs, until, yaml};

#[test]
#[ignore = "needs a cluster"]
fn a_job_that_is_deleted_has_failed_and_one_that_is_over_is_not_missed() {
    let cluster = Cluster::shared();
    let ns = cluster.namespace("daemon-deleted");
    let script = "test $NODE = node1 || exec sleep 300";
    let made = Made::follow(&ns);
    ns.apply(&yaml("run", script, "", ""));
    runs(&ns, "run-node2");
    until(&ns, "run", "node1 is over", |s| s.counts.succeeded == 1);
    ns.kubectl(&["delete", "job", "run-node1"])
        .success("delete");
    ns.kubectl(&["delete", "job", "run-node2"])
        .success("delete");
    let status = finished(&ns, "run");
    let failed = ("node2", Failed, "JobDeleted");
    assert_eq!(nodes(&status), [("node1", Succeeded, ""), failed]);
    let made = made.stop();
    assert_eq!(made.values().collect::<Vec<_>>(), [&1, &1], "{made:?}");
}

#[test]
#[ignore = "needs a cluster"]
fn a_foreign_job_of_that_name_is_left_alone() {
    let cluster = Cluster::shared();
    let ns = cluster.namespace("daemon-foreign");
    ns.kubectl(&[
        "create",
        "job",
        "run-node1",
        "--image=busybox:1.28",
        "--",
        "true",
    ])
    .success("a Job of somebody else's");
    let foreign = ns.get("job", "run-node1").expect("it is there");
    ns.apply(&yaml("run", "true", "", ""));
    let status = until(&ns, "run", "node1 waits", |s| s.reason == "NameTaken");
    assert_eq!(
        nodes(&status),
        [("node1", Waiting, "NameTaken"), ("node2", Succeeded, "")]
    );
    events(&ns, "run", "NameTaken");
    let still = ns.get("job", "run-node1").expect("it is there");
    assert_eq!(still["metadata"]["uid"], foreign["metadata"]["uid"]);
    assert!(still["metadata"]["ownerReferences"].is_null());
    ns.kubectl(&["delete", "job", "run-node1"])
        .success("delete");
    assert_eq!(finished(&ns, "run").phase, JobFlowPhase::Succeeded);
}

#[test]
#[ignore = "needs a cluster"]
fn a_suspended_one_starts_nothing_and_a_changed_template_is_held_back() {
    let cluster = Cluster::shared();
    let ns = cluster.namespace("daemon-suspend");
    let script = UNTIL_TOLD;
    let one = "  parallelism: 1\n  suspend: false";
    ns.apply(&yaml(
        "run",
        script,
        "  parallelism: 1\n  suspend: true",
        "",
    ));
    let status = until(&ns, "run", "it is suspended", |s| s.reason == "Suspended");
    assert_eq!(status.phase, JobFlowPhase::Suspended);
    assert!(ns.list("jobs", "").is_empty());
    ns.apply(&yaml("run", script, one, ""));
    runs(&ns, "run-node1");

    // Another template amid the run: what runs goes on, and no other node is started.
    let changed = yaml("run", "true", one, "");
    let out = ns.try_apply(&changed);
    if out.ok {
        until(&ns, "run", "it is held", |s| {
            s.conditions
                .iter()
                .any(|c| c.kind == "Accepted" && c.reason == "TemplateChanged")
        });
    }
    ns.tell("run-node1");
    if out.ok {
        let status = until(&ns, "run", "the first is over", |s| s.counts.succeeded == 1);
        let held = until(&ns, "run", "it waits", |s| s.reason == "TemplateChanged");
        assert_eq!(
            (status.counts.succeeded, held.counts.running),
            (1, 0),
            "{held:?}"
        );
        assert_eq!(ns.list("jobs", "").len(), 1);
        // A re-run takes it as it is now.
        ns.kubectl(&["annotate", "daemonjob", "run", "baton.dev/rerun=now"])
            .success("annotate");
        let status = finished(&ns, "run");
        assert_eq!(status.phase, JobFlowPhase::Succeeded, "{status:?}");
        assert_eq!(status.nodes[0].node.attempts, 1, "what succeeded is kept");
    }
}

#[test]
#[ignore = "needs a cluster"]
fn what_is_wrong_is_refused_and_named() {
    let cluster = Cluster::shared();
    let ns = cluster.namespace("daemon-invalid");
    for (spec, names) in [
        ("  parallelism: 0%", "parallelism"),
        ("  excludeNodeList: node_1", "excludeNodeList"),
        ("  globalParams: {nodeName: node1}", "nodeName"),
    ] {
        let out = ns.try_apply(&yaml("bad", "true", spec, ""));
        assert!(!out.ok && out.stderr.contains(names), "{spec}: {out:?}");
    }
}
