//! The status of a Task, as the coordinator writes it and everybody reads it.
//!
//! It is the durable form of what is known of a Task: the coordinator keeps no other memory, and what
//! callbacks tell follows from it.

use baton_protocol::text::cut;
use baton_protocol::{Reason, Timestamp};
use serde::{Deserialize, Serialize};

use crate::schedule::ScheduleStatus;

/// Most earlier runs that a status keeps.
pub const MAX_RUNS_KEPT: usize = 10;
/// Most retries of one step that a status keeps; the first ones.
pub const MAX_RETRIES_KEPT: usize = 16;

/// What is known of a Task.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct TaskStatus {
    /// The generation of the spec that this speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// How the Task stands.
    pub phase: TaskPhase,
    /// One word for why it stands so: `Completed`, the first failed step's reason, `Cancelled`,
    /// `Invalid`, `Evicted`, `NodeLost`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The same as a sentence.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Steps that are over, of all steps and `finally` steps: `3/5`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub progress: String,
    /// Which run of the Task this is, from 1: a changed spec, a re-run and a retry each begin one.
    pub run: u32,
    /// The pod of this run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodStatusRef>,
    /// What the runs were made of: one of another digest is begun anew.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub spec_digest: String,
    /// The re-run that was asked for last, as its annotation has it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rerun: String,
    /// Runs of this spec that were lost to the infrastructure, and repeated.
    #[serde(skip_serializing_if = "is_zero")]
    pub infrastructure_retries: u32,
    /// Runs of this spec that failed by their steps, and were repeated.
    #[serde(skip_serializing_if = "is_zero")]
    pub failure_retries: u32,
    /// When the pod could begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub started_at: Option<Timestamp>,
    /// When the last step was over.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub finished_at: Option<Timestamp>,
    /// How long it ran, for people: `1m2s`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub duration: String,
    /// Exit code of the Task: 0, or that of the step that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Steps, `finally` steps and sidecars, by number.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepStatus>,
    /// `Succeeded`: True, False, or Unknown while it is not over.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// What became of the callbacks, by receiver.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub callbacks: Vec<CallbackStatus>,
    /// Earlier runs, the newest first; at most [`MAX_RUNS_KEPT`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<RunStatus>,
    /// What is known of its schedule, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleStatus>,
}

/// Longest text in a status that was shortened, in bytes.
const MAX_SHORT_BYTES: usize = 100;

impl TaskStatus {
    /// Leaves out what may be large: steps' results, which are named as missing for this reason, and all but the
    /// beginning of steps' texts. Tells whether there was any of it.
    pub fn shorten(&mut self, why: &str) -> bool {
        let mut is_shorter = false;
        for step in &mut self.steps {
            is_shorter |= !step.results.is_empty();
            let gone = std::mem::take(&mut step.results).into_iter();
            step.missing_results
                .extend(gone.map(|result| MissingResultStatus {
                    name: result.name,
                    why: why.to_owned(),
                }));
            let record = step.record.as_mut().map(|record| &mut record.message);
            let missing = step.missing_results.iter_mut().map(|m| &mut m.why);
            for text in missing
                .chain(&mut step.warnings)
                .chain(record)
                .chain([&mut step.message])
                .filter(|text| text.len() > MAX_SHORT_BYTES)
            {
                *text = cut(text, MAX_SHORT_BYTES);
                is_shorter = true;
            }
        }
        is_shorter
    }
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// How a Task stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum TaskPhase {
    /// Nothing runs yet.
    #[default]
    Pending,
    /// Its first step may run.
    Running,
    /// Every step let its successor start.
    Succeeded,
    /// A step failed, or the Task could not be run.
    Failed,
    /// It was cancelled.
    Cancelled,
    /// Its time was up.
    TimedOut,
    /// It has a schedule: its runs are Tasks of their own.
    Scheduled,
}

impl TaskPhase {
    /// Whether nothing more will happen in this run.
    pub fn is_over(self) -> bool {
        !matches!(
            self,
            TaskPhase::Pending | TaskPhase::Running | TaskPhase::Scheduled
        )
    }
}

/// The pod of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatusRef {
    /// Its name.
    pub name: String,
    /// Its UID; empty until it is known.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Its node; empty until it has one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// What carries the order to its steps.
    pub carrier: Carrier,
}

/// What carries the order to the steps of a pod.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Carrier {
    /// The agent's volume.
    #[default]
    Volume,
    /// The pod's annotation, by the downward API; the coordinator writes it.
    DownwardAPI,
}

