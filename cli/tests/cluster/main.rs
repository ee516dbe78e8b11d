//! `baton` against a real API server and real pods: `cargo test -p baton --test cluster -- --ignored`
//! with `KUBECONFIG` set and the Task's definition installed. Where no coordinator runs, the tests
//! play it.

// A test fails by panicking, in its helpers too.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod played;
#[path = "../common/signals.rs"]
mod signals;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};
use std::thread::spawn;

use self::played::{kubectl, run_once, task, until};
use self::signals::heard;

/// A namespace of its own, removed with what is in it.
struct Space {
    name: String,
    dir: tempfile::TempDir,
}

impl Space {
    fn new(test: &str) -> Space {
        let name = format!("baton-cli-{test}-{}", std::process::id());
        kubectl(&["create", "namespace", &name], None).unwrap();
        let dir = tempfile::tempdir().unwrap();
        Space { name, dir }
    }

    /// Writes a manifest: steps with their scripts.
    fn write(&self, name: &str, steps: &[(&str, &str)]) {
        let mut text = format!(
            "apiVersion: baton.dev/v1alpha1\nkind: Task\nmetadata: {{name: {name}}}\nspec:\n  \
             params: [{{name: who, default: world}}]\n  steps:\n"
        );
        for (step, script) in steps {
            text.push_str(&format!(
                "  - {{name: {step}, image: docker.io/library/busybox:1.28, \
                 imagePullPolicy: IfNotPresent, script: {script:?}}}\n"
            ));
        }
        std::fs::write(self.dir.path().join("t.yaml"), text).unwrap();
    }

    fn start(&self, args: &[&str]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_baton"));
        command
            .args(args)
            .args(["-n", &self.name])
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        heard(&mut command).spawn().unwrap()
    }

    fn baton(&self, args: &[&str]) -> Ran {
        ran(self.start(args).wait_with_output().unwrap())
    }

    /// Runs a Task once while `baton` does this.
    fn with_run(&self, name: &str, run: u32, args: &[&str]) -> Ran {
        let (space, task) = (self.name.clone(), name.to_owned());
        let player = spawn(move || run_once(&space, &task, run));
        let ran = self.baton(args);
        player.join().unwrap();
        ran
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let _ = kubectl(&["delete", "namespace", &self.name, "--wait=false"], None);
    }
}

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

