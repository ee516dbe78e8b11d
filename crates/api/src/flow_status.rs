//! The status of a JobFlow, as the coordinator writes it and everybody reads it.
//!
//! It is the durable form of what is known of a flow: [`JobFlowStatus::state`] gives the state that
//! [`baton_flow`] plans by, and [`JobFlowStatus::set_state`] takes it back.

use std::collections::HashMap;

use baton_flow::{
    Attempt, Cause, Graph, Instance, InstanceId, NodePhase, NodeState, SkipReason, State,
    StopReason,
};
use baton_protocol::Timestamp;
use serde::{Deserialize, Serialize};

use crate::schedule::ScheduleStatus;
use crate::status::{CallbackStatus, Condition};

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

/// How a node stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct FlowNodeStatus {
    /// Its name.
    pub name: String,
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

impl JobFlowStatus {
    /// The state to plan by: that of the graph's nodes, found by their names. Nodes that the status
    /// does not know are new and wait.
    pub fn state(&self, graph: &Graph) -> State {
        let known: HashMap<&str, &FlowNodeStatus> =
            self.nodes.iter().map(|n| (n.name.as_str(), n)).collect();
        let node = |name: &str| known.get(name).map(|n| n.state()).unwrap_or_default();
        State {
            nodes: graph.nodes().iter().map(|n| node(&n.name)).collect(),
            stopped: self.stopped.as_ref().map(|s| (s.reason, s.at)),
            cause: self.cause.as_ref().map(CauseStatus::cause),
            started_at: self.started_at,
            finished_at: self.finished_at,
        }
    }

    /// Takes a state: what it says of the graph's nodes, and the times and causes of the whole.
    /// `name` gives the name of an attempt's Job or Task. Results, messages and digests stay.
    pub fn set_state(
        &mut self,
        graph: &Graph,
        state: &State,
        name: &dyn Fn(InstanceId, u32) -> String,
    ) {
        self.stopped = state.stopped.map(|(reason, at)| StopStatus { reason, at });
        self.cause = state.cause.as_ref().map(CauseStatus::of);
        self.started_at = state.started_at;
        self.finished_at = state.finished_at;
        let mut known: HashMap<String, FlowNodeStatus> = std::mem::take(&mut self.nodes)
            .into_iter()
            .map(|n| (n.name.clone(), n))
            .collect();
        let stopped = state.stopped.map(|(reason, _)| reason);
        let nodes = graph.nodes().iter().zip(&state.nodes).enumerate();
        self.nodes = nodes
            .map(|(place, (node, state))| {
                let mut status = known.remove(&node.name).unwrap_or_default();
                status.name.clone_from(&node.name);
                status.set_state(place, state, stopped, name);
                status
            })
            .collect();
    }

    /// The node of this name.
    pub fn node(&self, name: &str) -> Option<&FlowNodeStatus> {
        self.nodes.iter().find(|n| n.name == name)
    }
}

impl CauseStatus {
    pub(crate) fn of(cause: &Cause) -> CauseStatus {
        match cause {
            Cause::Node { name, reason } => CauseStatus {
                node: name.clone(),
                reason: reason.clone(),
            },
            Cause::Stopped(why) => CauseStatus {
                node: String::new(),
                reason: stop_word(*why).to_owned(),
            },
        }
    }

    pub(crate) fn cause(&self) -> Cause {
        match stop_reason(&self.reason) {
            Some(why) if self.node.is_empty() => Cause::Stopped(why),
            _ => Cause::Node {
                name: self.node.clone(),
                reason: self.reason.clone(),
            },
        }
    }
}

/// The word for a reason to stop.
pub fn stop_word(why: StopReason) -> &'static str {
    match why {
        StopReason::Cancelled => "Cancelled",
        StopReason::DeadlineExceeded => "DeadlineExceeded",
        StopReason::FailFast => "FailFast",
    }
}

fn stop_reason(word: &str) -> Option<StopReason> {
    use StopReason::{Cancelled, DeadlineExceeded, FailFast};
    [Cancelled, DeadlineExceeded, FailFast]
        .into_iter()
        .find(|why| stop_word(*why) == word)
}

const CONDITION_NOT_MET: &str = "ConditionNotMet";
const DEPENDENCY_NOT_MET: &str = "DependencyNotMet";
const DEPENDENCY_NOT_FAILED: &str = "DependencyNotFailed";
const INVALID: &str = "Invalid";

