//! What is known of a flow's run: for the table, JSON and the report.

use std::collections::BTreeMap;

use baton_api::flow_status::{FlowNodeStatus, JobFlowPhase, JobFlowStatus};
use baton_flow::{Graph, InstanceId, NodePhase, StopReason};
use baton_protocol::Timestamp;

use super::child::Told;
use crate::show::style::span;

/// A flow's run.
#[derive(Debug)]
pub struct FlowStory {
    /// The flow's name.
    pub name: String,
    /// Where it was read from: a file's name, or `-`.
    pub source: String,
    /// Its graph.
    pub graph: Graph,
    /// How it stands, as a cluster would tell it.
    pub status: JobFlowStatus,
    /// What is known of each attempt that is over.
    pub attempts: BTreeMap<(InstanceId, u32), Told>,
    /// What a person should know of this run besides.
    pub notes: Vec<String>,
    /// Somebody stopped it.
    pub cancelled: bool,
    /// When it began.
    pub started_at: Timestamp,
    /// When nothing of it ran any more.
    pub finished_at: Timestamp,
}

impl FlowStory {
    /// The exit code: 0 where the flow succeeded; 130 where it was stopped, 124 where its time was up, 1
    /// otherwise.
    pub fn exit_code(&self) -> i32 {
        let stopped = self.status.stopped.as_ref().map(|s| s.reason);
        match self.status.phase {
            _ if self.cancelled => baton_steps::CANCELLED_EXIT_CODE,
            JobFlowPhase::Succeeded => 0,
            JobFlowPhase::Cancelled => baton_steps::CANCELLED_EXIT_CODE,
            JobFlowPhase::Failed
                if stopped == Some(StopReason::DeadlineExceeded) && self.is_stop_the_cause() =>
            {
                baton_protocol::exit::TIMED_OUT
            }
            _ => 1,
        }
    }

    /// Whether it was stopped before any node failed.
    pub fn is_stop_the_cause(&self) -> bool {
        let cause = self.status.cause.as_ref();
        cause.is_some_and(|cause| cause.node.is_empty())
    }

    /// `Failed (BackoffLimitExceeded) after 3.2s: 3 of 5 flows succeeded. flow "b" failed: ...`
    pub fn headline(&self) -> String {
        let status = &self.status;
        let took = span(self.finished_at.since(self.started_at));
        let count = |state| status.nodes.iter().filter(|n| n.state == state).count();
        let mut counts = format!(
            "{} of {} succeeded",
            count(NodePhase::Succeeded),
            status.nodes.len()
        );
        let skipped = count(NodePhase::Skipped);
        if skipped > 0 {
            counts.push_str(&format!(", {skipped} skipped"));
        }
        match status.phase {
            JobFlowPhase::Succeeded => format!("Succeeded in {took}: {counts}"),
            JobFlowPhase::Failed => format!(
                "Failed ({}) after {took}: {counts}. {}",
                status.reason, status.message
            ),
            JobFlowPhase::Cancelled => format!("Cancelled after {took}: {counts}"),
            JobFlowPhase::Suspended => "Suspended: nothing new is let go".to_owned(),
            JobFlowPhase::Pending | JobFlowPhase::Running => format!("{:?}", status.phase),
            _ => status.message.clone(),
        }
    }

    /// What is known of a node's attempts, in order.
    pub fn attempts_of(&self, place: usize) -> impl Iterator<Item = (InstanceId, u32, &Told)> {
        let all = self.attempts.iter();
        all.filter(move |((id, _), _)| id.node == place)
            .map(|((id, attempt), told)| (*id, *attempt, told))
    }
}

/// How long a node ran, where it did.
pub(super) fn ran(node: &FlowNodeStatus) -> Option<String> {
    let (start, end) = (node.started_at?, node.finished_at?);
    Some(span(end.since(start)))
}
