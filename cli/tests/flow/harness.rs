//! Flows to run, and a folder to run them in.

use std::fmt::Write as _;
use std::io::Write;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use crate::signals::heard;

/// A flow with these further lines of its spec, and these nodes.
pub(crate) fn flow(spec: &str, nodes: &[String]) -> String {
    let mut text =
        String::from("apiVersion: baton.dev/v1alpha1\nkind: JobFlow\nmetadata: {name: f}\nspec:\n");
    for line in spec.lines() {
        let _ = writeln!(text, "  {line}");
    }
    text.push_str("  flows:\n");
    for node in nodes {
        let _ = writeln!(text, "  - {{{node}}}");
    }
    text
}

/// A node that runs `script` in a Job with one container.
pub(crate) fn node(name: &str, more: &str, script: &str) -> String {
    let script = serde_json::to_string(script).unwrap();
    format!(
        "name: {name}, {more}{}jobTemplate: {{backoffLimit: 0, template: {{spec: {{terminationGracePeriodSeconds: 600, containers: [{{name: c, command: [sh, -c, {script}]}}]}}}}}}",
        if more.is_empty() { "" } else { ", " }
    )
}

pub(crate) struct Place(pub(crate) tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_baton"));
        command
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

    pub(crate) fn start(&self, manifest: &str, args: &[&str]) -> Child {
        let mut child = self.command(args).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(manifest.as_bytes()).unwrap();
        child
    }

    pub(crate) fn run(&self, manifest: &str, args: &[&str]) -> Output {
        let args: Vec<_> = ["run", "-"].iter().chain(args).copied().collect();
        self.start(manifest, &args).wait_with_output().unwrap()
    }

    /// The one run of `-o json`, and the exit code.
    pub(crate) fn json(&self, manifest: &str) -> (Value, i32) {
        let output = self.run(manifest, &["-o", "json"]);
        let mut all: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)));
        (all["runs"][0].take(), output.status.code().unwrap())
    }

    pub(crate) fn lines(&self, name: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.0.path().join(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    pub(crate) fn scratch_folders(&self) -> usize {
        let entries = std::fs::read_dir(self.0.path()).unwrap().flatten();
        let names = entries.map(|e| e.file_name().into_string().unwrap());
        names.filter(|n| n.starts_with("baton-")).count()
    }
}

pub(crate) fn status<'a>(run: &'a Value, name: &str) -> &'a Value {
    let mut nodes = run["status"]["nodes"].as_array().unwrap().iter();
    let found = nodes.find(|n| n["name"] == name);
    found.unwrap_or_else(|| panic!("no node {name} in {run}"))
}

pub(crate) fn states(run: &Value) -> Vec<(&str, &str)> {
    let nodes = run["status"]["nodes"].as_array().unwrap().iter();
    nodes
        .map(|n| (n["name"].as_str().unwrap(), n["state"].as_str().unwrap()))
        .collect()
}

pub(crate) fn example(name: &str) -> String {
    let path = format!("{}/../examples/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

/// An example whose containers tell when they begin and end, in place of their sleeps.
pub(crate) fn short(text: &str) -> String {
    let told = "echo begin $(hostname) $FOO >> told; sleep 0.1; echo end >> told";
    text.replace("sleep 100s", told).replace("sleep 10s", told)
}
