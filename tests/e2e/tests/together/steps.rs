//! What steps can do, in pods: parameters, results, conditions, retries, sidecars, `finally`, limits.

use std::time::Duration;

use baton_api::status::{Carrier, StepKind, StepPhase, TaskPhase, TaskStatus};
use baton_e2e::Cluster;
use baton_protocol::Reason;

const SOON: Duration = Duration::from_secs(120);

/// Names and reasons, in order.
fn reasons(status: &TaskStatus) -> Vec<(&str, &str)> {
    status
        .steps
        .iter()
        .map(|s| (s.name.as_str(), s.reason.as_str()))
        .collect()
}

#[test]
#[ignore = "needs a cluster"]
fn everything_that_steps_can_do() {
    let cluster = Cluster::shared();
    let ns = cluster.namespace("steps");
    ns.apply(
        r#"
apiVersion: baton.dev/v1alpha1
kind: Task
metadata: {name: release}
spec:
  params:
  - {name: channel, default: dev}
  - {name: files, type: array, default: [a, "b c"]}
  volumes: [{name: work, emptyDir: {}}]
  sidecars:
  - name: server
    image: busybox
    volumeMounts: [{name: work, mountPath: /work}]
    script: |
      trap 'echo told to stop; exit 0' TERM
      touch /work/up
      while :; do sleep 0.1; done
    readiness: {command: [test, -e, /work/up]}
  steps:
  - name: version
    image: busybox
    results: [{name: version}]
    script: |
      printf 1.2 > $(results.version.path)
  - name: pack
    image: busybox
    volumeMounts: [{name: work, mountPath: /work}]
    env: [{name: VERSION, value: $(steps.version.results.version)}]
    script: |
      test -e /work/up
      printf '<%s>' "$VERSION" "$@"
    args: ["$(params.files[*])"]
  - name: lint
    image: busybox
    onError: continue
    command: [sh, -c, 'echo a flaw; exit 3']
  - name: upload
    image: busybox
    retries: 3
    retryDelay: 100ms
    command: [sh, -c, 'echo "attempt $BATON_ATTEMPT"; test $BATON_ATTEMPT -ge 3']
  - name: announce
    image: busybox
    when: [{input: $(params.channel), operator: in, values: [stable, beta]}]
    command: [echo, "$(steps.version.results.version) is out"]
  - name: burn
    image: busybox
    script: |
      i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done
  finally:
  - {name: tidy, image: busybox, command: [echo, tidied up]}
"#,
    );
    let status = ns.finished("release", SOON);
    assert_eq!(status.phase, TaskPhase::Succeeded, "{status:?}");
    // Image IDs are the kubelet's to tell, which is later than a short Task's end.
    let status = baton_e2e::until(SOON, "the IDs of all images", || {
        let status = ns.status("release");
        let mut ran = status.steps.iter().filter(|s| s.attempts > 0);
        ran.all(|s| !s.image_id.is_empty()).then_some(status)
    });
    let order = [
        ("version", "Completed"),
        ("pack", "Completed"),
        ("lint", "Continued"),
        ("upload", "Completed"),
        ("announce", "Skipped"),
        ("burn", "Completed"),
        ("tidy", "Completed"),
    ];
    assert_eq!(reasons(&status)[..7], order);
    assert_eq!(status.progress, "7/7");
    assert_eq!(status.exit_code, Some(0));
    assert_eq!(status.observed_generation, Some(1));
    let pod = status.pod.clone().expect("it had a pod");
    assert_eq!(pod.carrier, Carrier::Volume);

    let step = |name: &str| status.steps.iter().find(|s| s.name == name).expect("there");
    assert_eq!(step("version").results.len(), 1);
    assert_eq!(step("version").results[0].value, "1.2");
    assert_eq!(step("lint").exit_code, Some(3));
    assert_eq!(step("lint").continued_from, Some(Reason::Error));
    assert_eq!(step("upload").attempts, 3);
    assert_eq!(step("upload").retries.len(), 2);
    assert_eq!(step("upload").retries[0].exit_code, 1);
    assert_eq!(step("announce").attempts, 0);
    assert_eq!(step("tidy").kind, StepKind::Finally);
    assert!(step("server").ready);
    assert_eq!(step("server").kind, StepKind::Sidecar);
    assert!(step("burn").cpu_ms > Some(10), "{:?}", step("burn").cpu_ms);
    for ran in status.steps.iter().filter(|s| s.attempts > 0) {
        assert!(ran.image_id.contains("sha256:"), "{ran:?}");
        assert!(ran.peak_bytes > Some(100_000), "{ran:?}");
        assert!(ran.started_at <= ran.finished_at && ran.started_at.is_some());
    }
    assert_eq!(ns.log(&pod.name, "pack"), "<1.2><a><b c>");
    assert_eq!(
        ns.log(&pod.name, "upload"),
        "attempt 1\nattempt 2\nattempt 3\n"
    );
    assert!(!ns.log(&pod.name, "announce").contains("is out"));
    assert!(ns.log(&pod.name, "server").contains("told to stop"));

    let shown = ns.kubectl(&["get", "task", "release"]).success("get");
    let lines: Vec<Vec<&str>> = shown
        .lines()
        .map(|l| l.split_whitespace().collect())
        .collect();
    assert_eq!(
        lines[0],
        ["NAME", "STATUS", "STEPS", "REASON", "AGE", "DURATION"]
    );
    assert_eq!(lines[1][..4], ["release", "Succeeded", "7/7", "Completed"]);
    assert_eq!(lines[1].len(), 6, "with an age and a duration: {shown}");
}

