//! What is there and what should be -> what to do next.
//!
//! [`plan`] folds what is seen into the status, and gives what follows from the part of it that is
//! durable already: a Job is made once it is written that it is to be made, and what depends on its end
//! once the end is written.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use baton_api::flow::RetainPolicy;
use baton_api::flow_status::{JobFlowPhase, JobFlowStatus};
use baton_flow::{InstanceId, NodePhase, Seen as End, State, fold};
use baton_protocol::Timestamp;

use super::change::{kept_differs, refused, seal};
use super::children::{Child, ChildKey, ChildKind, OfFlow};
use super::make::{Maker, Object, child_key, child_name, result_of};
use super::memory::Memory;
use super::object::{FlowSpec, FlowView, Template};
use super::present::{accepted, present};
use super::story::after;
use crate::child::Note;
use crate::clock::later;

mod acting;
mod beginning;
mod ending;
mod holding;
mod results;
mod writing;

/// What is there.
pub struct Seen<'a> {
    /// The flow.
    pub flow: &'a FlowView,
    /// Its children.
    pub children: &'a OfFlow,
    /// The JobTemplate of this name in its namespace.
    pub template: &'a dyn Fn(&str) -> Option<Template>,
    /// What is under way for it.
    pub busy: &'a Busy,
    /// Calls of other flows wait: only what something follows from is to be added.
    pub is_crowded: bool,
}

/// What is under way for a flow.
#[derive(Debug, Default)]
pub struct Busy {
    /// The status is being written, or the flow deleted.
    pub flow: bool,
    /// An event is being written.
    pub event: bool,
    /// Children that are being made, stopped or deleted.
    pub children: BTreeSet<ChildKey>,
}

/// A call of the API server.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// Make this child.
    Create(ChildKey, Object),
    /// Have a child stop, gracefully; it stays.
    Stop(Arc<Child>),
    /// Delete a child and its pods.
    Delete(Arc<Child>),
    /// Make this the flow's status.
    WriteStatus(Box<JobFlowStatus>),
    /// Delete the flow.
    DeleteFlow,
    /// Write a Kubernetes Event about the flow.
    Emit(Note),
}

/// What is to be done next.
#[derive(Debug, Default)]
pub struct Next {
    /// The calls to make; with the outcome of each, the caller asks again.
    pub ops: Vec<Op>,
    /// When to ask again at the latest, without anything having happened.
    pub wake: Option<Timestamp>,
}

impl Next {
    fn wake_at(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |known| known.min(at)));
    }
}

/// What to do next for a flow.
pub fn plan(memory: &mut Memory, seen: &Seen<'_>, now: Timestamp) -> Next {
    let mut next = Next::default();
    if seen.flow.is_deleting || seen.flow.is_scheduled {
        // The garbage collector takes the children; runs by a schedule are flows of their own.
        return next;
    }
    if memory.generation != seen.flow.generation {
        if seen.busy.flow {
            // What is durable is known once the write is over; then this is asked again.
            return next;
        }
        memory.judge_by(seen.flow.generation);
    }
    match &seen.flow.spec {
        Ok(spec) => {
            let refused = match seen.flow.generation == memory.status.observed_generation {
                true => Vec::new(),
                false => refused(&memory.status, spec),
            };
            match refused.as_slice() {
                [] => run(memory, seen, spec, now, &mut next),
                found => holding::hold(memory, seen, &found.join("; "), now, &mut next),
            }
        }
        Err(mistakes) if memory.status.started_at.is_none() => {
            invalid(&mut memory.status, seen.flow, mistakes, now);
        }
        Err(mistakes) => holding::hold(memory, seen, mistakes, now, &mut next),
    }
    ending::strays(memory, seen, now, &mut next);
    ending::expire_children(memory, seen, now, &mut next);
    writing::write(memory, seen, now, &mut next);
    next
}

/// A flow that never was one.
fn invalid(status: &mut JobFlowStatus, flow: &FlowView, mistakes: &str, now: Timestamp) {
    status.observed_generation = flow.generation;
    status.phase = JobFlowPhase::Failed;
    status.reason = "Invalid".to_owned();
    status.message = crate::text::cut(mistakes, 2000);
    accepted(status, flow.generation, Some(("Invalid", mistakes)), now);
}