impl FlowNodeStatus {
    /// The Job or Task to show for it: the only one.
    pub fn job(&self) -> Option<&FlowJobStatus> {
        match self.jobs.as_slice() {
            [job] => Some(job),
            _ => None,
        }
    }

    fn state(&self) -> NodeState {
        NodeState {
            phase: self.state,
            instances: self.jobs.iter().map(FlowJobStatus::instance).collect(),
            skipped: (self.state == NodePhase::Skipped).then(|| self.skip_reason()),
            error: (self.state == NodePhase::Failed && self.jobs.is_empty())
                .then(|| self.message.clone()),
            earlier_attempts: self.earlier_attempts,
        }
    }

    fn skip_reason(&self) -> SkipReason {
        match self.reason.as_str() {
            CONDITION_NOT_MET => SkipReason::When,
            DEPENDENCY_NOT_FAILED => SkipReason::NotFailed(self.because.clone()),
            word => match stop_reason(word) {
                Some(why) => SkipReason::Stopped(why),
                None => SkipReason::Dependency(self.because.clone()),
            },
        }
    }

    fn set_state(
        &mut self,
        place: usize,
        state: &NodeState,
        stopped: Option<StopReason>,
        name: &dyn Fn(InstanceId, u32) -> String,
    ) {
        self.earlier_attempts = state.earlier_attempts;
        self.jobs
            .resize_with(state.instances.len(), FlowJobStatus::default);
        for (index, (job, instance)) in self.jobs.iter_mut().zip(&state.instances).enumerate() {
            let name = |attempt| name(InstanceId { node: place, index }, attempt);
            job.set_instance(instance, &name);
        }
        self.started_at = self.jobs.iter().filter_map(|j| j.started_at).min();
        self.finished_at = match state.phase.is_over() {
            // Of one that had no Job, whoever set it knew when.
            true => (self.jobs.iter().filter_map(|j| j.finished_at).max()).or(self.finished_at),
            false => None,
        };
        if self.state != state.phase {
            self.message.clear();
        }
        self.state = state.phase;
        self.because.clear();
        let failed = self.jobs.iter().find(|j| j.state == FlowJobState::Failed);
        self.reason = match state.phase {
            NodePhase::Failed => match (&state.error, failed) {
                (Some(error), _) => {
                    self.message.clone_from(error);
                    INVALID.to_owned()
                }
                (None, Some(job)) => {
                    self.message.clone_from(&job.message);
                    job.reason.clone()
                }
                (None, None) => INVALID.to_owned(),
            },
            NodePhase::Skipped => match &state.skipped {
                Some(SkipReason::NotFailed(because)) => {
                    self.because.clone_from(because);
                    DEPENDENCY_NOT_FAILED.to_owned()
                }
                Some(SkipReason::Dependency(because)) => {
                    self.because.clone_from(because);
                    DEPENDENCY_NOT_MET.to_owned()
                }
                Some(SkipReason::Stopped(why)) => stop_word(*why).to_owned(),
                Some(SkipReason::When) | None => CONDITION_NOT_MET.to_owned(),
            },
            NodePhase::Cancelled => stopped.map(stop_word).unwrap_or_default().to_owned(),
            // What it waits for is said by whoever knows.
            NodePhase::Waiting => std::mem::take(&mut self.reason),
            NodePhase::Running | NodePhase::Succeeded => String::new(),
        };
    }
}

impl FlowJobStatus {
    fn instance(&self) -> Instance {
        Instance {
            attempts: self.attempts,
            attempt: match self.state {
                FlowJobState::Waiting => Attempt::Waiting,
                FlowJobState::Starting => Attempt::Due,
                FlowJobState::Running => Attempt::Live,
                FlowJobState::Succeeded => Attempt::Succeeded,
                FlowJobState::Failed => Attempt::Failed(self.reason.clone()),
                FlowJobState::Cancelled => Attempt::Cancelled,
            },
            retry_at: self.retry_at,
            started_at: self.started_at,
            finished_at: self.finished_at,
        }
    }

