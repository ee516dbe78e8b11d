//! What is printed, where, and that nothing of it is lost.

use std::io::{BufRead, BufReader};

use crate::harness::{Bench, finish, task};

#[test]
fn a_megabyte_without_a_line_end() {
    let bench = Bench::with(&task(
        "t",
        "  steps:\n  - {name: big, script: 'head -c 1000000 /dev/zero | tr \"\\\\0\" x'}\n",
    ));
    let ran = bench.run(&[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let lines: Vec<_> = ran.stdout.lines().collect();
    assert!(
        lines
            .iter()
            .all(|l| l.starts_with("big | ") && l.len() < 20_000)
    );
    let total: usize = lines.iter().map(|l| l.len() - "big | ".len()).sum();
    assert_eq!(total, 1_000_000);
}

#[test]
fn nothing_is_lost_of_much_output() {
    let bench = Bench::with(&task(
        "t",
        "  steps:\n  - {name: a, command: [seq, '200000']}\n  - {name: b, command: [seq, '5']}\n",
    ));
    let ran = bench.run(&["-q"]);
    let numbers = ran.stdout.lines().filter_map(|l| l.strip_prefix("a | "));
    assert!(
        numbers.eq((1..=200_000).map(|n| n.to_string())),
        "{}",
        ran.stderr
    );
    assert!(ran.stdout.ends_with("b | 1\nb | 2\nb | 3\nb | 4\nb | 5\n"));
    assert_eq!(ran.stderr, "");
}

#[test]
fn a_closed_standard_output_stops_nothing() {
    let bench = Bench::with(&task(
        "t",
        "  steps:
  - {name: a, command: [seq, '300000']}
  - {name: b, command: [touch, ended]}
",
    ));
    let mut child = bench.command(&["run", "t.yaml"]).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "a | 1\n");
    let ran = finish(child);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(bench.path("ended").exists());
}

#[test]
fn binary_output_passes_through_a_pipe() {
    let bench = Bench::with(&task(
        "t",
        "  steps:\n  - {name: a, script: 'printf \"\\\\001\\\\033[2J\\\\n50%%\\\\r100%%\\\\n\"'}\n",
    ));
    let ran = bench.run(&["-q"]);
    assert_eq!(
        ran.stdout, "a | \u{1}\u{1b}[2J\na | 100%\n",
        "{}",
        ran.stderr
    );
}

#[test]
fn colours_where_they_are_asked_for() {
    let bench = Bench::with(&task("t", "  steps:\n  - {name: a, command: [echo, x]}\n"));
    let ran = bench.run(&["--color", "always"]);
    assert_eq!(ran.stdout, "\u{1b}[36ma |\u{1b}[0m x\n");
    assert!(ran.stderr.contains("\u{1b}[32m"));
    assert!(!bench.run(&[]).stderr.contains('\u{1b}'));
}

#[test]
fn json_tells_everything() {
    let bench = Bench::with(&task(
        "t",
        "  steps:
  - {name: a, image: busybox, command: [sh, -c, 'echo out; printf \"\\377\" > $BATON_RESULTS/raw']}
",
    ));
    let (ran, json) = bench.json(&[]);
    assert!(ran.stderr.contains("a | out"), "{}", ran.stderr);
    assert_eq!(json["exitCode"], 0);
    let run = &json["runs"][0];
    assert_eq!(run["kind"], "Task");
    assert_eq!(run["name"], "t");
    assert_eq!(run["phase"], "Succeeded");
    assert!(run["startedAt"].is_string() && run["finishedAt"].is_string());
    assert!(
        run["notes"][0]
            .as_str()
            .unwrap()
            .contains("image is not used")
    );
    let step = &run["steps"][0];
    assert_eq!(step["record"]["reason"], "Completed");
    assert!(step["record"]["peakBytes"].as_u64().unwrap() > 0);
    assert_eq!(step["results"]["raw"]["bytes"], serde_json::json!([255]));
}

#[test]
fn a_report_is_written() {
    let bench = Bench::with(&task(
        "t",
        "  steps:\n  - {name: a, command: [echo, '<b>bold</b>']}\n",
    ));
    let ran = bench.run(&["--report", "r.html"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let page = bench.read("r.html");
    assert!(page.contains("Succeeded in") && page.contains("bold") && !page.contains("<b>bold"));
    let ran = bench.run(&["--report", "no/such/folder/r.html"]);
    assert_eq!(ran.code, 125);
    assert!(
        ran.stderr.contains("cannot write the report"),
        "{}",
        ran.stderr
    );
    assert!(!ran.stderr.contains("started"), "{}", ran.stderr);
}

#[test]
fn output_that_cannot_be_written_is_no_silent_loss() {
    let full = || std::fs::File::create("/dev/full").unwrap();
    let bench = Bench::with(&task("t", "  steps: [{name: a, command: [echo, hi]}]\n"));
    let run = |args: &[&str]| {
        let mut command = bench.command(&[&["run", "t.yaml"], args].concat());
        finish(command.stdout(full()).spawn().unwrap())
    };
    let ran = run(&[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("output is lost"), "{}", ran.stderr);
    let ran = run(&["-o", "json"]);
    assert_eq!(ran.code, 125, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("cannot write the JSON"),
        "{}",
        ran.stderr
    );
}
