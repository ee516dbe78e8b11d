//! `kubectl`, run as a process.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A `kubectl` for one cluster.
#[derive(Debug, Clone)]
pub struct Kubectl {
    kubeconfig: PathBuf,
}

/// What a command said.
#[derive(Debug, Clone)]
pub struct Output {
    /// Whether it ended with 0.
    pub ok: bool,
    /// Its exit code, or -1 where a signal ended it.
    pub code: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Output {
    /// Its standard output, where it succeeded.
    ///
    /// # Panics
    /// With its standard error where it failed.
    pub fn success(self, what: &str) -> String {
        assert!(self.ok, "{what}: {} {}", self.stderr, self.stdout);
        self.stdout
    }
}

impl Kubectl {
    /// For `KUBECONFIG`'s cluster, or for the one that `tests/cluster/up` starts.
    ///
    /// # Panics
    /// Where there is neither.
    pub fn new() -> Self {
        let state = std::env::var_os("CLUSTER_STATE")
            .unwrap_or_else(|| OsString::from("/var/tmp/baton-cluster"));
        let kubeconfig = std::env::var_os("KUBECONFIG")
            .map_or_else(|| Path::new(&state).join("kubeconfig"), PathBuf::from);
        assert!(
            kubeconfig.exists(),
            "no cluster: set KUBECONFIG, or run tests/cluster/up and tests/cluster/install"
        );
        Self { kubeconfig }
    }

    /// The kubeconfig's path.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The command with these arguments, to be started.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command
            .env("KUBECONFIG", &self.kubeconfig)
            .args(args)
            .stdin(Stdio::null());
        command
    }

    /// Runs it to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        output(&mut self.command(args), "")
    }

    /// Runs it to its end with `input` as its standard input.
    pub fn run_with(&self, args: &[&str], input: &str) -> Output {
        output(self.command(args).stdin(Stdio::piped()), input)
    }
}

impl Default for Kubectl {
    fn default() -> Self {
        Self::new()
    }
}

/// Runs a command to its end.
pub(crate) fn output(command: &mut Command, input: &str) -> Output {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read its input has said why on its standard error.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child
        .wait_with_output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    Output {
        ok: output.status.success(),
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
