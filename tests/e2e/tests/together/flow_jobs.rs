//! Jobs that others touch: deleted amid a run and after it, there before, cleaned up by their TTL.

use baton_api::flow_status::JobFlowPhase;
use baton_e2e::{Cluster, Made, UNTIL_TOLD, until};
use baton_flow::NodePhase;

use baton_e2e::flow::{Flow, SOON, condition, job_spec, node, of, phases};

#[test]
#[ignore = "needs a cluster"]
fn a_job_deleted_by_hand_fails_its_node() {
    let cluster = Cluster::shared();
    let ns = cluster.namespace("job-deleted");
    let made = Made::follow(&ns);
    let nodes = [
        node("long", "", "", "sleep 300"),
        node("after", "long", "", "true"),
        node("other", "", "", "sleep 3"),
        node("more", "other", "", "true"),
    ];
    let flow = Flow::apply(&ns, "f", &nodes, "");
    flow.until_runs("long");
    ns.kubectl(&["delete", "job", "f-long"]).success("delete");
    let status = flow.over(SOON);
    use NodePhase::{Failed, Skipped, Succeeded};
    assert_eq!(
        phases(&status),
        [Failed, Skipped, Succeeded, Succeeded],
        "{status:?}"
    );
    assert_eq!(status.phase, JobFlowPhase::Failed);
    assert_eq!(of(&status, "long").reason, "JobDeleted", "{status:?}");
    assert_eq!(of(&status, "after").because, "long", "{status:?}");
    let cause = status.cause.expect("a cause");
    assert_eq!(
        (cause.node.as_str(), cause.reason.as_str()),
        ("long", "JobDeleted")
    );
    let made = made.stop();
    assert!(made.values().all(|times| *times == 1), "{made:?}");
    assert!(!made.contains_key("f-after"), "{made:?}");
}

#[test]
#[ignore = "needs a cluster"]
fn a_job_deleted_by_hand_runs_again_where_its_node_may() {
    let cluster = Cluster::shared();
    let ns = cluster.namespace("job-deleted-again");
    let made = Made::follow(&ns);
    let nodes = [
        node("long", "", "retries: 1,", UNTIL_TOLD),
        node("after", "long", "", "true"),
    ];
    let flow = Flow::apply(&ns, "f", &nodes, "");
    flow.until_runs("long");
    ns.kubectl(&["delete", "job", "f-long"]).success("delete");
    ns.tell("f-long-r2");
    let status = flow.succeeded(SOON);
    let job = of(&status, "long").job().expect("one Job");
    assert_eq!(
        (job.attempts, job.name.as_str()),
        (2, "f-long-r2"),
        "{status:?}"
    );
    let made = made.stop();
    let names: Vec<&str> = made.keys().map(String::as_str).collect();
    assert_eq!(names, ["f-after", "f-long", "f-long-r2"]);
    assert!(made.values().all(|times| *times == 1), "{made:?}");
}

#[test]
#[ignore = "needs a cluster"]
fn what_finished_stays_recorded_when_its_job_is_gone() {
    let cluster = Cluster::shared();
    let ns = cluster.namespace("job-cleaned-up");
    let made = Made::follow(&ns);
    let ttl = format!(
        "{{name: short, jobTemplate: {}}}",
        job_spec("true").replacen('{', "{ttlSecondsAfterFinished: 0, ", 1)
    );
    let nodes = [
        ttl,
        node("byhand", "", "", "true"),
        node("long", "", "", UNTIL_TOLD),
        node("last", "short, byhand, long", "", "true"),
    ];
    let flow = Flow::apply(&ns, "f", &nodes, "");
    flow.until_node("short", NodePhase::Succeeded);
    flow.until_node("byhand", NodePhase::Succeeded);
    ns.kubectl(&["delete", "job", "f-byhand"]).success("delete");
    until(SOON, "both Jobs are gone", || {
        let there = |name| ns.get("job", name).is_some();
        (!there("f-short") && !there("f-byhand")).then_some(())
    });
    let status = flow.until(SOON, "the flow goes on", |it| {
        it.phase == JobFlowPhase::Running
    });
    assert_eq!(
        of(&status, "long").state,
        NodePhase::Running,
        "they went before its end"
    );
    ns.tell("f-long");
    let status = flow.succeeded(SOON);
    assert_eq!(phases(&status), [NodePhase::Succeeded; 4]);
    let made = made.stop();
    assert_eq!(made.len(), 4, "{made:?}");
    assert!(
        made.values().all(|times| *times == 1),
        "nothing ran again: {made:?}"
    );
}

#[test]
#[ignore = "needs a cluster"]
fn a_foreign_job_of_the_same_name_is_left_alone() {
    let cluster = Cluster::shared();
    let ns = cluster.namespace("foreign");
    let foreign = format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: f-a}}\nspec: {}\n",
        job_spec("sleep 300").replace("spec: {term", "spec: {restartPolicy: Never, term")
    );
    ns.apply(&foreign);
    let before = ns.get("job", "f-a").expect("it was applied");
    let nodes = [
        node("a", "", "", "true"),
        node("b", "a", "", "true"),
        node("c", "", "", "true"),
    ];
    let flow = Flow::apply(&ns, "f", &nodes, "");
    let status = flow.until(SOON, "it says what it waits for", |it| {
        let (progressing, why) = condition(it, "Progressing");
        progressing == "False" && why.contains("f-a")
    });
    assert!(!status.phase.is_over(), "{status:?}");
    let status = flow.until_node("c", NodePhase::Succeeded);
    assert_ne!(of(&status, "a").state, NodePhase::Succeeded, "{status:?}");
    assert_eq!(of(&status, "b").state, NodePhase::Waiting, "{status:?}");
    let now = ns.get("job", "f-a").expect("it is still there");
    for key in ["uid", "labels", "annotations", "ownerReferences"] {
        assert_eq!(now["metadata"][key], before["metadata"][key], "its {key}");
    }
    assert_eq!(now["spec"], before["spec"]);
    // Once it makes way, the flow goes on.
    ns.kubectl(&["delete", "job", "f-a"]).success("delete");
    let status = flow.succeeded(SOON);
    assert_eq!(
        of(&status, "a").job().expect("one Job").attempts,
        1,
        "{status:?}"
    );
    let ours = ns.get("job", "f-a").expect("the flow's own");
    assert_eq!(ours["metadata"]["ownerReferences"][0]["kind"], "JobFlow");
}
