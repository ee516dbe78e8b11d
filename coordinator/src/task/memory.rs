//! What the controller remembers of a Task between two looks at it. All of it may be lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use baton_api::status::{CallbackStatus, TaskPhase, TaskStatus};
use baton_pod::Ordered;
use baton_protocol::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::fold;
use super::runs::INVALID;
use crate::child::Note;
use crate::clock::{earlier, later};
use crate::text::cut;
use crate::trouble::Trouble;

/// Longest answer of the API server that is kept, in characters.
const MAX_ERROR: usize = 1000;
/// Why a result is not in a status.
const TOO_LARGE: &str = "the Task would be too large for the API server";

/// What is remembered of one Task.
#[derive(Debug, Default)]
pub struct Memory {
    /// Its status, with everything that is known.
    pub status: TaskStatus,
    /// Its status as the API server has it.
    pub durable: TaskStatus,
    /// How the pod without the agent's volume is ordered, by its UID.
    pub(super) driven: Option<(String, Ordered)>,
    /// The pod of this run, as it was seen last.
    pub(super) last: Option<Arc<Pod>>,
    /// UIDs of the pods that this controller told to go.
    pub(super) deleted: Option<String>,
    /// UID of the pod that is gone, if `last` is what it was then.
    pub(super) gone: Option<String>,
    /// UID of the pod that was ended for want of the agent on its node.
    pub(super) misplaced: Option<String>,
    /// How often the pod's node had got the agent when the pod came there; see `plan::misplaced`.
    pub(super) arrivals: Option<u64>,
    /// How often it had come when the pod was last found without it.
    pub(super) misplaced_at: Option<u64>,
    /// UID of the pod that was told to go for another run's.
    pub(super) superseded: Option<String>,
    /// UID of the pod that was asked to cancel, or has the annotation.
    pub(super) cancel_asked: Option<String>,
    /// What keeps a pod from being made, or a call from succeeding.
    pub(super) trouble: Trouble,
    /// What keeps the status from being written.
    pub(super) write_trouble: Trouble,
    /// The server does not take the status, and there is nothing to leave out of it.
    pub(super) is_refused: bool,
    /// Since when what is waited for is so.
    since: BTreeMap<Waiting, Timestamp>,
    /// The right to write the status.
    pub(super) tokens: Tokens,
    /// Kubernetes Events that are to be written.
    pub(super) notes: Vec<Note>,
    /// The message that was noted last.
    noted: String,
    /// Something waits for the status to be durable.
    pub is_awaited: bool,
    /// Callbacks told how far they came in this run.
    pub(super) callbacks_known: bool,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Waiting {
    /// The pod is bound to a node without the agent's volume.
    Misplaced,
    /// The pod ended, and its agent has not told the end.
    PodOver,
    /// The pod is gone, and its agent has not told the end.
    PodGone,
    /// The run is over, and more may be learned of why.
    Refinement,
    /// The pod was asked to cancel.
    Cancel,
    /// The status differs from what is durable.
    Dirty,
}

/// The right to write a status: two at once, then one a second; the last one is kept for the write
/// that ends a run.
#[derive(Debug, Clone)]
pub(super) struct Tokens {
    /// When the bucket was or will be full.
    full_at: Timestamp,
}

const SECOND: Duration = Duration::from_secs(1);

impl Default for Tokens {
    fn default() -> Self {
        Tokens {
            full_at: Timestamp(std::time::SystemTime::UNIX_EPOCH),
        }
    }
}

impl Tokens {
    /// When there is a token for this write.
    pub(super) fn ready_at(&self, ends_run: bool) -> Timestamp {
        match ends_run {
            true => earlier(self.full_at, SECOND),
            false => self.full_at,
        }
    }

    pub(super) fn take(&mut self, now: Timestamp) {
        self.full_at = later(self.full_at.max(now), SECOND);
    }
}

impl Memory {
    /// What is known of a Task that was not seen before: its status.
    pub fn new(status: TaskStatus) -> Memory {
        Memory {
            durable: status.clone(),
            status,
            ..Memory::default()
        }
    }

    /// Since when something is so: from now on, where it was not.
    pub(super) fn since(&mut self, what: Waiting, now: Timestamp) -> Timestamp {
        *self.since.entry(what).or_insert(now)
    }

