//! Facts about a run -> its status.
//!
//! Facts are merged, not replayed: in whatever order they come, and however often, the same status
//! follows. What agents tell of a run's end stands; what the pod's own status tells refines it.

use baton_api::status::{
    MAX_RETRIES_KEPT, MissingResultStatus, ResultStatus, RetryStatus, StepKind, StepPhase,
    StepStatus, TaskPhase, TaskStatus,
};
use baton_events::{MAX_TASK_RESULTS_BYTES, MissingResult, StepResult, What};
use baton_pod::{ContainerFacts, ContainerState, PodFacts, facts::End};
use baton_protocol::{Reason, Record, Timestamp};
use baton_steps::{Cause, Death, Kind, Outcome, Phase, Plan, StepState, StopReason};

use crate::text::cut;

/// Longest message that is kept of anything, in characters.
const MAX_MESSAGE: usize = 2000;
/// Most warnings of one step.
const MAX_WARNINGS: usize = 16;
/// Longest warning, in characters.
const MAX_WARNING: usize = 500;
/// Most results of one step that are missing and named.
const MAX_MISSING: usize = 64;
/// The reason of a step that ended without saying why.
pub(super) const ERROR: &str = "Error";
/// The reason of a run that was lost with its node, or with what its node kept of it.
pub(super) const NODE_LOST: &str = "NodeLost";

/// The steps of a run before its beginning.
pub fn steps(plan: &Plan) -> Vec<StepStatus> {
    let status = |(number, kind, name): (u32, Kind, &str)| StepStatus {
        name: name.to_owned(),
        number,
        kind: match kind {
            Kind::Step => StepKind::Step,
            Kind::Finally => StepKind::Finally,
            Kind::Sidecar => StepKind::Sidecar,
        },
        ..StepStatus::default()
    };
    plan.numbered().map(status).collect()
}

/// Merges a fact of the status's run, which happened at `at`. One about a number that the run does
/// not have changes nothing.
pub fn fold(status: &mut TaskStatus, at: Timestamp, what: &What) {
    match what {
        What::TaskStarted => {
            earliest(&mut status.started_at, at);
            begin(status);
        }
        What::TaskStopping { why } if !status.phase.is_over() => {
            status.reason = match why {
                StopReason::Cancelled => "Cancelling",
                StopReason::TimedOut => "TimingOut",
                StopReason::NeverStarted => "Stopping",
            }
            .to_owned();
        }
        What::TaskStopping { .. } => {}
        What::TaskFinished { outcome } => finish(status, outcome),
        What::Warning {
            number, message, ..
        } => {
            if let Some(step) = step_mut(status, (*number).max(1)) {
                warn(step, message);
            }
        }
        What::StepStarted { number, attempt } => {
            if let Some(step) = step_mut(status, *number) {
                earliest(&mut step.started_at, at);
                step.attempts = step.attempts.max(*attempt);
            }
            begin(status);
        }
        What::StepRetrying {
            number,
            attempt,
            reason,
            exit_code,
            delay_ms,
        } => {
            if let Some(step) = step_mut(status, *number) {
                let retry = RetryStatus {
                    attempt: *attempt,
                    reason: *reason,
                    exit_code: *exit_code,
                    delay_ms: *delay_ms,
                    at,
                };
                keep_retry(step, retry);
            }
        }
        What::SidecarReady { number } => {
            if let Some(step) = step_mut(status, *number) {
                step.ready = true;
            }
        }
        What::StepFinished {
            number,
            state,
            results,
            missing,
        } => {
            if let Some(step) = step_mut(status, *number) {
                end(step, state, results, missing);
            }
            bound_results(status);
        }
    }
    settle(status);
}

/// Refines the status by what the pod of its run tells: image IDs, what containers wait for, and how
/// they ended where nothing else tells.
pub fn refine(status: &mut TaskStatus, facts: &PodFacts) {
    for step in &mut status.steps {
        if let Some(container) = facts.container(step.number) {
            refine_step(step, container);
        }
    }
    settle(status);
}

/// Ends the run for a reason that no fact of its steps tells.
pub fn lose(status: &mut TaskStatus, reason: &str, message: &str, at: Timestamp) {
    status.phase = TaskPhase::Failed;
    status.reason = reason.to_owned();
    status.message = cut(message, MAX_MESSAGE);
    status.exit_code.get_or_insert(1);
    status.finished_at.get_or_insert(at);
    settle(status);
}

/// How a reason is spelled.
pub(super) fn word(reason: Reason) -> &'static str {
    match reason {
        Reason::Completed => "Completed",
        Reason::Error => ERROR,
        Reason::StartError => "StartError",
        Reason::TimedOut => "TimedOut",
        Reason::OomKilled => "OOMKilled",
        Reason::Cancelled => "Cancelled",
        Reason::Skipped => "Skipped",
        Reason::Passed => "NotRun",
    }
}

