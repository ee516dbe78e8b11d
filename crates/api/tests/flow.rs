//! JobFlow, JobTemplate and DaemonJob as texts: the seeds' manifests, and what is wrong with others.

use std::fmt::Write;
use std::time::Instant;

use baton_api::{Object, Source, parse};

fn read(text: &str) -> Result<Vec<Object>, Vec<String>> {
    let source = Source {
        name: "flow.yaml",
        text: text.as_bytes(),
    };
    match parse(source) {
        Ok(documents) => Ok(documents.into_iter().map(|d| d.object).collect()),
        Err(found) => Err(found
            .iter()
            .map(|d| match &d.suggestion {
                Some(hint) => format!("{}: {} ({hint}?)", d.path, d.message),
                None => format!("{}: {}", d.path, d.message),
            })
            .collect()),
    }
}

fn flow(flows: &str) -> String {
    format!(
        "apiVersion: baton.dev/v1alpha1\nkind: JobFlow\nmetadata: {{name: f}}\nspec:\n  flows:\n{flows}"
    )
}

const JOB: &str =
    "jobTemplate: {template: {spec: {containers: [{name: c, image: i, command: [w]}]}}}";

#[test]
fn dependencies_are_names_or_names_with_a_condition() {
    let text = flow(&format!(
        "  - {{name: a, {JOB}}}\n  - {{name: b, {JOB}, dependencies: [a]}}\n  - {{name: c, {JOB}, dependencies: [{{name: a, condition: Failed}}, b]}}\n"
    ));
    let objects = read(&text).unwrap();
    let Object::JobFlow(flow) = &objects[0] else {
        panic!("{objects:?}");
    };
    let again = serde_json::to_value(&flow.spec.flows[2].dependencies).unwrap();
    assert_eq!(
        again,
        serde_json::json!([{"name": "a", "condition": "Failed"}, "b"])
    );
}

#[test]
fn every_mistake_is_named_with_its_field() {
    let task = "taskTemplate: {params: [{name: p}], steps: [{name: s, command: [w], results: [{name: out}]}]}";
    let text = flow(&format!(
        "  - {{name: a, {JOB}, dependencies: [b]}}
  - {{name: b, {JOB}, dependencies: [a, bb]}}
  - {{name: a, {JOB}, jobTemplateRef: x}}
  - {{name: d, dependencies: [{{nam: a}}, 3]}}
  - {{name: e, {task}}}
  - {{name: g, {JOB}, params: [{{name: p, value: x}}], forEach: {{from: x}}, retries: 101}}
"
    ));
    let found = read(&text).unwrap_err();
    let expected = [
        "spec.flows[2]: jobTemplate and jobTemplateRef are given; only one of them can be",
        "spec.flows[3]: has to have one of jobTemplate, jobTemplateRef or taskTemplate",
        "spec.flows[4].params: parameter \"p\" has no default and is not given",
        "spec.flows[5].params: only a flow with a taskTemplate has parameters",
        "spec.flows[5].forEach.from: has to be a result: $(flows.FLOW.steps.STEP.results.NAME)",
        "spec.flows[5].retries: 101 is more than 100",
        "spec.flows[1].dependencies[1]: \"b\" depends on \"bb\", and there is no flow of this name",
        "spec.flows[0].dependencies: flows depend on one another in a circle: a -> b -> a",
        "spec.flows[2].name: two flows are called \"a\"",
        "spec.flows[3].dependencies[0]: unknown field \"nam\"; it has name and condition",
    ];
    let all = found.join("\n");
    for line in expected {
        assert!(
            all.contains(line.split(": ").next().unwrap()),
            "{line} in\n{all}"
        );
        assert!(
            all.contains(line.split_once(": ").unwrap().1),
            "{line} in\n{all}"
        );
    }
}