    /// Something is no longer so.
    pub(super) fn over(&mut self, what: Waiting) {
        self.since.remove(&what);
    }

    /// Forgets what was about the pod of the run before.
    pub(super) fn forget_pod(&mut self) {
        self.driven = None;
        self.last = None;
        self.gone = None;
        self.misplaced = None;
        self.superseded = None;
        self.arrivals = None;
        self.misplaced_at = None;
        self.cancel_asked = None;
        self.trouble = Trouble::default();
        self.since.retain(|what, _| *what == Waiting::Dirty);
    }

    /// Has an event written, unless the same was the last one.
    pub(super) fn note(&mut self, is_warning: bool, reason: &str, message: &str) {
        let key = format!("{reason}: {message}");
        if self.noted != key {
            self.noted = key;
            self.notes.push(Note {
                is_warning,
                reason: reason.to_owned(),
                message: message.to_owned(),
            });
        }
    }

    /// The status was written; where that ended a run badly, an event says so.
    pub fn wrote(&mut self, status: TaskStatus) {
        let ended = status.phase.is_over()
            && !(self.durable.run == status.run && self.durable.phase.is_over());
        if ended && matches!(status.phase, TaskPhase::Failed | TaskPhase::TimedOut) {
            self.note(true, &status.reason, &status.message);
        }
        self.durable = status;
        self.write_trouble = Trouble::default();
        self.is_refused = false;
        self.over(Waiting::Dirty);
    }

    /// The pod of the run was made.
    pub(super) fn made(&mut self, pod: &Pod) {
        super::plan::set_pod(&mut self.status, pod);
        self.went_well();
    }

    /// A pod is gone, and this is what it was last.
    pub(super) fn saw_last(&mut self, pod: Arc<Pod>) {
        let uid = &pod.metadata.uid;
        let known = self.status.pod.as_ref().map(|p| &p.uid);
        if uid.is_some() && uid.as_ref() == known {
            self.gone.clone_from(uid);
            self.last = Some(pod);
        }
    }

    /// A call went well.
    pub(super) fn went_well(&mut self) {
        self.trouble = Trouble::default();
    }

    /// A call failed, and is tried again later.
    pub(super) fn failed(&mut self, note: bool, reason: &str, message: &str, now: Timestamp) {
        let message = cut(message, MAX_ERROR);
        if note {
            self.note(true, reason, &message);
        }
        self.trouble.add(reason, message, now);
    }

    /// The server will never take this pod.
    pub(super) fn refused(&mut self, message: &str, now: Timestamp) {
        fold::lose(&mut self.status, INVALID, message, now);
    }

    /// The status could not be written.
    pub(super) fn failed_write(&mut self, message: &str, now: Timestamp) {
        self.write_trouble
            .add("WriteFailed", cut(message, MAX_ERROR), now);
    }

    /// The server will never take this status: where it is too large, what is largest in it goes, so that the Task can
    /// end.
    pub(super) fn refused_write(&mut self, message: &str, is_too_large: bool, now: Timestamp) {
        let is_shorter = is_too_large && self.status.shorten(TOO_LARGE);
        self.is_refused = !is_shorter;
        let message = match is_shorter {
            true => {
                format!("{message}; results and long messages of steps are left out of the status")
            }
            false => message.to_owned(),
        };
        let message = cut(&message, MAX_ERROR);
        self.note(true, "WriteFailed", &message);
        self.write_trouble.add("WriteFailed", message, now);
    }

    /// The right to write the status is used.
    pub(super) fn take_token(&mut self, now: Timestamp) {
        self.tokens.take(now);
    }

    /// Whether something is known that is not durable.
    pub(super) fn is_dirty(&self) -> bool {
        self.status != self.durable && (!self.status.phase.is_over() || self.is_final())
    }

    /// Whether the end of this run is durable.
    pub fn is_final(&self) -> bool {
        self.durable.run == self.status.run && self.durable.phase.is_over()
    }

    /// Takes how far the callbacks of a run came.
    pub(super) fn take_progress(&mut self, run: u32, callbacks: Vec<CallbackStatus>) {
        if run == self.status.run {
            self.callbacks_known = true;
            self.status.callbacks = callbacks;
        }
    }
}
