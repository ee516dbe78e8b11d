//! `baton` against a cluster.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use baton_api::status::TaskPhase;
use baton_e2e::{Cluster, Namespace};

const SOON: Duration = Duration::from_secs(120);

/// `baton`, built as this test was.
fn baton() -> PathBuf {
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--package", "baton", "--bin", "baton"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .status()
        .expect("cargo starts");
    assert!(built.success(), "baton can be built");
    // target/debug/deps/cli-...
    let test = std::env::current_exe().expect("this program has a path");
    let folder = test.ancestors().nth(2).expect("it is in target/debug/deps");
    folder.join("baton")
}

/// What a run of it said.
struct Said {
    code: i32,
    out: String,
    err: String,
}

fn command(ns: &Namespace, cluster: &Cluster, program: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .args(args)
        .args(["--namespace", ns.name()])
        .env("KUBECONFIG", cluster.kubectl().kubeconfig())
        .stdin(Stdio::null());
    command
}

fn run(ns: &Namespace, cluster: &Cluster, program: &Path, args: &[&str]) -> Said {
    let output = command(ns, cluster, program, args)
        .output()
        .expect("baton starts");
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[test]
#[ignore = "needs a cluster"]
fn a_task_from_the_command_line() {
    let cluster = Cluster::shared();
    let ns = cluster.namespace("cli");
    let baton = baton();
    let run = |args: &[&str]| run(&ns, &cluster, &baton, args);
    let folder = std::env::temp_dir().join(ns.name());
    std::fs::create_dir_all(&folder).expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("a file");
        path.to_str().expect("text").to_owned()
    };
    let greet = file(
        "greet.yaml",
        r#"
apiVersion: baton.dev/v1alpha1
kind: Task
metadata: {name: greet}
spec:
  params: [{name: whom, default: nobody}, {name: code, default: "0"}]
  steps:
  - {name: one, image: busybox, command: [sh, -c, 'echo hello; sleep 0.2; echo $(params.whom)']}
  - {name: two, image: busybox, command: [sh, -c, 'echo bye; exit $(params.code)']}
"#,
    );
    let said = run(&["run", "--cluster", &greet, "-p", "whom=world"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(said.out, "one | hello\none | world\ntwo | bye\n");
    assert!(said.err.contains("task greet: Succeeded"), "{}", said.err);
    assert_eq!(ns.status("greet").phase, TaskPhase::Succeeded);

    let said = run(&["run", "--cluster", "-q", &greet, "-p", "code=3"]);
    assert_eq!(said.code, 3, "the exit code of its step: {}", said.err);
    assert_eq!(ns.status("greet").run, 2);
    let said = run(&["run", "--cluster", &greet, "-p", "nope=1"]);
    assert_eq!(said.code, 2, "{}", said.err);
    assert!(said.err.contains("nope"), "{}", said.err);

    let said = run(&["logs", "greet", "--no-prefix", "--step", "two"]);
    assert_eq!((said.code, said.out.as_str()), (0, "bye\n"), "{}", said.err);
    let said = run(&["list"]);
    let line = said
        .out
        .lines()
        .find(|line| line.contains("greet"))
        .expect("a line");
    assert!(line.contains("Failed") && line.contains("2/2"), "{line}");
    let said = run(&["describe", "greet"]);
    for text in ["Failed", "exit code 3", "baton rerun"] {
        assert!(said.out.contains(text), "{text}: {}", said.out);
    }
    let said = run(&["describe", "nope"]);
    assert_ne!(said.code, 0);
    assert!(said.err.contains("nope"), "{}", said.err);

    // One that takes its time: its logs are followed until it is cancelled, and then it runs again.
    ns.apply(
        "
apiVersion: baton.dev/v1alpha1
kind: Task
metadata: {name: long}
spec:
  gracePeriod: 1s
  steps:
  - {name: one, image: busybox, command: [echo, first]}
  - {name: two, image: busybox, command: [sh, -c, 'echo working; exec sleep 600']}
",
    );
    let followed = std::thread::scope(|scope| {
        let followed = scope.spawn(|| run(&["logs", "-f", "long"]));
        ns.wait("task", "long", SOON, "its second step runs", |task| {
            task["status"]["steps"][1]["state"] == "Running"
        });
        ns.says("long-1", "two", "working");
        let said = run(&["cancel", "long"]);
        assert_eq!(said.code, 0, "{}", said.err);
        followed.join().expect("it ends with the task")
    });
    assert_eq!(
        followed.out, "one | first\ntwo | working\n",
        "{}",
        followed.err
    );
    assert_eq!(ns.finished("long", SOON).phase, TaskPhase::Cancelled);
    let said = run(&["rerun", "long"]);
    assert_eq!(said.code, 0, "{}", said.err);
    ns.wait("task", "long", SOON, "it runs again", |task| {
        task["status"]["run"] == 2 && task["status"]["steps"][1]["state"] == "Running"
    });
    let task = ns.get("task", "long").expect("there");
    assert_ne!(task["spec"]["cancel"], true, "{task}");

    // As kubectl's plugin.
    let plugin = folder.join("kubectl-baton");
    symlink(&baton, &plugin).expect("a link");
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("kubectl")
        .args(["baton", "list", "--namespace", ns.name()])
        .env("PATH", format!("{}:{path}", folder.display()))
        .env("KUBECONFIG", cluster.kubectl().kubeconfig())
        .output()
        .expect("kubectl starts");
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("long"),
        "{output:?}"
    );
    std::fs::remove_dir_all(&folder).expect("the folder goes");
}

#[test]
#[ignore = "needs a cluster"]
fn flows_from_the_command_line() {
    let cluster = Cluster::shared();
    let ns = cluster.namespace("cli-flows");
    let baton = baton();
    let run = |args: &[&str]| run(&ns, &cluster, &baton, args);
    let folder = std::env::temp_dir().join(ns.name());
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join("flow.yaml");
    let file = path.to_str().expect("text");
    let text = |wanted: &str| {
        format!(
            r#"
apiVersion: baton.dev/v1alpha1
kind: JobTemplate
metadata: {{name: say}}
spec:
  jobTemplate:
    backoffLimit: 0
    template: {{spec: {{containers: [{{name: c, image: busybox, command: [sh, -c, 'echo $WORD; sleep 1']}}]}}}}
---
apiVersion: baton.dev/v1alpha1
kind: JobFlow
metadata: {{name: colours}}
spec:
  globalParams: {{env: [{{name: WORD, value: hello}}]}}
  flows:
  - {{name: say, jobTemplateRef: say}}
  - name: list
    dependencies: [say]
    taskTemplate:
      steps:
      - name: find
        image: busybox
        args: ["$(results.all.path)"]
        script: 'echo found; printf "[\"red\",\"blue\"]" >"$1"'
        results: [{{name: all}}]
  - name: each
    dependencies: [list]
    forEach: {{from: "$(flows.list.steps.find.results.all)"}}
    jobTemplate:
      backoffLimit: 0
      template: {{spec: {{containers: [{{name: c, image: busybox, command: [sh, -c, 'echo I am $(item); case $(item) in {wanted}) ;; *) exit 1; esac']}}]}}}}
  - name: after
    dependencies: [each]
    jobTemplateRef: say
  finally:
  - {{name: clean, jobTemplateRef: say}}
"#
        )
    };
    std::fs::write(&path, text("red")).expect("a file");
    let page = folder.join("page.html");
    let report = page.to_str().expect("text");
    let said = run(&["run", "--cluster", file, "--report", report]);
    assert_eq!(said.code, 1, "{}\n{}", said.out, said.err);
    for line in ["| hello", "| found", "| I am red", "| I am blue"] {
        assert!(
            said.out.contains(line),
            "{line}: {}\n{}",
            said.out,
            said.err
        );
    }
    for line in [
        "each[1] ✘ failed",
        "after   ○ skipped",
        "clean   ✔ succeeded",
        "jobflow colours: Failed (BackoffLimitExceeded)",
    ] {
        assert!(said.err.contains(line), "{line}: {}", said.err);
    }
    let page = std::fs::read_to_string(&page).expect("a page");
    for text in ["colours-list/find", "colours-each-1-", "I am blue"] {
        assert!(page.contains(text), "{text}: {page}");
    }
    let said = run(&["list", "jobflows"]);
    let line = said.out.lines().find(|l| l.contains("colours"));
    let line = line.expect("a line");
    assert!(line.contains("Failed") && line.contains("5/5"), "{line}");
    let said = run(&["describe", "colours"]);
    for text in [
        "JobFlow colours",
        "Graph",
        "✘ each",
        "─▶",
        "each[1]",
        "baton rerun",
    ] {
        assert!(said.out.contains(text), "{text}: {}", said.out);
    }
    let said = run(&["logs", "jf/colours", "--node", "each", "--no-prefix"]);
    assert_eq!(said.out, "I am red\nI am blue\n", "{}", said.err);
    let said = run(&["logs", "colours", "--node", "list"]);
    assert_eq!(said.out, "list | found\n", "{}", said.err);

    // What did not succeed runs again; what did is kept.
    let said = run(&["rerun", "-f", "colours"]);
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(!said.out.contains("found"), "kept: {}", said.out);
    assert!(
        said.out.contains("I am blue"),
        "again: {}\n{}",
        said.out,
        said.err
    );
    // A changed one runs anew as a whole.
    std::fs::write(&path, text("red|blue")).expect("a file");
    let said = run(&["run", "--cluster", "-q", file]);
    assert_eq!(said.code, 0, "{}\n{}", said.out, said.err);
    assert!(said.out.contains("found"), "{}", said.out);
    let said = run(&["rerun", "colours"]);
    assert_ne!(said.code, 0, "nothing of it failed");
    assert!(said.err.contains("--all"), "{}", said.err);

    // A DaemonJob, and one that is cancelled while it is followed.
    std::fs::write(
        &path,
        "
apiVersion: baton.dev/v1alpha1
kind: DaemonJob
metadata: {name: everywhere}
spec:
  template: {spec: {terminationGracePeriodSeconds: 1, containers: [{name: c, image: busybox, command: [sh, -c, 'echo here; sleep 1']}]}}
---
apiVersion: baton.dev/v1alpha1
kind: DaemonJob
metadata: {name: long}
spec:
  template: {spec: {terminationGracePeriodSeconds: 1, containers: [{name: c, image: busybox, command: [sh, -c, 'echo here; sleep 600']}]}}
",
    )
    .expect("a file");
    let nodes = cluster.nodes();
    let (out, err) = (folder.join("out"), folder.join("err"));
    let heard = || std::fs::read_to_string(&out).expect("what it said");
    let hellos = || heard().lines().filter(|l| l.ends_with("| here")).count();
    let mut followed = command(&ns, &cluster, &baton, &["run", "--cluster", file])
        .stdout(std::fs::File::create(&out).expect("a file"))
        .stderr(std::fs::File::create(&err).expect("a file"))
        .spawn()
        .expect("baton starts");
    // With a Job that is cancelled go its pods and their logs.
    baton_e2e::until(SOON, "it is heard from everywhere", || {
        (hellos() == 2 * nodes.len()).then_some(())
    });
    let said = run(&["cancel", "dj/long"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let ended = followed.wait().expect("it ends with the DaemonJob");
    let err = std::fs::read_to_string(&err).expect("what it said");
    assert_eq!(ended.code(), Some(130), "{}\n{err}", heard());
    assert_eq!(hellos(), 2 * nodes.len(), "{}", heard());
    for line in [
        "daemonjob everywhere: Succeeded",
        "daemonjob long: Cancelled",
    ] {
        assert!(err.contains(line), "{line}: {err}");
    }
    let said = run(&["describe", "long"]);
    assert!(said.out.contains("Cancelled"), "{}", said.out);
    std::fs::remove_dir_all(&folder).expect("the folder goes");
}
