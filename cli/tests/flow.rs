//! `baton run` on JobFlows and DaemonJobs: the real binary, real processes.

// A test fails by panicking, in its helpers too.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// A flow with these further lines of its spec, and these nodes.
fn flow(spec: &str, nodes: &[String]) -> String {
    let mut text =
        String::from("apiVersion: baton.dev/v1alpha1\nkind: JobFlow\nmetadata: {name: f}\nspec:\n");
    for line in spec.lines() {
        let _ = writeln!(text, "  {line}");
    }
    text.push_str("  flows:\n");
    for node in nodes {
        let _ = writeln!(text, "  - {{{node}}}");
    }
    text
}

/// A node that runs `script` in a Job with one container.
fn node(name: &str, more: &str, script: &str) -> String {
    let script = serde_json::to_string(script).unwrap();
    format!(
        "name: {name}, {more}{}jobTemplate: {{backoffLimit: 0, template: {{spec: {{terminationGracePeriodSeconds: 1, containers: [{{name: c, command: [sh, -c, {script}]}}]}}}}}}",
        if more.is_empty() { "" } else { ", " }
    )
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_baton"));
        command
            .args(args)
            .current_dir(self.0.path())
            .env("BATON_JOB_BACKOFF", "1ms")
            .env("TMPDIR", self.0.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn start(&self, manifest: &str, args: &[&str]) -> Child {
        let mut child = self.command(args).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(manifest.as_bytes()).unwrap();
        child
    }

    fn run(&self, manifest: &str, args: &[&str]) -> Output {
        let args: Vec<_> = ["run", "-"].iter().chain(args).copied().collect();
        self.start(manifest, &args).wait_with_output().unwrap()
    }

    /// The one run of `-o json`, and the exit code.
    fn json(&self, manifest: &str) -> (Value, i32) {
        let output = self.run(manifest, &["-o", "json"]);
        let mut all: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)));
        (all["runs"][0].take(), output.status.code().unwrap())
    }

    fn lines(&self, name: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.0.path().join(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn scratch_folders(&self) -> usize {
        let entries = std::fs::read_dir(self.0.path()).unwrap().flatten();
        let names = entries.map(|e| e.file_name().into_string().unwrap());
        names.filter(|n| n.starts_with("baton-")).count()
    }
}

fn status<'a>(run: &'a Value, name: &str) -> &'a Value {
    let mut nodes = run["status"]["nodes"].as_array().unwrap().iter();
    let found = nodes.find(|n| n["name"] == name);
    found.unwrap_or_else(|| panic!("no node {name} in {run}"))
}

fn states(run: &Value) -> Vec<(&str, &str)> {
    let nodes = run["status"]["nodes"].as_array().unwrap().iter();
    nodes
        .map(|n| (n["name"].as_str().unwrap(), n["state"].as_str().unwrap()))
        .collect()
}

