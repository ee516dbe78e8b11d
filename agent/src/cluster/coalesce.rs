//! When which annotations are written: pure, with the clock given.
//!
//! The order of a pod with the volume changes as often as its steps end; its annotation is a record
//! for people and for the API server, so it follows: after [`QUIET`] without a change, or [`PATIENCE`]
//! after the first one. Where the annotation itself is the order, it is written at once. All writes of
//! a node share one allowance, and one pause while the API server does not take them.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use baton_events::PodRef;

/// Annotations of a pod, by name.
pub type Annotations = BTreeMap<String, String>;

/// Time without a change after which the annotation follows: the calls of the API server that a Task
/// costs are its steps' own, and steps that are shorter cost no more.
pub const QUIET: Duration = Duration::from_secs(30);
/// Longest time from a change to its annotation, and shortest between two that follow.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Writes at once, before the allowance counts.
const BURST: usize = 40;
/// Time in which the allowance holds for [`BURST`] writes: 20 a second.
const PERIOD: Duration = Duration::from_secs(2);
/// First pause after a failed write at most; it doubles with each failure.
const PAUSE: Duration = Duration::from_millis(500);
/// Longest pause.
const MAX_PAUSE: Duration = Duration::from_secs(20);

/// How soon something is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// It follows.
    Soon,
    /// It is the order itself, or the last.
    Now,
}

/// What came of a write.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Written {
    /// It is there.
    Done,
    /// There is no such pod any more, or it will never take this.
    Gone,
    /// It failed, and may go well later. `jitter` from 0 to 1 spreads nodes that failed together.
    Failed {
        /// The spread.
        jitter: f64,
    },
}

/// A pod's annotations that are to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// Of which pod.
    pub pod: PodRef,
    /// Which.
    pub annotations: Annotations,
}

/// All writes of a node.
#[derive(Debug, Default)]
pub struct Coalescer {
    pods: BTreeMap<String, Entry>,
    /// The times of the latest writes, [`BURST`] of them at most.
    spent: VecDeque<Instant>,
    paused: Option<Instant>,
    failures: u32,
}

#[derive(Debug)]
struct Entry {
    pod: PodRef,
    wanted: Annotations,
    /// What the API server has, as far as is known.
    written: Option<Annotations>,
    in_flight: Option<Annotations>,
    /// When `wanted` is to be written; `None` where it is.
    due: Option<Instant>,
    /// The first change that is not written.
    first: Option<Instant>,
    last_write: Option<Instant>,
}

impl Coalescer {
    /// The pod is to have these annotations.
    pub fn want(&mut self, now: Instant, pod: &PodRef, annotations: Annotations, when: When) {
        let entry = self.pods.entry(pod.uid.clone()).or_insert_with(|| Entry {
            pod: pod.clone(),
            wanted: Annotations::new(),
            written: None,
            in_flight: None,
            due: None,
            first: None,
            last_write: None,
        });
        // What is the last may be what it is already, and wait.
        let hurries = when == When::Now && entry.due.is_some();
        if entry.wanted != annotations || hurries {
            entry.wanted = annotations;
            entry.schedule(now, when);
        }
    }

    /// The API server is seen to have these annotations of a pod, perhaps among others.
    pub fn saw(&mut self, uid: &str, has: &Annotations) {
        if let Some(entry) = self.pods.get_mut(uid)
            && entry.in_flight.is_none()
            && entry
                .wanted
                .iter()
                .all(|(name, value)| has.get(name) == Some(value))
        {
            entry.settled(entry.wanted.clone());
        }
    }

    /// A pod is gone: nothing of it is to be written any more.
    pub fn forget(&mut self, uid: &str) {
        self.pods.remove(uid);
    }

    /// Forgets the pods that have what they are to have and that nobody asks for any more.
    pub fn retain(&mut self, mut is_known: impl FnMut(&str) -> bool) {
        self.pods
            .retain(|uid, entry| entry.due.is_some() || entry.in_flight.is_some() || is_known(uid));
    }

