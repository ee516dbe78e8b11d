//! What the controller remembers of a JobFlow between two looks at it. All of it may be lost.

use std::collections::{BTreeMap, BTreeSet};

use baton_api::flow_status::{FlowNodeStatus, JobFlowPhase, JobFlowStatus, MAX_NODE_MESSAGE};
use baton_flow::NodePhase;
use baton_protocol::Timestamp;

use super::children::ChildKey;
use crate::child::Note;
use crate::text::cut;
use crate::trouble::Trouble;

/// Longest answer of the API server that is kept, in characters.
const MAX_ERROR: usize = 1000;
/// Most Kubernetes Events of one flow that wait to be written; more are dropped.
const MAX_NOTES: usize = 100;

/// Why a child could not be stopped or deleted.
pub(super) const CALL_FAILED: &str = "CallFailed";

/// What is remembered of one flow.
#[derive(Debug, Default)]
pub struct Memory {
    /// Its status, with everything that is known.
    pub status: JobFlowStatus,
    /// Its status as the API server has it.
    pub durable: JobFlowStatus,
    /// The generation of the spec by which the status was found.
    pub generation: Option<i64>,
    /// What nodes wait for, by name: one word, and a sentence.
    pub waiting: BTreeMap<String, (String, String)>,
    /// Children that the API server will never take, and its answers.
    pub refused: BTreeMap<ChildKey, String>,
    /// Calls about children that failed.
    pub troubles: BTreeMap<ChildKey, Trouble>,
    /// What keeps the status from being written, or the flow from being deleted.
    pub write_trouble: Trouble,
    /// UIDs of children that this controller deleted.
    pub deleted: BTreeSet<String>,
    /// Since when the status differs from what is durable.
    pub dirty_since: Option<Timestamp>,
    /// Kubernetes Events that are to be written.
    pub notes: Vec<Note>,
    /// What was noted last of what holds for long.
    noted: BTreeSet<String>,
}

impl Memory {
    /// What is known of a flow that was not seen before: its status.
    pub fn new(status: JobFlowStatus) -> Memory {
        Memory {
            durable: status.clone(),
            status,
            ..Memory::default()
        }
    }

    /// The spec changed, which was judged by the status that is durable: what else was decided is
    /// forgotten, and decided again by the new one. How far callbacks came is no decision.
    pub fn judge_by(&mut self, generation: Option<i64>) {
        self.generation = generation;
        let told = std::mem::replace(&mut self.status, self.durable.clone());
        self.keep_told(told);
    }

    /// Somebody else wrote the status: what they know counts, but for how far our callbacks came.
    pub fn replace(&mut self, status: JobFlowStatus) {
        let told = std::mem::replace(self, Memory::new(status)).status;
        self.keep_told(told);
    }

    fn keep_told(&mut self, told: JobFlowStatus) {
        if told.run == self.status.run && !told.callbacks.is_empty() {
            self.status.callbacks = told.callbacks;
        }
    }

    /// Has an event written, unless the same was written before.
    pub fn note(&mut self, is_warning: bool, reason: &str, message: &str) {
        let key = format!("{reason}: {message}");
        if self.noted.len() < MAX_NOTES && self.noted.insert(key) && self.notes.len() < MAX_NOTES {
            self.tell(is_warning, reason, message);
        }
    }

    /// Has an event written that comes once in a run, however many were written before.
    fn tell(&mut self, is_warning: bool, reason: &str, message: &str) {
        self.notes.push(Note {
            is_warning,
            reason: reason.to_owned(),
            message: message.to_owned(),
        });
    }

    /// The status was written: what is news in it becomes events.
    pub fn wrote(&mut self, status: JobFlowStatus) {
        let old = std::mem::replace(&mut self.durable, status);
        self.write_trouble = Trouble::default();
        self.dirty_since = None;
        if self.durable.run != old.run && old.run > 0 {
            self.noted.clear();
            let message = format!("run {} begins", self.durable.run);
            self.tell(false, "RunsAgain", &message);
        }
        let was = |node: &FlowNodeStatus| old.node(&node.name).map(|n| n.state);
        let failed: Vec<_> = self
            .durable
            .nodes
            .iter()
            .filter(|n| n.state == NodePhase::Failed && was(n) != Some(NodePhase::Failed))
            .map(|n| format!("flow {:?} failed: {}", n.name, why(&n.reason, &n.message)))
            .collect();
        for message in failed {
            self.note(true, "FlowFailed", &message);
        }
        let (phase, message) = (self.durable.phase, self.durable.message.clone());
        if phase.is_over() && !(old.phase.is_over() && old.run == self.durable.run) {
            let is_warning = phase == JobFlowPhase::Failed;
            self.tell(is_warning, &format!("{phase:?}"), &message);
        }
    }

    /// A call about a child failed, and is tried again later.
    pub fn failed(&mut self, key: ChildKey, reason: &str, message: &str, now: Timestamp) {
        let message = cut(message, MAX_ERROR);
        self.note(true, reason, &message);
        self.troubles
            .entry(key)
            .or_default()
            .add(reason, message, now);
    }

    /// The API server will never take a child.
    pub fn refuse(&mut self, key: ChildKey, message: &str) {
        self.troubles.remove(&key);
        self.refused.insert(key, cut(message, MAX_NODE_MESSAGE));
    }

    /// A call about the flow itself failed.
    pub fn failed_write(&mut self, message: &str, now: Timestamp) {
        let message = cut(message, MAX_ERROR);
        // Where it is too large, say: nobody would know why nothing goes on.
        if self.write_trouble.is_some() {
            let message = format!("the status cannot be written: {message}");
            self.note(true, "WriteFailed", &message);
        }
        self.write_trouble.add("WriteFailed", message, now);
    }
}

/// A word, and its sentence where there is one.
fn why(reason: &str, message: &str) -> String {
    match message {
        "" => reason.to_owned(),
        message => format!("{reason}: {message}"),
    }
}
