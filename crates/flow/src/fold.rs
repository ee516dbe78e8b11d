//! What is seen, folded into the state.

use std::time::Duration;

use baton_protocol::Timestamp;

use crate::graph::{Graph, On};
use crate::state::{
    Attempt, Cause, Instance, InstanceId, NodePhase, NodeState, SkipReason, State, StopReason,
};

/// Longest time before a node's next attempt.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(300);
/// Time before a node's second attempt; it doubles with each.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// What a flow's author asks for, besides the graph.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rules {
    /// Most Jobs at one time; without bound where there is none.
    pub max_parallel: Option<u32>,
    /// A node that fails stops the others.
    pub fail_fast: bool,
    /// Nothing new is let go.
    pub suspended: bool,
    /// The flow is to stop.
    pub cancelled: bool,
    /// When the flow is to stop.
    pub deadline: Option<Timestamp>,
    /// By place of the node: how often an instance is tried again.
    pub retries: Vec<u32>,
    /// By place of the node: most of its Jobs at one time.
    pub parallel: Vec<Option<u32>>,
}

/// What is seen of the Job or Task of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// It cannot be told: it is being made, or the view is older than that.
    Unknown,
    /// For certain there is none.
    Absent,
    /// It is there and not over.
    Live,
    /// It succeeded.
    Succeeded,
    /// It failed, for this reason.
    Failed(String),
}

/// What becomes of a node whose dependencies let it start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begin {
    /// It runs, as so many Jobs: 1, or as many as its list has elements.
    Run(usize),
    /// Its own condition does not hold.
    Skip,
    /// Something outside is missing that may still come.
    Wait,
    /// It cannot be made, for this reason.
    Fail(String),
}

/// What a fold is made of.
pub(crate) struct Fold<'a> {
    graph: &'a Graph,
    rules: &'a Rules,
    state: State,
    now: Timestamp,
    /// Jobs that are let go.
    live: u32,
}

/// Folds what is seen into a state. The result is to be persisted before anything is done by it.
///
/// Everything may be repeated, and `seen` may be as old as it likes: an end that is recorded stays.
pub fn fold(
    graph: &Graph,
    rules: &Rules,
    state: &State,
    now: Timestamp,
    seen: &dyn Fn(InstanceId, u32) -> Seen,
    begin: &mut dyn FnMut(&State, usize) -> Begin,
) -> State {
    let mut fold = Fold {
        graph,
        rules,
        state: state.clone(),
        now,
        live: 0,
    };
    fold.state.nodes.resize(graph.len(), NodeState::default());
    if fold.state.finished_at.is_some() {
        return fold.state;
    }
    fold.look(seen);
    for node in 0..graph.len() {
        fold.settle(node);
    }
    fold.stop();
    fold.live = count(fold.state.instances().map(|(_, i)| i));
    for finally in [false, true] {
        if finally && !fold.others_are_over() {
            break;
        }
        for node in graph.order().filter(|n| graph.is_finally(*n) == finally) {
            fold.advance(node, begin);
        }
    }
    if fold.state.nodes.iter().all(|n| n.phase.is_over()) {
        fold.state.finished_at = Some(now);
    }
    fold.state
}

