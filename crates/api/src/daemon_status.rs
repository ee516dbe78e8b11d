//! The status of a DaemonJob, as the coordinator writes it and everybody reads it.
//!
//! It is the durable form of what is known of a DaemonJob: what is recorded here as finished does not
//! run again, whatever became of its Job.

use baton_flow::daemon::{DaemonNode, DaemonPhase, DaemonState, Forgotten};
use baton_protocol::Timestamp;
use serde::{Deserialize, Serialize};

use crate::flow_status::{CauseStatus, JobFlowPhase, StopStatus};
use crate::status::Condition;

/// Most nodes that the status names by how they stand, and whose Jobs and times it holds.
pub const MAX_NODES_LISTED: usize = 1000;

/// What is known of a DaemonJob.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct DaemonJobStatus {
    /// The generation of the spec that this speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// How the DaemonJob stands, in the words of a JobFlow.
    pub phase: JobFlowPhase,
    /// One word for why it stands so: `Completed`, the first failed node's reason, `Cancelled`,
    /// `DeadlineExceeded`, `NoEligibleNodes`, `Suspended`, `Invalid`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The same as a sentence.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Nodes that are over, of all: `3/5`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub progress: String,
    /// Which run of the DaemonJob this is, from 1: each re-run that is asked for is one more.
    pub run: u32,
    /// How many nodes stand how.
    pub counts: NodeCounts,
    /// The names of the nodes by how they stand; of each at most 1,000.
    pub nodes_by_state: NodesByState,
    /// What its Jobs are made of: while another is asked for, none is started.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub template_digest: String,
    /// The re-run that was asked for last, as its annotation has it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rerun: String,
    /// When it began.
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
    /// Why it was told to stop before its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<StopStatus>,
    /// What came first between it and success; where it was stopped alone, `node` is empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<CauseStatus>,
    /// `Succeeded`: True, False, or Unknown while it is not over. `Accepted`: False where the spec, or
    /// a change of it, is refused. `Progressing`: False where something is waited for that somebody
    /// has to do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Nodes that are gone and no longer listed, by how they ended.
    #[serde(skip_serializing_if = "Forgotten::is_none")]
    pub forgotten: Forgotten,
    /// The nodes, by name; at most 5,000.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeStatus>,
}

/// How many nodes stand how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct NodeCounts {
    /// All that count or counted.
    pub total: u32,
    /// Those whose Job was not let go.
    pub waiting: u32,
    /// Those whose Job runs, or is being made.
    pub running: u32,
    /// Those whose Job succeeded.
    pub succeeded: u32,
    /// Those whose Job failed.
    pub failed: u32,
    /// Those that were told to stop, or never began.
    pub cancelled: u32,
    /// Those that are gone, or count no more.
    pub removed: u32,
}

/// The names of the nodes by how they stand.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct NodesByState {
    /// Those whose Job was not let go.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<String>,
    /// Those whose Job runs, or is being made.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub running: Vec<String>,
    /// Those whose Job succeeded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub succeeded: Vec<String>,
    /// Those whose Job failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<String>,
    /// Those that were told to stop, or never began.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cancelled: Vec<String>,
    /// Those that are gone, or count no more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
}

/// What is known of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct NodeStatus {
    /// How it stands.
    #[serde(flatten)]
    pub node: DaemonNode,
    /// Its Job; nothing where none was let go.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub job: String,
}

impl DaemonJobStatus {
    /// The state to plan by.
    pub fn state(&self) -> DaemonState {
        DaemonState {
            nodes: self.nodes.iter().map(|n| n.node.clone()).collect(),
            forgotten: self.forgotten,
            stopped: self.stopped.as_ref().map(|s| (s.reason, s.at)),
            cause: self.cause.as_ref().map(CauseStatus::cause),
            started_at: self.started_at,
            finished_at: self.finished_at,
        }
    }

    /// Takes a state, and what follows from it for people: counts, names and progress. `job` gives the
    /// name of a node's Job.
    pub fn set_state(&mut self, state: &DaemonState, job: &dyn Fn(&DaemonNode) -> String) {
        self.stopped = state.stopped.map(|(reason, at)| StopStatus { reason, at });
        self.cause = state.cause.as_ref().map(CauseStatus::of);
        self.started_at = state.started_at;
        self.finished_at = state.finished_at;
        self.forgotten = state.forgotten;
        self.counts = NodeCounts::of(state);
        self.nodes_by_state = NodesByState::of(state);
        let over = self.counts.total - self.counts.waiting - self.counts.running;
        self.progress = format!("{over}/{}", self.counts.total);
        let nodes = state.nodes.iter().enumerate();
        self.nodes = nodes.map(|(i, n)| NodeStatus::of(n, i, job)).collect();
    }

    /// What is known of the node of this name.
    pub fn node(&self, name: &str) -> Option<&NodeStatus> {
        self.nodes.iter().find(|n| n.node.name == name)
    }
}

impl NodeStatus {
    /// A status of so many nodes has to fit: the later ones keep what is planned by alone.
    fn of(node: &DaemonNode, place: usize, job: &dyn Fn(&DaemonNode) -> String) -> NodeStatus {
        let mut node = node.clone();
        if place >= MAX_NODES_LISTED {
            node.reason = String::new();
            node.started_at = None;
            node.finished_at = None;
            return NodeStatus {
                node,
                job: String::new(),
            };
        }
        let job = match node.attempts {
            0 => String::new(),
            _ => job(&node),
        };
        NodeStatus { node, job }
    }
}

impl NodeCounts {
    fn of(state: &DaemonState) -> NodeCounts {
        let count = |phase| u32::try_from(state.count(phase)).unwrap_or(u32::MAX);
        let gone = state.forgotten;
        let sum = |a: u32, b: u32| a.saturating_add(b);
        let listed = u32::try_from(state.nodes.len()).unwrap_or(u32::MAX);
        NodeCounts {
            total: sum(listed, gone.count()),
            waiting: count(DaemonPhase::Waiting),
            running: sum(count(DaemonPhase::Starting), count(DaemonPhase::Running)),
            succeeded: sum(count(DaemonPhase::Succeeded), gone.succeeded),
            failed: sum(count(DaemonPhase::Failed), gone.failed),
            cancelled: count(DaemonPhase::Cancelled),
            removed: sum(count(DaemonPhase::Removed), gone.removed),
        }
    }
}

impl NodesByState {
    fn of(state: &DaemonState) -> NodesByState {
        let names = |phases: &[DaemonPhase]| {
            let such = state.nodes.iter().filter(|n| phases.contains(&n.state));
            let names = such.map(|n| n.name.clone());
            names.take(MAX_NODES_LISTED).collect()
        };
        NodesByState {
            waiting: names(&[DaemonPhase::Waiting]),
            running: names(&[DaemonPhase::Starting, DaemonPhase::Running]),
            succeeded: names(&[DaemonPhase::Succeeded]),
            failed: names(&[DaemonPhase::Failed]),
            cancelled: names(&[DaemonPhase::Cancelled]),
            removed: names(&[DaemonPhase::Removed]),
        }
    }
}
