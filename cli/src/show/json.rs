//! The document that `-o json` prints.

use std::collections::BTreeMap;

use baton_protocol::{Reason, Record, Timestamp};
use baton_steps::{Cause, Death, Kind, NotRun, Phase, StepState};
use serde::Serialize;
use serde_json::Value;

use crate::run::story::{StepStory, Story};

/// All that ran.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    /// The exit code of `baton run`.
    pub exit_code: i32,
    /// What ran, in order.
    pub runs: Vec<Value>,
    /// The documents that were not run, since one before them failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_run: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Task<'a> {
    kind: &'static str,
    name: &'a str,
    source: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    phase: Option<Phase>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'a Cause>,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<Timestamp>,
    notes: &'a [String],
    steps: Vec<Step<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Step<'a> {
    number: u32,
    name: &'a str,
    kind: Kind,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<&'a Record>,
    #[serde(skip_serializing_if = "Option::is_none")]
    died: Option<&'a Death>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_run: Option<NotRun>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ready_at: Option<Timestamp>,
    attempts: Vec<Attempt>,
    results: BTreeMap<&'a str, Text<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Attempt {
    started_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
}

/// A result: text where it is text, and otherwise its bytes.
#[derive(Serialize)]
#[serde(untagged)]
enum Text<'a> {
    Utf8(&'a str),
    Bytes { bytes: &'a [u8] },
}

/// What is known of a task's run.
pub fn task(story: &Story) -> Value {
    let outcome = story.outcome.as_ref();
    let task = Task {
        kind: "Task",
        name: &story.task,
        source: &story.source,
        phase: outcome.map(|o| o.phase),
        exit_code: outcome.map(|_| story.exit_code()),
        cause: outcome.and_then(|o| o.cause.as_ref()),
        started_at: story.started_at,
        finished_at: outcome.map(|o| o.finished_at),
        notes: &story.notes,
        steps: story.steps.iter().map(step).collect(),
    };
    // Every key is a text, so there is nothing that JSON cannot write.
    serde_json::to_value(task).unwrap_or_default()
}

fn step(step: &StepStory) -> Step<'_> {
    let state = match &step.state {
        StepState::Pending => "Pending",
        StepState::Released { .. } => "Released",
        StepState::Running { .. } => "Running",
        StepState::Done { .. } => "Done",
        StepState::Died { .. } => "Died",
        StepState::NotRun { .. } => "NotRun",
    };
    Step {
        number: step.number,
        name: &step.name,
        kind: step.kind,
        state,
        record: match &step.state {
            StepState::Done { record } => Some(record),
            _ => None,
        },
        died: match &step.state {
            StepState::Died { how, .. } => Some(how),
            _ => None,
        },
        not_run: match &step.state {
            StepState::NotRun { why } => Some(*why),
            _ => None,
        },
        ready_at: step.ready_at,
        attempts: step.attempts.iter().map(attempt).collect(),
        results: step
            .results
            .iter()
            .map(|(name, value)| match std::str::from_utf8(value) {
                Ok(text) => (name.as_str(), Text::Utf8(text)),
                Err(_) => (name.as_str(), Text::Bytes { bytes: value }),
            })
            .collect(),
    }
}

fn attempt(attempt: &crate::run::story::Attempt) -> Attempt {
    Attempt {
        started_at: attempt.started_at,
        failed_at: attempt.failure.map(|(at, _, _)| at),
        reason: attempt.failure.map(|(_, reason, _)| reason),
        exit_code: attempt.failure.map(|(_, _, code)| code),
    }
}
