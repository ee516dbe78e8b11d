//! For how long pods have been away from the cluster: pure, with the clock given.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Pods that have a folder here and that the cluster does not show, each with the time since when.
#[derive(Debug)]
pub(super) struct Absent {
    patience: Duration,
    since: BTreeMap<String, Instant>,
}

impl Absent {
    /// None yet; one counts as gone after `patience`.
    pub(super) fn new(patience: Duration) -> Absent {
        Absent {
            patience,
            since: BTreeMap::new(),
        }
    }

    /// Takes all that are absent now, by UID. One that was seen, or has no folder any more, starts anew if it is
    /// ever absent again.
    pub(super) fn look(&mut self, absent: &BTreeSet<String>, now: Instant) {
        self.since.retain(|uid, _| absent.contains(uid));
        for uid in absent {
            self.since.entry(uid.clone()).or_insert(now);
        }
    }

    /// Those that were absent at every look for long enough.
    pub(super) fn due(&self, now: Instant) -> Vec<String> {
        let due = self
            .since
            .iter()
            .filter(|(_, since)| now.saturating_duration_since(**since) >= self.patience);
        due.map(|(uid, _)| uid.clone()).collect()
    }

    /// When the next is due; `None` where none is absent.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.since
            .values()
            .min()
            .map(|since| *since + self.patience)
    }

    /// Begins anew with one that could not be removed, or need not be.
    pub(super) fn again(&mut self, uid: &str, now: Instant) {
        if let Some(since) = self.since.get_mut(uid) {
            *since = now;
        }
    }

    /// It was removed.
    pub(super) fn forget(&mut self, uid: &str) {
        self.since.remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(uids: &[&str]) -> BTreeSet<String> {
        uids.iter().map(|uid| (*uid).to_owned()).collect()
    }

    #[test]
    fn one_is_due_once_it_was_absent_without_a_break_for_long_enough() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let mut absent = Absent::new(Duration::from_secs(120));
        assert_eq!(absent.wake_at(), None);
        absent.look(&of(&["a", "b"]), at(0));
        absent.look(&of(&["a", "b", "c"]), at(60));
        assert_eq!(absent.wake_at(), Some(at(120)));
        assert!(absent.due(at(119)).is_empty());
        // One was seen meanwhile.
        absent.look(&of(&["a", "c"]), at(100));
        absent.look(&of(&["a", "b", "c"]), at(101));
        assert_eq!(absent.due(at(120)), ["a"]);
        assert_eq!(absent.due(at(180)), ["a", "c"]);
        // One is there after all, and one is removed.
        absent.again("a", at(180));
        absent.forget("c");
        assert_eq!(absent.wake_at(), Some(at(221)));
        assert_eq!(absent.due(at(299)), ["b"]);
        assert_eq!(absent.due(at(300)), ["a", "b"]);
        absent.look(&of(&[]), at(300));
        assert_eq!((absent.due(at(999)).len(), absent.wake_at()), (0, None));
    }
}
