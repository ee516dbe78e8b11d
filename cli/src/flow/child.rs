//! One attempt of a node, from its start to its end, on a thread of its own.

use std::path::Path;

use baton_api::flow_status::FlowResult;
use baton_flow::Seen;
use baton_steps::{Cause, Phase};

use super::make::Made;
use crate::job::{self, ConditionType, JobStory};
use crate::run::callbacks::Callbacks;
use crate::run::children::Children;
use crate::run::story::Story;
use crate::run::task::{self, Options};
use crate::show::terminal::Terminal;

/// How an attempt ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// How it counts.
    pub seen: Seen,
    /// The same in a sentence, where one word does not tell.
    pub message: String,
    /// What is known of it; `None` where it could not be run.
    pub told: Option<Told>,
}

/// What is known of an attempt.
#[derive(Debug)]
pub enum Told {
    /// Of a Job.
    Job(Box<JobStory>),
    /// Of a Task.
    Task(Box<Story>),
}

/// Runs an attempt to its end. What its callbacks still have to be told is for
/// [`deliver`](task::deliver): nothing has to wait for it.
pub(super) fn run(
    made: &Made,
    source: &str,
    base: &Path,
    options: &Options<'_>,
    children: &Children,
    terminal: &mut Terminal,
) -> (Ended, Option<Callbacks>) {
    let ended = match made {
        Made::Job(job) => job::run(job, source, base, options, children, terminal)
            .map(|story| (of_job(story), None))
            .map_err(|e| e.to_string()),
        Made::Task(task) => task::run(task, source, base, options, children, terminal)
            .map(|over| (of_task(over.story), over.callbacks))
            .map_err(|e| e.to_string()),
    };
    terminal.flush();
    ended.unwrap_or_else(|message| {
        let ended = Ended {
            seen: Seen::Failed("StartError".to_owned()),
            message,
            told: None,
        };
        (ended, None)
    })
}

fn of_job(story: JobStory) -> Ended {
    let (seen, message) = match &story.condition {
        _ if story.cancelled => (Seen::Failed("Cancelled".to_owned()), String::new()),
        Some(c) if c.kind == ConditionType::Complete => (Seen::Succeeded, String::new()),
        Some(c) => (Seen::Failed(c.reason.to_owned()), c.message.to_owned()),
        None => {
            let message = "no pod may run: parallelism is 0".to_owned();
            (Seen::Failed("NoPods".to_owned()), message)
        }
    };
    Ended {
        seen,
        message,
        told: Some(Told::Job(Box::new(story))),
    }
}

fn of_task(story: Story) -> Ended {
    let outcome = story.outcome.as_ref();
    let reason = match outcome.map(|o| (o.phase, &o.cause)) {
        Some((Phase::Succeeded, _)) => None,
        Some((Phase::TimedOut, _)) => Some("TimedOut".to_owned()),
        Some((Phase::Cancelled, _)) => Some("Cancelled".to_owned()),
        Some((Phase::Failed, Some(Cause::Step { reason, .. }))) => Some(reason.to_string()),
        Some((Phase::Failed, Some(Cause::NotReady { .. }))) => Some("NotReady".to_owned()),
        Some((Phase::Failed, _)) | None => Some("Error".to_owned()),
    };
    let cause = outcome.and_then(|o| o.cause.as_ref());
    let message = match &reason {
        // The flow says why it was.
        Some(reason) if reason == "Cancelled" => String::new(),
        Some(_) => cause.map(ToString::to_string).unwrap_or_default(),
        None => String::new(),
    };
    Ended {
        seen: reason.map_or(Seen::Succeeded, Seen::Failed),
        message,
        told: Some(Told::Task(Box::new(story))),
    }
}

impl Ended {
    /// What later nodes can take of it: results that are texts.
    pub(super) fn results(&self) -> Vec<FlowResult> {
        let Some(Told::Task(story)) = &self.told else {
            return Vec::new();
        };
        let of_step = |step: &crate::run::story::StepStory| {
            let texts = step.results.iter().filter_map(|(name, value)| {
                let value = String::from_utf8(value.clone()).ok()?;
                Some(FlowResult {
                    step: step.name.clone(),
                    name: name.clone(),
                    value,
                })
            });
            texts.collect::<Vec<_>>()
        };
        story.steps.iter().flat_map(of_step).collect()
    }
}