fn begin(status: &mut TaskStatus) {
    if status.phase == TaskPhase::Pending {
        status.phase = TaskPhase::Running;
        status.reason.clear();
        status.message.clear();
    }
}

fn finish(status: &mut TaskStatus, outcome: &Outcome) {
    if status.phase.is_over() {
        return;
    }
    status.phase = match outcome.phase {
        Phase::Succeeded => TaskPhase::Succeeded,
        Phase::Failed => TaskPhase::Failed,
        Phase::Cancelled => TaskPhase::Cancelled,
        Phase::TimedOut => TaskPhase::TimedOut,
    };
    status.exit_code = Some(outcome.exit_code);
    status.finished_at = Some(outcome.finished_at);
    if let Some(at) = outcome.started_at {
        earliest(&mut status.started_at, at);
    }
    let cause = outcome.cause.as_ref();
    status.reason = cause.map_or("Completed", cause_word).to_owned();
    let message = cause.map(ToString::to_string).unwrap_or_default();
    status.message = cut(&message, MAX_MESSAGE);
}

fn cause_word(cause: &Cause) -> &str {
    match cause {
        _ if cause.phase() == Phase::Cancelled => "Cancelled",
        Cause::Step { reason, .. } => word(*reason),
        Cause::Died { how, .. } => death_word(how),
        Cause::NotReady { .. } => "NotReady",
        Cause::Cancelled { .. } => "Cancelled",
        Cause::TimedOut { .. } => "TimedOut",
    }
}

/// One word for a death. The kubelet's own, where it says that a container never starts.
fn death_word(how: &Death) -> &str {
    match how {
        Death::NeverStarted(why) => {
            let head = why.split(':').next().unwrap_or_default();
            let is_word =
                (1..=64).contains(&head.len()) && head.bytes().all(|b| b.is_ascii_alphanumeric());
            if is_word { head } else { "NeverStarted" }
        }
        Death::Unresponsive => "Unresponsive",
        // Its disk or its pods' folders were lost, as they are with a node.
        Death::FolderLost => NODE_LOST,
        _ => ERROR,
    }
}

fn keep_retry(step: &mut StepStatus, retry: RetryStatus) {
    let place = step.retries.iter().position(|r| r.attempt >= retry.attempt);
    match place.and_then(|i| step.retries.get_mut(i).map(|r| (i, r))) {
        Some((_, known)) if known.attempt == retry.attempt => {
            if retry.at < known.at {
                *known = retry;
            }
        }
        Some((place, _)) => step.retries.insert(place, retry),
        None => step.retries.push(retry),
    }
    // The first ones: what callbacks tell follows from this list, and may only grow.
    step.retries.truncate(MAX_RETRIES_KEPT);
}

fn end(
    step: &mut StepStatus,
    state: &StepState,
    results: &[StepResult],
    missing: &[MissingResult],
) {
    let (record, at, how) = match state {
        StepState::Done { record } => (Some(record), record.finished_at, None),
        StepState::Died { how, at } => (None, *at, Some(how)),
        _ => return,
    };
    // A record says more than none, and one with its results more than one without; else the first.
    let rank = |has_record: bool, results: usize| (has_record, results);
    let is_known = step.finished_at.is_some_and(|known| {
        let (new, old) = (
            rank(record.is_some(), results.len()),
            rank(step.record.is_some(), step.results.len()),
        );
        (new, known) <= (old, at)
    });
    if is_known {
        return;
    }
    step.finished_at = Some(at);
    step.record = record.map(bounded);
    match (record, how) {
        (Some(record), _) => {
            step.exit_code = Some(record.exit_code);
            step.message = cut(&record.message, MAX_MESSAGE);
            step.attempts = step.attempts.max(record.attempts);
            if let Some(at) = record.started_at {
                earliest(&mut step.started_at, at);
            }
            step.cpu_ms = u64::try_from(record.cpu().as_millis()).ok();
            step.peak_bytes = Some(record.peak_bytes);
        }
        (None, Some(how)) => {
            step.exit_code = Some(how.exit_code());
            step.reason = death_word(how).to_owned();
            step.message = cut(&how.to_string(), MAX_MESSAGE);
        }
        (None, None) => {}
    }
    let result = |r: &StepResult| ResultStatus {
        name: r.name.clone(),
        value: r.value.clone(),
    };
    let missed = |m: &MissingResult| MissingResultStatus {
        name: cut(&m.name, MAX_WARNING),
        why: cut(&m.why, MAX_WARNING),
    };
    step.results = results.iter().map(result).collect();
    step.missing_results = missing.iter().take(MAX_MISSING).map(missed).collect();
}

