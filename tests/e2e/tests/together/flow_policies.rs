//! Flows that are stopped: cancelled, out of time, by a failure; and held.

use std::time::Duration;

use baton_api::flow_status::{JobFlowPhase, JobFlowStatus};
use baton_e2e::{Cluster, Namespace, UNTIL_TOLD, until};
use baton_flow::NodePhase;

use baton_e2e::flow::{Flow, SOON, node, of, phases};

/// Waits until no pod of this Job runs any more: gone, or over.
fn comes_to_rest(ns: &Namespace, job: &str) {
    let label = format!("job-name={job}");
    until(
        Duration::from_secs(60),
        &format!("{job} has no pod that runs"),
        || {
            let pods = ns.list("pods", &label);
            let mut phases = pods.iter().map(|pod| pod["status"]["phase"].as_str());
            let over = |phase: Option<&str>| matches!(phase, Some("Succeeded" | "Failed"));
            phases.all(over).then_some(())
        },
    );
}

fn finally(script: &str) -> String {
    format!("finally:\n- {}", node("clean", "", "", script))
}

/// The log of the one pod of a Job.
fn log(ns: &Namespace, job: &str) -> String {
    let pods = ns.list("pods", &format!("job-name={job}"));
    assert_eq!(pods.len(), 1, "{pods:?}");
    ns.log(
        pods[0]["metadata"]["name"].as_str().expect("a name"),
        "main",
    )
}

#[test]
#[ignore = "needs a cluster"]
fn a_cancelled_flow_stops_and_cleans_up() {
    let cluster = Cluster::shared();
    let ns = cluster.namespace("flow-cancelled");
    let nodes = [
        node("quick", "", "", "true"),
        node("long", "quick", "", "sleep 300"),
        node("after", "long", "", "true"),
    ];
    let flow = Flow::apply(&ns, "f", &nodes, &finally("echo cleaned"));
    flow.until_runs("long");
    flow.patch("{\"cancel\": true}");
    let status = flow.over(SOON);
    use NodePhase::{Cancelled, Skipped, Succeeded};
    assert_eq!(
        phases(&status),
        [Succeeded, Cancelled, Skipped, Succeeded],
        "{status:?}"
    );
    assert_eq!(status.phase, JobFlowPhase::Cancelled, "{status:?}");
    comes_to_rest(&ns, "f-long");
    assert_eq!(log(&ns, "f-clean"), "cleaned\n");
}

#[test]
#[ignore = "needs a cluster"]
fn a_failure_stops_the_rest_where_it_is_to_do_so() {
    let cluster = Cluster::shared();
    let ns = cluster.namespace("fail-fast");
    let nodes = [
        node("long", "", "", "sleep 300"),
        node("bad", "", "", "sleep 3; exit 3"),
        node("after", "bad", "", "true"),
        node("later", "long", "", "true"),
    ];
    let more = format!("failurePolicy: FailFast\n{}", finally("true"));
    let flow = Flow::apply(&ns, "f", &nodes, &more);
    let status = flow.over(SOON);
    use NodePhase::{Cancelled, Failed, Skipped, Succeeded};
    assert_eq!(
        phases(&status),
        [Cancelled, Failed, Skipped, Skipped, Succeeded],
        "{status:?}"
    );
    assert_eq!(status.phase, JobFlowPhase::Failed, "{status:?}");
    first_cause(&status, "bad");
    comes_to_rest(&ns, "f-long");
}

fn first_cause(status: &JobFlowStatus, node: &str) {
    let cause = status.cause.as_ref().expect("a cause");
    assert_eq!(cause.node, node, "{status:?}");
    assert!(
        status.message.contains(node),
        "the first cause is named: {status:?}"
    );
}

