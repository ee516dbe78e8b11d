//! Good manifests are read whole, and the types write what they read.

#![allow(clippy::panic)] // a test's helpers fail as tests do

use baton_api::{Document, Job, Object, Source, Task, parse, render};

const EVERYTHING: &str = include_str!("good/everything.yaml");

fn read(text: &str) -> Vec<Document> {
    let source = Source {
        name: "-",
        text: text.as_bytes(),
    };
    parse(source).unwrap_or_else(|mistakes| {
        let all: Vec<_> = mistakes.iter().map(|m| format!("{m:#}")).collect();
        panic!("{}", all.join("\n"))
    })
}

fn task_and_job(text: &str) -> (Task, Job) {
    match &read(text)[..] {
        [
            Document {
                object: Object::Task(task),
                ..
            },
            Document {
                object: Object::Job(job),
                position,
            },
        ] => {
            assert!(position.line > 1);
            ((**task).clone(), (**job).clone())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_is_lost() {
    let (task, job) = task_and_job(EVERYTHING);
    assert_eq!(task.metadata.display_name(), "everything");
    let native: Vec<_> = task.spec.steps[0].native().map(|(name, _)| name).collect();
    assert_eq!(native, ["resources", "securityContext"]);
    let (name, config) = task.spec.volumes[2].native().next().unwrap();
    assert_eq!(name, "configMap");
    assert_eq!(config["defaultMode"], 0o644);
    assert_eq!(job.spec.backoff_limit(), 4);
    assert_eq!(job.spec.template.spec.native().count(), 1);
    assert_eq!(job.spec.native().count(), 1);
}

#[test]
fn json_says_the_same_as_yaml() {
    let (task, job) = task_and_job(EVERYTHING);
    let json = format!(
        "{}\n{}",
        serde_json::to_string_pretty(&task).unwrap(),
        serde_json::to_string(&job).unwrap()
    );
    let (mut again, mut job_again) = task_and_job(&json);
    again.origin = task.origin.clone();
    job_again.origin = job.origin.clone();
    assert_eq!(again, task);
    assert_eq!(job_again, job);
}

/// Other readers of the types (an API client) get the same from the same JSON.
#[test]
fn any_deserializer_reads_the_types() {
    let (mut task, mut job) = task_and_job(EVERYTHING);
    (task.origin, job.origin) = Default::default();
    let json = serde_json::to_value(&task).unwrap();
    assert_eq!(serde_json::from_value::<Task>(json).unwrap(), task);
    let json = serde_json::to_value(&job).unwrap();
    assert_eq!(serde_json::from_value::<Job>(json).unwrap(), job);
}

#[test]
fn a_jobs_defaults_are_the_native_ones() {
    let documents = read(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {name: a}\nspec:\n  template:\n    spec:\n      \
         restartPolicy: OnFailure\n      containers: [{name: c}]\n",
    );
    let [
        Document {
            object: Object::Job(job),
            ..
        },
    ] = &documents[..]
    else {
        panic!("{documents:?}");
    };
    assert_eq!(job.spec.backoff_limit(), 6);
    assert_eq!(job.spec.parallelism(), 1);
    assert_eq!(job.spec.completions, None);
}

#[test]
fn mistakes_are_shown_in_their_line() {
    let text = b"apiVersion: baton.dev/v1alpha1\nkind: Tsak\n";
    let mistakes = parse(Source {
        name: "a.yaml",
        text,
    })
    .unwrap_err();
    assert_eq!(
        format!("{:#}", mistakes[0]),
        "a.yaml:2:1: kind: unknown kind \"Tsak\"; expected Task, Job, JobFlow, JobTemplate or DaemonJob; did you mean Task?\n \
         2 | kind: Tsak\n   | ^"
    );
}

#[test]
fn many_mistakes_are_counted() {
    let fields: String = (0..5000).map(|i| format!("  f{i}: 1\n")).collect();
    let text = format!(
        "apiVersion: baton.dev/v1alpha1\nkind: Task\nmetadata: {{name: a}}\nspec:\n{fields}"
    );
    let mistakes = parse(Source {
        name: "a.yaml",
        text: text.as_bytes(),
    })
    .unwrap_err();
    assert_eq!(mistakes.len(), 101);
    assert_eq!(mistakes[100].to_string(), "a.yaml: and 4901 more mistakes");
}

#[test]
fn a_thousand_steps_are_enough() {
    let with = |n: usize| {
        let steps: String = (0..n)
            .map(|i| format!("    - {{name: s{i}, command: [x, $(steps.s0.results.r)], results: [{{name: r}}]}}\n"))
            .collect();
        let text = format!(
            "apiVersion: baton.dev/v1alpha1\nkind: Task\nmetadata: {{name: a}}\nspec:\n  steps:\n    \
             - {{name: s0, command: [x], results: [{{name: r}}]}}\n{}",
            steps.split_once('\n').unwrap().1
        );
        parse(Source {
            name: "a",
            text: text.as_bytes(),
        })
    };
    let documents = with(1000).unwrap();
    let Object::Task(task) = &documents[0].object else {
        panic!();
    };
    render(task, &Default::default()).unwrap();
    assert_eq!(
        with(1001).unwrap_err()[0].to_string(),
        "a:5:3: spec.steps: 1001 steps and sidecars are too many: a Task has at most 1000"
    );
}
