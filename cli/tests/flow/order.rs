//! What runs after what, and how often.

use std::io::BufRead;

use crate::harness::{Place, example, flow, node, short, states, status};

#[test]
fn the_examples_run_in_their_order() {
    let place = Place::new();
    let (run, code) = place.json(&short(&example("jobflow.yaml")));
    assert_eq!(code, 0, "{run}");
    let expected = ["job1", "job2", "job3", "job4", "job5"].map(|n| (n, "Succeeded"));
    assert_eq!(states(&run), expected);
    assert_eq!(run["status"]["phase"], "Succeeded");
    assert_eq!(run["status"]["reason"], "Completed");
    assert_eq!(run["status"]["progress"], "5/5");
    let conditions = run["status"]["conditions"].as_array().unwrap().iter();
    let conditions: Vec<_> = conditions
        .map(|c| [&c["type"], &c["status"], &c["reason"]].map(|v| v.as_str().unwrap()))
        .collect();
    let expected = [
        ["Accepted", "True", "Accepted"],
        ["Succeeded", "True", "Completed"],
        ["Progressing", "False", "Over"],
    ];
    assert_eq!(conditions, expected);
    let job3 = status(&run, "job3");
    assert_eq!(job3["jobs"][0]["name"], "jobflow-example-job3");
    let time = |node: &str, field: &str| status(&run, node)[field].as_str().unwrap().to_owned();
    for (after, before) in [
        ("job2", "job1"),
        ("job3", "job2"),
        ("job5", "job4"),
        ("job5", "job2"),
    ] {
        let (begin, end) = (time(after, "startedAt"), time(before, "finishedAt"));
        assert!(begin >= end, "{after} began before {before} was over");
    }
    assert_eq!(place.lines("told").len(), 10);
    assert!(place.lines("told")[0].ends_with(" bar"));
    assert_eq!(place.scratch_folders(), 0);

    let (run, code) = place.json(&short(&example("jobflow-template.yaml")));
    assert_eq!(code, 0, "{run}");
    assert_eq!(run["name"], "jobflow-example-template");
    assert_eq!(states(&run), ["job1", "job2"].map(|n| (n, "Succeeded")));
}

#[test]
fn a_failure_keeps_dependents_from_starting_and_nothing_else() {
    let place = Place::new();
    let text = short(&example("jobflow.yaml"));
    let (before, after) = text.split_once("name: job2").unwrap();
    let after = after.replacen("echo begin", "exit 3; echo begin", 1);
    // One pod that fails is enough.
    let after = after.replacen("jobTemplate:", "jobTemplate:\n        backoffLimit: 0", 1);
    let (run, code) = place.json(&format!("{before}name: job2{after}"));
    assert_eq!(code, 1);
    let expected = [
        ("job1", "Succeeded"),
        ("job2", "Failed"),
        ("job3", "Skipped"),
        ("job4", "Succeeded"),
        ("job5", "Skipped"),
    ];
    assert_eq!(states(&run), expected);
    assert_eq!(run["status"]["phase"], "Failed");
    assert_eq!(run["status"]["reason"], "BackoffLimitExceeded");
    assert_eq!(run["status"]["cause"]["node"], "job2");
    assert_eq!(status(&run, "job3")["reason"], "DependencyNotMet");
    assert_eq!(status(&run, "job5")["because"], "job2");
    assert_eq!(place.lines("told").len(), 4);
}

#[test]
fn results_lists_and_conditions() {
    let place = Place::new();
    let plan = r#"name: plan, taskTemplate: {params: [{name: say}], steps: [{name: s, env: [{name: SAY, value: $(params.say)}], script: 'printf "[\"a\",\"b\",\"c\"]" > $(results.list.path); printf "$SAY" > $(results.word.path)', results: [{name: list}, {name: word}]}]}, params: [{name: say, value: go}]"#;
    let each = node(
        "each",
        "dependencies: [plan], forEach: {from: $(flows.plan.steps.s.results.list), maxParallel: 1}",
        "echo $(index) $(item) $(flows.plan.steps.s.results.word) >> told",
    );
    let when = |values: &str| {
        format!(
            "dependencies: [plan], when: [{{input: $(flows.plan.steps.s.results.word), operator: in, values: [{values}]}}]"
        )
    };
    let nodes = [
        plan.to_owned(),
        each,
        node("does", &when("go"), "true"),
        node("not", &when("stop"), "echo wrong >> told"),
        node("after", "dependencies: [not]", "true"),
    ];
    let (run, code) = place.json(&flow("", &nodes));
    assert_eq!(code, 0, "{run}");
    assert_eq!(place.lines("told"), ["0 a go", "1 b go", "2 c go"]);
    assert_eq!(status(&run, "not")["state"], "Skipped");
    assert_eq!(status(&run, "not")["reason"], "ConditionNotMet");
    assert_eq!(status(&run, "after")["state"], "Succeeded");
    let jobs = status(&run, "each")["jobs"].as_array().unwrap().iter();
    let names: Vec<_> = jobs.map(|j| j["name"].clone()).collect();
    assert_eq!(names, ["f-each-0", "f-each-1", "f-each-2"]);
}

#[test]
fn a_node_is_tried_again_and_its_failure_can_be_waited_for() {
    let place = Place::new();
    let flaky = "[ -e second ] || { touch second; exit 1; }";
    let nodes = [
        node("flaky", "retries: 1", flaky),
        node("bad", "retries: 1", "echo x >> tries; exit 4"),
        node(
            "undo",
            "dependencies: [{name: bad, condition: Failed}]",
            "true",
        ),
        node(
            "never",
            "dependencies: [{name: flaky, condition: Failed}]",
            "true",
        ),
        node(
            "report",
            "dependencies: [{name: bad, condition: Finished}]",
            "true",
        ),
    ];
    let (run, code) = place.json(&flow("", &nodes));
    assert_eq!(code, 1);
    let expected = [
        ("flaky", "Succeeded"),
        ("bad", "Failed"),
        ("undo", "Succeeded"),
        ("never", "Skipped"),
        ("report", "Succeeded"),
    ];
    assert_eq!(states(&run), expected);
    assert_eq!(status(&run, "flaky")["jobs"][0]["name"], "f-flaky-r2");
    assert_eq!(status(&run, "flaky")["jobs"][0]["attempts"], 2);
    assert_eq!(place.lines("tries").len(), 2);
    assert_eq!(run["attempts"].as_array().unwrap().len(), 6);
}

#[test]
fn never_more_than_max_parallel() {
    let place = Place::new();
    // Each holds a folder while it runs; with two slots a third finds none.
    let script = "for n in 1 2; do
        if mkdir slot$n 2>/dev/null; then sleep 0.05; rmdir slot$n; exit 0; fi
      done; echo too many >> complaints";
    let nodes: Vec<_> = (0..8).map(|i| node(&format!("n{i}"), "", script)).collect();
    let (run, code) = place.json(&flow("maxParallel: 2", &nodes));
    assert_eq!(code, 0, "{run}");
    assert_eq!(place.lines("complaints"), [""; 0]);
}

#[test]
fn many_nodes_at_once() {
    let place = Place::new();
    let nodes: Vec<_> = (0..300)
        .map(|i| node(&format!("n{i}"), "", "echo x"))
        .collect();
    let output = place.run(&flow("", &nodes), &["-q"]);
    assert!(output.status.success());
    assert_eq!(output.stdout.lines().count(), 300);
    assert!(output.stdout.lines().all(|l| l.unwrap().ends_with("| x")));
}
