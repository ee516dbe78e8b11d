//! A DaemonJob without a cluster: there is one node, this machine.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use baton_api::DaemonJob;
use baton_api::daemon_status::DaemonJobStatus;
use baton_api::daemon_words::Wait;
use baton_api::flow_status::JobFlowPhase;
use baton_api::job::JobSpec;
use baton_api::status::Condition;
use baton_flow::daemon::{DaemonNode, DaemonPhase, DaemonState};
use baton_flow::{Cause, StopReason};
use baton_pod::job::Owner;
use baton_pod::joined_name;
use baton_protocol::Timestamp;
use serde_json::{Value, json};

use super::make::{inputs, native, without_node};
use super::present::condition;
use crate::job::{self, ConditionType, JobStory};
use crate::report;
use crate::run::children::Children;
use crate::run::task::Options;
use crate::show::style::{GREEN, Palette, RED, YELLOW, one_line};
use crate::show::terminal::Terminal;

/// Why a DaemonJob is not run.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// Its Job cannot be made.
    #[error("{0}")]
    Invalid(String),
    /// Its Job cannot be run here.
    #[error(transparent)]
    Job(#[from] job::JobError),
    /// Nobody tells this machine's name.
    #[error("cannot read this machine's name: {0}")]
    Name(std::io::Error),
}

/// A DaemonJob's run.
#[derive(Debug)]
pub struct DaemonStory {
    /// Its name.
    pub name: String,
    /// Where it was read from.
    pub source: String,
    /// How it stands, as a cluster would tell it.
    pub status: DaemonJobStatus,
    /// Its Job, where it had one.
    pub job: Option<JobStory>,
    /// What a person should know besides.
    pub notes: Vec<String>,
}

impl DaemonStory {
    /// The exit code: 0 where the DaemonJob succeeded, 130 where it was cancelled, 124 where its time was
    /// up, 1 otherwise.
    pub fn exit_code(&self) -> i32 {
        let stopped = self.status.stopped.as_ref().map(|s| s.reason);
        match (self.status.phase, stopped) {
            (JobFlowPhase::Succeeded, _) => 0,
            (JobFlowPhase::Cancelled, _) => baton_steps::CANCELLED_EXIT_CODE,
            (_, Some(StopReason::DeadlineExceeded)) => baton_protocol::exit::TIMED_OUT,
            _ => 1,
        }
    }
}

/// Whether a DaemonJob can be run here at all.
///
/// # Errors
/// Where it cannot, though it may be fit for a cluster.
pub fn check(daemon: &DaemonJob) -> Result<(), DaemonError> {
    let (job, _) = make(daemon, "node")?;
    Ok(job::check(&job)?)
}

/// The name of this machine, as a node would have it.
fn node_name() -> Result<String, DaemonError> {
    let name = nix::unistd::gethostname().map_err(|e| DaemonError::Name(e.into()))?;
    Ok(name.to_string_lossy().to_lowercase())
}

fn make(daemon: &DaemonJob, node: &str) -> Result<(baton_api::Job, Vec<String>), DaemonError> {
    let spec = JobSpec {
        backoff_limit_given: daemon.spec.backoff_limit,
        active_deadline_seconds: daemon.spec.active_deadline_seconds,
        template: daemon.spec.template.clone(),
        ..JobSpec::default()
    };
    let metadata = &daemon.metadata;
    let name = joined_name(metadata.display_name(), node);
    let owner = Owner {
        kind: "DaemonJob",
        name: metadata.display_name(),
        uid: "",
        namespace: metadata.namespace.as_deref().unwrap_or_default(),
        labels: &metadata.labels,
    };
    let (globals, none) = (without_node(&daemon.spec.global_params), BTreeMap::new());
    let inputs = inputs(&name, owner, &globals, &none);
    native(&spec, &inputs).map_err(DaemonError::Invalid)
}

