//! What is there and what should be -> what to do next.
//!
//! [`plan`] folds what is seen into the status, and gives what follows from the part of it that is
//! durable already: a Job is made once it is written that it is to be made, and what depends on its end
//! once the end is written.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use baton_api::flow::RetainPolicy;
use baton_api::flow_status::{FlowJobState, JobFlowPhase, JobFlowStatus, MAX_FLOW_JOBS};
use baton_flow::{
    Action, Begin, Graph, InstanceId, Node, NodePhase, Rules, Seen as End, State, actions, fold,
};
use baton_protocol::Timestamp;

use super::change::{kept_differs, refused, seal};
use super::children::{Child, ChildKey, ChildKind, OfFlow};
use super::make::{Maker, Object, Why, child_kind, child_name, result_of};
use super::memory::Memory;
use super::object::{FlowSpec, FlowView, Template};
use super::present::{accepted, present};
use crate::child::Note;
use crate::trouble::later;

mod ending;
mod writing;

/// Most bytes of the results of all nodes together.
pub const MAX_FLOW_RESULTS_BYTES: usize = 256 << 10;

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
    match &seen.flow.spec {
        Ok(spec) => {
            let refused = match seen.flow.generation == memory.status.observed_generation {
                true => Vec::new(),
                false => refused(&memory.status, spec),
            };
            match refused.as_slice() {
                [] => run(memory, seen, spec, now, &mut next),
                found => hold(memory, seen, &found.join("; "), now, &mut next),
            }
        }
        Err(mistakes) if memory.status.started_at.is_none() => {
            invalid(&mut memory.status, seen.flow, mistakes, now);
        }
        Err(mistakes) => hold(memory, seen, mistakes, now, &mut next),
    }
    ending::strays(memory, seen, &mut next);
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

/// A change that is refused: what runs goes on, nothing is let go, until the spec is one that can be
/// taken. It can still be cancelled.
fn hold(memory: &mut Memory, seen: &Seen<'_>, why: &str, now: Timestamp, next: &mut Next) {
    let message = format!("the change is refused, and nothing new is let go: {why}");
    memory.note(true, "ChangeRefused", &message);
    let said = Some(("ChangeRefused", message.as_str()));
    accepted(&mut memory.status, seen.flow.generation, said, now);
    if !seen.flow.cancel || memory.status.finished_at.is_some() {
        return;
    }
    // The nodes that are known, with nothing between them.
    let node = |name: &str| Node {
        name: name.to_owned(),
        ..Node::default()
    };
    let nodes = memory.status.nodes.iter().map(|n| node(&n.name)).collect();
    let Ok(graph) = Graph::new(nodes) else {
        return;
    };
    let rules = Rules {
        cancelled: true,
        ..Rules::default()
    };
    let names = memory.status.clone();
    let name = |id: InstanceId, _| {
        let node = names.nodes.get(id.node);
        let job = node.and_then(|n| n.jobs.get(id.index));
        job.map(|j| j.name.clone()).unwrap_or_default()
    };
    let kind = |id| match find(seen.children, &name(id, 0)) {
        Some(child) => child.kind,
        None => ChildKind::Job,
    };
    let state = memory.status.state(&graph);
    let look = |id, attempt| look(memory, seen, (kind(id), name(id, attempt)));
    let mut begin = |_: &State, _| Begin::Skip;
    let state = fold(&graph, &rules, &state, now, &look, &mut begin);
    memory.status.set_state(&graph, &state, &name);
    let generation = memory.status.observed_generation;
    present(memory, state.phase(), false, generation, now);
    let look = |id, attempt| self::look(memory, seen, (kind(id), name(id, attempt)));
    for action in actions(&graph, &rules, &state, now, &look) {
        if let Action::Stop { id, attempt } = action {
            stop(memory, seen, &(kind(id), name(id, attempt)), next);
        }
    }
}

