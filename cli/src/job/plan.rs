//! What the native Job controller would do, as a state machine: no clock, no processes.
//!
//! Follows the controller of Kubernetes 1.2x and later, event by event in place of sync by sync:
//! * `backoffLimit` with `Never` counts failed pods, and one more than the limit fails the Job; with
//!   `OnFailure` it counts restarts of the containers of all live pods, and reaching it fails the Job
//!   (a limit of 0 is passed by the first restart).
//! * After a failure new pods wait: 10 s, 20 s, 40 s and so on up to 6 minutes after the last failed
//!   pod; a success sets that back. Pods that run are never held up.
//! * The deadline counts from the start, or from the last resumption, and not while suspended.
//! * Pods that are deleted because there are too many, or because the Job is suspended, count as
//!   nothing. Those that are deleted because the Job failed count as failed.
//! * The final condition stands once no pod is left, terminating ones included.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::condition::Condition;
use super::spec::{Restart, Spec};

/// Most pods that one event creates; the rest follows at once, by [`Job::next_wake`].
const MAX_CREATED_AT_ONCE: u32 = 500;

/// A pod of a Job, by the order of creation from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodId(pub u32);

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Time passed; also what starts the Job.
    Tick,
    /// All containers of a pod run.
    Ready(PodId),
    /// A container of a pod failed and is to be started again (`OnFailure`).
    Restarted(PodId),
    /// A pod is over and nothing of it runs any more.
    Ended {
        /// Which.
        pod: PodId,
        /// Whether all of its containers succeeded.
        success: bool,
    },
    /// Somebody changed `parallelism`.
    Scaled(u32),
    /// Somebody changed `suspend`.
    Suspended(bool),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Start a pod.
    Create {
        /// Its id.
        pod: PodId,
        /// Its completion index, in an indexed Job.
        index: Option<u32>,
    },
    /// Stop a pod, gracefully. Its [`Event::Ended`] is awaited.
    Delete(PodId),
    /// A condition of the Job changed. After `Complete` or `Failed` nothing follows.
    Condition(Condition),
}

#[derive(Debug, Clone)]
struct Pod {
    index: Option<u32>,
    ready_since: Option<Duration>,
    restarts: u32,
    /// Deleted, and not over yet.
    terminating: bool,
}

/// A Job as it stands.
#[derive(Debug, Clone)]
pub struct Job {
    spec: Spec,
    pods: BTreeMap<PodId, Pod>,
    created: u32,
    succeeded: u32,
    failed: u32,
    completed_indexes: BTreeSet<u32>,
    /// Indexes below `fresh_index` that neither succeeded nor have an active pod.
    free_indexes: BTreeSet<u32>,
    /// From this index on, none was ever given to a pod.
    fresh_index: u32,
    failures_in_a_row: u32,
    last_failure: Duration,
    started_at: Option<Duration>,
    suspended: Option<bool>,
    /// How the Job ends, from the time that this is decided.
    verdict: Option<Condition>,
    finished: bool,
}

impl Job {
    /// A Job that waits for its first [`Event::Tick`].
    pub fn new(spec: Spec) -> Job {
        Job {
            spec,
            pods: BTreeMap::new(),
            created: 0,
            succeeded: 0,
            failed: 0,
            completed_indexes: BTreeSet::new(),
            free_indexes: BTreeSet::new(),
            fresh_index: 0,
            failures_in_a_row: 0,
            last_failure: Duration::ZERO,
            started_at: None,
            suspended: None,
            verdict: None,
            finished: false,
        }
    }

    /// Takes in what happened at `now`, the time since any fixed origin, and says what is to be done.
    ///
    /// Events about pods that are unknown or over, and any event after the final condition, mean
    /// nothing.
    pub fn apply(&mut self, now: Duration, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.finished {
            return actions;
        }
        self.observe(now, event);
        self.track_suspension(now, &mut actions);
        if self.verdict.is_none() {
            self.verdict = self.failure(now);
            if self.verdict.is_some() {
                self.failed += self.active();
                self.delete_all(&mut actions);
            }
        }
        if self.verdict.is_none() {
            self.manage(now, &mut actions);
            self.verdict = self.success();
        }
        if let Some(verdict) = self.verdict.clone().filter(|_| self.pods.is_empty()) {
            self.finished = true;
            actions.push(Action::Condition(verdict));
        }
        actions
    }

