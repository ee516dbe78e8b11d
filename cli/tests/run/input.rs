//! What is read, and what is refused.

use crate::harness::{Bench, task};

#[test]
fn standard_input_and_json() {
    let bench = Bench::new();
    let yaml = task("t", "  steps:\n  - {name: a, command: [echo, hello]}\n");
    let ran = bench.run_on_stdin(&yaml, &[]);
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (0, "a | hello\n"),
        "{}",
        ran.stderr
    );

    let json = r#"{"apiVersion": "baton.dev/v1alpha1", "kind": "Task", "metadata": {"name": "t"},
        "spec": {"steps": [{"name": "a", "command": ["echo", "json"]}]}}"#;
    let ran = bench.run_on_stdin(json, &[]);
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (0, "a | json\n"),
        "{}",
        ran.stderr
    );
}

#[test]
fn several_documents_run_in_order_until_one_fails() {
    let bench = Bench::new();
    let one = |name: &str, command: &str| {
        task(
            name,
            &format!("  steps:\n  - {{name: s, command: [{command}]}}\n"),
        )
    };
    bench.write(
        "t.yaml",
        &[
            one("a", "echo, '1'"),
            one("b", "'false'"),
            one("c", "echo, '3'"),
        ]
        .join("---\n"),
    );
    bench.write("u.yaml", &one("d", "echo, '4'"));
    let ran = bench.baton(&["run", "t.yaml", "u.yaml"]);
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (1, "s | 1\n"),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr
            .ends_with("not run, since task b did not succeed: task c, task d\n"),
        "{}",
        ran.stderr
    );
    let ran = bench.baton(&["run", "-o", "json", "t.yaml", "u.yaml"]);
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(json["runs"][1]["phase"], "Failed");
    assert_eq!(json["notRun"], serde_json::json!(["task c", "task d"]));
}

#[test]
fn bad_input_starts_nothing() {
    let good = task("g", "  steps:\n  - {name: s, command: [touch, STARTED]}\n");
    for (bad, wants) in [
        (String::new(), "t.yaml"),
        ("]".to_owned(), "t.yaml:"),
        (task("t", "  stepz: []\n"), "did you mean steps?"),
        (task("t", "  steps:\n  - {name: a}\n"), "spec.steps[0]"),
        (
            task(
                "t",
                "  steps:\n  - {name: a, command: [x], timeout: soon}\n",
            ),
            "duration",
        ),
        (
            format!("{good}---\n{}", task("t", "  steps: 1\n")),
            "spec.steps",
        ),
        (
            task(
                "t",
                "  params: [{name: p}]\n  steps:\n  - {name: a, command: [x]}\n",
            ),
            "\"p\" has no default and was not given",
        ),
    ] {
        let bench = Bench::with(&bad);
        bench.write("good.yaml", &good);
        let ran = bench.baton(&["run", "good.yaml", "t.yaml"]);
        assert_eq!(ran.code, 2, "{bad}: {}", ran.stderr);
        assert!(ran.stderr.contains(wants), "{bad}: {}", ran.stderr);
        assert!(!bench.path("STARTED").exists());
        let ran = bench.baton(&["validate", "t.yaml"]);
        assert_eq!(ran.code, 2, "{bad}: {}", ran.stderr);
        assert!(ran.stderr.contains(wants), "{bad}: {}", ran.stderr);
    }
}

#[test]
fn bad_command_lines() {
    let bench = Bench::with(&task(
        "t",
        "  params: [{name: who, default: x}]\n  steps:\n  - {name: a, command: [echo, $(params.who)]}\n",
    ));
    for (args, wants) in [
        (&["run"][..], "FILE"),
        (&["run", "none.yaml"], "cannot read none.yaml"),
        (&["run", "t.yaml", "-p", "whom=y"], "did you mean who?"),
        (&["run", "t.yaml", "-p", "y"], "NAME=VALUE"),
        (
            &["run", "t.yaml", "-p", "who=1", "-p", "who=2"],
            "given twice",
        ),
        (&["run", "t.yaml", "-e", "=x"], "NAME=VALUE"),
        (&["run", "-", "-"], "named twice"),
        (&["run", "t.yaml", "--output", "xml"], "json"),
    ] {
        let ran = bench.baton(args);
        assert_eq!(ran.code, 2, "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(wants), "{args:?}: {}", ran.stderr);
        assert_eq!(ran.stdout, "");
    }
}

#[test]
fn a_good_file_is_said_to_be_one() {
    let bench = Bench::with(&task("t", "  steps:\n  - {name: a, command: [x]}\n"));
    let ran = bench.baton(&["validate", "t.yaml"]);
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (0, "t.yaml: task t: OK\n"),
        "{}",
        ran.stderr
    );
}

#[test]
fn parameters_go_to_the_tasks_that_declare_them() {
    let bench = Bench::new();
    let a = "  params: [{name: x}]\n  steps:\n  - {name: a, command: [echo, $(params.x)]}\n";
    let b = "  params: [{name: l, type: array}]\n  steps:\n  - {name: b, command: [echo, '$(params.l[*])']}\n";
    bench.write("t.yaml", &format!("{}---\n{}", task("a", a), task("b", b)));
    let ran = bench.run(&["-p", "x=$(A) $$1", "-p", "l=p,q"]);
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (0, "a | $(A) $$1\nb | p q\n"),
        "{}",
        ran.stderr
    );
}

#[test]
fn what_a_cluster_would_provide_is_asked_for_before_anything_starts() {
    let bench = Bench::new();
    let first = task("a", "  steps:\n  - {name: s, command: [touch, STARTED]}\n");
    let env = "  steps:
  - name: s
    env: [{name: TOKEN_OF_TEST, valueFrom: {secretKeyRef: {name: s, key: k}}}]
    script: 'echo $TOKEN_OF_TEST'
";
    bench.write("t.yaml", &format!("{first}---\n{}", task("b", env)));
    let ran = bench.run(&[]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("--env TOKEN_OF_TEST=VALUE"),
        "{}",
        ran.stderr
    );
    assert!(!bench.path("STARTED").exists());
    let ran = bench.run(&["-e", "TOKEN_OF_TEST=x"]);
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (0, "s | x\n"),
        "{}",
        ran.stderr
    );

    let callback = "  steps: [{name: s, command: [touch, STARTED2]}]
  callbacks: [{url: 'http://127.0.0.1:9/', secret: {env: NO_SUCH_VARIABLE_OF_TEST}}]
";
    bench.write("t.yaml", &task("c", callback));
    let ran = bench.run(&[]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("NO_SUCH_VARIABLE_OF_TEST"),
        "{}",
        ran.stderr
    );
}