/// The normal course.
fn run(memory: &mut Memory, seen: &Seen<'_>, spec: &FlowSpec, now: Timestamp, next: &mut Next) {
    again(memory, seen, spec, now);
    if memory.status.finished_at.is_some() {
        return ending::settle(memory, seen, spec, now, next);
    }
    let status = &mut memory.status;
    if status.run == 0 {
        status.run = 1;
        status.rerun.clone_from(&seen.flow.rerun);
    }
    status.observed_generation = seen.flow.generation;
    accepted(status, seen.flow.generation, None, now);
    let graph = &spec.graph;
    let key = |id, attempt| {
        let name = child_name(&seen.flow.name, spec, id, attempt);
        (child_kind(spec, id), name)
    };
    take_results(memory, seen, spec);

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
        let look = |id, attempt| look(memory, seen, key(id, attempt));
        let mut starter = Starter::new(&maker);
        let mut begin = |state: &State, node| starter.begin(state, node);
        let state = fold(graph, &rules, &state, now, &look, &mut begin);
        (state, starter.waiting, starter.notes)
    };
    memory.waiting = waiting.into_iter().collect();
    for note in notes {
        memory.note(false, "TemplateWins", &note);
    }
    let name = |id, attempt| key(id, attempt).1;
    memory.status.set_state(graph, &state, &name);
    tell_ends(memory, seen, spec);
    seal(&mut memory.status, spec);
    act(memory, seen, spec, &state, now, next);
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
    let differ = kept_differs(&memory.status, spec, &state);
    if !differ.is_empty() {
        let message = format!("the re-run is refused: {}", differ.join("; "));
        memory.note(true, "RerunRefused", &message);
        let said = Some(("RerunRefused", message.as_str()));
        return accepted(&mut memory.status, seen.flow.generation, said, now);
    }
    let status = &mut memory.status;
    status.run = status.run.saturating_add(1);
    status.params_digest.clear();
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
fn look(memory: &Memory, seen: &Seen<'_>, key: ChildKey) -> End {
    if let Some(child) = seen.children.get(&key) {
        return child.seen.clone();
    }
    if seen.busy.children.contains(&key) {
        return End::Unknown;
    }
    match memory.refused.get(&key) {
        Some(_) => End::Failed("Refused".to_owned()),
        None => End::Absent,
    }
}

fn find<'a>(children: &'a OfFlow, name: &str) -> Option<&'a Arc<Child>> {
    let of = |kind| children.get(&(kind, name.to_owned()));
    of(ChildKind::Job).or_else(|| of(ChildKind::Task))
}

/// Decides what becomes of nodes whose turn has come.
struct Starter<'a> {
    maker: &'a Maker<'a>,
    waiting: Vec<(String, (String, String))>,
    notes: Vec<String>,
}

impl<'a> Starter<'a> {
    fn new(maker: &'a Maker<'a>) -> Starter<'a> {
        Starter {
            maker,
            waiting: Vec::new(),
            notes: Vec::new(),
        }
    }

    fn begin(&mut self, state: &State, place: usize) -> Begin {
        let Some(node) = self.maker.flow.spec.node(place) else {
            return Begin::Fail("there is no such flow".to_owned());
        };
        let count = match node.begin(self.maker.results) {
            Begin::Run(0) => return Begin::Run(0),
            Begin::Run(count) => count,
            other => return other,
        };
        let others: usize = state.nodes.iter().map(|n| n.instances.len()).sum();
        if others.saturating_add(count) > MAX_FLOW_JOBS {
            return Begin::Fail(format!(
                "its {count} Jobs are more than the {MAX_FLOW_JOBS} that a whole flow can have"
            ));
        }
        let first = InstanceId {
            node: place,
            index: 0,
        };
        match self.maker.make(first, 1) {
            Ok((_, overruled)) => {
                let name = &node.name;
                let note = |what| format!("flow {name:?}: {what}");
                self.notes.extend(overruled.into_iter().map(note));
                Begin::Run(count)
            }
            Err(Why::Waits(reason, message)) => {
                let why = (reason.to_owned(), message);
                self.waiting.push((node.name.clone(), why));
                Begin::Wait
            }
            Err(Why::Invalid(why)) => Begin::Fail(why),
        }
    }
}

/// Takes the results of Tasks that are over, before what depends on them is looked at.
fn take_results(memory: &mut Memory, seen: &Seen<'_>, spec: &FlowSpec) {
    let status = &mut memory.status;
    let size = |results: &[baton_api::flow_status::FlowResult]| -> usize {
        let one =
            |r: &baton_api::flow_status::FlowResult| r.step.len() + r.name.len() + r.value.len();
        results.iter().map(one).sum()
    };
    let mut total: usize = status.nodes.iter().map(|n| size(&n.results)).sum();
    for node in &mut status.nodes {
        let [job] = node.jobs.as_slice() else {
            continue;
        };
        if !matches!(job.state, FlowJobState::Starting | FlowJobState::Running) {
            continue;
        }
        let key = (ChildKind::Task, job.name.clone());
        let Some(child) = seen.children.get(&key).filter(|c| c.seen != End::Live) else {
            continue;
        };
        let known = size(&node.results);
        let new = size(&child.results);
        if total - known + new > MAX_FLOW_RESULTS_BYTES {
            node.results.clear();
            total -= known;
            let message = format!(
                "results of flow {:?} are left out: those of all flows would be more than {MAX_FLOW_RESULTS_BYTES} bytes",
                node.name
            );
            memory.notes.push(Note {
                is_warning: true,
                reason: "ResultsTooLong".to_owned(),
                message,
            });
        } else {
            total = total - known + new;
            node.results.clone_from(&child.results);
        }
    }
    let _ = spec;
}