    /// The next time at which a [`Event::Tick`] changes something; `None` where only a pod can.
    pub fn next_wake(&self, now: Duration) -> Option<Duration> {
        if self.verdict.is_some() || self.spec.suspend {
            return None;
        }
        let deadline = self
            .spec
            .active_deadline
            .zip(self.started_at)
            .map(|(longest, since)| since.saturating_add(longest));
        let missing = (self.wanted() > self.active()).then(|| self.backoff_until().max(now));
        deadline.into_iter().chain(missing).min()
    }

    /// Pods that are neither over nor being deleted.
    pub fn active(&self) -> u32 {
        count(self.pods.values().filter(|pod| !pod.terminating))
    }

    /// Pods that are being deleted.
    pub fn terminating(&self) -> u32 {
        count(self.pods.values().filter(|pod| pod.terminating))
    }

    /// Pods that succeeded; in an indexed Job, indexes.
    pub fn succeeded(&self) -> u32 {
        self.succeeded
    }

    /// Pods that failed.
    pub fn failed(&self) -> u32 {
        self.failed
    }

    /// The indexes that succeeded, as `status.completedIndexes` writes them: `0-2,5`.
    pub fn completed_indexes(&self) -> String {
        let mut runs: Vec<(u32, u32)> = Vec::new();
        for index in &self.completed_indexes {
            match runs.last_mut() {
                Some((_, last)) if *last + 1 == *index => *last = *index,
                _ => runs.push((*index, *index)),
            }
        }
        let runs = runs.iter().map(|(first, last)| match last - first {
            0 => first.to_string(),
            1 => format!("{first},{last}"),
            _ => format!("{first}-{last}"),
        });
        runs.collect::<Vec<_>>().join(",")
    }

    /// The final condition, once there is one.
    pub fn finished(&self) -> Option<&Condition> {
        self.verdict.as_ref().filter(|_| self.finished)
    }

    fn observe(&mut self, now: Duration, event: Event) {
        match event {
            Event::Tick => {}
            Event::Ready(id) => {
                if let Some(pod) = self.pods.get_mut(&id) {
                    pod.ready_since.get_or_insert(now);
                }
            }
            Event::Restarted(id) => {
                if let Some(pod) = self.pods.get_mut(&id) {
                    pod.ready_since = None;
                    pod.restarts = pod.restarts.saturating_add(1);
                }
            }
            Event::Ended { pod: id, success } => match self.pods.remove(&id) {
                Some(pod) if !pod.terminating => self.count_end(now, pod.index, success),
                _ => {}
            },
            Event::Scaled(parallelism) => self.spec.parallelism = parallelism,
            Event::Suspended(suspend) => self.spec.suspend = suspend,
        }
    }

    fn count_end(&mut self, now: Duration, index: Option<u32>, success: bool) {
        if success {
            self.succeeded += 1;
            self.completed_indexes.extend(index);
            self.failures_in_a_row = 0;
        } else {
            self.failed += 1;
            self.free_indexes.extend(index);
            self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
            self.last_failure = now;
        }
    }

    fn track_suspension(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let before = self.suspended.replace(self.spec.suspend);
        if self.verdict.is_some() || before.unwrap_or(false) == self.spec.suspend {
            if self.started_at.is_none() && !self.spec.suspend {
                self.started_at = Some(now);
            }
            return;
        }
        if !self.spec.suspend {
            // The deadline counts anew.
            self.started_at = Some(now);
        }
        actions.push(Action::Condition(Condition::suspended(self.spec.suspend)));
    }

