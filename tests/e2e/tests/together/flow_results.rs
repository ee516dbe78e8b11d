//! Tasks as nodes, whose results later nodes take.

use std::collections::BTreeSet;

use baton_e2e::{Cluster, Namespace};
use baton_flow::NodePhase;

use baton_e2e::flow::{Flow, SOON, container, job_spec, node, of, phases};

/// A node whose Task writes `value` as the result `out` of its step `s`.
fn tells(name: &str, value: &str) -> String {
    let container = container(&format!("printf '%s' '{value}' > $(results.out.path)"));
    format!(
        "{{name: {name}, taskTemplate: {{steps: [{{name: s, {container}, results: [{{name: out}}]}}]}}}}"
    )
}

/// A node with further fields, whose Task echoes its parameters `word` and `number`.
fn echoes(name: &str, more: &str, word: &str, number: &str) -> String {
    let container = container("echo \"$WORD $NUMBER\"");
    format!(
        "{{name: {name}, {more}, params: [{{name: word, value: '{word}'}}, {{name: number, value: '{number}'}}], \
         taskTemplate: {{params: [{{name: word}}, {{name: number}}], steps: [{{name: s, {container}, \
         env: [{{name: WORD, value: $(params.word)}}, {{name: NUMBER, value: $(params.number)}}]}}]}}}}"
    )
}

fn log(ns: &Namespace, task: &str) -> String {
    let pod = ns.status(task).pod.expect("it had a pod").name;
    ns.log(&pod, "s")
}

#[test]
#[ignore = "needs a cluster"]
fn a_list_that_a_task_tells_is_fanned_out() {
    let cluster = Cluster::shared();
    let ns = cluster.namespace("fan-out");
    let list = "$(flows.list.steps.s.results.out)";
    let each = format!("dependencies: [list], forEach: {{from: {list}, maxParallel: 2}}");
    let words = "dependencies: [list], forEach: {items: [one, two]}";
    let nodes = [
        tells("list", r#"["red","green","blue"]"#),
        echoes("each", &each, "$(item)", "$(index)"),
        echoes("words", words, "$(item)", "$(index)"),
        node("last", "each, words", "", "true"),
    ];
    let live = ns.series("jobflows", |flow| {
        let nodes = flow["status"]["nodes"].as_array()?;
        let each = nodes.iter().find(|node| node["name"] == "each")?;
        let let_go = |job: &&serde_json::Value| {
            matches!(job["state"].as_str(), Some("Starting" | "Running"))
        };
        Some(
            each["jobs"]
                .as_array()?
                .iter()
                .filter(let_go)
                .count()
                .to_string(),
        )
    });
    let flow = Flow::apply(&ns, "f", &nodes, "");
    let status = flow.succeeded(SOON);
    let names: Vec<&str> = of(&status, "each")
        .jobs
        .iter()
        .map(|it| it.name.as_str())
        .collect();
    assert_eq!(names, ["f-each-0", "f-each-1", "f-each-2"], "{status:?}");
    for (index, word) in ["red", "green", "blue"].into_iter().enumerate() {
        assert_eq!(
            log(&ns, &format!("f-each-{index}")),
            format!("{word} {index}\n")
        );
    }
    assert_eq!(log(&ns, "f-words-0"), "one 0\n");
    assert_eq!(log(&ns, "f-words-1"), "two 1\n");
    let live: BTreeSet<String> = live.stop().into_iter().collect();
    assert!(
        live.contains("2") && !live.contains("3"),
        "at most two at a time: {live:?}"
    );
}

#[test]
#[ignore = "needs a cluster"]
fn conditions_on_results_decide() {
    let cluster = Cluster::shared();
    let ns = cluster.namespace("flow-when");
    let when = |value: &str| {
        let input = "$(flows.choose.steps.s.results.out)";
        format!("when: [{{input: {input}, operator: in, values: [{value}]}}],")
    };
    let said = job_spec("echo \"chose $CHOICE\"").replace(
        "name: main,",
        "name: main, env: [{name: CHOICE, value: $(flows.choose.steps.s.results.out)}],",
    );
    let nodes = [
        tells("choose", "left"),
        node("left", "choose", &when("left"), "true"),
        node("right", "choose", &when("right"), "exit 1"),
        // What was skipped by its own condition lets its dependents go on.
        node("both", "left, right", "", "true"),
        format!("{{name: said, dependencies: [choose], jobTemplate: {said}}}"),
    ];
    let flow = Flow::apply(&ns, "f", &nodes, "");
    let status = flow.succeeded(SOON);
    use NodePhase::{Skipped, Succeeded};
    let want = [Succeeded, Succeeded, Skipped, Succeeded, Succeeded];
    assert_eq!(phases(&status), want, "{status:?}");
    assert_eq!(of(&status, "right").reason, "ConditionNotMet", "{status:?}");
    assert_eq!(of(&status, "choose").results[0].value, "left", "{status:?}");
    let pods = ns.list("pods", "job-name=f-said");
    let pod = pods[0]["metadata"]["name"].as_str().expect("a name");
    assert_eq!(ns.log(pod, "main"), "chose left\n");
    assert!(ns.get("job", "f-right").is_none(), "it was never made");
}