fn ran(output: Output) -> Ran {
    Ran {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
#[ignore = "needs a cluster"]
fn a_run_is_followed_and_its_logs_are_in_order() {
    let space = Space::new("follow");
    let steps = [
        (
            "compile",
            "for i in 1 2 3; do echo line $i; sleep 0.2; done",
        ),
        ("test", "echo testing; printf end"),
    ];
    space.write("demo", &steps);
    let first = space.with_run("demo", 1, &["run", "--cluster", "t.yaml", "-p", "who=me"]);
    assert_eq!(first.code, Some(0), "{}", first.err);
    let lines = "compile | line 1\ncompile | line 2\ncompile | line 3\n\
                 test    | testing\ntest    | end\n";
    assert_eq!(first.out, lines);
    assert!(
        first.err.contains("task demo: Succeeded in "),
        "{}",
        first.err
    );
    let order: Vec<_> = [
        "compile ▶ started",
        "compile ✔ completed",
        "test    ▶ started",
        "test    ✔ completed",
    ]
    .map(|said| {
        first
            .err
            .find(said)
            .unwrap_or_else(|| panic!("{said}: {}", first.err))
    })
    .to_vec();
    assert!(order.is_sorted(), "{}", first.err);
    let params = &task(&space.name, "demo").unwrap()["spec"]["params"];
    assert_eq!(params[0]["default"], "me");

    let logs = space.baton(&["logs", "demo"]);
    assert_eq!((logs.code, logs.out.as_str()), (Some(0), lines));
    let one = space.baton(&["logs", "demo", "--step", "test", "--no-prefix"]);
    assert_eq!(one.out, "testing\nend\n");
    let none = space.baton(&["logs", "demo", "--step", "nope"]);
    assert_eq!(none.code, Some(125));
    assert_eq!(
        none.err,
        "task demo has no step nope; it has compile, test\n"
    );

    let list = space.baton(&["list"]);
    assert!(list.out.contains("demo   Succeeded"), "{}", list.out);
    let json = space.baton(&["list", "-o", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json["items"][0]["metadata"]["name"], "demo");
    let told = space.baton(&["describe", "demo"]);
    assert!(told.out.contains("Pod         demo-1"), "{}", told.out);

    // Applied once more, what is over runs again; the first run's logs stay as long as its pod.
    let again = space.with_run(
        "demo",
        2,
        &["run", "--cluster", "t.yaml", "-p", "who=me", "-o", "json"],
    );
    assert_eq!(again.code, Some(0), "{}", again.err);
    let json: serde_json::Value = serde_json::from_str(&again.out).unwrap();
    assert_eq!(json["runs"][0]["phase"], "Succeeded");
    assert!(again.err.contains("it runs again"), "{}", again.err);
    assert!(again.err.contains("compile | line 3"), "{}", again.err);
    kubectl(
        &[
            "-n",
            &space.name,
            "delete",
            "pod",
            "demo-1",
            "--ignore-not-found",
        ],
        None,
    )
    .unwrap();
    let gone = space.baton(&["logs", "demo", "--run", "1"]);
    assert_eq!(gone.code, Some(125));
    assert!(
        gone.err.starts_with("pod demo-1 of run 1 is gone"),
        "{}",
        gone.err
    );
}

#[test]
#[ignore = "needs a cluster"]
fn a_failure_is_the_exit_code() {
    let space = Space::new("fail");
    space.write(
        "bad",
        &[("one", "echo broken; exit 3"), ("two", "echo never")],
    );
    let ran = space.with_run("bad", 1, &["run", "--cluster", "t.yaml"]);
    assert_eq!(ran.code, Some(3), "{}", ran.err);
    assert_eq!(ran.out, "one | broken\n");
    assert!(
        ran.err.contains("Failed at step one (exit 3)"),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("two    · not run"), "{}", ran.err);
    let told = space.baton(&["describe", "bad"]);
    assert!(told.out.contains("--step one"), "{}", told.out);
    let cancelled = space.baton(&["cancel", "bad"]);
    assert_eq!(cancelled.out, "task bad is over already: Failed\n");
}

#[test]
#[ignore = "needs a cluster"]
fn ctrl_c_cancels_and_goes_on_following() {
    let space = Space::new("cancel");
    space.write(
        "long",
        &[("sleep", "echo begun; sleep 100"), ("two", "echo never")],
    );
    let namespace = space.name.clone();
    let player = spawn(move || run_once(&namespace, "long", 1));
    let mut child = space.start(&["run", "--cluster", "t.yaml"]);
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "sleep | begun\n");
    until("the step's start", || {
        let task = task(&space.name, "long")?;
        (task["status"]["steps"][0]["state"] == "Running").then_some(())
    });
    let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let ran = ran(child.wait_with_output().unwrap());
    player.join().unwrap();
    assert_eq!(ran.code, Some(130), "{}", ran.err);
    assert!(ran.err.contains("cancelling task long"), "{}", ran.err);
    assert!(
        ran.err.contains("task long: Cancelled at step sleep"),
        "{}",
        ran.err
    );
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
    assert_eq!(task(&space.name, "long").unwrap()["spec"]["cancel"], true);
}

#[test]
#[ignore = "needs a cluster"]
fn mistakes_are_answered() {
    let space = Space::new("mistakes");
    let none = space.baton(&["logs", "nope"]);
    assert_eq!(none.code, Some(125));
    assert!(
        none.err.starts_with(&format!(
            "there is no task, jobflow or daemonjob nope in namespace {} of https://",
            space.name
        )),
        "{}",
        none.err
    );
    let context = space.baton(&["list", "--context", "nope"]);
    assert!(
        context
            .err
            .contains("there is no context nope in it; it has "),
        "{}",
        context.err
    );
    std::fs::write(space.dir.path().join("job.yaml"), "apiVersion: batch/v1\nkind: Job\nmetadata: {name: j}\nspec: {template: {spec: {restartPolicy: Never, containers: [{name: c, command: [\"true\"]}]}}}\n").unwrap();
    let job = space.baton(&["run", "--cluster", "job.yaml"]);
    assert_eq!(job.code, Some(2));
    assert!(
        job.err.contains("--cluster takes Baton's own kinds"),
        "{}",
        job.err
    );
    let one = space.baton(&["describe", "jf/nope"]);
    assert!(
        one.err.starts_with("there is no jobflow nope"),
        "{}",
        one.err
    );
    let kind = space.baton(&["describe", "pod/nope"]);
    assert_eq!(kind.code, Some(2), "{}", kind.err);
    assert!(kind.err.contains("is no kind that runs"), "{}", kind.err);

    // One name of two kinds has to be told apart. Nothing of them runs.
    let twice = "apiVersion: baton.dev/v1alpha1\nkind: JobFlow\nmetadata: {name: twice}\nspec: {suspend: true, flows: [{name: a, jobTemplateRef: t}]}\n---\n\
                 apiVersion: baton.dev/v1alpha1\nkind: DaemonJob\nmetadata: {name: twice}\nspec: {suspend: true, template: {spec: {containers: [{name: c, image: i}]}}}\n";
    kubectl(&["-n", &space.name, "apply", "-f", "-"], Some(twice)).unwrap();
    let both = space.baton(&["describe", "twice"]);
    assert_eq!(both.code, Some(125));
    let says = "twice is the name of a jobflow and of a daemonjob; say which: jobflow/twice or daemonjob/twice";
    assert_eq!(both.err.trim(), says);
    let list = space.baton(&["list", "jf", "dj"]);
    assert_eq!(list.out.matches("twice").count(), 2, "{}", list.out);
}