/// What Jobs and Tasks that failed say of it.
fn tell_ends(memory: &mut Memory, seen: &Seen<'_>, spec: &FlowSpec) {
    for (place, node) in memory.status.nodes.iter_mut().enumerate() {
        for (index, job) in node.jobs.iter_mut().enumerate() {
            let told = matches!(
                job.state,
                FlowJobState::Failed | FlowJobState::Cancelled | FlowJobState::Waiting
            );
            if !told || !job.message.is_empty() || job.attempts == 0 {
                continue;
            }
            let key = (
                child_kind(spec, InstanceId { node: place, index }),
                job.name.clone(),
            );
            let refused = memory.refused.get(&key);
            let child = seen.children.get(&key).map(|c| &c.message);
            if let Some(message) = child.or(refused) {
                job.message.clone_from(message);
            }
        }
        let failed = node.jobs.iter().find(|j| j.state == FlowJobState::Failed);
        if let (NodePhase::Failed, Some(job)) = (node.state, failed) {
            node.message.clone_from(&job.message);
        }
    }
}

/// Does what follows from the state, as far as it is durable.
fn act(
    memory: &mut Memory,
    seen: &Seen<'_>,
    spec: &FlowSpec,
    state: &State,
    now: Timestamp,
    next: &mut Next,
) {
    let rules = spec.spec.rules(state.started_at);
    let key = |id, attempt| {
        let name = child_name(&seen.flow.name, spec, id, attempt);
        (child_kind(spec, id), name)
    };
    let todo = {
        let look = |id, attempt| look(memory, seen, key(id, attempt));
        actions(&spec.graph, &rules, state, now, &look)
    };
    for action in todo {
        match action {
            Action::WakeAt(at) => next.wake_at(at),
            Action::Stop { id, attempt } => stop(memory, seen, &key(id, attempt), next),
            Action::Start { id, attempt } => {
                let name = spec.graph.nodes().get(id.node).map(|n| n.name.as_str());
                if !is_durable(&memory.durable, name.unwrap_or_default(), id.index, attempt) {
                    continue;
                }
                start(memory, seen, spec, (id, attempt), now, next);
            }
        }
    }
}

/// Whether it is written that this attempt is to be made.
fn is_durable(durable: &JobFlowStatus, node: &str, index: usize, attempt: u32) -> bool {
    let job = durable.node(node).and_then(|n| n.jobs.get(index));
    job.is_some_and(|j| {
        let live = matches!(j.state, FlowJobState::Starting | FlowJobState::Running);
        live && j.attempts == attempt
    })
}

fn start(
    memory: &mut Memory,
    seen: &Seen<'_>,
    spec: &FlowSpec,
    (id, attempt): (InstanceId, u32),
    now: Timestamp,
    next: &mut Next,
) {
    let name = child_name(&seen.flow.name, spec, id, attempt);
    let key = (child_kind(spec, id), name);
    let node = spec.graph.nodes().get(id.node);
    let node = node.map(|n| n.name.clone()).unwrap_or_default();
    if let Some(trouble) = memory.troubles.get(&key) {
        let why = (trouble.reason.clone(), trouble.message.clone());
        let until = trouble.wait(now);
        memory.waiting.insert(node.clone(), why);
        if let Some(until) = until {
            return next.wake_at(until);
        }
    }
    let made = {
        let results =
            |node: &str, step: &str, name: &str| result_of(&memory.status, node, step, name);
        let maker = Maker {
            view: seen.flow,
            flow: spec,
            template: seen.template,
            results: &results,
        };
        maker.make(id, attempt)
    };
    match made {
        Ok((object, _)) => next.ops.push(Op::Create(key, object)),
        Err(Why::Waits(reason, message)) => {
            memory.waiting.insert(node, (reason.to_owned(), message));
        }
        Err(Why::Invalid(why)) => {
            memory.refuse(key, &why);
            next.wake_at(now);
        }
    }
}

fn stop(memory: &Memory, seen: &Seen<'_>, key: &ChildKey, next: &mut Next) {
    if memory.durable.stopped.is_none() {
        return;
    }
    if let Some(child) = seen.children.get(key) {
        stop_child(memory, seen, child, next);
    }
}

/// Has a child stop, once. A Job that waits in a queue has nothing to stop, and goes.
fn stop_child(memory: &Memory, seen: &Seen<'_>, child: &Arc<Child>, next: &mut Next) {
    let key = child.key();
    let is_going = child.is_deleting || memory.deleted.contains(&child.uid);
    if is_going || child.seen != End::Live || seen.busy.children.contains(&key) {
        return;
    }
    if child.kind == ChildKind::Job && child.is_suspended {
        next.ops.push(Op::Delete(child.clone()));
    } else if !child.is_stopping {
        next.ops.push(Op::Stop(child.clone()));
    }
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
