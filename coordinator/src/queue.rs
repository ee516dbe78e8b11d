//! What a controller is to look at: now, or at a time.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::Hash;

use baton_protocol::Timestamp;

/// Objects by UID: each is in the queue once, however often it is asked for, and has one time at most.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    order: VecDeque<String>,
    queued: HashSet<String>,
    timers: BTreeSet<(Timestamp, String)>,
    times: HashMap<String, Timestamp>,
}

impl Queue {
    /// It is to be looked at.
    pub(crate) fn push(&mut self, uid: &str) {
        if self.queued.insert(uid.to_owned()) {
            self.order.push_back(uid.to_owned());
        }
    }

    /// How many are to be looked at.
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    /// The one that waited longest.
    pub(crate) fn pop(&mut self) -> Option<String> {
        let uid = self.order.pop_front()?;
        self.queued.remove(&uid);
        Some(uid)
    }

    /// It is to be looked at then, at no other time, or at none; and whenever it is pushed.
    pub(crate) fn wake_at(&mut self, uid: &str, at: Option<Timestamp>) {
        if let Some(old) = self.times.remove(uid) {
            self.timers.remove(&(old, uid.to_owned()));
        }
        if let Some(at) = at {
            self.times.insert(uid.to_owned(), at);
            self.timers.insert((at, uid.to_owned()));
        }
    }

    /// It is to be looked at then at the latest.
    pub(crate) fn wake_by(&mut self, uid: &str, at: Timestamp) {
        if self.times.get(uid).is_none_or(|known| *known > at) {
            self.wake_at(uid, Some(at));
        }
    }

    /// The first time at which something is to be looked at.
    pub(crate) fn due(&self) -> Option<Timestamp> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Pushes all whose time has come.
    pub(crate) fn tick(&mut self, now: Timestamp) {
        while self.due().is_some_and(|at| at <= now) {
            if let Some((_, uid)) = self.timers.pop_first() {
                self.times.remove(&uid);
                self.push(&uid);
            }
        }
    }
}

/// How many objects there are of each phase.
#[derive(Debug)]
pub(crate) struct Phases<P>(HashMap<P, usize>);

impl<P> Default for Phases<P> {
    fn default() -> Self {
        Phases(HashMap::new())
    }
}

impl<P: Copy + Eq + Hash> Phases<P> {
    /// An object came, went, or is of another phase; `set` is told each number that changed by it.
    pub(crate) fn moved(&mut self, from: Option<P>, to: Option<P>, mut set: impl FnMut(P, usize)) {
        if from == to {
            return;
        }
        for (phase, by) in [(from, -1), (to, 1)] {
            if let Some(phase) = phase {
                let count = self.0.entry(phase).or_default();
                *count = count.saturating_add_signed(by);
                set(phase, *count);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    fn at(seconds: u64) -> Timestamp {
        Timestamp(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
    }

    fn popped(queue: &mut Queue) -> Vec<String> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn each_is_queued_once_in_the_order_it_came() {
        let mut queue = Queue::default();
        for uid in ["b", "a", "b"] {
            queue.push(uid);
        }
        assert_eq!(queue.len(), 2);
        assert_eq!(popped(&mut queue), ["b", "a"]);
        queue.push("b");
        assert_eq!(popped(&mut queue), ["b"]);
    }

    #[test]
    fn each_has_one_time_at_most() {
        let mut queue = Queue::default();
        queue.wake_at("a", Some(at(5)));
        queue.wake_at("a", Some(at(9)));
        queue.wake_at("b", Some(at(7)));
        queue.wake_at("c", Some(at(6)));
        queue.wake_at("c", None);
        queue.wake_by("a", at(20));
        assert_eq!(queue.due(), Some(at(7)));
        queue.tick(at(6));
        assert_eq!(queue.len(), 0);
        queue.tick(at(9));
        assert_eq!(popped(&mut queue), ["b", "a"]);
        assert_eq!(queue.due(), None);
    }

    #[test]
    fn phases_are_counted_as_objects_move() {
        let (mut phases, mut told) = (Phases::default(), Vec::new());
        for (from, to) in [
            (None, Some('p')),
            (None, Some('p')),
            (Some('p'), Some('r')),
            (Some('r'), Some('r')),
            (Some('r'), None),
        ] {
            phases.moved(from, to, |phase, count| told.push((phase, count)));
        }
        assert_eq!(told, [('p', 1), ('p', 2), ('p', 1), ('r', 1), ('r', 0)]);
    }
}
