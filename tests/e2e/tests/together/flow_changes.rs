//! Specs that change under way: of a JobTemplate, of the flow itself; and runs that are asked for anew.

use std::collections::BTreeMap;
use std::time::Duration;

use baton_api::flow_status::JobFlowPhase;
use baton_e2e::{Cluster, Made, Namespace, UNTIL_TOLD, until};
use baton_flow::NodePhase;

use baton_e2e::flow::{Flow, SOON, condition, job_spec, node, of, phases, yaml};

fn template(ns: &Namespace, script: &str) {
    let job = job_spec(script);
    ns.apply(&format!(
        "apiVersion: baton.dev/v1alpha1\nkind: JobTemplate\nmetadata: {{name: t}}\nspec: {{jobTemplate: {job}}}\n"
    ));
}

fn refers(name: &str, needs: &str) -> String {
    format!("{{name: {name}, dependencies: [{needs}], jobTemplateRef: t}}")
}

/// The UIDs of the Jobs that are there, by name.
fn jobs(ns: &Namespace) -> BTreeMap<String, String> {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let of = |job: serde_json::Value| {
        let metadata = &job["metadata"];
        (text(&metadata["name"]), text(&metadata["uid"]))
    };
    ns.list("jobs", "").into_iter().map(of).collect()
}

#[test]
#[ignore = "needs a cluster"]
fn a_template_may_come_late_and_change_under_way() {
    let cluster = Cluster::shared();
    let ns = cluster.namespace("template");
    let made = Made::follow(&ns);
    let nodes = [refers("a", ""), refers("b", "a"), node("c", "", "", "true")];
    let flow = Flow::apply(&ns, "f", &nodes, "");
    let status = flow.until(SOON, "it says what it waits for", |it| {
        let (progressing, why) = condition(it, "Progressing");
        progressing == "False" && why.contains("JobTemplate") && why.contains('t')
    });
    assert!(!status.phase.is_over(), "{status:?}");
    flow.until_node("c", NodePhase::Succeeded);
    template(&ns, &format!("echo first; {UNTIL_TOLD}"));
    flow.until_runs("a");
    template(&ns, "echo second");
    ns.tell("f-a");
    let status = flow.succeeded(SOON);
    assert_eq!(phases(&status), [NodePhase::Succeeded; 3]);
    let log = |job: &str| {
        let pods = ns.list("pods", &format!("job-name={job}"));
        assert_eq!(pods.len(), 1, "{pods:?}");
        ns.log(
            pods[0]["metadata"]["name"].as_str().expect("a name"),
            "main",
        )
    };
    // A node takes the template as it is when it starts.
    assert_eq!(
        (log("f-a").as_str(), log("f-b").as_str()),
        ("first\n", "second\n")
    );
    let made = made.stop();
    assert!(made.values().all(|times| *times == 1), "{made:?}");
}

#[test]
#[ignore = "needs a cluster"]
fn a_running_flow_takes_additions_and_refuses_to_rewrite() {
    let cluster = Cluster::shared();
    let ns = cluster.namespace("flow-changed");
    let made = Made::follow(&ns);
    let mut nodes = vec![
        node("a", "", "", "true"),
        node("b", "a", "", UNTIL_TOLD),
        node("c", "b", "", "true"),
    ];
    let flow = Flow::apply(&ns, "f", &nodes, "");
    flow.until_node("a", NodePhase::Succeeded);
    flow.until_runs("b");
    // A node more, and one that waits waits for it too.
    nodes[2] = node("c", "b, d", "", "true");
    nodes.push(node("d", "a", "", "true"));
    ns.apply(&yaml("f", &nodes, ""));
    flow.until_node("d", NodePhase::Succeeded);
    // What is done is not done otherwise, nor undone.
    let before = jobs(&ns);
    let taken = nodes.clone();
    nodes[0] = node("a", "", "", "echo other");
    if ns.try_apply(&yaml("f", &nodes, "")).ok {
        let status = flow.until(SOON, "it says that the change is refused", |it| {
            let (accepted, why) = condition(it, "Accepted");
            accepted == "False" && why.contains("\"a\" is over")
        });
        assert_eq!(status.phase, JobFlowPhase::Running, "{status:?}");
        ns.apply(&yaml("f", &taken, ""));
    }
    ns.tell("f-b");
    let status = flow.succeeded(SOON);
    assert_eq!(condition(&status, "Accepted").0, "True", "{status:?}");
    assert_eq!(phases(&status), [NodePhase::Succeeded; 4], "{status:?}");
    let after = jobs(&ns);
    for (name, uid) in &before {
        assert_eq!(after.get(name), Some(uid), "{name} is the one that it was");
    }
    let made = made.stop();
    assert_eq!(made.len(), 4, "{made:?}");
    assert!(made.values().all(|times| *times == 1), "{made:?}");
}

