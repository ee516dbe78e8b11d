//! The status of a JobFlow, as the coordinator writes it and everybody reads it.
//!
//! It is the durable form of what is known of a flow: [`JobFlowStatus::state`] gives the state that
//! [`baton_flow`] plans by, and [`JobFlowStatus::set_state`] takes it back.

use baton_flow::{NodePhase, StopReason};
use baton_protocol::Timestamp;
use serde::{Deserialize, Serialize};

use crate::schedule::ScheduleStatus;
use crate::status::{CallbackStatus, Condition};

mod record;

pub use record::stop_word;

/// Most Jobs and Tasks of a flow, the elements of every `forEach` counted: its status has to fit.
pub const MAX_FLOW_JOBS: usize = 2000;
/// Longest message of a node or of one of its Jobs, in characters.
pub const MAX_NODE_MESSAGE: usize = 300;

/// What is known of a JobFlow.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct JobFlowStatus {
    /// The generation of the spec that this speaks of: the last one that was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// How the flow stands.
    pub phase: JobFlowPhase,
    /// One word for why it stands so: `Completed`, the first failed node's reason, `Cancelled`,
    /// `DeadlineExceeded`, `FailFast`, `Invalid`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The same as a sentence; of a flow that failed, it names the node that failed first.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Nodes that are over, of all nodes: `3/5`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub progress: String,
    /// Which run of the flow this is, from 1: each re-run that is asked for is one more.
    pub run: u32,
    /// The re-run that was asked for last, as its annotation has it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rerun: String,
    /// When the first node of this run was let go.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub started_at: Option<Timestamp>,
    /// When the last node was over.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub finished_at: Option<Timestamp>,
    /// How long it ran, for people: `1m2s`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub duration: String,
    /// That the flow was told to stop, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<StopStatus>,
    /// What came first between the flow and success; where it was stopped alone, `node` is empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<CauseStatus>,
    /// Digest of what every node is given (`globalParams`), from when the first node was let go.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub params_digest: String,
    /// The nodes, as the spec has them: `flows`, then `finally`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<FlowNodeStatus>,
    /// `Succeeded`: True, False, or Unknown while it is not over. `Accepted`: False where the spec, or
    /// a change of it, is refused. `Progressing`: False where something is waited for that somebody
    /// has to do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// What became of the callbacks, by receiver.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub callbacks: Vec<CallbackStatus>,
    /// What is known of its schedule, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleStatus>,
}

/// How a JobFlow stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum JobFlowPhase {
    /// No node was let go yet.
    #[default]
    Pending,
    /// Some node is not over.
    Running,
    /// Nothing new is let go: its spec says so. What runs goes on.
    Suspended,
    /// All nodes are over, and none failed.
    Succeeded,
    /// All are over, and one failed, or the flow's time was up.
    Failed,
    /// All are over, and it was cancelled.
    Cancelled,
    /// It has a schedule: its runs are JobFlows of their own.
    Scheduled,
}

impl JobFlowPhase {
    /// Whether nothing more will happen in this run.
    pub fn is_over(self) -> bool {
        use JobFlowPhase::{Cancelled, Failed, Succeeded};
        matches!(self, Succeeded | Failed | Cancelled)
    }
}

/// That a flow was told to stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct StopStatus {
    /// `Cancelled`, `DeadlineExceeded` or `FailFast`.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub reason: StopReason,
    /// When.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub at: Timestamp,
}

/// What kept a flow from success.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct CauseStatus {
    /// The node that failed; empty where none did and the flow was stopped.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// Why, in one word.
    pub reason: String,
}

impl CauseStatus {
    /// Whether it is the time of the whole that was up, and not that of a node's Job.
    pub fn is_own_deadline(&self) -> bool {
        self.node.is_empty() && self.reason == "DeadlineExceeded"
    }
}

/// How a node stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct FlowNodeStatus {
    /// Its name.
    pub name: String,
    /// It is one of `finally`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub finally: bool,
    /// `Waiting`, `Running`, `Succeeded`, `Failed`, `Skipped` or `Cancelled`.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub state: NodePhase,
    /// Why, in one word. Failed: the Job's own reason, `JobDeleted`, or `Invalid` where it cannot be
    /// made. Skipped: `ConditionNotMet`, `DependencyNotMet`, `DependencyNotFailed`, `Cancelled`,
    /// `DeadlineExceeded`, `FailFast`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The same as a sentence, where one word does not tell.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The node that it was skipped for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub because: String,
    /// Its Jobs or Tasks, from when it was let go: one, or one for each element of its list.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<FlowJobStatus>,
    /// Attempts of earlier runs of the flow; those of this run come on top.
    #[serde(skip_serializing_if = "is_zero")]
    pub earlier_attempts: u32,
    /// When its first Job was let go.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub started_at: Option<Timestamp>,
    /// When its last Job was over, or it was skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub finished_at: Option<Timestamp>,
    /// Results of its Task, from when it was over.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub results: Vec<FlowResult>,
    /// Digest of what it is made of, from when the flow began: what is there may not change any more.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub digest: String,
}

/// A Job or Task of a node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct FlowJobStatus {
    /// The name of the Job or Task of the last attempt; empty where none was let go.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// How the last attempt stands.
    pub state: FlowJobState,
    /// Why it failed, in one word.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The same as a sentence: what the Job or Task itself says.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Attempts that were let go, those of earlier runs included.
    #[serde(skip_serializing_if = "is_zero")]
    pub attempts: u32,
    /// When the next attempt may be let go, after one that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub retry_at: Option<Timestamp>,
    /// When its first attempt was let go.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub started_at: Option<Timestamp>,
    /// When it was over for good.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub finished_at: Option<Timestamp>,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// How the last attempt of a node's Job or Task stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum FlowJobState {
    /// It waits for room, or for the time of the next attempt.
    #[default]
    Waiting,
    /// Let go: it is being made.
    Starting,
    /// It is there.
    Running,
    /// It succeeded.
    Succeeded,
    /// It failed, and no attempt follows.
    Failed,
    /// It was told to stop, or never began.
    Cancelled,
}

/// A result of a node's Task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct FlowResult {
    /// The step's name.
    pub step: String,
    /// The result's name.
    pub name: String,
    /// Its content; nothing where it is empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
}
