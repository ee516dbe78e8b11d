//! Lifecycle events and their CloudEvents envelope.

use baton_protocol::{Reason, Record, Timestamp};
use serde::Serialize;

/// What kind of thing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A task's first process runs.
    TaskStarted,
    /// A task is over, `finally` steps included: always its last event.
    TaskFinished,
    /// A step's command was started for the first time.
    StepStarted,
    /// An attempt of a step failed, and another follows.
    StepRetrying,
    /// A step is over.
    StepFinished,
    /// A flow's first node was let go.
    FlowStarted,
    /// A flow is over, `finally` nodes included: always its last event.
    FlowFinished,
    /// A node of a flow was let go.
    NodeStarted,
    /// A node of a flow is over, or was skipped.
    NodeFinished,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 9] = [
        Kind::TaskStarted,
        Kind::TaskFinished,
        Kind::StepStarted,
        Kind::StepRetrying,
        Kind::StepFinished,
        Kind::FlowStarted,
        Kind::FlowFinished,
        Kind::NodeStarted,
        Kind::NodeFinished,
    ];

    /// The name in a callback's `events` list.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::TaskStarted => "task.started",
            Kind::TaskFinished => "task.finished",
            Kind::StepStarted => "step.started",
            Kind::StepRetrying => "step.retrying",
            Kind::StepFinished => "step.finished",
            Kind::FlowStarted => "flow.started",
            Kind::FlowFinished => "flow.finished",
            Kind::NodeStarted => "node.started",
            Kind::NodeFinished => "node.finished",
        }
    }

    /// The CloudEvents `type`.
    pub const fn cloud_type(self) -> &'static str {
        match self {
            Kind::TaskStarted => "dev.baton.task.started",
            Kind::TaskFinished => "dev.baton.task.finished",
            Kind::StepStarted => "dev.baton.step.started",
            Kind::StepRetrying => "dev.baton.step.retrying",
            Kind::StepFinished => "dev.baton.step.finished",
            Kind::FlowStarted => "dev.baton.flow.started",
            Kind::FlowFinished => "dev.baton.flow.finished",
            Kind::NodeStarted => "dev.baton.node.started",
            Kind::NodeFinished => "dev.baton.node.finished",
        }
    }

    /// The kind that [`name`](Kind::name) names.
    pub fn from_name(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// How a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum TaskOutcome {
    /// Every step let its successor start.
    Succeeded,
    /// A step failed.
    Failed,
    /// Somebody stopped it.
    Cancelled,
    /// Its time was up.
    TimedOut,
}

/// The end of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskEnd {
    /// How it ended.
    pub outcome: TaskOutcome,
    /// The task's exit code: 0, or that of the step that decided.
    pub exit_code: i32,
    /// The step that decided, where one failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_step: Option<String>,
    /// When the task started.
    pub started_at: Timestamp,
    /// When it was over.
    pub finished_at: Timestamp,
    /// What a person should know; empty where the outcome tells all.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// The end of a flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FlowEnd {
    /// How it ended.
    pub outcome: TaskOutcome,
    /// Why, in one word.
    pub reason: String,
    /// The node that failed first, where one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_node: Option<String>,
    /// When its first node was let go.
    pub started_at: Timestamp,
    /// When it was over.
    pub finished_at: Timestamp,
    /// What a person should know.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// The end of a node of a flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeEnd {
    /// `Succeeded`, `Failed`, `Skipped` or `Cancelled`.
    pub state: String,
    /// Why, in one word; empty where the state tells all.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What a person should know.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The Jobs or Tasks of its last attempts.
    pub jobs: Vec<String>,
    /// When its first Job was let go; nothing where none was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it was over.
    pub finished_at: Timestamp,
}

