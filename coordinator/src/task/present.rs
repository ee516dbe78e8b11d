//! The parts of a status that are for people: words, sentences, counts and conditions.

use baton_api::status::{StepKind, StepPhase, TaskPhase, TaskStatus};
use baton_pod::PodFacts;
use baton_protocol::Timestamp;
use baton_protocol::time::format_duration;
use std::time::Duration;

use super::object::TaskView;
use super::runs::{INVALID, Origin, not_before};
use crate::conditions::set;
use crate::trouble::Trouble;

/// Brings what follows from the rest of the status up to date.
pub(super) fn present(
    status: &mut TaskStatus,
    task: &TaskView,
    trouble: &Trouble,
    facts: Option<&PodFacts>,
    now: Timestamp,
) {
    // Until the run that a changed spec asks for has begun, what is told is of the spec before.
    let is_of_spec = status.run == 0 || Origin::of_status(status).is_wanted(task);
    if is_of_spec || task.spec.is_err() {
        status.observed_generation = task.generation;
    }
    let ordered = || status.steps.iter().filter(|s| s.kind != StepKind::Sidecar);
    let ended = |state| matches!(state, StepPhase::Succeeded | StepPhase::Failed);
    let done = ordered().filter(|s| ended(s.state)).count();
    let all = ordered().count();
    status.progress = match all {
        0 => String::new(),
        _ => format!("{done}/{all}"),
    };
    match status.phase {
        TaskPhase::Pending => {
            (status.reason, status.message) = why_pending(status, trouble, facts, now);
        }
        TaskPhase::Running if !is_stopping(&status.reason) => {
            status.reason.clear();
            status.message.clear();
        }
        _ => {}
    }
    if let (Some(start), Some(end)) = (status.started_at, status.finished_at) {
        status.duration = duration(end.since(start));
    }
    succeeded(status, task.generation.filter(|_| is_of_spec), now);
    valid(status, task, now);
}

fn is_stopping(reason: &str) -> bool {
    matches!(reason, "Cancelling" | "TimingOut" | "Stopping")
}

/// To the second, where it is not shorter.
fn duration(time: Duration) -> String {
    match time.as_secs() {
        0 => format_duration(time),
        seconds => format_duration(Duration::from_secs(seconds)),
    }
}

fn why_pending(
    status: &TaskStatus,
    trouble: &Trouble,
    facts: Option<&PodFacts>,
    now: Timestamp,
) -> (String, String) {
    let pair = |reason: &str, message: String| (reason.to_owned(), message);
    if trouble.is_some() {
        return (trouble.reason.clone(), trouble.message.clone());
    }
    if status.pod.is_none() {
        let retries = status.infrastructure_retries + status.failure_retries;
        return match not_before(status).filter(|at| *at > now) {
            Some(at) => pair("Retrying", format!("retry {retries} begins at {at}")),
            None => pair("Creating", String::new()),
        };
    }
    if let Some(why) = facts.and_then(|f| f.unschedulable.as_ref()) {
        return pair("Unschedulable", why.clone());
    }
    let trouble = facts.and_then(|f| {
        f.tools
            .iter()
            .chain(&f.containers)
            .find_map(|c| c.trouble())
    });
    match trouble {
        Some((reason, message)) => pair(reason, message),
        None => pair("Starting", String::new()),
    }
}

/// `generation`: that of the spec that the run is of, where that is not an earlier one.
fn succeeded(status: &mut TaskStatus, generation: Option<i64>, now: Timestamp) {
    let (value, at) = match status.phase {
        TaskPhase::Pending | TaskPhase::Running | TaskPhase::Scheduled => ("Unknown", now),
        TaskPhase::Succeeded => ("True", status.finished_at.unwrap_or(now)),
        TaskPhase::Failed | TaskPhase::Cancelled | TaskPhase::TimedOut => {
            ("False", status.finished_at.unwrap_or(now))
        }
    };
    // A condition's reason may not be empty.
    let reason = match status.reason.as_str() {
        "" => format!("{:?}", status.phase),
        reason => reason.to_owned(),
    };
    // Nor may its message be missing.
    let message = match (status.message.as_str(), status.phase) {
        ("", TaskPhase::Pending) => "nothing of it runs yet".to_owned(),
        ("", TaskPhase::Running) => "it runs".to_owned(),
        ("", TaskPhase::Succeeded) => "all steps are over, and none failed it".to_owned(),
        (message, _) => message.to_owned(),
    };
    let known = status.conditions.iter().find(|c| c.kind == "Succeeded");
    let generation = generation.or(known.and_then(|c| c.observed_generation));
    set(
        &mut status.conditions,
        "Succeeded",
        generation,
        (value, &reason, &message),
        at,
    );
}

fn valid(status: &mut TaskStatus, task: &TaskView, now: Timestamp) {
    let said = match &task.spec {
        Err(mistakes) => ("False", INVALID, mistakes.clone()),
        Ok(_) if status.reason == INVALID => ("False", INVALID, status.message.clone()),
        Ok(_) => ("True", "Valid", "it can be run".to_owned()),
    };
    let said = (said.0, said.1, said.2.as_str());
    set(&mut status.conditions, "Valid", task.generation, said, now);
}