#[test]
#[ignore = "needs a cluster"]
fn independents_finish_where_a_node_fails() {
    let cluster = Cluster::shared();
    let ns = cluster.namespace("continue");
    let nodes = [
        node("bad", "", "", "exit 3"),
        node("after", "bad", "", "true"),
        node("rescue", "{name: bad, condition: Failed}", "", "true"),
        node("any", "{name: bad, condition: Finished}", "", "true"),
        node("other", "", "", "sleep 4"),
        node("last", "other", "", "true"),
        node("spare", "{name: other, condition: Failed}", "", "true"),
    ];
    let flow = Flow::apply(&ns, "f", &nodes, "");
    let status = flow.over(SOON);
    use NodePhase::{Failed, Skipped, Succeeded};
    let want = [
        Failed, Skipped, Succeeded, Succeeded, Succeeded, Succeeded, Skipped,
    ];
    assert_eq!(phases(&status), want, "{status:?}");
    assert_eq!(status.phase, JobFlowPhase::Failed, "{status:?}");
    first_cause(&status, "bad");
    assert_eq!(
        of(&status, "after").reason,
        "DependencyNotMet",
        "{status:?}"
    );
    assert_eq!(
        of(&status, "spare").reason,
        "DependencyNotFailed",
        "{status:?}"
    );
}

#[test]
#[ignore = "needs a cluster"]
fn a_flow_out_of_time_stops() {
    let cluster = Cluster::shared();
    let ns = cluster.namespace("flow-deadline");
    let nodes = [
        node("long", "", "", "sleep 300"),
        node("after", "long", "", "true"),
    ];
    let more = format!("activeDeadlineSeconds: 6\n{}", finally("true"));
    let flow = Flow::apply(&ns, "f", &nodes, &more);
    let status = flow.over(SOON);
    use NodePhase::{Cancelled, Skipped, Succeeded};
    assert_eq!(
        phases(&status),
        [Cancelled, Skipped, Succeeded],
        "{status:?}"
    );
    assert_eq!(status.phase, JobFlowPhase::Failed, "{status:?}");
    assert_eq!(status.reason, "DeadlineExceeded", "{status:?}");
    comes_to_rest(&ns, "f-long");
}

#[test]
#[ignore = "needs a cluster"]
fn a_flow_is_held_and_let_go() {
    let cluster = Cluster::shared();
    let ns = cluster.namespace("flow-suspended");
    let nodes = [node("a", "", "", UNTIL_TOLD), node("b", "a", "", "true")];
    let flow = Flow::apply(&ns, "f", &nodes, "suspend: true");
    let held = |it: &JobFlowStatus| it.phase == JobFlowPhase::Suspended;
    flow.until(SOON, "it is held", held);
    assert!(ns.list("jobs", "").is_empty(), "nothing began");
    flow.patch("{\"suspend\": false}");
    flow.until_runs("a");
    flow.patch("{\"suspend\": true}");
    flow.until(SOON, "it is held again", held);
    ns.tell("f-a");
    let status = flow.until(SOON, "what ran is over, and it is held", |it| {
        held(it) && of(it, "a").state == NodePhase::Succeeded
    });
    assert_eq!(of(&status, "b").state, NodePhase::Waiting, "{status:?}");
    assert_eq!(ns.list("jobs", "").len(), 1, "b did not begin");
    flow.patch("{\"suspend\": false}");
    flow.succeeded(SOON);
}

#[test]
#[ignore = "needs a cluster"]
fn what_succeeded_leaves_nothing_where_it_is_to_go() {
    let cluster = Cluster::shared();
    let ns = cluster.namespace("flow-retain");
    let nodes = [node("a", "", "", "true"), node("b", "a", "", "true")];
    let flow = Flow::apply(&ns, "good", &nodes, "retainPolicy: DeleteOnSuccess");
    let failing = [node("a", "", "", "exit 1")];
    let bad = Flow::apply(&ns, "bad", &failing, "retainPolicy: DeleteOnSuccess");
    flow.succeeded(SOON);
    assert_eq!(bad.over(SOON).phase, JobFlowPhase::Failed);
    until(SOON, "only the failed Job is left", || {
        let jobs = ns.list("jobs", "");
        (jobs.len() == 1 && jobs[0]["metadata"]["name"] == "bad-a").then_some(())
    });
    // A flow with a time to live goes, and its Jobs with it.
    Flow::apply(&ns, "brief", &nodes, "ttlSecondsAfterFinished: 20").succeeded(SOON);
    until(SOON, "the flow is gone, and its Jobs", || {
        let jobs = ns.list("jobs", "");
        (ns.get("jobflow", "brief").is_none() && jobs.len() == 1).then_some(())
    });
}