    fn set_instance(&mut self, instance: &Instance, name: &dyn Fn(u32) -> String) {
        if instance.attempts == 0 {
            self.name.clear();
        } else if self.name.is_empty() || self.attempts != instance.attempts {
            self.name = name(instance.attempts);
        }
        self.attempts = instance.attempts;
        self.reason.clear();
        self.state = match &instance.attempt {
            Attempt::Waiting => FlowJobState::Waiting,
            Attempt::Due => FlowJobState::Starting,
            Attempt::Live => FlowJobState::Running,
            Attempt::Succeeded => FlowJobState::Succeeded,
            Attempt::Cancelled => FlowJobState::Cancelled,
            Attempt::Failed(why) => {
                self.reason.clone_from(why);
                FlowJobState::Failed
            }
        };
        if matches!(self.state, FlowJobState::Starting | FlowJobState::Succeeded) {
            self.message.clear();
        }
        self.retry_at = instance.retry_at;
        self.started_at = instance.started_at;
        self.finished_at = instance.finished_at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_flow::Node;

    fn graph(names: &[&str]) -> Graph {
        let node = |name: &&str| Node {
            name: (*name).to_owned(),
            ..Node::default()
        };
        Graph::new(names.iter().map(node).collect()).unwrap()
    }

    #[test]
    fn a_state_comes_back_as_it_was() {
        let at = |s: u64| {
            let since = std::time::Duration::from_secs(s);
            Timestamp(std::time::SystemTime::UNIX_EPOCH + since)
        };
        let instance = |attempt, attempts| Instance {
            attempts,
            attempt,
            retry_at: Some(at(5)),
            started_at: Some(at(2)),
            finished_at: Some(at(3)),
        };
        let node = |phase, skipped, error: Option<&str>, instances| NodeState {
            phase,
            instances,
            skipped,
            error: error.map(str::to_owned),
            earlier_attempts: 3,
        };
        use NodePhase::*;
        let state = State {
            nodes: vec![
                node(Waiting, None, None, vec![]),
                node(
                    Running,
                    None,
                    None,
                    vec![
                        instance(Attempt::Waiting, 0),
                        instance(Attempt::Due, 1),
                        instance(Attempt::Live, 2),
                        instance(Attempt::Succeeded, 3),
                        instance(Attempt::Failed("BackoffLimitExceeded".into()), 4),
                        instance(Attempt::Cancelled, 5),
                    ],
                ),
                node(Succeeded, None, None, vec![instance(Attempt::Succeeded, 1)]),
                node(Failed, None, Some("why"), vec![]),
                node(Skipped, Some(SkipReason::When), None, vec![]),
                node(
                    Skipped,
                    Some(SkipReason::NotFailed("a".into())),
                    None,
                    vec![],
                ),
                node(
                    Skipped,
                    Some(SkipReason::Dependency("b".into())),
                    None,
                    vec![],
                ),
                node(
                    Skipped,
                    Some(SkipReason::Stopped(StopReason::FailFast)),
                    None,
                    vec![],
                ),
                node(Cancelled, None, None, vec![instance(Attempt::Cancelled, 1)]),
            ],
            stopped: Some((StopReason::DeadlineExceeded, at(9))),
            cause: Some(Cause::Stopped(StopReason::DeadlineExceeded)),
            started_at: Some(at(1)),
            finished_at: Some(at(10)),
        };
        let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
        let graph = graph(&names);
        let mut status = JobFlowStatus::default();
        status.set_state(&graph, &state, &|id, n| {
            format!("{}-{}-{n}", id.node, id.index)
        });
        let json = serde_json::to_string(&status).unwrap();
        let again: JobFlowStatus = serde_json::from_str(&json).unwrap();
        assert_eq!(again, status);
        assert_eq!(again.state(&graph), state);
        assert_eq!(status.nodes[1].jobs[2].name, "1-2-2");
        assert_eq!(status.nodes[8].reason, "DeadlineExceeded");

        // What is said besides stays; what is not known is new.
        let cause = Cause::Node {
            name: "b".into(),
            reason: "JobDeleted".into(),
        };
        let state = State {
            cause: Some(cause),
            ..state
        };
        status.nodes[2].digest = "d".into();
        status.set_state(&graph, &state, &|_, _| "x".into());
        assert_eq!(status.nodes[2].digest, "d");
        assert_eq!(status.nodes[1].jobs[2].name, "1-2-2", "a name stays");
        assert_eq!(status.state(&graph), state);
        let more = self::graph(&["a", "z"]);
        assert_eq!(status.state(&more).nodes[1], NodeState::default());
    }
}
