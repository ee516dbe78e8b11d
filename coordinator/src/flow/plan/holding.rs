//! A flow whose spec cannot be taken.

use baton_api::flow_status::FlowNodeStatus;
use baton_flow::{
    Action, Begin, Graph, InstanceId, Node, Rules, Seen as End, State, actions, fold,
};
use baton_protocol::Timestamp;

use super::acting::stop;
use super::{Memory, Next, Seen, find, look_at, results};
use crate::flow::children::ChildKind;
use crate::flow::present::{accepted, present};

/// A change that is refused: what runs goes on, nothing is let go, until the spec is one that can be
/// taken. What succeeds meanwhile is recorded; what a failure means, the spec has to say. It can still be
/// cancelled, or go on to stop; `finally` nodes run on, and those that wait are none that it lets go.
pub(super) fn hold(
    memory: &mut Memory,
    seen: &Seen<'_>,
    why: &str,
    now: Timestamp,
    next: &mut Next,
) {
    let message = format!("the change is refused, and nothing new is let go: {why}");
    memory.note(true, "ChangeRefused", &message);
    let said = Some(("ChangeRefused", message.as_str()));
    accepted(&mut memory.status, seen.flow.generation, said, now);
    if memory.status.finished_at.is_some() {
        return;
    }
    results::take(memory, seen);
    let cancelled = seen.flow.cancel;
    // The nodes that are known, with nothing between them.
    let node = |node: &FlowNodeStatus| Node {
        name: node.name.clone(),
        finally: node.finally,
        ..Node::default()
    };
    let nodes = memory.status.nodes.iter().map(node).collect();
    let Ok(graph) = Graph::new(nodes) else {
        return;
    };
    let rules = Rules {
        cancelled,
        suspended: !cancelled,
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
    let look = |memory: &Memory, id| look_at(memory, seen, &(kind(id), name(id, 0)), &|_| true);
    let state = memory.status.state(&graph);
    let known = |id, _| match look(memory, id) {
        End::Failed(_) | End::Absent if !cancelled || graph.is_finally(id.node) => End::Unknown,
        told => told,
    };
    let mut begin = |_: &State, _| Begin::Wait;
    let state = fold(&graph, &rules, &state, now, &known, &mut begin);
    memory.status.set_state(&graph, &state, &name);
    let generation = memory.status.observed_generation;
    present(memory, state.phase(), false, generation, now);
    for action in actions(&graph, &rules, &state, now, &|id, _| look(memory, id)) {
        if let Action::Stop { id, attempt } = action {
            stop(memory, seen, &(kind(id), name(id, attempt)), now, next);
        }
    }
}
