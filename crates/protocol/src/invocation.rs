//! The entrypoint's command line: one definition for those who write it (the planner of pods,
//! `baton run`) and for the entrypoint, which reads it.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use crate::layout;
use crate::reference::When;
use crate::time::format_duration;

mod parse;

pub use parse::{Request, Suggestion, UsageError};

/// Time between SIGTERM and SIGKILL where `--grace` says nothing.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(10);
/// Delay before the first retry where `--retry-delay` says nothing; it doubles with each attempt.
pub const DEFAULT_RETRY_DELAY: Duration = Duration::from_secs(1);
/// Longest delay between two attempts.
pub const MAX_RETRY_DELAY: Duration = Duration::from_secs(300);
/// Largest captured output where `--output-limit` says nothing, in bytes.
pub const DEFAULT_OUTPUT_LIMIT: u64 = 64 << 20;
/// Most retries of one step.
pub const MAX_RETRIES: u32 = 1000;

/// How an entrypoint was called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// The step's name, for messages.
    pub step: Option<String>,
    /// Order files; the first that releases the step wins. None: the step starts at once.
    pub wait: Vec<PathBuf>,
    /// What is waited for; empty: that a file exists.
    pub wait_content: String,
    /// `-1` is not meant for this step: a `finally` step, or a sidecar that serves one.
    pub through_cancel: bool,
    /// A sidecar: starts at once, and stops when the order is this number or more.
    pub until: Option<u32>,
    /// The step's own folder in the baton volume.
    pub step_dir: Option<PathBuf>,
    /// Folders of the earlier steps whose results are referred to, by step name.
    pub results_of: Vec<(String, PathBuf)>,
    /// Where standard output goes besides our own.
    pub out: Option<PathBuf>,
    /// Where standard error goes besides our own.
    pub err: Option<PathBuf>,
    /// Most bytes that `out` and `err` take each.
    pub output_limit: u64,
    /// The script to run in place of the command, or to unpack for it.
    pub script: Option<ScriptSource>,
    /// Conditions; the step is skipped unless all of them hold.
    pub when: Vec<When>,
    /// Longest run of one attempt.
    pub timeout: Option<Duration>,
    /// Time between SIGTERM and SIGKILL.
    pub grace: Duration,
    /// A failure lets the next step start (`--on-error continue`).
    pub continue_on_error: bool,
    /// How often a failed command is started again.
    pub retries: u32,
    /// Delay before the first retry.
    pub retry_delay: Duration,
    /// How a sidecar shows that it is ready.
    pub ready: Option<Probe>,
    /// Signals go to the command alone and not to its process group.
    pub single_child: bool,
    /// Exit codes that count as 0.
    pub success_codes: Vec<u8>,
    /// Where the termination message goes.
    pub termination_message: Option<PathBuf>,
    /// The command and its arguments.
    pub command: Vec<OsString>,
}

/// Where a packed script comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScriptSource {
    /// From the command line.
    Inline(String),
    /// From a file.
    File(PathBuf),
}

/// A readiness probe of a sidecar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// Something accepts connections on this port of the loopback address.
    Port(u16),
    /// This command ends with 0.
    Command(Vec<String>),
}

impl Default for Invocation {
    fn default() -> Self {
        Invocation {
            step: None,
            wait: Vec::new(),
            wait_content: String::new(),
            through_cancel: false,
            until: None,
            step_dir: None,
            results_of: Vec::new(),
            out: None,
            err: None,
            output_limit: DEFAULT_OUTPUT_LIMIT,
            script: None,
            when: Vec::new(),
            timeout: None,
            grace: DEFAULT_GRACE,
            continue_on_error: false,
            retries: 0,
            retry_delay: DEFAULT_RETRY_DELAY,
            ready: None,
            single_child: false,
            success_codes: Vec::new(),
            termination_message: None,
            command: Vec::new(),
        }
    }
}

impl Invocation {
    /// Writes the command line that [`parse`](Invocation::parse) reads as this invocation.
    pub fn to_args(&self) -> Vec<OsString> {
        let mut args = Args::default();
        args.option("--step", self.step.as_ref());
        for file in &self.wait {
            args.pair("--wait", file);
        }
        if !self.wait_content.is_empty() {
            args.pair("--wait-content", &self.wait_content);
        }
        args.flag("--through-cancel", self.through_cancel);
        args.option("--until", self.until.map(|n| n.to_string()));
        args.option("--step-dir", self.step_dir.as_ref());
        for (step, folder) in &self.results_of {
            let mut value = OsString::from(format!("{step}="));
            value.push(folder);
            args.pair("--results-of", value);
        }
        args.option("--out", self.out.as_ref());
        args.option("--err", self.err.as_ref());
        if self.output_limit != DEFAULT_OUTPUT_LIMIT {
            args.pair("--output-limit", self.output_limit.to_string());
        }
        match &self.script {
            Some(ScriptSource::Inline(packed)) => args.pair("--script", packed),
            Some(ScriptSource::File(file)) => args.pair("--encode-file", file),
            None => {}
        }
        for when in &self.when {
            args.pair("--when", serde_json::to_string(when).unwrap_or_default());
        }
        args.option("--timeout", self.timeout.map(format_duration));
        if self.grace != DEFAULT_GRACE {
            args.pair("--grace", format_duration(self.grace));
        }
        if self.continue_on_error {
            args.pair("--on-error", "continue");
        }
        if self.retries > 0 {
            args.pair("--retries", self.retries.to_string());
        }
        if self.retry_delay != DEFAULT_RETRY_DELAY {
            args.pair("--retry-delay", format_duration(self.retry_delay));
        }
        match &self.ready {
            Some(Probe::Port(port)) => args.pair("--ready-port", port.to_string()),
            Some(Probe::Command(words)) => args.pair(
                "--ready-command",
                serde_json::to_string(words).unwrap_or_default(),
            ),
            None => {}
        }
        args.flag("--single-child", self.single_child);
        for code in &self.success_codes {
            args.pair("--success-code", code.to_string());
        }
        args.option("--termination-message", self.termination_message.as_ref());
        if let Some((program, rest)) = self.command.split_first() {
            args.pair("--command", program);
            args.0.push("--".into());
            args.0.extend_from_slice(rest);
        }
        args.0
    }

    /// The step's name as messages give it.
    pub fn name(&self) -> &str {
        self.step.as_deref().unwrap_or("this step")
    }

    /// The folder of the step's results.
    pub fn results_dir(&self) -> Option<PathBuf> {
        self.step_dir
            .as_deref()
            .map(|dir| dir.join(layout::RESULTS))
    }
}

/// A command line in the making. A value is joined to its option by `=`, so that one that begins with
/// a dash is still a value.
#[derive(Default)]
struct Args(Vec<OsString>);

impl Args {
    fn pair(&mut self, option: &str, value: impl AsRef<OsStr>) {
        let mut arg = OsString::from(option);
        arg.push("=");
        arg.push(value);
        self.0.push(arg);
    }

    fn option(&mut self, option: &str, value: Option<impl AsRef<OsStr>>) {
        if let Some(value) = value {
            self.pair(option, value);
        }
    }

    fn flag(&mut self, option: &str, set: bool) {
        if set {
            self.0.push(option.into());
        }
    }
}

#[cfg(test)]
mod tests;