/// Runs a DaemonJob's Job on this machine, where it counts. `base` is the folder that its containers
/// start in.
///
/// # Errors
/// Where it cannot be set up, or the machinery fails.
pub fn run(
    daemon: &DaemonJob,
    source: &str,
    base: &Path,
    options: &Options<'_>,
    children: &Children,
    terminal: &mut Terminal,
) -> Result<DaemonStory, DaemonError> {
    let node = node_name()?;
    let (made, notes) = make(daemon, &node)?;
    let mut state = DaemonState::default();
    let excluded = daemon
        .excluded()
        .any(|name| name.eq_ignore_ascii_case(&node));
    let job = match excluded || daemon.spec.suspend || daemon.spec.cancel {
        true => None,
        false => {
            let mut story = job::run(&made, source, base, options, children, terminal)?;
            story.notes.extend(notes.clone());
            Some(story)
        }
    };
    let now = Timestamp(SystemTime::now());
    if let Some(story) = &job {
        state = of_job(&node, story);
    } else if daemon.spec.cancel {
        state.stopped = Some((StopReason::Cancelled, now));
        state.cause = Some(Cause::Stopped(StopReason::Cancelled));
        (state.started_at, state.finished_at) = (Some(now), Some(now));
    }
    let mut status = DaemonJobStatus::default();
    status.set_state(&state, &|_| made.metadata.name.clone());
    let wait = match excluded {
        true if !daemon.spec.suspend => Some(Wait::new(
            "NoEligibleNodes",
            format!("no node counts: this machine, {node}, is in excludeNodeList"),
        )),
        _ => Wait::of(&state, daemon.spec.suspend),
    };
    status.run = 1;
    status.describe(&state, daemon.spec.suspend, wait.as_ref());
    status.conditions = conditions(&status, state.finished_at.unwrap_or(now));
    Ok(DaemonStory {
        name: daemon.metadata.display_name().to_owned(),
        source: source.to_owned(),
        status,
        job,
        notes,
    })
}

fn of_job(node: &str, story: &JobStory) -> DaemonState {
    let condition = story.condition.as_ref();
    let (phase, reason) = match condition {
        _ if story.cancelled => (DaemonPhase::Cancelled, ""),
        Some(c) if c.kind == ConditionType::Complete => (DaemonPhase::Succeeded, ""),
        Some(c) => (DaemonPhase::Failed, c.reason),
        None => (DaemonPhase::Failed, "NoPods"),
    };
    let stop = match reason {
        _ if story.cancelled => Some(StopReason::Cancelled),
        // The deadline is the whole DaemonJob's.
        "DeadlineExceeded" => Some(StopReason::DeadlineExceeded),
        _ => None,
    };
    let phase = match stop {
        Some(_) => DaemonPhase::Cancelled,
        None => phase,
    };
    DaemonState {
        nodes: vec![DaemonNode {
            name: node.to_owned(),
            uid: String::new(),
            state: phase,
            reason: match stop {
                Some(_) => String::new(),
                None => reason.to_owned(),
            },
            attempts: 1,
            started_at: Some(story.started_at),
            finished_at: Some(story.finished_at),
        }],
        stopped: stop.map(|why| (why, story.finished_at)),
        cause: match (stop, phase) {
            (Some(why), _) => Some(Cause::Stopped(why)),
            (None, DaemonPhase::Failed) => Some(Cause::Node {
                name: node.to_owned(),
                reason: reason.to_owned(),
            }),
            _ => None,
        },
        started_at: Some(story.started_at),
        finished_at: Some(story.finished_at),
        ..DaemonState::default()
    }
}

/// The conditions of a status, as a cluster would have them.
fn conditions(status: &DaemonJobStatus, at: Timestamp) -> Vec<Condition> {
    let (reason, message) = (&status.reason, &status.message);
    let (why, said) = match status.phase.is_over() {
        true => ("Finished", "it is over"),
        false => (reason.as_str(), message.as_str()),
    };
    vec![
        condition("Succeeded", status.phase.succeeded(), reason, message, at),
        condition("Accepted", "True", "Accepted", "it can be run", at),
        condition("Progressing", "False", why, said, at),
    ]
}

/// What is printed at the end: the Job's table, and the closing line.
pub fn conclusion(story: &DaemonStory, palette: Palette, with_table: bool, quiet: bool) -> String {
    let job = story.job.as_ref();
    let mut text = job
        .map(|job| job::conclusion(job, palette, with_table, quiet))
        .unwrap_or_default();
    let status = &story.status;
    let style = match story.exit_code() {
        0 => GREEN,
        baton_steps::CANCELLED_EXIT_CODE => YELLOW,
        _ => RED,
    };
    let mut said = format!("{:?} ({})", status.phase, status.reason);
    if !status.message.is_empty() {
        said.push_str(&format!(": {}", status.message));
    }
    if !quiet || story.exit_code() != 0 {
        let said = palette.paint(style, one_line(&said));
        text.push_str(&format!("daemonjob {}: {said}\n", story.name));
    }
    text
}

/// What is known of a DaemonJob's run, as JSON.
pub fn json(story: &DaemonStory) -> Value {
    json!({
        "kind": "DaemonJob",
        "name": story.name,
        "source": story.source,
        "exitCode": story.exit_code(),
        "notes": story.notes,
        "status": story.status,
        "jobs": story.job.iter().map(job::json).collect::<Vec<_>>(),
    })
}

/// The facts of a DaemonJob's run, as the report wants them; `None` where nothing ran.
pub fn facts(story: &DaemonStory) -> Option<report::Facts> {
    let facts = job::facts(story.job.as_ref()?);
    Some(report::Facts {
        kind: "DaemonJob".to_owned(),
        name: story.name.clone(),
        ..facts
    })
}