/// How a step, `finally` step or sidecar stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct StepStatus {
    /// Its name.
    pub name: String,
    /// Its number in the order, from 1.
    pub number: u32,
    /// What it is.
    pub kind: StepKind,
    /// How it stands.
    pub state: StepPhase,
    /// Why, in one word: `Completed`, `Error`, `StartError`, `TimedOut`, `OOMKilled`, `Cancelled`, `Skipped`,
    /// `Continued` for a failure that the Task went on from, `NotRun`; while it waits, what the
    /// kubelet says (`ImagePullBackOff`).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The same as a sentence, where one word does not tell.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The command's exit code, 128+n for signal n.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The reason of a failure that the Task went on from.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub continued_from: Option<Reason>,
    /// How often the command was started.
    #[serde(skip_serializing_if = "is_zero")]
    pub attempts: u32,
    /// The attempts that failed and were repeated, the first ones; at most [`MAX_RETRIES_KEPT`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub retries: Vec<RetryStatus>,
    /// When the first attempt's command was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub started_at: Option<Timestamp>,
    /// When the step was over.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub finished_at: Option<Timestamp>,
    /// CPU time of all its processes, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_ms: Option<u64>,
    /// Largest resident set of any one of its processes, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_bytes: Option<u64>,
    /// The image that ran, by digest, as the container runtime names it.
    #[serde(rename = "imageID", skip_serializing_if = "String::is_empty")]
    pub image_id: String,
    /// A sidecar answered its readiness probe.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ready: bool,
    /// The final record, whole, as callbacks tell it; `None` where the step left none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<serde_json::Value>"))]
    pub record: Option<baton_protocol::Record>,
    /// Its results.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub results: Vec<ResultStatus>,
    /// Results that are not in the status, each with the reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing_results: Vec<MissingResultStatus>,
    /// What a person should know of it, each of one kind once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// What a number stands for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum StepKind {
    /// A step.
    #[default]
    Step,
    /// A `finally` step.
    Finally,
    /// A sidecar.
    Sidecar,
}

/// How a step stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum StepPhase {
    /// Its turn has not come.
    #[default]
    Waiting,
    /// Its command runs, or waits for the next attempt.
    Running,
    /// It ended well, was skipped, or its failure was gone on from.
    Succeeded,
    /// It failed.
    Failed,
    /// Its turn will not come.
    NotRun,
}

/// An attempt that failed and was repeated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RetryStatus {
    /// Which, from 1.
    pub attempt: u32,
    /// How it failed.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub reason: Reason,
    /// Its exit code.
    pub exit_code: i32,
    /// Time until the next attempt, in milliseconds.
    pub delay_ms: u64,
    /// When.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub at: Timestamp,
}

/// A result of a step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ResultStatus {
    /// Its name.
    pub name: String,
    /// Its content; nothing where it is empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
}

/// A result that is not in the status.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct MissingResultStatus {
    /// Its name.
    pub name: String,
    /// Why.
    pub why: String,
}

/// A condition, as `metav1.Condition` has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// Which: `Succeeded`, `Valid`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One word.
    pub reason: String,
    /// A sentence.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When the status changed last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub last_transition_time: Option<Timestamp>,
    /// The generation of the spec that it speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// What became of the callbacks to one receiver.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct CallbackStatus {
    /// The receiver's URL, without what could be a secret in it.
    pub sink: String,
    /// How many events of this run it accepted or were given up. Events are told in one order, which
    /// follows from the status, so this is where to go on.
    pub settled: u32,
    /// How many it accepted.
    pub delivered: u32,
    /// How many were given up.
    #[serde(skip_serializing_if = "is_zero")]
    pub given_up: u32,
    /// How many wait.
    #[serde(skip_serializing_if = "is_zero")]
    pub waiting: u32,
    /// Why the last attempt failed, where one did and none succeeded since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// An earlier run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct RunStatus {
    /// Which, from 1.
    pub run: u32,
    /// Its pod; nothing where it had none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pod: String,
    /// How it ended.
    pub phase: TaskPhase,
    /// Why, in one word.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub finished_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_named_and_short_texts_stay() {
        let step = StepStatus {
            message: "é".repeat(200),
            results: vec![ResultStatus {
                name: "r".into(),
                value: "x".repeat(9),
            }],
            warnings: vec!["short".into()],
            ..StepStatus::default()
        };
        let mut status = TaskStatus {
            steps: vec![step],
            ..TaskStatus::default()
        };
        assert!(status.shorten("too large"));
        let step = &status.steps[0];
        assert!(step.message.len() <= MAX_SHORT_BYTES && step.message.starts_with("éé"));
        assert_eq!(step.warnings, ["short"]);
        let missing = MissingResultStatus {
            name: "r".into(),
            why: "too large".into(),
        };
        assert_eq!(
            (step.results.len(), &step.missing_results[..]),
            (0, &[missing][..])
        );
        assert!(!status.shorten("too large"), "there is nothing more");
    }
}