fn bounded(record: &Record) -> Record {
    let mut record = record.clone();
    record.message = cut(&record.message, MAX_MESSAGE);
    record
}

/// Keeps the results of the first steps that fit together, and names the others. What is dropped once
/// would be dropped whatever else comes.
fn bound_results(status: &mut TaskStatus) {
    let mut room = MAX_TASK_RESULTS_BYTES;
    let mut full = false;
    for step in &mut status.steps {
        let bytes: usize = step
            .results
            .iter()
            .map(|r| r.name.len() + r.value.len())
            .sum();
        full |= bytes > room;
        room = room.saturating_sub(bytes);
        if full {
            let why = format!("the Task's results have more than {MAX_TASK_RESULTS_BYTES} bytes");
            for result in step.results.drain(..) {
                if step.missing_results.len() < MAX_MISSING {
                    step.missing_results.push(MissingResultStatus {
                        name: cut(&result.name, MAX_WARNING),
                        why: why.clone(),
                    });
                }
            }
        }
    }
}

fn warn(step: &mut StepStatus, message: &str) {
    let message = cut(message, MAX_WARNING);
    if let Err(place) = step.warnings.binary_search(&message) {
        step.warnings.insert(place, message);
        step.warnings.truncate(MAX_WARNINGS);
    }
}

fn refine_step(step: &mut StepStatus, container: &ContainerFacts) {
    if !container.image_id.is_empty() {
        step.image_id.clone_from(&container.image_id);
    }
    if step.finished_at.is_none() {
        let waits = step.attempts == 0 && matches!(container.state, ContainerState::Waiting { .. });
        let trouble = container.trouble().filter(|_| waits);
        (step.reason, step.message) = match trouble {
            Some((reason, message)) => (cut(reason, MAX_WARNING), cut(&message, MAX_MESSAGE)),
            None => (String::new(), String::new()),
        };
    } else if step.record.is_none() && step.reason == ERROR {
        match container.end() {
            Some(End::Record(seen)) if seen.reason == Reason::OomKilled => {
                step.reason = word(Reason::OomKilled).to_owned();
                step.message = cut(&seen.message, MAX_MESSAGE);
                step.exit_code = Some(seen.exit_code);
            }
            // On its node nobody saw how it died; the container runtime did.
            Some(End::Died(how)) if step.message == Death::Gone.to_string() => {
                step.message = cut(&how.to_string(), MAX_MESSAGE);
                step.exit_code = Some(how.exit_code());
            }
            _ => {}
        }
    }
}

/// What follows from the facts that are there.
pub(super) fn settle(status: &mut TaskStatus) {
    let over = status.phase.is_over();
    for step in &mut status.steps {
        settle_step(step, over, &status.reason);
    }
    // What the pod's status tells of the step that died first is the Task's reason as well.
    if status.phase == TaskPhase::Failed
        && status.reason == ERROR
        && let Some(died) = status
            .steps
            .iter()
            .find(|s| s.kind != StepKind::Sidecar && s.state == StepPhase::Failed)
        && died.record.is_none()
        && died.finished_at.is_some()
    {
        status.message = format!("step {}: {}", died.name, died.message);
        status.exit_code = died.exit_code.filter(|c| *c != 0).or(status.exit_code);
        status.reason = died.reason.clone();
    }
}

fn settle_step(step: &mut StepStatus, over: bool, reason: &str) {
    if let Some(record) = &step.record {
        let stopped = step.kind == StepKind::Sidecar && record.reason == Reason::Cancelled;
        step.continued_from = record.continued.then_some(record.reason);
        step.reason = match record.continued {
            true => "Continued".to_owned(),
            false => word(record.reason).to_owned(),
        };
        step.state = match record.reason {
            Reason::Passed => StepPhase::NotRun,
            _ if record.lets_next_start() || stopped => StepPhase::Succeeded,
            _ => StepPhase::Failed,
        };
    } else if step.finished_at.is_some() {
        step.state = StepPhase::Failed;
    } else if !over {
        step.state = match step.attempts {
            0 => StepPhase::Waiting,
            _ => StepPhase::Running,
        };
    } else if step.attempts > 0 {
        step.state = StepPhase::Failed;
        step.reason = reason.to_owned();
    } else {
        step.state = StepPhase::NotRun;
        step.reason = "NotRun".to_owned();
        step.message.clear();
    }
}

fn step_mut(status: &mut TaskStatus, number: u32) -> Option<&mut StepStatus> {
    let index = usize::try_from(number).ok()?.checked_sub(1)?;
    status.steps.get_mut(index)
}

fn earliest(time: &mut Option<Timestamp>, at: Timestamp) {
    *time = Some(time.map_or(at, |known| known.min(at)));
}

#[cfg(test)]
pub(in crate::task) mod tests;
