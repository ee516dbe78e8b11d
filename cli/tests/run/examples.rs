//! The examples that are shipped.

use std::path::PathBuf;

use crate::harness::Bench;

fn example(name: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples");
    folder.join(name).to_str().unwrap().to_owned()
}

#[test]
fn every_example_is_valid() {
    let folder = example("");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "yaml") {
            let ran = Bench::new().baton(&["validate", path.to_str().unwrap()]);
            assert_eq!(ran.code, 0, "{}", ran.stderr);
            count += 1;
        }
    }
    assert!(count >= 3);
}

#[test]
fn the_four_ordered_steps() {
    let bench = Bench::new();
    let ran = bench.baton(&["run", &example("seed-task.yaml")]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let lines: Vec<_> = ran.stdout.lines().collect();
    assert_eq!(
        lines[..2],
        ["step1 | step1 runs first", "step2 | step2 runs second"]
    );
    assert!(lines[2].starts_with("step3 | "));
    assert_eq!(
        lines[3..],
        [
            "step4 | step4 is a script",
            "step4 | line 1",
            "step4 | line 2",
            "step4 | line 3"
        ]
    );
}

#[test]
fn the_four_ordered_steps_with_a_failure() {
    let bench = Bench::new();
    let ran = bench.baton(&["run", &example("seed-task-failing.yaml")]);
    assert_eq!(ran.code, 1);
    assert_eq!(
        ran.stdout,
        "step1 | step1 runs first\nstep2 | step2 fails\n"
    );
    assert_eq!(ran.stderr.matches("not run").count(), 2, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("Failed at step step2 (exit 1)"),
        "{}",
        ran.stderr
    );
}

#[test]
fn the_pipeline_builds_tests_and_publishes() {
    let bench = Bench::new();
    let args = [
        "run",
        "-o",
        "json",
        "-p",
        "channel=stable",
        &example("pipeline.yaml"),
    ];
    let ran = bench.baton(&args);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let steps = json["runs"][0]["steps"].as_array().unwrap();
    let step = |name: &str| steps.iter().find(|s| s["name"] == name).unwrap();
    let version = step("checkout")["results"]["version"].as_str().unwrap();
    assert_eq!(step("lint")["record"]["continued"], true);
    assert!(
        ran.stderr.contains(&format!("compile  | hello {version}")),
        "{}",
        ran.stderr
    );
    assert_eq!(
        step("test")["results"]["checks"].as_str().unwrap().trim(),
        "6"
    );
    // How often it had to be tried is a matter of time.
    assert_eq!(step("publish")["record"]["reason"], "Completed");
    assert!(
        ran.stderr
            .contains(&format!("announce | hello {version} is released")),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr.contains(&format!("summary  | hello-{version}")),
        "{}",
        ran.stderr
    );
}