impl Fold<'_> {
    /// Takes what is seen of the attempts that are let go.
    fn look(&mut self, seen: &dyn Fn(InstanceId, u32) -> Seen) {
        for node in 0..self.graph.len() {
            let stops = self.state.stopped.is_some() && !self.graph.is_finally(node);
            let retries = self.rules.retries.get(node).copied().unwrap_or(0);
            let Some(state) = self.state.nodes.get_mut(node) else {
                continue;
            };
            let earlier = state.earlier_attempts;
            for (index, instance) in state.instances.iter_mut().enumerate() {
                if !instance.attempt.is_let_go() {
                    continue;
                }
                let id = InstanceId { node, index };
                match (seen(id, instance.attempts), &instance.attempt) {
                    (Seen::Unknown, _) => {}
                    (Seen::Live, _) => instance.attempt = Attempt::Live,
                    (Seen::Succeeded, _) => instance.end(Attempt::Succeeded, self.now),
                    (Seen::Absent, Attempt::Due) if !stops => {}
                    (Seen::Absent | Seen::Failed(_), _) if stops => {
                        instance.end(Attempt::Cancelled, self.now);
                    }
                    (Seen::Absent, _) => {
                        instance.fail("JobDeleted".into(), earlier, retries, self.now);
                    }
                    (Seen::Failed(why), _) => instance.fail(why, earlier, retries, self.now),
                }
            }
        }
    }

    /// A node whose instances are all over is over.
    fn settle(&mut self, node: usize) {
        let name = self.graph.nodes().get(node).map(|n| n.name.clone());
        let Some(state) = self.state.nodes.get_mut(node) else {
            return;
        };
        if state.phase != NodePhase::Running || !state.instances.iter().all(|i| i.attempt.is_over())
        {
            return;
        }
        let failed = state.instances.iter().find_map(|i| match &i.attempt {
            Attempt::Failed(why) => Some(why.clone()),
            _ => None,
        });
        let cancelled = || {
            let is = |i: &Instance| i.attempt == Attempt::Cancelled;
            state.instances.iter().any(is)
        };
        state.phase = match &failed {
            Some(_) => NodePhase::Failed,
            None if cancelled() => NodePhase::Cancelled,
            None => NodePhase::Succeeded,
        };
        if let (Some(reason), None) = (failed, &self.state.cause) {
            let name = name.unwrap_or_default();
            self.state.cause = Some(Cause::Node { name, reason });
        }
    }

    /// Decides whether the flow is to stop.
    fn stop(&mut self) {
        if self.state.stopped.is_some() || self.others_are_over() {
            return;
        }
        let failed = |n: &NodeState| n.phase == NodePhase::Failed;
        let why = if self.rules.cancelled {
            StopReason::Cancelled
        } else if self.rules.deadline.is_some_and(|d| d <= self.now) {
            StopReason::DeadlineExceeded
        } else if self.rules.fail_fast && self.state.nodes.iter().any(failed) {
            StopReason::FailFast
        } else {
            return;
        };
        self.state.stopped = Some((why, self.now));
        self.state.cause.get_or_insert(Cause::Stopped(why));
        // A flow that never began is over with that.
        self.state.started_at.get_or_insert(self.now);
    }

    fn others_are_over(&self) -> bool {
        let mut nodes = self.state.nodes.iter().enumerate();
        nodes.all(|(i, n)| n.phase.is_over() || self.graph.is_finally(i))
    }

    /// Does what can be done with a node: lets it go, skips it, lets instances of it go.
    fn advance(&mut self, node: usize, begin: &mut dyn FnMut(&State, usize) -> Begin) {
        let phase = self.state.nodes.get(node).map(|n| n.phase);
        let stopped = match self.state.stopped {
            Some((why, _)) if !self.graph.is_finally(node) => Some(why),
            _ => None,
        };
        if phase == Some(NodePhase::Waiting) {
            match (stopped, self.verdict(node)) {
                (Some(why), _) => self.skip(node, SkipReason::Stopped(why)),
                (None, Verdict::Skip(why)) => self.skip(node, why),
                (None, Verdict::Go) if !self.rules.suspended => {
                    let begin = begin(&self.state, node);
                    self.begin(node, begin);
                }
                _ => {}
            }
        }
        if stopped.is_some() {
            let state = self.state.nodes.get_mut(node);
            for instance in state.into_iter().flat_map(|n| &mut n.instances) {
                if instance.attempt == Attempt::Waiting {
                    instance.end(Attempt::Cancelled, self.now);
                }
            }
        } else if !self.rules.suspended {
            self.let_go(node);
        }
        self.settle(node);
    }

    fn skip(&mut self, node: usize, why: SkipReason) {
        if let Some(state) = self.state.nodes.get_mut(node) {
            state.phase = NodePhase::Skipped;
            state.skipped = Some(why);
        }
    }

    fn begin(&mut self, node: usize, begin: Begin) {
        let name = self.graph.nodes().get(node).map(|n| n.name.clone());
        let Some(state) = self.state.nodes.get_mut(node) else {
            return;
        };
        match begin {
            Begin::Wait => return,
            Begin::Skip => {
                state.phase = NodePhase::Skipped;
                state.skipped = Some(SkipReason::When);
                state.instances.clear();
            }
            Begin::Fail(why) => {
                state.phase = NodePhase::Failed;
                state.error = Some(why);
                state.instances.clear();
                let name = name.unwrap_or_default();
                let reason = "Invalid".to_owned();
                self.state.cause.get_or_insert(Cause::Node { name, reason });
            }
            Begin::Run(count) => {
                state.phase = NodePhase::Running;
                // A node that runs again keeps what succeeded, where its list is as long as it was.
                if state.instances.len() != count {
                    let instance = Instance {
                        attempts: state.earlier_attempts,
                        ..Instance::default()
                    };
                    state.instances = vec![instance; count];
                }
            }
        }
        self.state.started_at.get_or_insert(self.now);
    }

    fn let_go(&mut self, node: usize) {
        let parallel = self.rules.parallel.get(node).copied().flatten();
        let Some(state) = self.state.nodes.get_mut(node) else {
            return;
        };
        let mut own = count(state.instances.iter());
        for instance in &mut state.instances {
            let room = self
                .rules
                .max_parallel
                .is_none_or(|most| self.live < most.max(1))
                && parallel.is_none_or(|most| own < most.max(1));
            if !room {
                return;
            }
            let due = instance.retry_at.is_none_or(|at| at <= self.now);
            if instance.attempt == Attempt::Waiting && due {
                instance.attempt = Attempt::Due;
                instance.attempts = instance.attempts.saturating_add(1);
                instance.retry_at = None;
                instance.started_at.get_or_insert(self.now);
                own += 1;
                self.live += 1;
            }
        }
    }

    /// What its dependencies say of a node that waits.
    fn verdict(&self, node: usize) -> Verdict {
        let mut open = false;
        let mut skip = None;
        for (need, on) in self.graph.needs(node) {
            let Some(state) = self.state.nodes.get(*need) else {
                continue;
            };
            if !state.phase.is_over() {
                open = true;
                continue;
            }
            let harmless = state.skipped.as_ref().is_some_and(SkipReason::is_harmless);
            let name = || {
                let node = self.graph.nodes().get(*need);
                node.map(|n| n.name.clone()).unwrap_or_default()
            };
            match on {
                On::Finished => {}
                On::Complete if state.phase == NodePhase::Succeeded || harmless => {}
                // What had to succeed counts for more than what had to fail.
                On::Complete => return Verdict::Skip(SkipReason::Dependency(name())),
                On::Failed if state.phase == NodePhase::Failed => {}
                On::Failed => {
                    skip.get_or_insert_with(|| SkipReason::NotFailed(name()));
                }
            }
        }
        match skip {
            _ if open => Verdict::Open,
            Some(why) => Verdict::Skip(why),
            None => Verdict::Go,
        }
    }
}

enum Verdict {
    Open,
    Go,
    Skip(SkipReason),
}

impl Instance {
    fn end(&mut self, how: Attempt, now: Timestamp) {
        self.attempt = how;
        self.retry_at = None;
        self.finished_at = Some(now);
    }

    fn fail(&mut self, why: String, earlier: u32, retries: u32, now: Timestamp) {
        let attempts = self.attempts.saturating_sub(earlier);
        if attempts > retries {
            return self.end(Attempt::Failed(why), now);
        }
        let doublings = attempts.saturating_sub(1).min(16);
        let delay = (RETRY_DELAY * 2u32.pow(doublings)).min(MAX_RETRY_DELAY);
        self.attempt = Attempt::Waiting;
        self.retry_at = now.0.checked_add(delay).map(Timestamp);
    }
}

fn count<'a>(instances: impl Iterator<Item = &'a Instance>) -> u32 {
    let live = instances.filter(|i| i.attempt.is_let_go()).count();
    u32::try_from(live).unwrap_or(u32::MAX)
}
