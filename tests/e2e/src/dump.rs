//! What a failed test shows: its namespace, and what Baton's own pods logged.

use std::fmt::Write as _;

use crate::Kubectl;
use crate::cluster::SYSTEM;

/// Most lines of one command's output that are shown; the last.
const MAX_LINES: usize = 120;

/// The namespace's objects and events, and the logs of agents and coordinators; bounded.
pub(crate) fn of(kubectl: &Kubectl, namespace: &str) -> String {
    let since = ["--since=3m", "--prefix", "--tail=80"];
    let logs = |component: &'static str| {
        let mut args = vec!["-n", SYSTEM, "logs", "-l", component];
        args.extend(since);
        args
    };
    let mut shown = String::new();
    for args in [
        vec![
            "-n",
            namespace,
            "get",
            "jobflows,daemonjobs,tasks,jobs,pods",
            "-o",
            "wide",
        ],
        vec!["-n", namespace, "get", "jobflows", "-o", "yaml"],
        vec!["-n", namespace, "get", "daemonjobs", "-o", "yaml"],
        vec!["-n", namespace, "get", "tasks", "-o", "yaml"],
        vec![
            "-n",
            namespace,
            "get",
            "pods",
            "-o",
            "jsonpath={range .items[*]}{.metadata.name} {.metadata.annotations}{'\\n'}{.status}{'\\n'}{end}",
        ],
        vec!["-n", namespace, "get", "events", "--sort-by=.lastTimestamp"],
        vec!["-n", SYSTEM, "get", "pods", "-o", "wide"],
        logs("app.kubernetes.io/component=agent"),
        logs("app.kubernetes.io/component=coordinator"),
    ] {
        let out = kubectl.run(&args);
        let text = format!("{}{}", out.stdout, out.stderr);
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(MAX_LINES);
        let _ = writeln!(shown, "--- kubectl {}", args.join(" "));
        for line in lines.iter().skip(from) {
            let end = line
                .char_indices()
                .nth(2000)
                .map_or(line.len(), |(at, _)| at);
            let _ = writeln!(shown, "{}", &line[..end]);
        }
    }
    shown
}