    /// Everything that waits is due now, pauses and allowance aside: this program ends.
    pub fn hurry(&mut self, now: Instant) {
        self.paused = None;
        self.spent.clear();
        let waiting = self.pods.values_mut().filter(|e| e.due.is_some());
        waiting.for_each(|entry| entry.due = Some(now));
    }

    /// A write that is due. It is in flight until [`done`](Coalescer::done) tells what came of it.
    pub fn next(&mut self, now: Instant) -> Option<Write> {
        if self.open_at(now) > now {
            return None;
        }
        let ready = self.pods.values_mut().filter(|e| e.is_ready());
        let entry = ready
            .filter(|e| e.due.is_some_and(|due| due <= now))
            .min_by_key(|e| e.due)?;
        entry.due = None;
        entry.first = None;
        entry.last_write = Some(now);
        entry.in_flight = Some(entry.wanted.clone());
        if self.spent.len() >= BURST {
            self.spent.pop_front();
        }
        self.spent.push_back(now);
        Some(Write {
            pod: entry.pod.clone(),
            annotations: entry.wanted.clone(),
        })
    }

    /// When [`next`](Coalescer::next) is to be asked again; `None` where nothing waits.
    pub fn wake_at(&self, now: Instant) -> Option<Instant> {
        let ready = self.pods.values().filter(|e| e.is_ready());
        let due = ready.filter_map(|e| e.due).min()?;
        Some(due.max(self.open_at(now)))
    }

    /// Tells what came of a write of this pod.
    pub fn done(&mut self, now: Instant, uid: &str, written: Written) {
        match written {
            Written::Done | Written::Gone => {
                self.failures = 0;
                self.paused = None;
            }
            Written::Failed { jitter } => {
                let most = PAUSE
                    .saturating_mul(1 << self.failures.min(10))
                    .min(MAX_PAUSE);
                self.failures = self.failures.saturating_add(1);
                // Half to all of it.
                self.paused = Some(now + most.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0));
            }
        }
        if written == Written::Gone {
            self.pods.remove(uid);
            return;
        }
        let Some(entry) = self.pods.get_mut(uid) else {
            return;
        };
        let Some(sent) = entry.in_flight.take() else {
            return;
        };
        if written != Written::Done {
            entry.due = Some(entry.due.unwrap_or(now));
        } else if sent == entry.wanted {
            entry.settled(sent);
        } else {
            entry.written = Some(sent);
        }
    }

    /// How many pods wait for a write.
    pub fn waiting(&self) -> usize {
        self.pods.values().filter(|e| e.due.is_some()).count()
    }

    /// When the allowance and the pause let the next write go.
    fn open_at(&self, now: Instant) -> Instant {
        let allowance = match self.spent.front() {
            Some(oldest) if self.spent.len() >= BURST => *oldest + PERIOD,
            _ => now,
        };
        allowance.max(self.paused.unwrap_or(now))
    }
}

impl Entry {
    fn is_ready(&self) -> bool {
        self.in_flight.is_none()
    }

    fn schedule(&mut self, now: Instant, when: When) {
        if self.in_flight.is_none() && self.written.as_ref() == Some(&self.wanted) {
            self.due = None;
            self.first = None;
            return;
        }
        let first = *self.first.get_or_insert(now);
        let due = match when {
            When::Now => now,
            When::Soon => {
                let spaced = self.last_write.map_or(now, |at| at + PATIENCE);
                (now + QUIET).min(first + PATIENCE).max(spaced)
            }
        };
        // What was urgent stays so.
        let urgent = self.due.filter(|at| *at <= now);
        self.due = Some(urgent.unwrap_or(due));
    }

    fn settled(&mut self, annotations: Annotations) {
        self.written = Some(annotations);
        self.due = None;
        self.first = None;
    }
}

#[cfg(test)]
mod tests;