/// The normal course.
fn run(memory: &mut Memory, seen: &Seen<'_>, spec: &FlowSpec, now: Timestamp, next: &mut Next) {
    again(memory, seen, spec, now);
    if memory.status.finished_at.is_some() {
        return ending::settle(memory, seen, spec, now, next);
    }
    let now = after(&memory.status, now);
    let status = &mut memory.status;
    if status.run == 0 {
        status.run = 1;
        status.rerun.clone_from(&seen.flow.rerun);
    }
    status.observed_generation = seen.flow.generation;
    accepted(status, seen.flow.generation, None, now);
    let graph = &spec.graph;
    results::take(memory, seen);

    let state = memory.status.state(graph);
    let rules = spec.spec.rules(state.started_at);
    let (state, waiting, notes) = {
        let results =
            |node: &str, step: &str, name: &str| result_of(&memory.status, node, step, name);
        let maker = Maker {
            view: seen.flow,
            flow: spec,
            template: seen.template,
            results: &results,
        };
        let look = |id, attempt| look(memory, seen, spec, id, attempt);
        let mut starter = beginning::Starter::new(&maker);
        let mut begin = |state: &State, node| starter.begin(state, node);
        let state = fold(graph, &rules, &state, now, &look, &mut begin);
        (state, starter.waiting, starter.notes)
    };
    memory.waiting = waiting.into_iter().collect();
    for note in notes {
        memory.note(false, "TemplateWins", &note);
    }
    let name = |id, attempt| child_name(&seen.flow.name, spec, id, attempt);
    memory.status.set_state(graph, &state, &name);
    results::tell_ends(memory, seen, spec, now);
    seal(&mut memory.status, spec);
    acting::act(memory, seen, spec, &state, now, next);
    let (suspended, generation) = (spec.spec.suspend, seen.flow.generation);
    present(memory, state.phase(), suspended, generation, now);
}

/// Begins another run, where one is asked for and the last one is over and durable.
fn again(memory: &mut Memory, seen: &Seen<'_>, spec: &FlowSpec, now: Timestamp) {
    let token = &seen.flow.rerun;
    let is_over = memory.durable.finished_at.is_some() && memory.status == memory.durable;
    if token.is_empty() || *token == memory.status.rerun || !is_over {
        return;
    }
    let all = token == "all" || token.starts_with("all-");
    memory.status.rerun.clone_from(token);
    if !all && memory.status.phase == JobFlowPhase::Succeeded {
        let message =
            "nothing of it failed; a re-run of all is asked for by a value that begins with all-";
        return memory.note(false, "NothingToRun", message);
    }
    let mut state = memory.status.state(&spec.graph);
    state.run_again(&spec.graph, all);
    // Of the spec that it ran by, nothing changed, whatever digests an older Baton wrote.
    let generation = seen.flow.generation;
    let is_same = generation.is_some() && generation == memory.status.observed_generation;
    let differ = match is_same {
        true => Vec::new(),
        false => kept_differs(&memory.status, spec, &state),
    };
    if !differ.is_empty() {
        let message = format!("the re-run is refused: {}", differ.join("; "));
        memory.note(true, "RerunRefused", &message);
        let said = Some(("RerunRefused", message.as_str()));
        return accepted(&mut memory.status, seen.flow.generation, said, now);
    }
    let status = &mut memory.status;
    status.run = status.run.saturating_add(1);
    status.params_digest.clear();
    status.callbacks.clear();
    status.set_state(&spec.graph, &state, &|id, attempt| {
        child_name(&seen.flow.name, spec, id, attempt)
    });
    for node in &mut status.nodes {
        if node.state == NodePhase::Waiting {
            node.results.clear();
            node.reason.clear();
            node.message.clear();
            node.digest.clear();
        }
    }
    memory.refused.clear();
    memory.troubles.clear();
}

/// How the child of an attempt stands.
fn look(memory: &Memory, seen: &Seen<'_>, spec: &FlowSpec, id: InstanceId, attempt: u32) -> End {
    let key = child_key(&memory.status, &seen.flow.name, spec, id, attempt);
    let node = spec.graph.nodes().get(id.node);
    let is_its = |child: &Child| {
        let is_nodes = node.is_some_and(|n| n.name == child.node);
        is_nodes && child.index == id.index && child.attempt == attempt
    };
    look_at(memory, seen, &key, &is_its)
}

/// How the child of this name stands, where it is the one that is meant: another node may have had one of
/// the name.
fn look_at(
    memory: &Memory,
    seen: &Seen<'_>,
    key: &ChildKey,
    is_it: &dyn Fn(&Child) -> bool,
) -> End {
    if let Some(child) = seen.children.get(key).filter(|c| is_it(c)) {
        return child.seen.clone();
    }
    if seen.busy.children.contains(key) {
        return End::Unknown;
    }
    match memory.refused.get(key) {
        Some(_) => End::Failed("Refused".to_owned()),
        None => End::Absent,
    }
}

fn find<'a>(children: &'a OfFlow, name: &str) -> Option<&'a Arc<Child>> {
    let of = |kind| children.get(&(kind, name.to_owned()));
    of(ChildKind::Job).or_else(|| of(ChildKind::Task))
}

/// When something that follows a time by so many seconds is due.
fn due(at: Timestamp, seconds: u32) -> Timestamp {
    later(at, Duration::from_secs(seconds.into()))
}

/// Whether the children of a flow that succeeded go.
fn deletes(spec: &FlowSpec, status: &JobFlowStatus) -> bool {
    spec.spec.retain_policy == RetainPolicy::DeleteOnSuccess
        && status.phase == JobFlowPhase::Succeeded
}

#[cfg(test)]
mod tests;
