//! What is seen, folded into the state.

use baton_protocol::Timestamp;

use super::rules::{Completion, DaemonRules, JobSeen, Member, Members, Place};
use super::state::{DaemonNode, DaemonPhase, DaemonState};
use super::{MAX_DAEMON_NODES, MAX_GONE};
use crate::state::{Cause, StopReason};

/// A node's reason: it was not ready for too long.
pub(super) const NODE_NOT_READY: &str = "NodeNotReady";
const NODE_REMOVED: &str = "NodeRemoved";
const NOT_ELIGIBLE: &str = "NotEligible";

/// What is seen of the Job of a node, by the node's name and the attempt.
pub type Look<'a> = &'a dyn Fn(&str, u32) -> JobSeen;

struct Fold<'a> {
    rules: &'a DaemonRules,
    members: &'a Members,
    seen: Look<'a>,
    state: DaemonState,
    now: Timestamp,
}

/// Folds what is seen into a state. The result is to be persisted before anything is done by it.
///
/// `members` has to be every node of the cluster: one that is not there counts as removed. What is
/// seen of Jobs may be as old as it likes: an end that is recorded stays.
pub fn daemon_fold(
    rules: &DaemonRules,
    state: &DaemonState,
    members: &Members,
    now: Timestamp,
    seen: Look<'_>,
) -> DaemonState {
    let mut fold = Fold {
        rules,
        members,
        seen,
        state: state.clone(),
        now,
    };
    if fold.state.finished_at.is_some() {
        return fold.state;
    }
    if !rules.suspended || rules.cancelled {
        fold.state.started_at.get_or_insert(now);
    }
    fold.look();
    fold.stop();
    if fold.state.stopped.is_some() {
        fold.cancel();
    } else if fold.state.started_at.is_some() {
        fold.join();
        fold.let_go();
    }
    fold.forget();
    fold.finish();
    fold.state
}