#[test]
fn references_reach_what_is_over_with_certainty() {
    let task = "taskTemplate: {steps: [{name: s, command: [w], results: [{name: out}]}]}";
    let job = |value: &str| {
        format!(
            "jobTemplate: {{template: {{spec: {{containers: [{{name: c, image: i, env: [{{name: E, value: '{value}'}}]}}]}}}}}}"
        )
    };
    let good = flow(&format!(
        "  - {{name: a, {task}}}\n  - {{name: b, {}, dependencies: [a]}}\n  - {{name: c, dependencies: [b], {}, forEach: {{from: $(flows.a.steps.s.results.out)}}}}\n",
        job("$(flows.a.steps.s.results.out)"),
        job("$(item) $(index)")
    ));
    read(&good).unwrap();
    let bad = flow(&format!(
        "  - {{name: a, {task}}}\n  - {{name: b, {}}}\n  - {{name: c, dependencies: [a], {}}}\n  - {{name: d, dependencies: [b], {}}}\n  - {{name: e, {}}}\n",
        job("$(flows.a.steps.s.results.out)"),
        job("$(flows.a.steps.s.results.outt) $(flows.a.x)"),
        job("$(flows.b.steps.s.results.out)"),
        job("$(item)")
    ));
    let found = read(&bad).unwrap_err();
    let at = |i: usize| {
        format!("spec.flows[{i}].jobTemplate.template.spec.containers[0].env[0].value: ")
    };
    let expected = [
        format!(
            "{}$(flows.a.steps.s.results.out): \"a\" need not be over by then; depend on it",
            at(1)
        ),
        format!(
            "{}$(flows.a.steps.s.results.outt): step \"s\" has no result \"outt\" (out?)",
            at(2)
        ),
        format!(
            "{}\"$(flows.a.x)\" is no reference; $(flows.FLOW.steps.STEP.results.NAME) is, and $$( stands for the text",
            at(2)
        ),
        format!(
            "{}$(flows.b.steps.s.results.out): \"b\" is a Job, and only Tasks have results",
            at(3)
        ),
        format!("{}$(item) is for flows with forEach alone", at(4)),
    ];
    assert_eq!(found, expected);
}

/// Looking for what was meant costs much where there are many names: it is done for what is shown alone.
#[test]
fn very_many_wrong_references_are_counted_quickly() {
    let mut flows: String = (0..999).fold(String::new(), |mut text, i| {
        let _ = writeln!(text, "  - {{name: node-number-{i}, jobTemplateRef: t}}");
        text
    });
    let word = "$(flows.node-numbre-1.steps.s.results.r)".repeat(25_000);
    let job = JOB.replace("[w]", &format!("['{word}']"));
    let _ = writeln!(flows, "  - {{name: a, {job}}}");
    let start = Instant::now();
    let found = read(&flow(&flows)).unwrap_err();
    assert!(found[0].ends_with("(node-number-1?)"), "{}", found[0]);
    assert_eq!(found[100], ": and 24900 more mistakes");
    assert!(start.elapsed().as_secs() < 30, "{:?}", start.elapsed());
}

#[test]
fn a_daemon_job_says_how_many_nodes_at_a_time() {
    let text = |more: &str| {
        format!(
            "apiVersion: baton.dev/v1alpha1\nkind: DaemonJob\nmetadata: {{name: d}}\nspec:\n  excludeNodeList: node1, node2\n  template: {{spec: {{restartPolicy: OnFailure, containers: [{{name: c, image: i}}]}}}}\n{more}"
        )
    };
    let objects = read(&text("  parallelism: 25%\n")).unwrap();
    let Object::DaemonJob(daemon) = &objects[0] else {
        panic!("{objects:?}");
    };
    assert_eq!(daemon.excluded().collect::<Vec<_>>(), ["node1", "node2"]);
    assert_eq!(
        [1, 4, 5].map(|n| daemon.parallelism(n)),
        [Ok(1), Ok(1), Ok(2)]
    );
    for bad in ["0", "0%", "101%", "x", "-1"] {
        let found = read(&text(&format!("  parallelism: {bad}\n"))).unwrap_err();
        assert!(
            found[0].starts_with("spec.parallelism: expected a number"),
            "{found:?}"
        );
    }
}

/// A measurement, not a test: `cargo test --release -p baton-api --test flow -- --ignored --nocapture`
#[test]
#[ignore = "prints a time"]
fn the_time_that_a_thousand_nodes_take() {
    let mut text = String::new();
    for i in 0..1000usize {
        let needs: Vec<_> = (i.saturating_sub(10)..i).map(|n| format!("n{n}")).collect();
        let _ = writeln!(
            text,
            "  - {{name: n{i}, {JOB}, dependencies: [{}]}}",
            needs.join(", ")
        );
    }
    let text = flow(&text);
    let start = Instant::now();
    read(&text).unwrap();
    println!(
        "1000 nodes, 9945 edges, {} bytes: {:?}",
        text.len(),
        start.elapsed()
    );
}
