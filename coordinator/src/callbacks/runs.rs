//! What is known of the runs whose callbacks are told, and what is to be sent next. No I/O: the
//! caller sends, and reads the clock.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use baton_api::sinks::ClusterSink;
use baton_api::status::CallbackStatus;
use baton_callbacks::{Event, Policy, Reply};

use super::lane::{Lane, Next, Settled};
use super::target::{Destination, Target};
use super::{Progress, Story};

/// Most finished runs that are remembered, so that a status which was read before the last
/// [`Progress`] was written does not make their events be sent again.
const MAX_DONE: usize = 4096;

/// A run of a Task: the Task's UID, and which.
pub(super) type RunKey = (String, u32);
/// A receiver of a run, by its label.
pub(super) type LaneKey = (RunKey, String);

/// Something to send.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) key: LaneKey,
    /// The Task's namespace, for the key.
    pub(super) namespace: String,
    pub(super) to: Arc<Destination>,
    pub(super) event: Event,
}

#[derive(Debug)]
struct Run {
    namespace: String,
    name: String,
    events: Arc<[Event]>,
    /// How many events there are: `events` is emptied once all of them are settled.
    count: usize,
    is_final: bool,
    lanes: Vec<(Target, Option<Arc<Destination>>, Lane)>,
    /// What the controller was told last.
    told: Option<Vec<CallbackStatus>>,
    /// When it was done, in the order of the runs that are.
    done: Option<u64>,
}

/// All runs.
#[derive(Debug, Default)]
pub(super) struct Runs {
    runs: HashMap<RunKey, Run>,
    done: BTreeMap<u64, RunKey>,
    clock: u64,
    waiting: usize,
}

impl Runs {
    /// Takes a story; gives the lanes to look at.
    pub(super) fn take(&mut self, story: Story, cluster: &[ClusterSink]) -> Vec<LaneKey> {
        let key = (story.task.clone(), story.run);
        let targets = Target::all(&story.sinks, cluster);
        let old = self.remove(&key);
        if old
            .as_ref()
            .is_some_and(|old| old.count > story.events.len())
        {
            // A story only grows: this one is older than what is known.
            if let Some(old) = old {
                self.insert(key, old);
            }
            return Vec::new();
        }
        let mut lanes: HashMap<String, Lane> = HashMap::new();
        let mut told = None;
        if let Some(old) = old {
            told = old.told;
            lanes = old
                .lanes
                .into_iter()
                .map(|(target, _, lane)| (target.label, lane))
                .collect();
        }
        let lanes: Vec<_> = targets
            .into_iter()
            .map(|target| {
                let known = story.known.iter().find(|k| k.sink == target.label);
                let lane = lanes
                    .remove(&target.label)
                    .unwrap_or_else(|| known.map(Lane::resume).unwrap_or_default());
                let to = target.to.as_ref().ok().cloned().map(Arc::new);
                (target, to, lane)
            })
            .collect();
        let keys = lanes
            .iter()
            .map(|(target, ..)| (key.clone(), target.label.clone()))
            .collect();
        let run = Run {
            namespace: story.namespace,
            name: story.name,
            count: story.events.len(),
            is_final: story.events.last().is_some_and(Event::is_final),
            events: story.events.into(),
            lanes,
            told,
            done: None,
        };
        self.insert(key, run);
        keys
    }

    /// What a lane is to do now. What cannot be sent at all is given up here, and counted.
    pub(super) fn next(&mut self, key: &LaneKey, now: Instant) -> (Option<Job>, Next, usize) {
        let Some(mut run) = self.remove(&key.0) else {
            return (None, Next::Nothing, 0);
        };
        let mut job = None;
        let mut next = Next::Nothing;
        let mut given_up = 0;
        let (events, namespace) = (run.events.clone(), run.namespace.clone());
        if let Some((target, to, lane)) = run.lane(&key.1) {
            if let Err(why) = &target.to {
                let wants = |kind| target.wants(kind);
                given_up = lane.give_up(&events, wants, why);
            }
            next = lane.next(&events, |kind| target.wants(kind), now);
            if let (Next::Send(index), Some(to)) = (next, to)
                && let Some(event) = events.get(index)
            {
                job = Some(Job {
                    key: key.clone(),
                    namespace,
                    to: to.clone(),
                    event: event.clone(),
                });
            }
        }
        self.insert(key.0.clone(), run);
        (job, next, given_up)
    }