impl Fold<'_> {
    /// Takes what is seen of each node and its Job.
    fn look(&mut self) {
        let mut nodes = std::mem::take(&mut self.state.nodes);
        for node in &mut nodes {
            match node.state {
                DaemonPhase::Starting | DaemonPhase::Running => self.look_at_job(node),
                DaemonPhase::Waiting if self.state.stopped.is_none() => self.look_at_waiting(node),
                DaemonPhase::Removed => self.look_at_removed(node),
                _ => continue,
            }
            if node.state == DaemonPhase::Failed {
                let (name, reason) = (node.name.clone(), node.reason.clone());
                let cause = Cause::Node { name, reason };
                self.state.cause.get_or_insert(cause);
            }
        }
        self.state.nodes = nodes;
    }

    fn look_at_job(&self, node: &mut DaemonNode) {
        let seen = (self.seen)(&node.name, node.attempts);
        let stops = self.state.stopped.is_some();
        let is_starting = node.state == DaemonPhase::Starting;
        if seen == JobSeen::Succeeded {
            return node.end(DaemonPhase::Succeeded, "", self.now);
        }
        let member = self.member(node);
        let Some(member) = member.filter(|m| m.place != Place::Out) else {
            let why = removal(member);
            return node.end(DaemonPhase::Removed, why, self.now);
        };
        let failed = |node: &mut DaemonNode, why: &str| match stops {
            true => node.end(DaemonPhase::Cancelled, "", self.now),
            false => node.end(DaemonPhase::Failed, why, self.now),
        };
        match seen {
            JobSeen::Failed(why) => failed(node, &why),
            _ if self.is_lost(member) => failed(node, NODE_NOT_READY),
            JobSeen::Taken if is_starting => {
                // It never was there: as if it had not been let go.
                node.state = DaemonPhase::Waiting;
                node.attempts = node.attempts.saturating_sub(1);
                node.started_at = None;
            }
            JobSeen::Absent if is_starting && !stops => {}
            JobSeen::Absent | JobSeen::Taken => failed(node, "JobDeleted"),
            JobSeen::Live => node.state = DaemonPhase::Running,
            JobSeen::Unknown | JobSeen::Succeeded => {}
        }
    }

    fn look_at_waiting(&self, node: &mut DaemonNode) {
        let member = self.member(node);
        let Some(member) = member.filter(|m| m.place == Place::Eligible) else {
            let why = removal(member);
            return node.end(DaemonPhase::Removed, why, self.now);
        };
        let may_start = !self.rules.suspended && member.hold.is_none();
        if may_start && self.is_lost(member) {
            node.end(DaemonPhase::Failed, NODE_NOT_READY, self.now);
        }
    }

    /// Its Job may have succeeded before, and only now it is seen.
    fn look_at_removed(&self, node: &mut DaemonNode) {
        let began = node.started_at.is_some();
        if began && (self.seen)(&node.name, node.attempts) == JobSeen::Succeeded {
            node.end(DaemonPhase::Succeeded, "", self.now);
        }
    }

    /// The node of the cluster that this speaks of.
    fn member(&self, node: &DaemonNode) -> Option<&Member> {
        let member = self.members.get(&node.name);
        member.filter(|m| m.uid == node.uid)
    }

    fn is_lost(&self, member: &Member) -> bool {
        lost_at(self.rules, &self.state, member).is_some_and(|at| at <= self.now)
    }

    /// Decides whether it is to stop.
    fn stop(&mut self) {
        if self.state.stopped.is_some() {
            return;
        }
        let deadline = deadline(self.rules, &self.state);
        let why = if self.rules.cancelled {
            StopReason::Cancelled
        } else if deadline.is_some_and(|at| at <= self.now) {
            StopReason::DeadlineExceeded
        } else if self.rules.fail_fast && self.state.count(DaemonPhase::Failed) > 0 {
            StopReason::FailFast
        } else {
            return;
        };
        self.state.stopped = Some((why, self.now));
        self.state.cause.get_or_insert(Cause::Stopped(why));
    }

    /// What was not let go will not be.
    fn cancel(&mut self) {
        for node in &mut self.state.nodes {
            if node.state == DaemonPhase::Waiting {
                node.end(DaemonPhase::Cancelled, "", self.now);
            }
        }
    }

    /// Takes the nodes that are new.
    fn join(&mut self) {
        let began = !self.state.nodes.is_empty() || !self.state.forgotten.is_none();
        let joins = !began || self.rules.completion != Completion::InitialNodes;
        for node in &mut self.state.nodes {
            let member = self.members.get(&node.name);
            let Some(member) = member.filter(|m| m.place == Place::Eligible) else {
                continue;
            };
            let may_run = || node.attempts > 0 && (self.seen)(&node.name, node.attempts).may_run();
            let is_back =
                node.state == DaemonPhase::Removed && node.uid == member.uid && !may_run();
            let is_new = node.state.is_over() && node.uid != member.uid && joins;
            if is_back || is_new {
                *node = DaemonNode {
                    name: std::mem::take(&mut node.name),
                    uid: member.uid.clone(),
                    attempts: node.attempts,
                    ..DaemonNode::default()
                };
            }
        }
        if !joins {
            return;
        }
        let known: std::collections::BTreeSet<_> =
            self.state.nodes.iter().map(|n| n.name.clone()).collect();
        let room = MAX_DAEMON_NODES.saturating_sub(known.len());
        let is_new = |(name, member): &(&String, &Member)| {
            member.place == Place::Eligible && !known.contains(*name)
        };
        let new = self.members.iter().filter(is_new).take(room);
        self.state
            .nodes
            .extend(new.map(|(name, member)| DaemonNode {
                name: name.clone(),
                uid: member.uid.clone(),
                ..DaemonNode::default()
            }));
        self.state.nodes.sort_by(|a, b| a.name.cmp(&b.name));
    }

    /// Lets nodes go while there is room, and says of the others why they wait.
    fn let_go(&mut self) {
        let counted = self.state.nodes.len() - self.state.count(DaemonPhase::Removed);
        let mut nodes = std::mem::take(&mut self.state.nodes);
        let mut live = nodes.iter().filter(|n| n.state.is_let_go()).count();
        let most = self.rules.parallel.of(counted);
        for node in &mut nodes {
            if node.state != DaemonPhase::Waiting {
                continue;
            }
            let obstacle = self.obstacle(node);
            let obstacle = obstacle.or((live >= most).then_some("Parallelism"));
            node.reason = obstacle.unwrap_or_default().to_owned();
            if obstacle.is_none() {
                node.state = DaemonPhase::Starting;
                node.attempts = node.attempts.saturating_add(1);
                node.started_at = Some(self.now);
                live += 1;
            }
        }
        self.state.nodes = nodes;
    }

    /// Why a node that waits may not start, where it is not for want of room.
    fn obstacle(&self, node: &DaemonNode) -> Option<&'static str> {
        let Some(member) = self.member(node) else {
            return Some(NODE_REMOVED);
        };
        if self.rules.suspended {
            return Some("Suspended");
        }
        if let Some(hold) = member.hold {
            return Some(hold.word());
        }
        if member.not_ready_since.is_some() {
            return Some("NotReady");
        }
        let before = node.attempts;
        if before > 0 && (self.seen)(&node.name, before).may_run() {
            return Some("EarlierJobEnding");
        }
        let next = (self.seen)(&node.name, before.saturating_add(1));
        (next == JobSeen::Taken).then_some("NameTaken")
    }

    /// Forgets the nodes that are gone longest, where there are too many and their Jobs are gone too.
    fn forget(&mut self) {
        for name in surplus(&self.state, self.members) {
            let nodes = &mut self.state.nodes;
            let Some(place) = nodes.iter().position(|n| n.name == name) else {
                continue;
            };
            let is_absent = nodes.get(place).is_some_and(|n| {
                n.attempts == 0 || (self.seen)(&n.name, n.attempts) == JobSeen::Absent
            });
            if !is_absent {
                continue;
            }
            let gone = &mut self.state.forgotten;
            let count = match nodes.remove(place).state {
                DaemonPhase::Succeeded => &mut gone.succeeded,
                DaemonPhase::Failed => &mut gone.failed,
                _ => &mut gone.removed,
            };
            *count = count.saturating_add(1);
        }
    }

    fn finish(&mut self) {
        let state = &mut self.state;
        let is_stopped = state.stopped.is_some();
        let ends = is_stopped
            || (state.started_at.is_some()
                && self.rules.completion != Completion::Never
                && (!state.nodes.is_empty() || !state.forgotten.is_none()));
        if !ends || !state.nodes.iter().all(|n| n.state.is_over()) {
            return;
        }
        state.finished_at = Some(self.now);
        // Where every node went away, nothing was done.
        let succeeded = state.count(DaemonPhase::Succeeded) > 0 || state.forgotten.succeeded > 0;
        if state.cause.is_none() && !succeeded {
            let first = state.nodes.first();
            let name = first.map(|n| n.name.clone()).unwrap_or_default();
            let reason = NODE_REMOVED.to_owned();
            state.cause = Some(Cause::Node { name, reason });
        }
    }
}