/// What happened, with what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// See [`Kind::TaskStarted`].
    TaskStarted,
    /// See [`Kind::TaskFinished`].
    TaskFinished(TaskEnd),
    /// See [`Kind::StepStarted`].
    StepStarted {
        /// The step.
        step: StepRef,
    },
    /// See [`Kind::StepRetrying`].
    StepRetrying {
        /// The step.
        step: StepRef,
        /// The attempt that failed, from 1.
        attempt: u32,
        /// How it failed.
        reason: Reason,
        /// Its exit code.
        exit_code: i32,
        /// Time until the next attempt, in milliseconds.
        delay_ms: u64,
    },
    /// See [`Kind::StepFinished`].
    StepFinished {
        /// The step.
        step: StepRef,
        /// Its final record.
        record: Record,
    },
    /// See [`Kind::FlowStarted`].
    FlowStarted,
    /// See [`Kind::FlowFinished`].
    FlowFinished(FlowEnd),
    /// See [`Kind::NodeStarted`].
    NodeStarted {
        /// The node's name.
        node: String,
    },
    /// See [`Kind::NodeFinished`].
    NodeFinished {
        /// The node's name.
        node: String,
        /// How it ended.
        end: NodeEnd,
    },
}

/// A step, as events name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StepRef {
    /// Its name.
    #[serde(rename = "step")]
    pub name: String,
    /// Its number in the order, from 1.
    pub number: u32,
}

impl Happening {
    /// What kind this is.
    pub fn kind(&self) -> Kind {
        match self {
            Happening::TaskStarted => Kind::TaskStarted,
            Happening::TaskFinished(_) => Kind::TaskFinished,
            Happening::StepStarted { .. } => Kind::StepStarted,
            Happening::StepRetrying { .. } => Kind::StepRetrying,
            Happening::StepFinished { .. } => Kind::StepFinished,
            Happening::FlowStarted => Kind::FlowStarted,
            Happening::FlowFinished(_) => Kind::FlowFinished,
            Happening::NodeStarted { .. } => Kind::NodeStarted,
            Happening::NodeFinished { .. } => Kind::NodeFinished,
        }
    }

    fn step(&self) -> Option<&StepRef> {
        match self {
            Happening::TaskStarted
            | Happening::TaskFinished(_)
            | Happening::FlowStarted
            | Happening::FlowFinished(_)
            | Happening::NodeStarted { .. }
            | Happening::NodeFinished { .. } => None,
            Happening::StepStarted { step }
            | Happening::StepRetrying { step, .. }
            | Happening::StepFinished { step, .. } => Some(step),
        }
    }

    fn node(&self) -> Option<&str> {
        match self {
            Happening::NodeStarted { node } | Happening::NodeFinished { node, .. } => Some(node),
            _ => None,
        }
    }

    /// What sets this happening apart from any other of its run.
    fn key(&self) -> String {
        match self {
            Happening::TaskStarted => "task-started".into(),
            Happening::TaskFinished(_) => "task-finished".into(),
            Happening::StepStarted { step } => format!("step-{}-started", step.number),
            Happening::StepRetrying { step, attempt, .. } => {
                format!("step-{}-retrying-{attempt}", step.number)
            }
            Happening::StepFinished { step, .. } => format!("step-{}-finished", step.number),
            Happening::FlowStarted => "flow-started".into(),
            Happening::FlowFinished(_) => "flow-finished".into(),
            Happening::NodeStarted { node } => format!("node-{node}-started"),
            Happening::NodeFinished { node, .. } => format!("node-{node}-finished"),
        }
    }
}

/// Who tells: one run of one task, or of one flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    run: String,
    task: String,
    pod: String,
    is_flow: bool,
}

impl Source {
    /// The source of one run of `task`. `run` must be unique to this run (a UUID, a pod's UID):
    /// the ids of its events are unique because it is. `pod` is the name that the classic form
    /// reports as `podName`.
    pub fn new(run: impl Into<String>, task: impl Into<String>, pod: impl Into<String>) -> Source {
        Source {
            run: run.into(),
            task: task.into(),
            pod: pod.into(),
            is_flow: false,
        }
    }

