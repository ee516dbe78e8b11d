//! Everything that a report tells, as plain data.

use baton_protocol::{Reason, Record, Timestamp};

use crate::flow::layout::Layout;

/// A run, as a report tells it.
#[derive(Debug, Clone)]
pub struct Facts {
    /// What ran: `Task`, `Job` or `JobFlow`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Where it came from, as a person would name it: a file's name, `stdin`.
    pub origin: String,
    /// How it ended.
    pub phase: Phase,
    /// The same in a sentence: `Failed at step test (exit 3)`.
    pub headline: String,
    /// The exit code of the whole.
    pub exit_code: i32,
    /// When it began: the left end of the timeline.
    pub started_at: Timestamp,
    /// When it was over: the right end of the timeline.
    pub finished_at: Timestamp,
    /// Its steps, `finally` steps and sidecars (or pods' containers), in the order to show.
    pub steps: Vec<StepFacts>,
    /// Results that steps left.
    pub results: Vec<StepResult>,
    /// What a person should know besides, a sentence each.
    pub notes: Vec<String>,
    /// The graph of a JobFlow.
    pub graph: Option<Graph>,
}

/// The graph of a JobFlow.
#[derive(Debug, Clone)]
pub struct Graph {
    /// The nodes, by place.
    pub nodes: Vec<GraphNode>,
    /// Where they go: in pictures below one another. None where they would be too large.
    pub parts: Vec<Layout>,
}

/// A node of a graph.
#[derive(Debug, Clone)]
pub struct GraphNode {
    /// Its name.
    pub name: String,
    /// How it is to look.
    pub look: NodeLook,
    /// How it ended, in a few words.
    pub words: String,
    /// The same where there is little room.
    pub brief: String,
    /// Why, where that is to be told.
    pub why: String,
    /// When its first Job was let go.
    pub started_at: Option<Timestamp>,
    /// When its last Job was over.
    pub finished_at: Option<Timestamp>,
}

/// How a node is to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeLook {
    /// It succeeded.
    Good,
    /// It failed.
    Bad,
    /// It was told to stop.
    Stopped,
    /// It did not run.
    Idle,
}

impl NodeLook {
    /// The name in the style sheet.
    pub(super) fn name(self) -> &'static str {
        match self {
            NodeLook::Good => "good",
            NodeLook::Bad => "bad",
            NodeLook::Stopped => "stopped",
            NodeLook::Idle => "wait",
        }
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Well.
    Succeeded,
    /// Badly.
    Failed,
    /// Somebody stopped it.
    Cancelled,
    /// Its time was up.
    TimedOut,
}

/// What part a step plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// One of the ordered steps.
    Step,
    /// Always runs at the end.
    Finally,
    /// Runs beside the steps.
    Sidecar,
    /// A container of a Job's pod.
    Container,
    /// An init container of a Job's pod.
    Init,
}

/// One step.
#[derive(Debug, Clone)]
pub struct StepFacts {
    /// Its name.
    pub name: String,
    /// What part it plays.
    pub role: Role,
    /// What it ran, as a person would type it; the page shows it above the log.
    pub command: String,
    /// When it began to wait for its turn. `None`: with the run.
    pub waiting_since: Option<Timestamp>,
    /// When a sidecar was ready.
    pub ready_at: Option<Timestamp>,
    /// Its attempts, in order. Where this is empty and the record tells of a run, the page shows
    /// that as one attempt.
    pub attempts: Vec<Attempt>,
    /// How it ended.
    pub end: End,
    /// What it wrote.
    pub log: Log,
}

/// One start of a step's command.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// When it started.
    pub started_at: Timestamp,
    /// When it was over; `None` where that is not known, and then the step's end stands for it.
    pub finished_at: Option<Timestamp>,
    /// How it ended, where it failed and another followed; the last one ended as the step did.
    pub failure: Option<(Reason, i32)>,
}

/// How a step ended.
#[derive(Debug, Clone)]
pub enum End {
    /// As its record tells.
    Recorded(Record),
    /// It never ran: something before it failed, or the run was cancelled first.
    NotRun,
    /// It ended without a record; the text says what is known.
    Died(String),
}

/// What a step wrote, standard output and error as they came.
#[derive(Debug, Clone, Default)]
pub struct Log {
    /// The bytes that were kept, in order.
    pub text: Vec<u8>,
    /// Where bytes between them were not kept.
    pub gap: Option<Gap>,
}

/// A gap in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// Where in the text the gap is.
    pub at: usize,
    /// How many bytes are missing there.
    pub missing: u64,
}

/// A result of a step.
#[derive(Debug, Clone)]
pub struct StepResult {
    /// The step.
    pub step: String,
    /// The result's name.
    pub name: String,
    /// Its value.
    pub value: Vec<u8>,
}
