//! What is known of a graph's nodes: the part of a status that has to survive.

use baton_protocol::Timestamp;
use serde::{Deserialize, Serialize};

use crate::graph::Graph;

/// One Job or Task of a node: the node's place, and which of its instances (0 where it has no
/// `forEach`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId {
    /// The node's place.
    pub node: usize,
    /// Which of its instances, from 0.
    pub index: usize,
}

/// What is known of all nodes, by place.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct State {
    /// By place.
    pub nodes: Vec<NodeState>,
    /// Why the flow was told to stop, and when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<(StopReason, Timestamp)>,
    /// What came first between the flow and success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// When the first node was let go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When the last node was over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
}

/// Why a flow is stopped before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StopReason {
    /// It was cancelled.
    Cancelled,
    /// Its deadline passed.
    DeadlineExceeded,
    /// A node failed, and its policy is to stop the rest.
    FailFast,
}

/// What kept a flow from success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// This node failed, for this reason.
    Node {
        /// Its name.
        name: String,
        /// Why, in one word.
        reason: String,
    },
    /// It was stopped.
    Stopped(StopReason),
}

/// What is known of a node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeState {
    /// How it stands.
    pub phase: NodePhase,
    /// Its Jobs or Tasks, from when it was let go.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub instances: Vec<Instance>,
    /// Why it was skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<SkipReason>,
    /// Why it failed without an instance that did: what it was to be made of cannot be made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Attempts that earlier runs of the flow let go: an instance's attempts are counted on from there,
    /// its retries are not.
    #[serde(skip_serializing_if = "is_zero")]
    pub earlier_attempts: u32,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// How a node stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum NodePhase {
    /// What it depends on is not over.
    #[default]
    Waiting,
    /// It was let go.
    Running,
    /// Every instance succeeded.
    Succeeded,
    /// An instance failed for good, and none runs any more.
    Failed,
    /// It will not run.
    Skipped,
    /// It was told to stop, and stopped.
    Cancelled,
}

impl NodePhase {
    /// Whether nothing more will happen to it.
    pub fn is_over(self) -> bool {
        !matches!(self, NodePhase::Waiting | NodePhase::Running)
    }
}

/// Why a node will not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SkipReason {
    /// Its own condition does not hold. Those that depend on it go on.
    When,
    /// This node, which had to fail for it, did not. Those that depend on it go on.
    NotFailed(String),
    /// This node, which had to succeed for it, did not.
    Dependency(String),
    /// The flow was stopped before.
    Stopped(StopReason),
}

impl SkipReason {
    /// Whether dependents may count it as complete.
    pub fn is_harmless(&self) -> bool {
        matches!(self, SkipReason::When | SkipReason::NotFailed(_))
    }
}

/// One Job or Task of a node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Instance {
    /// Attempts that were let go, the last one included; 0 where it waits for room.
    pub attempts: u32,
    /// How the last attempt stands.
    pub attempt: Attempt,
    /// When the next attempt may be let go, after one that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
    /// When its first attempt was let go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it was over for good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
}

/// How an attempt stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", content = "why")]
pub enum Attempt {
    /// It waits for room, or for the time of the next attempt.
    #[default]
    Waiting,
    /// Let go: its Job is to be made, where it is not there yet.
    Due,
    /// Its Job was seen.
    Live,
    /// It succeeded.
    Succeeded,
    /// It failed, for this reason, and no attempt follows.
    Failed(String),
    /// It was told to stop, or never began.
    Cancelled,
}

impl Attempt {
    /// Whether nothing more will happen to this instance.
    pub fn is_over(&self) -> bool {
        matches!(
            self,
            Attempt::Succeeded | Attempt::Failed(_) | Attempt::Cancelled
        )
    }

    /// Whether it has a Job, or is to have one.
    pub fn is_let_go(&self) -> bool {
        matches!(self, Attempt::Due | Attempt::Live)
    }
}

/// How a flow stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FlowPhase {
    /// No node was let go yet.
    Pending,
    /// Some node is not over.
    Running,
    /// All are over, and nothing failed.
    Succeeded,
    /// All are over, and something failed, or its deadline passed.
    Failed,
    /// All are over, and it was cancelled.
    Cancelled,
}

impl State {
    /// The state of a flow that did not begin.
    pub fn new(nodes: usize) -> State {
        State {
            nodes: vec![NodeState::default(); nodes],
            ..State::default()
        }
    }

    /// Has a flow that is over run again: `all` of it, or what did not succeed and the `finally` nodes.
    ///
    /// Of a node's list, the elements that succeeded are kept where everything that the node depends on
    /// is, as the list is the same then. Attempts are counted on, so that their Jobs have new names.
    pub fn run_again(&mut self, graph: &Graph, all: bool) {
        let redone: Vec<bool> = self
            .nodes
            .iter()
            .enumerate()
            .map(|(i, n)| all || graph.is_finally(i) || n.phase != NodePhase::Succeeded)
            .collect();
        let is_redone = |i: usize| redone.get(i).copied().unwrap_or(true);
        for (i, node) in self.nodes.iter_mut().enumerate() {
            if !is_redone(i) {
                continue;
            }
            let attempts = node.instances.iter().map(|i| i.attempts).max();
            let earlier = attempts.unwrap_or(0).max(node.earlier_attempts);
            let mut instances = std::mem::take(&mut node.instances);
            let is_over = node.phase == NodePhase::Succeeded;
            if all || is_over || graph.needs(i).iter().any(|(need, _)| is_redone(*need)) {
                instances.clear();
            }
            for instance in &mut instances {
                if instance.attempt != Attempt::Succeeded {
                    *instance = Instance {
                        attempts: earlier,
                        ..Instance::default()
                    };
                }
            }
            *node = NodeState {
                instances,
                earlier_attempts: earlier,
                ..NodeState::default()
            };
        }
        *self = State {
            nodes: std::mem::take(&mut self.nodes),
            ..State::default()
        };
    }

    /// How the flow stands.
    pub fn phase(&self) -> FlowPhase {
        if self.finished_at.is_none() {
            return match self.started_at {
                None => FlowPhase::Pending,
                Some(_) => FlowPhase::Running,
            };
        }
        match &self.cause {
            None => FlowPhase::Succeeded,
            Some(Cause::Stopped(StopReason::Cancelled)) => FlowPhase::Cancelled,
            Some(_) => FlowPhase::Failed,
        }
    }

    /// An instance that was let go once.
    pub fn instance(&self, id: InstanceId) -> Option<&Instance> {
        self.nodes.get(id.node)?.instances.get(id.index)
    }

    /// Every instance, by node.
    pub fn instances(&self) -> impl Iterator<Item = (InstanceId, &Instance)> {
        let of = |(node, state): (usize, &NodeState)| {
            let ids = (0..state.instances.len()).map(move |index| InstanceId { node, index });
            ids.collect::<Vec<_>>()
        };
        self.nodes
            .iter()
            .enumerate()
            .flat_map(of)
            .filter_map(|id| Some((id, self.instance(id)?)))
    }
}