fn example(name: &str) -> String {
    let path = format!("{}/../examples/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

/// An example whose containers tell when they begin and end, in place of their sleeps.
fn short(text: &str) -> String {
    let told = "echo begin $(hostname) $FOO >> told; sleep 0.1; echo end >> told";
    text.replace("sleep 100s", told).replace("sleep 10s", told)
}

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
fn fail_fast_stops_the_rest_gracefully_and_finally_runs() {
    let place = Place::new();
    let long = "trap 'echo stopped >> told; exit 0' TERM; touch up; sleep 600 & wait";
    let bad = "until [ -e up ]; do sleep 0.01; done; exit 1";
    let mut text = flow(
        "failurePolicy: FailFast",
        &[
            node("long", "", long),
            node("bad", "", bad),
            node("later", "dependencies: [long]", "echo wrong >> told"),
        ],
    );
    let clean = node("clean", "", "echo clean >> told");
    let _ = writeln!(text, "  finally:\n  - {{{clean}}}");
    let (run, code) = place.json(&text);
    assert_eq!(code, 1);
    let expected = [
        ("long", "Cancelled"),
        ("bad", "Failed"),
        ("later", "Skipped"),
        ("clean", "Succeeded"),
    ];
    assert_eq!(states(&run), expected);
    assert_eq!(status(&run, "later")["reason"], "FailFast");
    assert_eq!(run["status"]["cause"]["node"], "bad");
    assert_eq!(place.lines("told"), ["stopped", "clean"]);
}

#[test]
fn a_flow_has_a_deadline() {
    let place = Place::new();
    let long = "trap 'echo stopped >> told; exit 0' TERM; sleep 600 & wait";
    let text = flow("activeDeadlineSeconds: 1", &[node("long", "", long)]);
    let (run, code) = place.json(&text);
    assert_eq!(code, 124, "{run}");
    assert_eq!(run["status"]["phase"], "Failed");
    assert_eq!(run["status"]["reason"], "DeadlineExceeded");
    assert_eq!(states(&run), [("long", "Cancelled")]);
    assert_eq!(place.lines("told"), ["stopped"]);
}

/// A Job and a Task that run until they are told to stop, and what runs in the end.
fn long_flow(grace: &str) -> String {
    let long = "trap 'echo job stopped >> told; exit 0' TERM; echo up; sleep 600 & wait";
    let task = "name: task, taskTemplate: {gracePeriod: GRACE, steps: [{name: s, script: \"trap 'echo task stopped >> told; exit 0' TERM; echo up; sleep 600 & wait\"}]}";
    let nodes = [node("job", "", long), task.replace("GRACE", grace)];
    let clean = node("clean", "", "echo clean >> told; echo cleaned");
    format!("{}  finally:\n  - {{{clean}}}\n", flow("", &nodes))
}

#[test]
fn an_interrupt_stops_everything_and_finally_runs() {
    let place = Place::new();
    let mut child = place.start(&long_flow("1s"), &["run", "-"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || lines.next().unwrap().unwrap();
    assert!(next().ends_with("up") && next().ends_with("up"));
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    assert!(next().ends_with("cleaned"));
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("jobflow f: Cancelled after"), "{said}");
    let mut told = place.lines("told");
    assert_eq!(told.pop().unwrap(), "clean");
    told.sort();
    assert_eq!(told, ["job stopped", "task stopped"]);
    assert_eq!(place.scratch_folders(), 0);
}

#[test]
fn a_second_signal_kills_what_is_deaf_to_the_first() {
    let place = Place::new();
    let deaf = "trap 'echo deaf' TERM; echo up; while :; do sleep 0.01; done";
    let job = node("job", "", deaf).replace(
        "terminationGracePeriodSeconds: 1",
        "terminationGracePeriodSeconds: 600",
    );
    let clean = node("clean", "", "echo wrong >> told");
    let text = format!("{}  finally:\n  - {{{clean}}}\n", flow("", &[job]));
    let mut child = place.start(&text, &["run", "-"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let pid = Pid::from_raw(child.id() as i32);
    for heard in ["up", "deaf"] {
        assert!(lines.any(|line| line.unwrap().ends_with(heard)));
        kill(pid, Signal::SIGTERM).unwrap();
    }
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(place.lines("told"), [""; 0]);
    assert_eq!(place.scratch_folders(), 0);
}

#[test]
fn what_a_template_sets_wins_over_what_all_are_given() {
    let place = Place::new();
    let globals = "globalParams: {env: [{name: A, value: all}, {name: B, value: all}]}";
    let own = node("own", "", "echo $A $B >> told").replace(
        "name: c, command",
        "name: c, env: [{name: B, value: own}], command",
    );
    let output = place.run(&flow(globals, &[own]), &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(place.lines("told"), ["all own"]);
    assert!(said.contains("template's \"B\" wins"), "{said}");
}

#[test]
fn nothing_starts_where_something_is_missing() {
    let place = Place::new();
    for (bad, why) in [
        (
            "name: b, jobTemplateRef: nowhere".to_owned(),
            "flow \"b\": there is no JobTemplate \"nowhere\" in the files that are run",
        ),
        (
            node("b", "", "true").replace("command: [sh, -c, \"true\"]", "image: perl"),
            "flow \"b\": container c has no command",
        ),
        (
            node("b", "dependencies: [b]", "true"),
            "\"b\" depends on itself",
        ),
    ] {
        let output = place.run(&flow("", &[node("a", "", "touch ran"), bad]), &[]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(why), "{said}");
    }
    assert!(!place.0.path().join("ran").exists());
}

#[test]
fn a_suspended_flow_runs_nothing() {
    let place = Place::new();
    let (run, code) = place.json(&flow("suspend: true", &[node("a", "", "touch ran")]));
    assert_eq!(code, 1);
    assert_eq!(run["status"]["phase"], "Suspended");
    assert!(!place.0.path().join("ran").exists());
}

#[test]
fn a_person_sees_the_graph_and_how_it_went() {
    let place = Place::new();
    let nodes = [
        node("build", "", "echo built"),
        node("test", "dependencies: [build]", "exit 2"),
        node("deploy", "dependencies: [test]", "true"),
    ];
    let output = place.run(&flow("", &nodes), &["--report", "r.html"]);
    assert_eq!(output.status.code(), Some(1));
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.starts_with("f-build-1"), "{printed}");
    assert!(printed.ends_with("| built\n"), "{printed}");
    let said = String::from_utf8_lossy(&output.stderr);
    for told in [
        "  build ─▶ test ─▶ deploy\n",
        "build ✔ succeeded in",
        "test ✘ failed after",
        "deploy ○ skipped: test did not succeed",
        "1 of 3 succeeded, 1 skipped. flow \"test\" failed: BackoffLimitExceeded",
    ] {
        assert!(said.contains(told), "{told} in\n{said}");
    }
    let page = place.lines("r.html").join("\n");
    for told in [
        "<svg class=\"graph\"",
        "<g class=\"node bad\"><title>test: Failed",
        "<g class=\"node wait\"><title>deploy: Skipped",
        "f-build-1",
    ] {
        assert!(page.contains(told), "{told}");
    }
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

fn daemon(more: &str, script: &str) -> String {
    let script = serde_json::to_string(script).unwrap();
    format!(
        "apiVersion: baton.dev/v1alpha1\nkind: DaemonJob\nmetadata: {{name: d}}\nspec:\n  backoffLimit: 0\n  {more}\n  template: {{spec: {{restartPolicy: OnFailure, containers: [{{name: c, command: [sh, -c, {script}]}}]}}}}\n"
    )
}

#[test]
fn a_daemon_job_runs_on_this_machine() {
    let place = Place::new();
    let host = nix::unistd::gethostname().unwrap();
    let host = host.to_string_lossy().to_lowercase();
    let (run, code) = place.json(&short(&example("daemonjob.yaml")));
    assert_eq!(code, 0, "{run}");
    assert_eq!(run["status"]["nodes"][0]["name"], host.as_str());
    assert_eq!(run["status"]["nodesByState"]["succeeded"][0], host.as_str());
    assert_eq!(run["status"]["phase"], "Succeeded");
    assert_eq!(place.lines("told").len(), 2);

    let (run, code) = place.json(&daemon("", "exit 3"));
    assert_eq!(code, 1);
    assert_eq!(run["status"]["phase"], "Failed");
    assert_eq!(run["status"]["cause"]["reason"], "BackoffLimitExceeded");

    let excluded = format!("excludeNodeList: 'other , {host}'");
    let (run, code) = place.json(&daemon(&excluded, "touch ran"));
    assert_eq!(code, 1);
    assert_eq!(run["status"]["reason"], "NoEligibleNodes");
    assert!(!place.0.path().join("ran").exists());
}
