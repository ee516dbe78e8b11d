//! `baton run` on native Jobs: the real binary, real processes.

// A test fails by panicking, in its helpers too.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

#[path = "common/signals.rs"]
mod signals;

use signals::heard;

/// A Job whose pods have one container that runs `script`; `spec` are further lines of its spec.
fn job(spec: &str, policy: &str, script: &str) -> String {
    let script = serde_json::to_string(script).unwrap();
    let spec = spec.replace('\n', "\n  ");
    format!(
        "apiVersion: batch/v1
kind: Job
metadata: {{name: j}}
spec:
  {spec}
  template:
    spec:
      restartPolicy: {policy}
      terminationGracePeriodSeconds: 600
      containers: [{{name: c, command: [sh, -c, {script}]}}]
"
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
            .args(["run", "-"])
            .args(args)
            .current_dir(self.0.path())
            .env("BATON_JOB_BACKOFF", "1ms")
            .env("TMPDIR", self.0.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        heard(&mut command);
        command
    }

    fn run(&self, manifest: &str, args: &[&str]) -> Output {
        let mut child = self.command(args).spawn().unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(manifest.as_bytes())
            .unwrap();
        child.wait_with_output().unwrap()
    }

    /// The one run of `-o json`, and the exit code.
    fn json(&self, manifest: &str) -> (Value, i32) {
        let output = self.run(manifest, &["-o", "json"]);
        let mut all: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)));
        (all["runs"][0].take(), output.status.code().unwrap())
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.path().join(name)).unwrap_or_default()
    }

    /// Nothing is left but what the pods wrote themselves.
    fn scratch_folders(&self) -> usize {
        let entries = std::fs::read_dir(self.0.path()).unwrap().flatten();
        let names = entries.map(|e| e.file_name().into_string().unwrap());
        names.filter(|n| n.starts_with("baton-")).count()
    }
}

fn phases(run: &Value) -> Vec<&str> {
    let pods = run["pods"].as_array().unwrap();
    pods.iter().map(|p| p["phase"].as_str().unwrap()).collect()
}

#[test]
fn completions_with_parallelism() {
    let place = Place::new();
    let manifest = job("completions: 5\nparallelism: 2", "Never", "echo x >> ran");
    let (run, code) = place.json(&manifest);
    assert_eq!(code, 0);
    assert_eq!(run["condition"]["type"], "Complete");
    assert_eq!(run["condition"]["status"], "True");
    assert_eq!(phases(&run), ["Succeeded"; 5]);
    assert_eq!(place.read("ran").lines().count(), 5);
    assert_eq!(place.scratch_folders(), 0);
}

#[test]
fn never_more_than_parallelism_at_a_time() {
    let place = Place::new();
    // Each pod holds a folder while it runs; with three slots a fourth pod finds none.
    let script = "for n in 1 2 3; do
        if mkdir slot$n 2>/dev/null; then sleep 0.05; rmdir slot$n; exit 0; fi
      done; echo too many >> complaints";
    let (run, code) = place.json(&job("completions: 12\nparallelism: 3", "Never", script));
    assert_eq!(code, 0, "{run}");
    assert_eq!(place.read("complaints"), "");
}

#[test]
fn failed_pods_are_replaced_until_the_limit() {
    let place = Place::new();
    let (run, code) = place.json(&job("backoffLimit: 2", "Never", "echo x >> ran; exit 3"));
    assert_eq!(code, 1);
    assert_eq!(run["condition"]["reason"], "BackoffLimitExceeded");
    let message = "Job has reached the specified backoff limit";
    assert_eq!(run["condition"]["message"], message);
    assert_eq!(phases(&run), ["Failed"; 3]);
    assert_eq!(run["pods"][2]["containers"][0]["records"][0]["exitCode"], 3);
    assert_eq!(place.read("ran").lines().count(), 3);
}