    /// An attempt begins.
    pub(super) fn begin(&mut self, key: &LaneKey) {
        let run = self.runs.get_mut(&key.0);
        if let Some((_, _, lane)) = run.and_then(|run| run.lane(&key.1)) {
            lane.busy = true;
        }
    }

    /// An attempt at a lane of this label came to this. `None` where the lane is no more.
    pub(super) fn settle(
        &mut self,
        key: &LaneKey,
        event: &str,
        reply: &Reply,
        policy: Policy,
        now: Instant,
    ) -> Option<Settled> {
        let mut run = self.remove(&key.0)?;
        let events = run.events.clone();
        let settled = run.lane(&key.1).and_then(|(target, _, lane)| {
            // The receivers may have been changed meanwhile: then this is another lane's.
            lane.busy = false;
            match lane.next(&events, |kind| target.wants(kind), now) {
                Next::Send(i) if events.get(i).is_some_and(|e| e.id == event) => {
                    Some(lane.take(reply, policy, fastrand::f64(), now))
                }
                _ => None,
            }
        });
        if settled == Some(Settled::GivenUp) {
            tracing::warn!(
                namespace = run.namespace,
                task = run.name,
                sink = key.1,
                event,
                cause = %reply,
                "gave up an event of a callback"
            );
        }
        self.insert(key.0.clone(), run);
        settled
    }

    /// What the controller is to be told of a run, where that is news: an event was settled by an
    /// attempt, an error changed, or everything is settled.
    pub(super) fn news(&mut self, key: &RunKey) -> Option<Progress> {
        let run = self.runs.get_mut(key)?;
        let statuses = run.statuses();
        let is_all = run.is_final && run.is_done();
        let is_news = match &run.told {
            None => {
                is_all
                    || statuses
                        .iter()
                        .any(|s| s.delivered + s.given_up > 0 || s.last_error.is_some())
            }
            Some(told) => {
                let gist = |s: &CallbackStatus| {
                    (
                        s.sink.clone(),
                        s.delivered,
                        s.given_up,
                        s.last_error.clone(),
                    )
                };
                let same = told.iter().map(gist).eq(statuses.iter().map(gist));
                !same || (is_all && *told != statuses)
            }
        };
        if !is_news {
            return None;
        }
        run.told = Some(statuses.clone());
        Some(Progress {
            task: key.0.clone(),
            run: key.1,
            callbacks: statuses,
        })
    }

    /// Events that wait, of all runs.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    fn remove(&mut self, key: &RunKey) -> Option<Run> {
        let run = self.runs.remove(key)?;
        self.waiting -= run.waiting();
        if let Some(at) = run.done {
            self.done.remove(&at);
        }
        Some(run)
    }

    fn insert(&mut self, key: RunKey, mut run: Run) {
        self.waiting += run.waiting();
        run.done = None;
        if run.is_done() {
            if run.is_final {
                run.events = Arc::default();
            }
            self.clock += 1;
            run.done = Some(self.clock);
            self.done.insert(self.clock, key.clone());
        }
        self.runs.insert(key, run);
        if self.done.len() > MAX_DONE
            && let Some((_, oldest)) = self.done.pop_first()
        {
            self.runs.remove(&oldest);
        }
    }
}

impl Run {
    fn lane(&mut self, label: &str) -> Option<&mut (Target, Option<Arc<Destination>>, Lane)> {
        self.lanes
            .iter_mut()
            .find(|(target, ..)| target.label == label)
    }

    fn is_done(&self) -> bool {
        self.lanes
            .iter()
            .all(|(_, _, lane)| lane.is_done(self.count))
    }

    fn waiting(&self) -> usize {
        let of = |(target, _, lane): &(Target, Option<Arc<Destination>>, Lane)| {
            lane.waiting(&self.events, |kind| target.wants(kind))
        };
        self.lanes.iter().map(of).sum()
    }

    fn statuses(&self) -> Vec<CallbackStatus> {
        let status = |(target, _, lane): &(Target, Option<Arc<Destination>>, Lane)| {
            let waiting = lane.waiting(&self.events, |kind| target.wants(kind));
            lane.status(&target.label, waiting)
        };
        self.lanes.iter().map(status).collect()
    }
}
