//! Plays the coordinator where none runs: real pods of real images, and statuses as it writes them.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use baton_api::status::{PodStatusRef, RunStatus, StepPhase, StepStatus, TaskPhase, TaskStatus};
use baton_protocol::Timestamp;
use serde_json::{Value, json};

/// No test takes near as long.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// Runs kubectl; what it prints, or what it says went wrong.
pub(crate) fn kubectl(args: &[&str], input: Option<&str>) -> Result<String, String> {
    let mut child = Command::new("kubectl")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin
        .write_all(input.unwrap_or_default().as_bytes())
        .unwrap();
    drop(stdin);
    let out = child.wait_with_output().unwrap();
    match out.status.success() {
        true => Ok(String::from_utf8_lossy(&out.stdout).into_owned()),
        false => Err(String::from_utf8_lossy(&out.stderr).into_owned()),
    }
}

/// Asks again and again until there is an answer.
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(
            start.elapsed() < DEADLINE,
            "{what}: not within {DEADLINE:?}"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A coordinator is installed: nothing is to be played.
fn is_real() -> bool {
    let args = [
        "-n",
        "baton-system",
        "get",
        "deployment",
        "baton-coordinator",
    ];
    kubectl(&args, None).is_ok()
}

pub(crate) fn task(ns: &str, name: &str) -> Option<Value> {
    let found = kubectl(
        &["-n", ns, "get", "tasks.baton.dev", name, "-o", "json"],
        None,
    );
    serde_json::from_str(&found.ok()?).ok()
}

/// Runs a Task once: makes its pod, and writes its status until it is over.
pub(crate) fn run_once(ns: &str, name: &str, run: u32) {
    if is_real() {
        return;
    }
    let object = until("the Task", || {
        let task = task(ns, name)?;
        let rerun = task["metadata"]["annotations"]["baton.dev/rerun"].is_string();
        (run == 1 || rerun).then_some(task)
    });
    let before: TaskStatus = serde_json::from_value(object["status"].clone()).unwrap_or_default();
    let steps = object["spec"]["steps"].as_array().unwrap().clone();
    let pod = format!("{name}-{run}");
    kubectl(
        &["-n", ns, "create", "-f", "-"],
        Some(&manifest(&pod, &steps)),
    )
    .unwrap();
    let mut status = TaskStatus {
        observed_generation: object["metadata"]["generation"].as_i64(),
        run,
        pod: Some(PodStatusRef {
            name: pod.clone(),
            ..PodStatusRef::default()
        }),
        steps: (1..).zip(&steps).map(|(n, s)| waiting(n, s)).collect(),
        ..TaskStatus::default()
    };
    if before.run > 0 {
        status.runs.push(RunStatus {
            run: before.run,
            pod: before.pod.unwrap_or_default().name,
            phase: before.phase,
            ..RunStatus::default()
        });
    }
    let mut written = String::new();
    until("the pod's end", || {
        let text = json!({ "status": status }).to_string();
        if text != written {
            let args = [
                "-n",
                ns,
                "patch",
                "tasks.baton.dev",
                name,
                "--subresource=status",
                "--type=merge",
                "-p",
                &text,
            ];
            kubectl(&args, None).unwrap();
            written = text;
        }
        if status.phase.is_over() {
            return Some(());
        }
        let cancelled = task(ns, name)?["spec"]["cancel"] == json!(true);
        if cancelled {
            let _ = kubectl(&["-n", ns, "exec", &pod, "--", "touch", "/s/stop"], None);
        }
        let found = kubectl(&["-n", ns, "get", "pod", &pod, "-o", "json"], None).ok()?;
        fold(&mut status, &serde_json::from_str(&found).ok()?, cancelled);
        None
    });
}

fn waiting(number: u32, step: &Value) -> StepStatus {
    StepStatus {
        name: step["name"].as_str().unwrap().to_owned(),
        number,
        ..StepStatus::default()
    }
}

/// Each container waits for a file of its number, and leaves that of the next one.
fn manifest(pod: &str, steps: &[Value]) -> String {
    let containers: Vec<Value> = (1..)
        .zip(steps)
        .map(|(n, step)| {
            let script = step["script"].as_str().unwrap();
            let next = n + 1;
            json!({
                "name": step["name"],
                "image": step["image"],
                "imagePullPolicy": "IfNotPresent",
                "volumeMounts": [{"name": "s", "mountPath": "/s"}],
                "command": ["sh", "-c", format!(
                    "[ {n} = 1 ] && touch /s/1\n\
                     while [ ! -e /s/{n} ]; do [ -e /s/stop ] && exit 1; sleep 0.1; done\n\
                     ({script}) & p=$!\n\
                     while kill -0 $p 2>/dev/null; do [ -e /s/stop ] && kill $p; sleep 0.1; done\n\
                     wait $p; c=$?; [ $c = 0 ] && touch /s/{next} || touch /s/stop; exit $c"
                )],
            })
        })
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "volumes": [{"name": "s", "emptyDir": {}}],
            "containers": containers,
        },
    })
    .to_string()
}

/// What the pod's containers tell.
fn fold(status: &mut TaskStatus, pod: &Value, cancelled: bool) {
    let now = Some(Timestamp(SystemTime::now()));
    let containers = pod["status"]["containerStatuses"].as_array().cloned();
    let states: BTreeMap<String, Value> = containers
        .unwrap_or_default()
        .iter()
        .map(|c| (c["name"].as_str().unwrap().to_owned(), c["state"].clone()))
        .collect();
    if states.is_empty() || states.values().any(|s| s["waiting"].is_object()) {
        return;
    }
    status.phase = TaskPhase::Running;
    status.started_at = status.started_at.or(now);
    let mut turn = true;
    let mut failed = None;
    for step in &mut status.steps {
        let ended = states[&step.name]["terminated"]["exitCode"].as_i64();
        if !turn {
            if failed.is_some() {
                step.state = StepPhase::NotRun;
            }
            continue;
        }
        step.attempts = 1;
        step.started_at = step.started_at.or(now);
        step.state = match ended {
            Some(0) => StepPhase::Succeeded,
            Some(_) => StepPhase::Failed,
            None => StepPhase::Running,
        };
        if let Some(code) = ended {
            step.exit_code = i32::try_from(code).ok();
            step.finished_at = step.finished_at.or(now);
            step.reason = match (code, cancelled) {
                (0, _) => "Completed",
                (_, true) => "Cancelled",
                _ => "Error",
            }
            .to_owned();
            failed = failed.or(step.exit_code.filter(|c| *c != 0));
        }
        turn = ended == Some(0);
    }
    if states.values().all(|s| s["terminated"].is_object()) {
        status.finished_at = now;
        (status.phase, status.exit_code) = match (failed, cancelled) {
            (_, true) => (TaskPhase::Cancelled, Some(130)),
            (None, false) => (TaskPhase::Succeeded, Some(0)),
            (Some(code), false) => (TaskPhase::Failed, Some(code)),
        };
    }
}
