//! What a Task's fields do.

use crate::harness::{Bench, task};

#[test]
fn steps_run_in_their_order() {
    let bench = Bench::with(&task(
        "build",
        "  steps:
  - {name: one, command: [echo, first]}
  - {name: two, command: [sh, -c], args: [\"echo second; echo and error >&2\"]}
  - {name: three, script: \"echo $# $1\\n\", args: [an argument]}
",
    ));
    let ran = bench.run(&[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(
        ran.stdout,
        "one   | first\ntwo   | second\ntwo   | and error\nthree | 1 an argument\n"
    );
    assert!(ran.stderr.contains("STEP"), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("task build: Succeeded in "),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_failure_stops_what_follows_but_finally() {
    let bench = Bench::with(&task(
        "t",
        "  steps:
  - {name: good, command: ['true']}
  - {name: bad, script: 'exit 3'}
  - {name: never, command: [echo, NEVER]}
  finally:
  - {name: clean, command: [echo, cleaned]}
  - {name: failing, command: ['false']}
  - {name: last, command: [echo, last]}
",
    ));
    let (ran, json) = bench.json(&[]);
    assert_eq!(ran.code, 3);
    assert!(ran.stderr.contains("clean   | cleaned"), "{}", ran.stderr);
    assert!(ran.stderr.contains("last    | last"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("NEVER"));
    assert!(
        ran.stderr.contains("task t: Failed at step bad (exit 3)"),
        "{}",
        ran.stderr
    );
    let steps = &json["runs"][0]["steps"];
    assert_eq!(steps[1]["record"]["exitCode"], 3);
    assert_eq!(steps[2]["state"], "NotRun");
    assert_eq!(steps[4]["record"]["reason"], "Error");
}

#[test]
fn an_ignored_failure_lets_the_next_step_start() {
    let bench = Bench::with(&task(
        "t",
        "  steps:
  - {name: lint, command: ['false'], onError: continue}
  - {name: next, command: [echo, went on]}
",
    ));
    let ran = bench.run(&[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("next | went on"));
    assert!(ran.stderr.contains("failed, ignored"), "{}", ran.stderr);
}

#[test]
fn a_failed_step_is_tried_again() {
    let bench = Bench::with(&task(
        "t",
        "  steps:
  - name: flaky
    retries: 3
    retryDelay: 1ms
    script: |
      echo attempt $BATON_ATTEMPT
      test $BATON_ATTEMPT = 3
",
    ));
    let (ran, json) = bench.json(&[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let step = &json["runs"][0]["steps"][0];
    assert_eq!(step["record"]["attempts"], 3);
    assert_eq!(step["attempts"][0]["exitCode"], 1);
    assert_eq!(step["attempts"].as_array().unwrap().len(), 3);
    assert!(ran.stderr.contains("attempt 1 failed (exit 1)"));
}

#[test]
fn when_and_results() {
    let bench = Bench::with(&task(
        "t",
        "  steps:
  - name: version
    results: [{name: tag}]
    script: printf v1.2 > $(results.tag.path)
  - name: show
    env: [{name: TAG, value: $(steps.version.results.tag)}]
    command: [sh, -c, 'echo $0 $TAG', 'arg-$(steps.version.results.tag)']
  - name: skipped
    when: [{input: $(steps.version.results.tag), operator: notin, values: [v1.2]}]
    command: [echo, NEVER]
",
    ));
    let (ran, json) = bench.json(&[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("show    | arg-v1.2 v1.2"),
        "{}",
        ran.stderr
    );
    let steps = &json["runs"][0]["steps"];
    assert_eq!(steps[0]["results"]["tag"], "v1.2");
    assert_eq!(steps[2]["record"]["reason"], "Skipped");
    assert!(!ran.stderr.contains("NEVER"));
}

#[test]
fn a_missing_result_is_a_failure_that_names_it() {
    let bench = Bench::with(&task(
        "t",
        "  steps:
  - {name: a, command: ['true'], results: [{name: tag}]}
  - {name: b, command: [echo, $(steps.a.results.tag)]}
",
    ));
    let ran = bench.run(&[]);
    assert_eq!(ran.code, 125, "{}", ran.stderr);
    assert!(ran.stderr.contains("could not start"), "{}", ran.stderr);
    assert!(ran.stderr.contains("tag"), "{}", ran.stderr);
    // Told once, and not by the entrypoint besides.
    assert_eq!(ran.stdout, "");
}

#[test]
fn time_limits() {
    let bench = Bench::with(&task(
        "t",
        "  steps:
  - {name: slow, timeout: 50ms, command: [sleep, '100']}
",
    ));
    let ran = bench.run(&[]);
    assert_eq!(ran.code, 124, "{}", ran.stderr);
    assert!(ran.stderr.contains("timed out"), "{}", ran.stderr);

    let bench = Bench::with(&task(
        "t",
        "  timeout: 50ms
  steps:
  - {name: slow, command: [sleep, '100']}
  - {name: never, command: [echo, NEVER]}
  finally:
  - {name: clean, command: [echo, cleaned]}
",
    ));
    let ran = bench.run(&[]);
    assert_eq!(ran.code, 124, "{}", ran.stderr);
    assert_eq!(ran.stdout, "clean | cleaned\n");
    assert!(
        ran.stderr.contains("task t: TimedOut at step slow"),
        "{}",
        ran.stderr
    );
}

#[test]
fn programs_that_are_not_there() {
    let bench = Bench::with(&task(
        "t",
        "  steps:\n  - {name: a, command: [no-such-program-here]}\n",
    ));
    let ran = bench.run(&[]);
    assert_eq!(ran.code, 127);
    assert!(ran.stderr.contains("not on PATH"), "{}", ran.stderr);
    assert_eq!(ran.stdout, "");
}

#[test]
fn an_entrypoint_that_dies_ends_its_step() {
    let bench = Bench::with(&task(
        "t",
        "  steps:
  - {name: killer, script: 'kill -9 $PPID; exec sleep 100'}
  - {name: never, command: [echo, NEVER]}
",
    ));
    let (ran, json) = bench.json(&[]);
    assert_eq!(ran.code, 137, "{}", ran.stderr);
    assert_eq!(json["runs"][0]["steps"][0]["state"], "Died");
    assert!(ran.stderr.contains("killed by signal 9"), "{}", ran.stderr);
}

#[test]
fn the_first_step_waits_for_a_sidecar_and_the_last_stops_it() {
    let bench = Bench::with(&task(
        "t",
        "  steps:
  - {name: use, script: 'cat ready'}
  sidecars:
  - name: server
    script: |
      sleep 0.1
      echo yes > ready
      echo serving
      exec sleep 100
    readiness: {command: [test, -s, ready]}
",
    ));
    let (ran, json) = bench.json(&[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("use    | yes"), "{}", ran.stderr);
    assert!(ran.stderr.contains("server ✔ ready"), "{}", ran.stderr);
    assert!(json["runs"][0]["steps"][1]["readyAt"].is_string());
}

#[test]
fn environment() {
    let bench = Bench::with(&task(
        "t",
        "  params: [{name: who, default: world}]
  steps:
  - name: show
    env:
    - {name: A, value: $(params.who)}
    - {name: B, value: '$(A)-$(GIVEN)-$$(A)'}
    script: 'echo $A $B $GIVEN $INHERITED; pwd'
",
    ));
    let mut command = bench.command(&["run", "t.yaml", "-p", "who=you", "-e", "GIVEN=g"]);
    let ran = crate::harness::finish(command.env("INHERITED", "i").spawn().unwrap());
    let here = bench.path("").canonicalize().unwrap();
    assert_eq!(
        ran.stdout,
        format!("show | you you-g-$(A) g i\nshow | {}\n", here.display())
    );
}

#[test]
fn many_steps() {
    let steps: String = (1..=60)
        .map(|n| format!("  - {{name: s{n}, command: [echo, '{n}']}}\n"))
        .collect();
    let bench = Bench::with(&task("t", &format!("  steps:\n{steps}")));
    let ran = bench.run(&["-q"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let got: Vec<_> = ran
        .stdout
        .lines()
        .map(|l| l.rsplit(' ').next().unwrap())
        .collect();
    let want: Vec<_> = (1..=60).map(|n| n.to_string()).collect();
    assert_eq!(got, want);
}

#[test]
fn a_script_of_a_megabyte() {
    // Digits of a chaotic sequence: gzip cannot bring them below the limit of one argument.
    let mut x = 1_u64;
    let line = |_| {
        x = x
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        format!("      # {:x}\n", x)
    };
    let comments: String = (0..50_000).map(line).collect();
    assert!(comments.len() > 1 << 20);
    let bench = Bench::with(&task(
        "t",
        &format!("  steps:\n  - name: big\n    script: |\n{comments}      echo the end\n"),
    ));
    let ran = bench.run(&[]);
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (0, "big | the end\n"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_step_that_removes_the_orders_ends_the_run() {
    let bench = Bench::with(&task(
        "t",
        "  steps:
  - {name: a, script: 'rm -rf \"$TMPDIR\"/baton-*/baton/turns'}
  - {name: b, command: [echo, b]}
",
    ));
    let ran = bench.run(&[]);
    assert_eq!(ran.code, 125, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("it was removed, maybe by a step"),
        "{}",
        ran.stderr
    );
}
