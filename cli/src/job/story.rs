//! What is known of a Job's run: for the table, JSON and the report.

use baton_protocol::{Record, Timestamp};

use super::condition::{Condition, ConditionType};
use super::plan::PodId;
use crate::run::story::Log;

/// A Job's run so far.
#[derive(Debug, Clone)]
pub struct JobStory {
    /// The Job's name.
    pub name: String,
    /// Where it was read from: a file's name, or `-`.
    pub source: String,
    /// What a person should know of this run besides.
    pub notes: Vec<String>,
    /// When it began.
    pub started_at: Timestamp,
    /// When nothing of it ran any more.
    pub finished_at: Timestamp,
    /// Its pods, in the order of creation.
    pub pods: Vec<PodStory>,
    /// Its last condition.
    pub condition: Option<Condition>,
    /// Somebody stopped it.
    pub cancelled: bool,
    /// How many pods have to succeed; `None` where the first success is enough.
    pub completions: Option<u32>,
    /// How many did; in an indexed Job, how many indexes.
    pub succeeded: u32,
    /// How many failed.
    pub failed: u32,
    /// The indexes that succeeded, as `status.completedIndexes` has them.
    pub completed_indexes: String,
}

/// What is known of a pod.
#[derive(Debug, Clone)]
pub struct PodStory {
    /// Its id.
    pub id: PodId,
    /// Its name.
    pub name: String,
    /// Its completion index.
    pub index: Option<u32>,
    /// How it stands.
    pub phase: PodPhase,
    /// When it was created.
    pub started_at: Timestamp,
    /// When nothing of it ran any more.
    pub finished_at: Option<Timestamp>,
    /// Its containers, init containers first.
    pub containers: Vec<ContainerStory>,
}

/// How a pod stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub enum PodPhase {
    /// Its containers run, or are to run.
    Running,
    /// Each of its containers succeeded.
    Succeeded,
    /// One of them failed.
    Failed,
    /// It was deleted before it was over.
    Deleted,
}

/// What is known of a container.
#[derive(Debug, Clone)]
pub struct ContainerStory {
    /// Its name.
    pub name: String,
    /// It runs before the others.
    pub init: bool,
    /// What it runs, as a person would write it.
    pub command: String,
    /// Its starts, in order; all but the first are restarts in place.
    pub attempts: Vec<Attempt>,
    /// What it printed.
    pub log: Log,
}

/// One start of a container.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// When.
    pub started_at: Timestamp,
    /// How it ended.
    pub record: Option<Record>,
}

impl PodStory {
    /// How often its containers were started again.
    pub fn restarts(&self) -> usize {
        let starts = self.containers.iter().map(|c| c.attempts.len());
        starts.map(|n| n.saturating_sub(1)).sum()
    }
}

impl JobStory {
    /// The exit code: 0 where the Job is complete; 130 where it was stopped; 1 otherwise.
    pub fn exit_code(&self) -> i32 {
        match &self.condition {
            _ if self.cancelled => baton_steps::CANCELLED_EXIT_CODE,
            Some(condition) if condition.kind == ConditionType::Complete => 0,
            _ => 1,
        }
    }

    /// `Complete in 3.2s: 4 succeeded, 1 failed`
    pub fn headline(&self) -> String {
        let took = crate::show::style::span(self.finished_at.since(self.started_at));
        let counts = format!("{} succeeded, {} failed", self.succeeded, self.failed);
        match &self.condition {
            _ if self.cancelled => format!("Cancelled after {took}: {counts}"),
            Some(c) => match c.kind {
                ConditionType::Complete => format!("Complete in {took}: {counts}"),
                ConditionType::Failed => {
                    format!(
                        "Failed ({}) after {took}: {counts}. {}",
                        c.reason, c.message
                    )
                }
                ConditionType::Suspended => "Suspended: no pod may run".to_owned(),
            },
            None => "No pod may run: parallelism is 0".to_owned(),
        }
    }

    /// The pod of this id.
    pub fn pod_mut(&mut self, id: PodId) -> Option<&mut PodStory> {
        // In the order of creation, from 1; each is there.
        let index = usize::try_from(id.0).ok()?.checked_sub(1)?;
        self.pods.get_mut(index)
    }
}
