//! A Task's status in the words of the state machine, so that a run in a cluster is shown as one
//! without is.

use baton_api::status::{RetryStatus, StepKind, StepPhase, StepStatus, TaskPhase, TaskStatus};
use baton_protocol::{Reason, Record, Timestamp};
use baton_steps::{
    CANCELLED_EXIT_CODE, Cause, Kind, NotRun, Outcome, Phase, Plan, Sidecar, Step, StepState,
};
use serde_json::Value;

use crate::run::story::{Attempt, Story};

/// What runs: by the status, or by the spec while nobody has taken the Task up.
pub fn plan(spec: &Value, status: &TaskStatus) -> Plan {
    let of_spec = |list: &str| -> Vec<(String, bool)> {
        let items = spec.get(list).and_then(Value::as_array);
        let named = items.into_iter().flatten().filter_map(|item| {
            let name = item.get("name")?.as_str()?.to_owned();
            Some((name, item.get("readiness").is_some()))
        });
        named.collect()
    };
    let of_status = |kind: StepKind| -> Vec<String> {
        let found = status.steps.iter().filter(|s| s.kind == kind);
        found.map(|s| s.name.clone()).collect()
    };
    let names = |kind, list| match status.steps.is_empty() {
        true => of_spec(list).into_iter().map(|(name, _)| name).collect(),
        false => of_status(kind),
    };
    let steps = |names: Vec<String>| names.into_iter().map(|name| Step { name }).collect();
    let awaited = of_spec("sidecars");
    let sidecars = names(StepKind::Sidecar, "sidecars").into_iter();
    let mut plan = Plan::of_steps(names(StepKind::Step, "steps"));
    plan.finally = steps(names(StepKind::Finally, "finally"));
    plan.sidecars = sidecars
        .map(|name| Sidecar {
            awaited: awaited.contains(&(name.clone(), true)),
            name,
        })
        .collect();
    plan
}

/// What a number stands for.
pub fn kind(kind: StepKind) -> Kind {
    match kind {
        StepKind::Step => Kind::Step,
        StepKind::Finally => Kind::Finally,
        StepKind::Sidecar => Kind::Sidecar,
    }
}

/// How a step stands, in a Task that stands so.
pub fn state(step: &StepStatus, phase: TaskPhase) -> StepState {
    match step.state {
        StepPhase::Waiting if !phase.is_over() => StepState::Pending,
        StepPhase::Waiting | StepPhase::NotRun => StepState::NotRun {
            why: match phase {
                TaskPhase::Cancelled => NotRun::Cancelled,
                TaskPhase::TimedOut => NotRun::TimedOut,
                _ => NotRun::Failure { number: 0 },
            },
        },
        StepPhase::Running => StepState::Running {
            since: step.started_at.unwrap_or(Timestamp(std::time::UNIX_EPOCH)),
            attempt: step.attempts.max(1),
        },
        StepPhase::Succeeded | StepPhase::Failed => StepState::Done {
            record: record(step),
        },
    }
}

/// The step's record; one made of what the status has where it left none.
fn record(step: &StepStatus) -> Record {
    if let Some(record) = &step.record {
        return record.clone();
    }
    let known = match step.reason.as_str() {
        "Completed" => Some(Reason::Completed),
        "Error" => Some(Reason::Error),
        "StartError" => Some(Reason::StartError),
        "TimedOut" => Some(Reason::TimedOut),
        "OOMKilled" => Some(Reason::OomKilled),
        "Cancelled" => Some(Reason::Cancelled),
        "Skipped" => Some(Reason::Skipped),
        "Continued" => Some(step.continued_from.unwrap_or(Reason::Error)),
        _ => None,
    };
    let reason = known.unwrap_or(match (step.state, step.attempts) {
        (StepPhase::Succeeded, _) => Reason::Completed,
        // Its container never ran: ImagePullBackOff and the like.
        (_, 0) => Reason::StartError,
        _ => Reason::Error,
    });
    let finished_at = step.finished_at.unwrap_or(Timestamp(std::time::UNIX_EPOCH));
    let mut record = Record::new(reason, step.exit_code.unwrap_or_default(), finished_at);
    record.continued = step.reason == "Continued";
    record.attempts = step.attempts;
    record.started_at = step.started_at;
    record.peak_bytes = step.peak_bytes.unwrap_or_default();
    record.user_us = step.cpu_ms.unwrap_or_default().saturating_mul(1000);
    let ran = step.started_at.map(|at| finished_at.since(at));
    record.ran_ms = ran.map_or(0, |ran| u64::try_from(ran.as_millis()).unwrap_or(u64::MAX));
    record.message = match known {
        None if step.reason.is_empty() => step.message.clone(),
        None if step.message.is_empty() => step.reason.clone(),
        None => format!("{}: {}", step.reason, step.message),
        Some(_) => step.message.clone(),
    };
    record
}