    /// The source of one run of `flow`. `run` must be unique to this run. The classic form reports the
    /// flow's name as `podName`.
    pub fn of_flow(run: impl Into<String>, flow: impl Into<String>) -> Source {
        let flow = flow.into();
        Source {
            run: run.into(),
            task: flow.clone(),
            pod: flow,
            is_flow: true,
        }
    }

    /// The event that tells of `what`, which happened at `time`.
    ///
    /// The id follows from the run and from what happened alone, so whoever rebuilds the event
    /// after a restart sends the same id again, and the receiver can drop the repeat.
    pub fn event(&self, time: Timestamp, what: Happening) -> Event {
        // A Standard Webhooks id must not hold the full stop that separates what is signed.
        let id = format!("{}-{}-{}", self.run, self.task, what.key()).replace('.', "_");
        let kind = match self.is_flow {
            true => "flows",
            false => "tasks",
        };
        Event {
            id,
            source: format!("/baton/run/{}/{kind}/{}", self.run, self.task),
            task: self.task.clone(),
            pod: self.pod.clone(),
            time,
            what,
        }
    }
}

/// One lifecycle event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Unique, and the same each time this event is sent.
    pub id: String,
    /// The CloudEvents `source`.
    pub source: String,
    /// The task's name, or the flow's.
    pub task: String,
    /// The pod's name, for the classic form.
    pub pod: String,
    /// When it happened.
    pub time: Timestamp,
    /// What happened.
    pub what: Happening,
}

#[derive(Serialize)]
struct Envelope<'a> {
    specversion: &'static str,
    id: &'a str,
    source: &'a str,
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    time: Timestamp,
    datacontenttype: &'static str,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flow: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<&'a str>,
    #[serde(flatten)]
    step: Option<&'a StepRef>,
    #[serde(flatten)]
    detail: Detail<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Detail<'a> {
    Nothing {},
    End(&'a TaskEnd),
    #[serde(rename_all = "camelCase")]
    Retrying {
        attempts: u32,
        reason: Reason,
        exit_code: i32,
        delay_ms: u64,
    },
    Finished(&'a Record),
    FlowEnd(&'a FlowEnd),
    NodeEnd(&'a NodeEnd),
}

impl Event {
    /// What kind of event this is.
    pub fn kind(&self) -> Kind {
        self.what.kind()
    }

    /// Whether this is the last word on its run.
    pub fn is_final(&self) -> bool {
        matches!(self.kind(), Kind::TaskFinished | Kind::FlowFinished)
    }

    /// The event as one JSON object, a structured CloudEvent.
    pub fn to_json(&self) -> Vec<u8> {
        let step = self.what.step();
        let detail = match &self.what {
            Happening::TaskStarted
            | Happening::StepStarted { .. }
            | Happening::FlowStarted
            | Happening::NodeStarted { .. } => Detail::Nothing {},
            Happening::FlowFinished(end) => Detail::FlowEnd(end),
            Happening::NodeFinished { end, .. } => Detail::NodeEnd(end),
            Happening::TaskFinished(end) => Detail::End(end),
            Happening::StepRetrying {
                attempt,
                reason,
                exit_code,
                delay_ms,
                ..
            } => Detail::Retrying {
                attempts: *attempt,
                reason: *reason,
                exit_code: *exit_code,
                delay_ms: *delay_ms,
            },
            Happening::StepFinished { record, .. } => Detail::Finished(record),
        };
        let node = self.what.node();
        let is_flow =
            node.is_some() || matches!(self.kind(), Kind::FlowStarted | Kind::FlowFinished);
        let name = Some(self.task.as_str());
        let envelope = Envelope {
            specversion: "1.0",
            id: &self.id,
            source: &self.source,
            r#type: self.kind().cloud_type(),
            subject: step.map(|s| s.name.as_str()).or(node),
            time: self.time,
            datacontenttype: "application/json",
            data: Data {
                task: name.filter(|_| !is_flow),
                flow: name.filter(|_| is_flow),
                node,
                step,
                detail,
            },
        };
        // Numbers, strings and flags alone: there is nothing that JSON cannot write.
        serde_json::to_vec(&envelope).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
