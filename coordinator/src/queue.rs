//! What a controller is to look at: now, or at a time.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use baton_protocol::Timestamp;
use prometheus_client::metrics::gauge::Gauge;

/// Objects by UID: each is in the queue once, however often it is asked for, and has one time at most.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// How many are to be looked at, for people.
    waiting: Gauge,
    order: VecDeque<String>,
    queued: HashSet<String>,
    timers: BTreeSet<(Timestamp, String)>,
    times: HashMap<String, Timestamp>,
}

impl Queue {
    /// One that nothing is in; it keeps its length in `waiting`.
    pub(crate) fn new(waiting: Gauge) -> Queue {
        Queue {
            waiting,
            ..Queue::default()
        }
    }

    /// It is to be looked at.
    pub(crate) fn push(&mut self, uid: &str) {
        if self.queued.insert(uid.to_owned()) {
            self.order.push_back(uid.to_owned());
            self.waiting.inc();
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
        self.waiting.dec();
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
        let waiting = Gauge::default();
        let mut queue = Queue::new(waiting.clone());
        for uid in ["b", "a", "b"] {
            queue.push(uid);
        }
        assert_eq!((queue.len(), waiting.get()), (2, 2));
        assert_eq!(popped(&mut queue), ["b", "a"]);
        assert_eq!(waiting.get(), 0);
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
}