#[test]
fn a_pod_may_fail_on_the_way_to_success() {
    let place = Place::new();
    let script = "[ -e second ] || { touch second; exit 1; }";
    let (run, code) = place.json(&job("backoffLimit: 1", "Never", script));
    assert_eq!(code, 0);
    assert_eq!(phases(&run), ["Failed", "Succeeded"]);
}

#[test]
fn on_failure_restarts_in_place() {
    let place = Place::new();
    let script = "echo x >> ran; [ $(wc -l < ran) -ge 3 ]";
    let (run, code) = place.json(&job("backoffLimit: 5", "OnFailure", script));
    assert_eq!(code, 0);
    assert_eq!(phases(&run), ["Succeeded"]);
    assert_eq!(run["pods"][0]["restarts"], 2);
}

#[test]
fn on_failure_restarts_reach_the_limit() {
    let place = Place::new();
    let (run, code) = place.json(&job(
        "backoffLimit: 2",
        "OnFailure",
        "echo x >> ran; exit 1",
    ));
    assert_eq!(code, 1);
    assert_eq!(run["condition"]["reason"], "BackoffLimitExceeded");
    // The restart that reaches the limit is called off before it begins.
    assert_eq!(place.read("ran").lines().count(), 2);
}

#[test]
fn the_deadline_stops_what_runs() {
    let script = "trap 'echo stopped >> told; exit 0' TERM; touch up; sleep 600 & wait";
    // Where the machine is slow, the time may be up before the trap is set: then once more, with more.
    let (place, run, code) = [1, 5, 30]
        .into_iter()
        .find_map(|seconds| {
            let place = Place::new();
            let deadline = format!("activeDeadlineSeconds: {seconds}");
            let (run, code) = place.json(&job(&deadline, "Never", script));
            let is_up = place.0.path().join("up").exists();
            is_up.then_some((place, run, code))
        })
        .unwrap();
    assert_eq!(code, 1);
    assert_eq!(run["condition"]["reason"], "DeadlineExceeded");
    assert_eq!(phases(&run), ["Deleted"]);
    assert_eq!(run["failed"], 1);
    assert_eq!(place.read("told"), "stopped\n");
}

#[test]
fn the_first_success_ends_a_work_queue() {
    let place = Place::new();
    // One pod finishes the work; the others see that and end. Nothing new starts after it.
    let script = "echo x >> ran; mkdir mine 2>/dev/null && exit 0
      until [ -d mine ]; do sleep 0.01; done; exit 0";
    let (run, code) = place.json(&job("parallelism: 3", "Never", script));
    assert_eq!(code, 0);
    assert_eq!(phases(&run), ["Succeeded"; 3]);
    assert_eq!(place.read("ran").lines().count(), 3);
}

#[test]
fn each_index_is_done_once() {
    let place = Place::new();
    let spec = "completions: 4\nparallelism: 2\ncompletionMode: Indexed";
    let script = "echo $JOB_COMPLETION_INDEX >> ran; mkdir once$JOB_COMPLETION_INDEX";
    let (run, code) = place.json(&job(spec, "Never", script));
    assert_eq!(code, 0);
    assert_eq!(run["completedIndexes"], "0-3");
    let mut ran: Vec<_> = place.read("ran").lines().map(str::to_owned).collect();
    ran.sort();
    assert_eq!(ran, ["0", "1", "2", "3"]);
}

#[test]
fn init_containers_prepare_a_folder_of_the_pods_own() {
    let place = Place::new();
    let manifest = r#"
apiVersion: batch/v1
kind: Job
metadata: {name: j}
spec:
  completions: 2
  template:
    spec:
      restartPolicy: Never
      initContainers:
      - name: first
        command: [sh, -c, 'ls /data; echo 1 > /data/f']
        volumeMounts: [{name: v, mountPath: /data}]
      - name: second
        command: [sh, -c, 'read n < /data/f; echo $((n + 1)) > /data/f']
        volumeMounts: [{name: v, mountPath: /data}]
      containers:
      - name: main
        command: [sh, -c, 'echo main $(cat /data/f)']
        volumeMounts: [{name: v, mountPath: /data}]
      - name: other
        command: [sh, -c, 'echo other $(cat /data/f)']
        volumeMounts: [{name: v, mountPath: /data}]
      volumes: [{name: v, emptyDir: {}}]
"#;
    let output = place.run(manifest, &[]);
    assert!(output.status.success());
    let mut lines: Vec<_> = output.stdout.lines().map(Result::unwrap).collect();
    lines.sort();
    let lines: Vec<_> = lines
        .iter()
        .map(|l| l.split(" | ").nth(1).unwrap())
        .collect();
    assert_eq!(lines, ["main 2", "other 2", "main 2", "other 2"]);
}

