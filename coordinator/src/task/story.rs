//! A status -> the events that its callbacks tell.
//!
//! The list follows from the status alone, with the same ids each time, and grows at its end as the
//! status does: a count of events says where to go on. For that, a step's events are told once all
//! steps before it are over, and of a step's retries the first ones that the status keeps.

use baton_api::status::{StepKind, StepPhase, StepStatus, TaskPhase, TaskStatus};
use baton_callbacks::event::{Happening, StepRef};
use baton_callbacks::{Event, Source, TaskEnd, TaskOutcome};
use baton_protocol::{Reason, Record, Timestamp};

/// What is told of a run of the Task of this name so far: nothing before its pod is known, and of a
/// run without a pod its end alone.
pub fn story(task: &str, status: &TaskStatus) -> Vec<Event> {
    let over = status.phase.is_over();
    let source = match &status.pod {
        Some(pod) if !pod.uid.is_empty() => Source::new(&pod.uid, task, &pod.name),
        _ => return Vec::new(),
    };
    let mut events = Vec::new();
    if let Some(at) = status.started_at {
        events.push(source.event(at, Happening::TaskStarted));
    }
    for step in status.steps.iter().filter(|s| s.kind != StepKind::Sidecar) {
        tell_step(&source, step, &mut events);
        let is_over = step.finished_at.is_some() || step.state == StepPhase::NotRun;
        if !is_over && !over {
            return events;
        }
    }
    if let Some(end) = task_end(status) {
        events.push(source.event(end.finished_at, Happening::TaskFinished(end)));
    }
    events
}

fn tell_step(source: &Source, step: &StepStatus, events: &mut Vec<Event>) {
    let named = || StepRef {
        name: step.name.clone(),
        number: step.number,
    };
    if let Some(at) = step.started_at {
        events.push(source.event(at, Happening::StepStarted { step: named() }));
    }
    for retry in &step.retries {
        let what = Happening::StepRetrying {
            step: named(),
            attempt: retry.attempt,
            reason: retry.reason,
            exit_code: retry.exit_code,
            delay_ms: retry.delay_ms,
        };
        events.push(source.event(retry.at, what));
    }
    if let Some(at) = step.finished_at {
        let what = Happening::StepFinished {
            step: named(),
            record: record(step, at),
        };
        events.push(source.event(at, what));
    }
}

/// The record of a step that is over: its own, or one made of what else is known.
fn record(step: &StepStatus, at: Timestamp) -> Record {
    if let Some(record) = &step.record {
        return record.clone();
    }
    let reason = match step.reason.as_str() {
        "OOMKilled" => Reason::OomKilled,
        _ => Reason::Error,
    };
    let mut record = Record::new(reason, step.exit_code.unwrap_or(1), at);
    record.attempts = step.attempts;
    record.started_at = step.started_at;
    record.message.clone_from(&step.message);
    record
}

fn task_end(status: &TaskStatus) -> Option<TaskEnd> {
    let outcome = match status.phase {
        TaskPhase::Succeeded => TaskOutcome::Succeeded,
        TaskPhase::Failed => TaskOutcome::Failed,
        TaskPhase::Cancelled => TaskOutcome::Cancelled,
        TaskPhase::TimedOut => TaskOutcome::TimedOut,
        TaskPhase::Pending | TaskPhase::Running | TaskPhase::Scheduled => return None,
    };
    let finished_at = status.finished_at?;
    let failed = |s: &&StepStatus| s.state == StepPhase::Failed && s.kind != StepKind::Sidecar;
    let failed_step = match outcome {
        TaskOutcome::Failed => status.steps.iter().find(failed).map(|s| s.name.clone()),
        _ => None,
    };
    Some(TaskEnd {
        outcome,
        exit_code: status.exit_code.unwrap_or_default(),
        failed_step,
        started_at: status.started_at.unwrap_or(finished_at),
        finished_at,
        message: status.message.clone(),
    })
}

#[cfg(test)]
mod tests;