/// How a Task ended; `None` while it goes on.
pub fn outcome(status: &TaskStatus) -> Option<Outcome> {
    let turn = || {
        let began = status.steps.iter().filter(|s| s.kind != StepKind::Sidecar);
        let began = began.filter(|s| s.started_at.is_some() || s.record.is_some());
        began.map(|s| s.number).max().unwrap_or(0)
    };
    let (phase, cause) = match status.phase {
        TaskPhase::Pending | TaskPhase::Running | TaskPhase::Scheduled => return None,
        TaskPhase::Succeeded => (Phase::Succeeded, None),
        TaskPhase::Failed => (Phase::Failed, failed(status)),
        TaskPhase::Cancelled => (Phase::Cancelled, Some(Cause::Cancelled { turn: turn() })),
        TaskPhase::TimedOut => (Phase::TimedOut, Some(Cause::TimedOut { turn: turn() })),
    };
    Some(Outcome {
        phase,
        exit_code: exit_code(status),
        cause,
        started_at: status.started_at,
        finished_at: status
            .finished_at
            .or(status.started_at)
            .unwrap_or(Timestamp(std::time::UNIX_EPOCH)),
    })
}

fn failed(status: &TaskStatus) -> Option<Cause> {
    let step = status.steps.iter().find(|s| s.state == StepPhase::Failed)?;
    let record = record(step);
    Some(Cause::Step {
        number: step.number,
        name: step.name.clone(),
        reason: record.reason,
        exit_code: record.exit_code,
        message: record.message,
    })
}

/// The exit code of a Task that is over.
pub fn exit_code(status: &TaskStatus) -> i32 {
    match (status.exit_code, status.phase) {
        (Some(code), _) if (0..=255).contains(&code) => code,
        (_, TaskPhase::Succeeded) => 0,
        (_, TaskPhase::Cancelled) => CANCELLED_EXIT_CODE,
        (_, TaskPhase::TimedOut) => baton_protocol::exit::TIMED_OUT,
        _ => 1,
    }
}

/// The end in a sentence without the Task's name.
pub fn headline(story: &Story, status: &TaskStatus) -> String {
    let by_step = matches!(story.outcome, Some(Outcome { cause: Some(_), .. }));
    if status.phase != TaskPhase::Failed || by_step {
        return story.headline();
    }
    match (status.reason.as_str(), status.message.as_str()) {
        ("", "") => "Failed".to_owned(),
        (reason, "") => format!("Failed: {reason}"),
        ("", message) => format!("Failed: {message}"),
        (reason, message) => format!("Failed: {reason}: {message}"),
    }
}

/// The story of the run that a status tells of.
pub fn story(task: &str, source: &str, plan: &Plan, status: &TaskStatus) -> Story {
    let mut story = Story::new(task, source, plan);
    story.started_at = status.started_at;
    story.outcome = outcome(status);
    for step in &status.steps {
        let Some(told) = story.step_mut(step.number) else {
            continue;
        };
        told.state = state(step, status.phase);
        told.attempts = attempts(step);
        let results = step.results.iter();
        told.results = results
            .map(|r| (r.name.clone(), r.value.clone().into_bytes()))
            .collect();
    }
    for step in &status.steps {
        let missing = step.missing_results.iter();
        let missing = missing.map(|m| format!("step {}: result {}: {}", step.name, m.name, m.why));
        story.notes.extend(missing);
        let warnings = step.warnings.iter();
        let warnings = warnings.map(|w| format!("step {}: {w}", step.name));
        story.notes.extend(warnings);
    }
    story
}

/// When each attempt began: the first one's start is told, that of each other follows from the failure
/// before it.
fn attempts(step: &StepStatus) -> Vec<Attempt> {
    let Some(first) = step.started_at else {
        return Vec::new();
    };
    let mut attempts = vec![Attempt {
        started_at: first,
        failure: None,
    }];
    for retry in &step.retries {
        if let Some(attempt) = attempts.last_mut() {
            attempt.failure = Some((retry.at, retry.reason, retry.exit_code));
        }
        attempts.push(Attempt {
            started_at: after(retry),
            failure: None,
        });
    }
    attempts
}

/// When the attempt after this one began.
pub fn after(retry: &RetryStatus) -> Timestamp {
    let delay = std::time::Duration::from_millis(retry.delay_ms);
    Timestamp(retry.at.0.checked_add(delay).unwrap_or(retry.at.0))
}
