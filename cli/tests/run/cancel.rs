//! Being told to stop, and leaving nothing behind.

use nix::sys::signal::Signal;

use crate::harness::{Bench, finish, is_alive, pid_in, signal, task, until};

/// A step that says its pid and waits; on SIGTERM it does as told.
fn waiting(on_term: &str) -> String {
    task(
        "t",
        &format!(
            "  gracePeriod: 60s
  steps:
  - name: wait
    script: |
      trap '{on_term}' TERM
      echo $$ > pid
      while :; do sleep 0.01 || :; done
  - {{name: never, command: [echo, NEVER]}}
  finally:
  - {{name: clean, command: [echo, cleaned]}}
"
        ),
    )
}

#[test]
fn the_first_signal_cancels_and_finally_runs() {
    for sent in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let bench = Bench::with(&waiting("echo bye; exit 0"));
        let child = bench.command(&["run", "t.yaml"]).spawn().unwrap();
        let pid = pid_in(&bench.path("pid"));
        signal(&child, sent);
        let ran = finish(child);
        assert_eq!(ran.code, 130, "{sent}: {}", ran.stderr);
        assert!(
            ran.stdout.ends_with("wait  | bye\nclean | cleaned\n"),
            "{}",
            ran.stdout
        );
        assert!(
            ran.stderr.contains("task t: Cancelled at step wait"),
            "{}",
            ran.stderr
        );
        assert!(!is_alive(pid));
        assert!(bench.leftovers().is_empty());
    }
}

#[test]
fn the_second_signal_kills() {
    let bench = Bench::with(&waiting("echo deaf > deaf"));
    let child = bench.command(&["run", "t.yaml"]).spawn().unwrap();
    let pid = pid_in(&bench.path("pid"));
    signal(&child, Signal::SIGINT);
    until("the step has got its SIGTERM", || {
        bench.path("deaf").exists().then_some(())
    });
    signal(&child, Signal::SIGINT);
    let ran = finish(child);
    assert_eq!(ran.code, 130, "{}", ran.stderr);
    assert!(!ran.stdout.contains("cleaned"), "{}", ran.stdout);
    assert!(!is_alive(pid));
    assert!(bench.leftovers().is_empty());
}

#[test]
fn a_signal_between_documents_is_not_lost() {
    let bench = Bench::new();
    let first = waiting("exit 0");
    let second = task("u", "  steps:\n  - {name: other, command: [echo, OTHER]}\n");
    bench.write("t.yaml", &format!("{first}---\n{second}"));
    let child = bench.command(&["run", "t.yaml"]).spawn().unwrap();
    pid_in(&bench.path("pid"));
    signal(&child, Signal::SIGINT);
    let ran = finish(child);
    assert_eq!(ran.code, 130);
    assert!(
        ran.stderr
            .contains("not run, since task t did not succeed: task u"),
        "{}",
        ran.stderr
    );
    assert!(!ran.stdout.contains("OTHER"));
}

#[test]
fn an_ignored_hangup_stays_ignored() {
    let bench = Bench::with(&task(
        "t",
        "  steps:\n  - {name: a, script: 'echo $$ > pid; while ! test -e go; do sleep 0.01; done; echo done'}\n",
    ));
    let mut command = bench.command(&[]);
    // As nohup does it.
    let shell = format!(
        "trap '' HUP; exec {} run t.yaml",
        env!("CARGO_BIN_EXE_baton")
    );
    let mut nohup = std::process::Command::new("sh");
    nohup
        .args(["-c", &shell])
        .current_dir(bench.path(""))
        .env("TMPDIR", bench.path("tmp"))
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    std::mem::swap(&mut command, &mut nohup);
    let child = command.spawn().unwrap();
    pid_in(&bench.path("pid"));
    signal(&child, Signal::SIGHUP);
    bench.write("go", "");
    let ran = finish(child);
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (0, "a | done\n"),
        "{}",
        ran.stderr
    );
}

#[test]
fn what_a_step_leaves_behind_is_ended() {
    let bench = Bench::with(&task(
        "t",
        "  gracePeriod: 200ms
  steps:
  - name: spawn
    script: |
      setsid sh -c 'echo $$ > daemon; trap \"\" TERM; while :; do sleep 0.01 || :; done' &
      while ! test -s daemon; do sleep 0.01; done
      echo spawned
",
    ));
    let ran = bench.run(&[]);
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (0, "spawn | spawned\n"),
        "{}",
        ran.stderr
    );
    assert!(!is_alive(pid_in(&bench.path("daemon"))));
}

#[test]
fn what_a_killed_entrypoint_leaves_behind_is_ended() {
    let bench = Bench::with(&task(
        "t",
        "  steps:
  - name: spawn
    script: |
      setsid sh -c 'echo $$ > daemon; trap \"\" TERM; while :; do sleep 0.01 || :; done' &
      while ! test -s daemon; do sleep 0.01; done
      kill -9 $PPID
      exec sleep 100
",
    ));
    let ran = bench.run(&[]);
    assert_eq!(ran.code, 137, "{}", ran.stderr);
    assert!(!is_alive(pid_in(&bench.path("daemon"))));
}

#[test]
fn steps_do_not_outlive_a_killed_baton() {
    let bench = Bench::with(&waiting("exit 0"));
    let child = bench.command(&["run", "t.yaml"]).spawn().unwrap();
    let pid = pid_in(&bench.path("pid"));
    signal(&child, Signal::SIGKILL);
    finish(child);
    until("the step is gone", || (!is_alive(pid)).then_some(()));
}
