//! DaemonJobs: this machine is the one node.

use crate::harness::{Place, example, short};

fn daemon(more: &str, script: &str) -> String {
    let script = serde_json::to_string(script).unwrap();
    format!(
        "apiVersion: baton.dev/v1alpha1\nkind: DaemonJob\nmetadata: {{name: d}}\nspec:\n  backoffLimit: 0\n  {more}\n  template: {{spec: {{restartPolicy: OnFailure, containers: [{{name: c, command: [sh, -c, {script}]}}]}}}}\n"
    )
}

#[test]
fn a_daemon_job_runs_on_this_machine() {
    let place = Place::new();
    let host = nix::unistd::gethostname().unwrap();
    let host = host.to_string_lossy().to_lowercase();
    let (run, code) = place.json(&short(&example("daemonjob.yaml")));
    assert_eq!(code, 0, "{run}");
    assert_eq!(run["status"]["nodes"][0]["name"], host.as_str());
    assert_eq!(run["status"]["nodesByState"]["succeeded"][0], host.as_str());
    assert_eq!(run["status"]["phase"], "Succeeded");
    assert_eq!(place.lines("told").len(), 2);

    let (run, code) = place.json(&daemon("", "exit 3"));
    assert_eq!(code, 1);
    assert_eq!(run["status"]["phase"], "Failed");
    assert_eq!(run["status"]["cause"]["reason"], "BackoffLimitExceeded");

    let excluded = format!("excludeNodeList: 'other , {host}'");
    let (run, code) = place.json(&daemon(&excluded, "touch ran"));
    assert_eq!(code, 1);
    assert_eq!(run["status"]["reason"], "NoEligibleNodes");
    assert!(!place.0.path().join("ran").exists());
}