impl DaemonNode {
    fn end(&mut self, how: DaemonPhase, why: &str, now: Timestamp) {
        self.state = how;
        self.reason = why.to_owned();
        self.finished_at = Some(now);
    }
}

fn removal(member: Option<&Member>) -> &'static str {
    match member {
        None => NODE_REMOVED,
        Some(_) => NOT_ELIGIBLE,
    }
}

/// When a node that is not ready counts as lost.
pub(super) fn lost_at(
    rules: &DaemonRules,
    state: &DaemonState,
    member: &Member,
) -> Option<Timestamp> {
    let since = member.not_ready_since?;
    let since = state.started_at.map_or(since, |at| at.max(since));
    since.0.checked_add(rules.not_ready).map(Timestamp)
}

/// When the whole is to stop.
pub(super) fn deadline(rules: &DaemonRules, state: &DaemonState) -> Option<Timestamp> {
    let began = state.started_at?.0;
    began.checked_add(rules.deadline?).map(Timestamp)
}

/// The names of the nodes that are gone, but for the [`MAX_GONE`] that ended last.
pub(super) fn surplus(state: &DaemonState, members: &Members) -> Vec<String> {
    let is_gone = |n: &&DaemonNode| n.state.is_over() && !members.contains_key(&n.name);
    let mut gone: Vec<_> = state.nodes.iter().filter(is_gone).collect();
    if gone.len() <= MAX_GONE {
        return Vec::new();
    }
    gone.sort_by_key(|n| n.finished_at);
    let surplus = gone.len() - MAX_GONE;
    let names = gone.into_iter().take(surplus).map(|n| n.name.clone());
    names.collect()
}
