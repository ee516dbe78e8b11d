//! A task's story, as the report wants it.

use baton_steps::{Kind, Outcome, Phase, StepState};

use super::story::{StepStory, Story};
use crate::report;

/// The facts of a run that has ended; `None` for one that has not.
pub fn facts(story: &Story) -> Option<report::Facts> {
    let outcome = story.outcome.as_ref()?;
    let named = |step: &StepStory| {
        let results = step.results.iter().map(|(name, value)| report::StepResult {
            step: step.name.clone(),
            name: name.clone(),
            value: value.clone(),
        });
        results.collect::<Vec<_>>()
    };
    Some(report::Facts {
        kind: "Task".to_owned(),
        name: story.task.clone(),
        origin: match story.source.as_str() {
            "-" => "standard input".to_owned(),
            file => file.to_owned(),
        },
        phase: phase(outcome),
        headline: story.headline(),
        exit_code: story.exit_code(),
        started_at: outcome.started_at.unwrap_or(outcome.finished_at),
        finished_at: outcome.finished_at,
        steps: story.steps.iter().map(step).collect(),
        results: story.steps.iter().flat_map(named).collect(),
        notes: story.notes.clone(),
        graph: None,
    })
}

fn phase(outcome: &Outcome) -> report::Phase {
    match outcome.phase {
        Phase::Succeeded => report::Phase::Succeeded,
        Phase::Failed => report::Phase::Failed,
        Phase::Cancelled => report::Phase::Cancelled,
        Phase::TimedOut => report::Phase::TimedOut,
    }
}

fn step(step: &StepStory) -> report::StepFacts {
    let attempts = step.attempts.iter().map(|attempt| report::Attempt {
        started_at: attempt.started_at,
        finished_at: attempt.failure.map(|(at, _, _)| at),
        failure: attempt.failure.map(|(_, reason, code)| (reason, code)),
    });
    let (text, gap) = step.log.kept();
    report::StepFacts {
        name: step.name.clone(),
        role: match step.kind {
            Kind::Step => report::Role::Step,
            Kind::Finally => report::Role::Finally,
            Kind::Sidecar => report::Role::Sidecar,
        },
        command: step.command.clone(),
        waiting_since: None,
        ready_at: step.ready_at,
        attempts: attempts.collect(),
        end: match &step.state {
            StepState::Done { record } => report::End::Recorded(record.clone()),
            StepState::Died { how, .. } => report::End::Died(how.to_string()),
            _ => report::End::NotRun,
        },
        log: report::Log {
            text,
            gap: gap.map(|(at, missing)| report::Gap { at, missing }),
        },
    }
}
