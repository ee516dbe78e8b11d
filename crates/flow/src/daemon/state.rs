//! What is known of a DaemonJob's nodes: the part of a status that has to survive.

use baton_protocol::Timestamp;
use serde::{Deserialize, Serialize};

use crate::state::{Cause, FlowPhase, StopReason};

/// What is known of a DaemonJob.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DaemonState {
    /// The nodes that count or counted, by name, each once.
    pub nodes: Vec<DaemonNode>,
    /// Nodes that are gone and no longer listed, by how they ended.
    pub forgotten: Forgotten,
    /// Why the DaemonJob was told to stop, and when.
    pub stopped: Option<(StopReason, Timestamp)>,
    /// What came first between the DaemonJob and success.
    pub cause: Option<Cause>,
    /// When it began: from then on its deadline counts.
    pub started_at: Option<Timestamp>,
    /// When the last node was over.
    pub finished_at: Option<Timestamp>,
}

/// Nodes that are gone and no longer listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Forgotten {
    /// Those whose Job succeeded.
    pub succeeded: u32,
    /// Those whose Job failed.
    pub failed: u32,
    /// All others.
    pub removed: u32,
}

impl Forgotten {
    /// Whether none was forgotten.
    pub fn is_none(&self) -> bool {
        *self == Forgotten::default()
    }

    /// How many were forgotten.
    pub fn count(&self) -> u32 {
        self.succeeded
            .saturating_add(self.failed)
            .saturating_add(self.removed)
    }
}

/// What is known of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct DaemonNode {
    /// Its name.
    pub name: String,
    /// Its UID: one of the same name that joins later is another node.
    pub uid: String,
    /// How it stands.
    pub state: DaemonPhase,
    /// Why, in one word: what it waits for (`Cordoned`, `NotReady`, `Pressure`, `Parallelism`,
    /// `NameTaken`), or how it ended (`BackoffLimitExceeded`, `NodeNotReady`, `NodeRemoved`).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Jobs that were let go for nodes of this name, the last one included: it is in the Job's name.
    #[serde(skip_serializing_if = "is_zero")]
    pub attempts: u32,
    /// When its Job was let go.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub started_at: Option<Timestamp>,
    /// When it was over.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub finished_at: Option<Timestamp>,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// How a node stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum DaemonPhase {
    /// Its Job was not let go: it waits for room, or until the node can take it.
    #[default]
    Waiting,
    /// Let go: its Job is to be made, where it is not there yet.
    Starting,
    /// Its Job was seen.
    Running,
    /// Its Job succeeded.
    Succeeded,
    /// Its Job failed, or the node was not ready for too long.
    Failed,
    /// It was told to stop, or never began.
    Cancelled,
    /// The node is gone, or counts no more.
    Removed,
}

impl DaemonPhase {
    /// All of them, in the order in which a node goes through them.
    pub const ALL: [DaemonPhase; 7] = [
        DaemonPhase::Waiting,
        DaemonPhase::Starting,
        DaemonPhase::Running,
        DaemonPhase::Succeeded,
        DaemonPhase::Failed,
        DaemonPhase::Cancelled,
        DaemonPhase::Removed,
    ];

    /// Whether nothing more will happen to it.
    pub fn is_over(self) -> bool {
        !matches!(self, DaemonPhase::Waiting) && !self.is_let_go()
    }

    /// Whether it has a Job that may run, or is to have one.
    pub fn is_let_go(self) -> bool {
        matches!(self, DaemonPhase::Starting | DaemonPhase::Running)
    }
}

impl DaemonState {
    /// How the DaemonJob stands.
    pub fn phase(&self) -> FlowPhase {
        if self.finished_at.is_none() {
            let began = self.nodes.iter().any(|n| n.attempts > 0) || !self.forgotten.is_none();
            return match began {
                false => FlowPhase::Pending,
                true => FlowPhase::Running,
            };
        }
        match &self.cause {
            None => FlowPhase::Succeeded,
            Some(Cause::Stopped(StopReason::Cancelled)) => FlowPhase::Cancelled,
            Some(_) => FlowPhase::Failed,
        }
    }

    /// How many listed nodes stand so.
    pub fn count(&self, phase: DaemonPhase) -> usize {
        self.nodes.iter().filter(|n| n.state == phase).count()
    }

    /// Has the nodes that did not succeed run again, or all that are over: also amid a run, whose
    /// deadline then stays as it is. To be called once for each time that somebody asks.
    pub fn rerun(&mut self, all: bool) {
        let is_again =
            |n: &&mut DaemonNode| n.state.is_over() && (all || n.state != DaemonPhase::Succeeded);
        for node in self.nodes.iter_mut().filter(is_again) {
            node.state = DaemonPhase::Waiting;
            node.reason = String::new();
            node.started_at = None;
            node.finished_at = None;
        }
        if self.stopped.is_some() || self.finished_at.is_some() {
            self.started_at = None;
        }
        self.stopped = None;
        self.cause = None;
        self.finished_at = None;
    }
}