#[test]
#[ignore = "needs a cluster"]
fn a_task_whose_results_do_not_fit_beside_it_ends_without_them() {
    let cluster = Cluster::shared();
    let ns = cluster.namespace("too-large");
    // With 256 KiB of results it is past the 1.5 MiB that etcd takes; twelve variables, as one has 128 KiB at most.
    let env: String = (0..12)
        .map(|i| format!("    - {{name: E{i}, value: {}}}\n", "x".repeat(110_000)))
        .collect();
    let yaml = format!(
        r#"
apiVersion: baton.dev/v1alpha1
kind: Task
metadata: {{name: large}}
spec:
  steps:
  - name: one
    image: busybox
    env:
{env}
    results: [{{name: a}}, {{name: b}}, {{name: c}}, {{name: d}}, {{name: e}}, {{name: f}}, {{name: g}}, {{name: h}}]
    script: |
      for r in a b c d e f g h; do
        head -c 32767 /dev/zero | tr '\0' $r > $BATON_RESULTS/$r
      done
  - {{name: two, image: busybox, command: [echo, fine]}}
"#
    );
    // `apply` would keep the whole of it in an annotation, which has 256 KiB at most.
    let args = ["-n", ns.name(), "create", "-f", "-"];
    cluster.kubectl().run_with(&args, &yaml).success("create");
    let status = ns.finished("large", SOON);
    assert_eq!(status.phase, TaskPhase::Succeeded, "{:?}", status.message);
    let one = &status.steps[0];
    assert_eq!((one.results.len(), one.missing_results.len()), (0, 8));
    let why = &one.missing_results[0].why;
    assert!(why.contains("too large"), "{why}");
    assert_eq!(status.steps[1].reason, "Completed");
}

#[test]
#[ignore = "needs a cluster"]
fn results_of_256_kib_are_whole_in_the_status() {
    let cluster = Cluster::shared();
    let ns = cluster.namespace("results");
    // 8 results of 32 KiB with their names; and a ninth, which is too many, in another Task.
    let task = |name: &str, more: &str| {
        format!(
            r#"
apiVersion: baton.dev/v1alpha1
kind: Task
metadata: {{name: {name}}}
spec:
  steps:
  - name: one
    image: busybox
    results: [{{name: a}}, {{name: b}}, {{name: c}}, {{name: d}}]
    script: |
      for r in a b c d; do
        head -c 32767 /dev/zero | tr '\0' $r > $BATON_RESULTS/$r
      done
  - name: two
    image: busybox
    results: [{{name: e}}, {{name: f}}, {{name: g}}, {{name: h}}, {{name: over}}]
    script: |
      for r in e f g h; do
        head -c 32767 /dev/zero | tr '\0' $r > $BATON_RESULTS/$r
      done
      {more}
"#
        )
    };
    ns.apply(&task("fits", ":"));
    ns.apply(&task("over", "printf x > $BATON_RESULTS/over"));
    let status = ns.finished("fits", SOON);
    assert_eq!(status.phase, TaskPhase::Succeeded, "{:?}", status.message);
    let results: Vec<_> = status.steps.iter().flat_map(|s| &s.results).collect();
    assert_eq!(results.len(), 8);
    for result in results {
        assert_eq!(result.value, result.name.repeat(32767), "{}", result.name);
    }
    let status = ns.finished("over", SOON);
    assert_eq!(status.phase, TaskPhase::Succeeded, "{:?}", status.message);
    let two = &status.steps[1];
    assert_eq!((status.steps[0].results.len(), two.results.len()), (4, 4));
    assert_eq!(two.missing_results[0].name, "over");
    let why = &two.missing_results[0].why;
    assert!(why.contains("256 KiB"), "{why}");
}

#[test]
#[ignore = "needs a cluster"]
fn limits_of_time_and_memory() {
    let cluster = Cluster::shared();
    let ns = cluster.namespace("limits");
    ns.apply(
        r#"
apiVersion: baton.dev/v1alpha1
kind: Task
metadata: {name: step-timeout}
spec:
  gracePeriod: 1s
  steps:
  - {name: slow, image: busybox, timeout: 500ms, command: [sleep, "600"]}
  - {name: after, image: busybox, command: ["true"]}
  finally:
  - {name: tidy, image: busybox, command: ["true"]}
---
apiVersion: baton.dev/v1alpha1
kind: Task
metadata: {name: task-timeout}
spec:
  gracePeriod: 1s
  timeout: 1s
  steps:
  - {name: slow, image: busybox, command: [sleep, "600"]}
  - {name: after, image: busybox, command: ["true"]}
---
apiVersion: baton.dev/v1alpha1
kind: Task
metadata: {name: oom}
spec:
  steps:
  - name: greedy
    image: busybox
    resources: {limits: {memory: 16Mi}}
    script: |
      head -c 100000000 /dev/zero | tail -c 100000000 > /dev/null
  - {name: after, image: busybox, command: ["true"]}
"#,
    );
    let status = ns.finished("step-timeout", SOON);
    assert_eq!(
        (status.phase, status.reason.as_str()),
        (TaskPhase::Failed, "TimedOut")
    );
    assert_eq!(
        reasons(&status),
        [
            ("slow", "TimedOut"),
            ("after", "NotRun"),
            ("tidy", "Completed")
        ]
    );
    let status = ns.finished("task-timeout", SOON);
    assert_eq!(
        (status.phase, status.reason.as_str()),
        (TaskPhase::TimedOut, "TimedOut")
    );
    assert_eq!(status.steps[1].state, StepPhase::NotRun);
    let status = ns.finished("oom", SOON);
    assert_eq!(
        (status.phase, status.reason.as_str()),
        (TaskPhase::Failed, "OOMKilled")
    );
    assert_eq!(
        reasons(&status),
        [("greedy", "OOMKilled"), ("after", "NotRun")]
    );
    assert_eq!(status.steps[0].exit_code, Some(137));
}
