//! What Jobs and Tasks that are over leave: results, and why they failed.

use baton_api::flow_status::{FlowJobState, FlowResult};
use baton_flow::{InstanceId, NodePhase, Seen as End};

use baton_protocol::Timestamp;

use super::{Memory, Seen};
use crate::flow::children::ChildKind;
use crate::flow::make::child_kind;
use crate::flow::object::FlowSpec;

/// Most bytes of the results of all nodes together.
const MAX_FLOW_RESULTS_BYTES: usize = 256 << 10;

/// Takes the results of Tasks that are over, before what depends on them is looked at.
pub(super) fn take(memory: &mut Memory, seen: &Seen<'_>) {
    let status = &mut memory.status;
    let size = |results: &[FlowResult]| -> usize {
        let one = |r: &FlowResult| r.step.len() + r.name.len() + r.value.len();
        results.iter().map(one).sum()
    };
    let mut left_out = Vec::new();
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
            left_out.push(node.name.clone());
        } else {
            total = total - known + new;
            node.results.clone_from(&child.results);
        }
    }
    for name in left_out {
        let message = format!(
            "results of flow {name:?} are left out: those of all flows would be more than {MAX_FLOW_RESULTS_BYTES} bytes"
        );
        // While the flow is held, a failed Task is looked at again and again.
        memory.note(true, "ResultsTooLong", &message);
    }
}

/// What Jobs and Tasks that failed say of it, and when nodes without any were over.
pub(super) fn tell_ends(memory: &mut Memory, seen: &Seen<'_>, spec: &FlowSpec, now: Timestamp) {
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
        if node.state.is_over() {
            node.finished_at.get_or_insert(now);
        }
        let failed = node.jobs.iter().find(|j| j.state == FlowJobState::Failed);
        if let (NodePhase::Failed, Some(job)) = (node.state, failed) {
            node.message.clone_from(&job.message);
        }
    }
}
