//! A status as the record of what is planned by: to a state of [`baton_flow`], and back.

use std::collections::HashMap;

use baton_flow::{
    Attempt, Cause, Graph, Instance, InstanceId, NodePhase, NodeState, SkipReason, State,
    StopReason,
};

use super::{CauseStatus, FlowJobState, FlowJobStatus, FlowNodeStatus, JobFlowStatus, StopStatus};

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
                status.finally = node.finally;
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
    use baton_protocol::Timestamp;

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