#[test]
fn a_suspended_job_runs_nothing() {
    let place = Place::new();
    let (run, code) = place.json(&job("suspend: true", "Never", "touch ran"));
    assert_eq!(code, 1);
    assert_eq!(run["condition"]["type"], "Suspended");
    assert_eq!(phases(&run), [""; 0]);
    assert!(!place.0.path().join("ran").exists());
}

#[test]
fn an_interrupt_stops_all_pods() {
    let place = Place::new();
    let script = "trap 'echo bye; exit 0' TERM; echo up; sleep 600 & wait";
    let mut child = place.command(&[]).spawn().unwrap();
    let manifest = job("completions: 2\nparallelism: 2", "Never", script);
    child
        .stdin
        .take()
        .unwrap()
        .write_all(manifest.as_bytes())
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || lines.next().unwrap().unwrap();
    assert!(next().ends_with("up") && next().ends_with("up"));
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    assert!(next().ends_with("bye") && next().ends_with("bye"));
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("job j: Cancelled after"), "{said}");
    assert_eq!(place.scratch_folders(), 0);
}

#[test]
fn a_second_signal_kills_what_is_deaf_to_the_first() {
    let place = Place::new();
    let script = "trap 'echo deaf' TERM; echo up; while :; do sleep 0.01; done";
    let manifest = job("completions: 1", "OnFailure", script);
    let mut child = place.command(&[]).spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(manifest.as_bytes())
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    for heard in ["up", "deaf"] {
        // The shell may tell of its `sleep`, which got the signal too.
        assert!(lines.any(|line| line.unwrap().ends_with(heard)));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    }
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(place.scratch_folders(), 0);
}

#[test]
fn a_person_sees_pods_and_the_condition() {
    let place = Place::new();
    let output = place.run(&job("backoffLimit: 0", "Never", "echo out; exit 7"), &[]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "j-1 | out\n");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("j-1 ✘ failed (exit 7)"), "{said}");
    assert!(said.contains("Failed (BackoffLimitExceeded)"), "{said}");
}

#[test]
fn a_report_shows_every_pod() {
    let place = Place::new();
    let script = "echo '<script>hello</script>'; [ -e second ] || { touch second; exit 1; }";
    let output = place.run(
        &job("backoffLimit: 3", "Never", script),
        &["--report", "r.html"],
    );
    assert!(output.status.success());
    let page = place.read("r.html");
    for told in ["j-1", "j-2", "Complete in", "&lt;script&gt;hello"] {
        assert!(page.contains(told), "{told}");
    }
    assert!(!page.contains("<script>"));
}

#[test]
fn nothing_starts_where_a_container_has_no_command() {
    let place = Place::new();
    let good = job("completions: 1", "Never", "touch ran");
    let bad = good.replace("command: [sh, -c, \"touch ran\"]", "image: perl");
    let output = place.run(&format!("{good}---\n{bad}"), &[]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("container c has no command"), "{said}");
    assert!(!place.0.path().join("ran").exists());
}

#[test]
fn a_native_sidecar_is_refused_before_anything_starts() {
    let manifest = job("", "Never", "echo hi").replace(
        "      containers:",
        "      initContainers: [{name: s, command: [sleep, '60'], restartPolicy: Always}]
      containers:",
    );
    let output = Place::new().run(&manifest, &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("init container s has restartPolicy"),
        "{said}"
    );
    assert!(output.stdout.is_empty());
}