#[test]
#[ignore = "needs a cluster"]
fn a_rerun_begins_with_the_nodes_that_failed() {
    let cluster = Cluster::shared();
    let ns = cluster.namespace("flow-rerun");
    let made = Made::follow(&ns);
    let fixed = "env: [{name: FIXED, valueFrom: {configMapKeyRef: {name: fixed, key: it, optional: true}}}]";
    let job =
        job_spec("test \"$FIXED\" = yes").replace("name: main,", &format!("name: main, {fixed},"));
    let nodes = [
        node("a", "", "", "true"),
        format!("{{name: b, dependencies: [a], jobTemplate: {job}}}"),
        node("c", "b", "", "true"),
    ];
    let flow = Flow::apply(&ns, "f", &nodes, "");
    let status = flow.over(SOON);
    use NodePhase::{Failed, Skipped, Succeeded};
    assert_eq!(phases(&status), [Succeeded, Failed, Skipped], "{status:?}");
    let first = jobs(&ns);
    let args = ["create", "configmap", "fixed", "--from-literal=it=yes"];
    ns.kubectl(&args).success("a ConfigMap");
    flow.rerun("1");
    let again = |status: &baton_api::flow_status::JobFlowStatus| status.run == 2;
    let status = flow.until(SOON, "its second run's end", |it| {
        again(it) && it.phase.is_over()
    });
    assert_eq!(status.phase, JobFlowPhase::Succeeded, "{status:?}");
    assert_eq!(phases(&status), [Succeeded; 3], "{status:?}");
    assert_eq!(
        of(&status, "a").job().expect("one Job").attempts,
        1,
        "{status:?}"
    );
    assert_eq!(
        of(&status, "b").job().expect("one Job").attempts,
        2,
        "{status:?}"
    );
    assert_eq!(
        jobs(&ns).get("f-a"),
        first.get("f-a"),
        "what succeeded is kept"
    );
    // The same token asks for nothing more.
    flow.rerun("1");
    let made = made.stop();
    let names: Vec<&str> = made.keys().map(String::as_str).collect();
    assert_eq!(names, ["f-a", "f-b", "f-b-r2", "f-c"]);
    assert!(made.values().all(|times| *times == 1), "{made:?}");
}

#[test]
#[ignore = "needs a cluster"]
fn a_flow_that_is_deleted_takes_its_jobs_along() {
    let cluster = Cluster::shared();
    let ns = cluster.namespace("flow-deleted");
    let nodes = [node("a", "", "", "sleep 300"), node("b", "a", "", "true")];
    let flow = Flow::apply(&ns, "f", &nodes, "");
    flow.until_runs("a");
    ns.kubectl(&["delete", "jobflow", "f"]).success("delete");
    until(Duration::from_secs(60), "nothing is left", || {
        let left = ns.list("jobs", "").len() + ns.list("pods", "").len();
        (left == 0).then_some(())
    });
    // One of the same name is another flow.
    let flow = Flow::apply(&ns, "f", &[node("a", "", "", "true")], "");
    flow.succeeded(SOON);
}