    fn failure(&self, now: Duration) -> Option<Condition> {
        let limit = self.spec.backoff_limit;
        let live = self.pods.values().filter(|pod| !pod.terminating);
        let restarts = live.fold(0_u32, |sum, pod| sum.saturating_add(pod.restarts));
        let too_many_restarts =
            self.spec.restart == Restart::OnFailure && restarts > 0 && restarts >= limit;
        if self.failed > limit || too_many_restarts {
            return Some(Condition::backoff_limit_exceeded());
        }
        let longest = self.spec.active_deadline.filter(|_| !self.spec.suspend)?;
        let active_for = now.saturating_sub(self.started_at?);
        (active_for >= longest).then(Condition::deadline_exceeded)
    }

    fn success(&self) -> Option<Condition> {
        let enough = match self.spec.completions {
            Some(completions) => self.succeeded >= completions,
            None => self.succeeded > 0,
        };
        (enough && self.active() == 0).then(Condition::complete)
    }

    /// How many pods should be active.
    fn wanted(&self) -> u32 {
        if self.spec.suspend {
            return 0;
        }
        match self.spec.completions {
            Some(completions) => completions
                .saturating_sub(self.succeeded)
                .min(self.spec.parallelism),
            // After the first success what runs is left to end, and nothing new starts.
            None if self.succeeded > 0 => self.active(),
            None => self.spec.parallelism,
        }
    }

    fn manage(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let (wanted, active) = (self.wanted(), self.active());
        if active > wanted {
            self.delete_surplus(active - wanted, actions);
        } else if wanted > active && now >= self.backoff_until() {
            for _ in 0..(wanted - active).min(MAX_CREATED_AT_ONCE) {
                actions.push(self.create());
            }
        }
    }

    /// When the next pod may be created.
    fn backoff_until(&self) -> Duration {
        match self.failures_in_a_row {
            0 => Duration::ZERO,
            failures => {
                let doubled = 1_u32.checked_shl(failures - 1).unwrap_or(u32::MAX);
                let delay = self.spec.backoff_base.saturating_mul(doubled);
                self.last_failure
                    .saturating_add(delay.min(self.spec.backoff_cap))
            }
        }
    }

    fn create(&mut self) -> Action {
        self.created += 1;
        let (pod, index) = (PodId(self.created), self.free_index());
        self.pods.insert(
            pod,
            Pod {
                index,
                ready_since: None,
                restarts: 0,
                terminating: false,
            },
        );
        Action::Create { pod, index }
    }

    /// The first index that neither succeeded nor has an active pod.
    fn free_index(&mut self) -> Option<u32> {
        let completions = self.spec.completions.filter(|_| self.spec.indexed)?;
        if let Some(index) = self.free_indexes.pop_first() {
            return Some(index);
        }
        let fresh = self.fresh_index;
        (fresh < completions).then(|| {
            self.fresh_index += 1;
            fresh
        })
    }

    /// Deletes the pods in the earliest stages: not ready before ready, those that became ready last
    /// first, then those that restarted most, then the youngest.
    fn delete_surplus(&mut self, surplus: u32, actions: &mut Vec<Action>) {
        let mut active: Vec<_> = self
            .pods
            .iter_mut()
            .filter(|(_, pod)| !pod.terminating)
            .collect();
        active.sort_by_key(|(id, pod)| {
            use std::cmp::Reverse;
            (
                pod.ready_since.is_some(),
                Reverse(pod.ready_since),
                Reverse(pod.restarts),
                Reverse(**id),
            )
        });
        for (id, pod) in active.into_iter().take(surplus as usize) {
            pod.terminating = true;
            self.free_indexes.extend(pod.index);
            actions.push(Action::Delete(*id));
        }
    }

    fn delete_all(&mut self, actions: &mut Vec<Action>) {
        self.delete_surplus(u32::MAX, actions);
    }
}

fn count<'a>(pods: impl Iterator<Item = &'a Pod>) -> u32 {
    pods.fold(0, |n, _| n + 1)
}

#[cfg(test)]
mod tests;
