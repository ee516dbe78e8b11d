//! What the loop hears: ends of attempts, and requests to stop.

use baton_api::flow_status::{FlowResult, MAX_NODE_MESSAGE};
use baton_flow::{Attempt, Cause, InstanceId, NodePhase, SkipReason, StopReason};

use super::child::Ended;
use super::drive::{Event, Run, now};
use crate::run::shown::warn;
use crate::show::style::fit;

/// Most bytes of the results of all nodes together, as in a cluster.
const MAX_FLOW_RESULTS_BYTES: usize = 256 << 10;

impl Run<'_> {
    /// Something happened.
    pub(super) fn take(&mut self, event: Event) {
        match event {
            Event::Stop { nth } => self.stop(nth),
            Event::Ended {
                id,
                attempt,
                ended,
                tells,
            } => {
                let children = self.live.remove(&(id, attempt));
                if let (Some(children), true) = (children, tells) {
                    self.telling.insert((id, attempt), children);
                }
                self.ended(id, attempt, *ended);
            }
            Event::Told { id, attempt, lost } => {
                self.telling.remove(&(id, attempt));
                self.notes.extend(lost);
            }
        }
    }

    /// Somebody asks for the end, for the `nth` time.
    fn stop(&mut self, nth: u32) {
        for children in self.telling.values() {
            children.stop(children.stops() + 1);
        }
        if self.state.finished_at.is_some() {
            return;
        }
        if !std::mem::replace(&mut self.cancelled, true) {
            let said = "cancelled: stopping; once more kills everything";
            warn(self.terminal, said);
            self.terminal.flush();
        }
        if nth > 1 {
            self.killed = true;
            self.live.values().for_each(|children| children.stop(2));
        }
    }

    fn ended(&mut self, id: InstanceId, attempt: u32, ended: Ended) {
        let is_list = self
            .flow
            .spec
            .node(id.node)
            .is_some_and(|n| n.for_each.is_some());
        let results = ended.results();
        let size = |all: &[FlowResult]| -> usize {
            let one = |r: &FlowResult| r.step.len() + r.name.len() + r.value.len();
            all.iter().map(one).sum()
        };
        let others = self.status.nodes.iter().enumerate();
        let others = others.filter(|(place, _)| *place != id.node);
        let total: usize = others.map(|(_, n)| size(&n.results)).sum();
        let fit_in = total + size(&results) <= MAX_FLOW_RESULTS_BYTES;
        if let Some(node) = self.status.nodes.get_mut(id.node) {
            if !is_list && fit_in {
                node.results = results;
            } else if !is_list {
                let said = format!(
                    "results of flow {} are left out: those of all flows would be more than {MAX_FLOW_RESULTS_BYTES} bytes",
                    node.name
                );
                warn(self.terminal, &said);
                self.notes.push(said);
            }
            if let Some(job) = node.jobs.get_mut(id.index) {
                job.message = fit(&ended.message, MAX_NODE_MESSAGE);
            }
        }
        self.over.insert((id, attempt), ended.seen);
        if let Some(told) = ended.told {
            self.attempts.insert((id, attempt), told);
        }
    }

    /// Somebody asked twice: what did not run will not.
    pub(super) fn give_up(&mut self) {
        let now = now();
        let why = StopReason::Cancelled;
        self.state.stopped.get_or_insert((why, now));
        self.state.cause.get_or_insert(Cause::Stopped(why));
        self.state.started_at.get_or_insert(now);
        for node in &mut self.state.nodes {
            for instance in node.instances.iter_mut().filter(|i| !i.attempt.is_over()) {
                instance.attempt = Attempt::Cancelled;
                instance.retry_at = None;
                instance.finished_at = Some(now);
            }
            match node.phase {
                NodePhase::Waiting => {
                    node.phase = NodePhase::Skipped;
                    node.skipped = Some(SkipReason::Stopped(why));
                }
                NodePhase::Running => node.phase = NodePhase::Cancelled,
                _ => {}
            }
        }
        self.state.finished_at.get_or_insert(now);
    }
}
