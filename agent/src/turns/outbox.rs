//! What waits to be told. Pushing never waits for whoever takes.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use baton_events::{PodRef, Told};
use baton_node::Notice;
use baton_protocol::Timestamp;
use baton_steps::Plan;
use tokio::sync::oneshot;

use super::{MAX_WAITING, lock};

/// Most times of hand-offs that wait to be counted.
const MAX_TIMES: usize = 4096;

/// A pod whose order is kept here.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) pod: Arc<PodRef>,
    pub(super) plan: Arc<Plan>,
    pub(super) root: PathBuf,
    /// Lesser news that wait.
    waiting: AtomicUsize,
    /// Lesser news that were left out since the last that waited was told.
    left_out: AtomicUsize,
}

impl Kept {
    pub(super) fn new(pod: PodRef, plan: Plan, root: PathBuf) -> Kept {
        Kept {
            pod: Arc::new(pod),
            plan: Arc::new(plan),
            root,
            waiting: AtomicUsize::new(0),
            left_out: AtomicUsize::new(0),
        }
    }
}

#[derive(Debug)]
pub(super) enum Item {
    /// Something happened in a pod.
    Notice(Arc<Kept>, Timestamp, Box<Notice>),
    /// Lesser news of this pod were left out here, so many.
    LeftOut(Arc<Kept>, Timestamp, usize),
    /// Something is told that no folder tells.
    Told(Box<Told>),
    /// To be answered when all that came before is kept and synced; nothing more will come from this pod.
    Sync(Option<Arc<Kept>>, oneshot::Sender<()>),
}

/// What was taken in one go, in order.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) items: Vec<Item>,
    pub(super) times: Vec<Duration>,
}

#[derive(Debug, Default)]
pub(super) struct Outbox {
    state: Mutex<State>,
    filled: Condvar,
}

#[derive(Debug, Default)]
struct State {
    items: VecDeque<Item>,
    times: Vec<Duration>,
    closed: bool,
}

impl Outbox {
    pub(super) fn push(&self, item: Item) {
        if let Item::Notice(kept, _, notice) = &item
            && !is_end(notice)
            && kept.waiting.fetch_add(1, Ordering::Relaxed) >= MAX_WAITING
        {
            kept.waiting.fetch_sub(1, Ordering::Relaxed);
            kept.left_out.fetch_add(1, Ordering::Relaxed);
            return;
        }
        lock(&self.state).items.push_back(item);
        self.filled.notify_one();
    }

    /// Adds the times that hand-offs took. The next item brings them along: nobody is woken.
    pub(super) fn push_times(&self, times: impl IntoIterator<Item = Duration>) {
        let mut state = lock(&self.state);
        let room = MAX_TIMES.saturating_sub(state.times.len());
        state.times.extend(times.into_iter().take(room));
    }

    /// Waits for something to tell and takes at most `most` items; `None` once all is taken after
    /// [`close`](Outbox::close).
    pub(super) fn take(&self, most: usize) -> Option<Taken> {
        let mut state = lock(&self.state);
        while state.items.is_empty() && !state.closed {
            state = self
                .filled
                .wait(state)
                .unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        let most = most.min(state.items.len());
        let mut items = Vec::with_capacity(most);
        for item in state.items.drain(..most) {
            let after = left_out(&item);
            items.push(item);
            items.extend(after);
        }
        let times = std::mem::take(&mut state.times);
        let over = state.closed && items.is_empty() && times.is_empty();
        (!over).then_some(Taken { items, times })
    }

    /// Nothing more will be pushed.
    pub(super) fn close(&self) {
        lock(&self.state).closed = true;
        self.filled.notify_all();
    }

    pub(super) fn len(&self) -> usize {
        lock(&self.state).items.len()
    }
}

/// Makes room for the news of a pod, and says what was left out for want of it.
fn left_out(taken: &Item) -> Option<Item> {
    let Item::Notice(kept, at, notice) = taken else {
        return None;
    };
    if is_end(notice) {
        return None;
    }
    kept.waiting.fetch_sub(1, Ordering::Relaxed);
    let count = kept.left_out.swap(0, Ordering::Relaxed);
    (count > 0).then(|| Item::LeftOut(Arc::clone(kept), *at, count))
}

/// What is always kept: a pod has so many of these as its plan has numbers, and two.
fn is_end(notice: &Notice) -> bool {
    use baton_steps::Notice::{StepFinished, TaskFinished, TaskStarted};
    matches!(
        notice,
        Notice::Run(StepFinished { .. } | TaskFinished { .. } | TaskStarted { .. })
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn a_flood_of_one_pod_is_left_out_and_ends_are_not() {
        let outbox = Outbox::default();
        let pod = |uid: &str| {
            let pod = PodRef {
                namespace: "ns".into(),
                name: "pod".into(),
                uid: uid.into(),
            };
            Arc::new(Kept::new(pod, Plan::of_steps(["a"]), PathBuf::new()))
        };
        let at = Timestamp(SystemTime::UNIX_EPOCH);
        let (flood, other) = (pod("a"), pod("b"));
        let started = || {
            Box::new(Notice::Run(baton_steps::Notice::StepStarted {
                number: 1,
                kind: baton_steps::Kind::Step,
                attempt: 1,
                at,
            }))
        };
        for _ in 0..MAX_WAITING + 100 {
            outbox.push(Item::Notice(Arc::clone(&flood), at, started()));
        }
        let end = Notice::Run(baton_steps::Notice::TaskStarted { at });
        outbox.push(Item::Notice(Arc::clone(&flood), at, Box::new(end)));
        outbox.push(Item::Notice(Arc::clone(&other), at, started()));
        outbox.push_times([Duration::from_micros(7)]);
        assert_eq!(outbox.len(), MAX_WAITING + 2);
        let first = outbox.take(1).unwrap();
        assert_eq!(first.times, [Duration::from_micros(7)]);
        let [Item::Notice(..), Item::LeftOut(_, _, 100)] = &first.items[..] else {
            panic!("{first:?}");
        };
        outbox.push(Item::Notice(flood, at, started()));
        outbox.close();
        let rest = outbox.take(usize::MAX).unwrap();
        assert_eq!(rest.items.len(), MAX_WAITING + 2);
        assert!(outbox.take(1).is_none());
    }
}
