//! A bounded queue of events that makes room for the last word.

use std::collections::VecDeque;

use crate::event::Event;

/// Events that wait to be sent, oldest first.
#[derive(Debug)]
pub struct Backlog {
    events: VecDeque<Event>,
    capacity: usize,
    dropped: u64,
}

impl Backlog {
    /// A queue of at most `capacity` events, at least one.
    pub fn new(capacity: usize) -> Backlog {
        Backlog {
            events: VecDeque::new(),
            capacity: capacity.max(1),
            dropped: 0,
        }
    }

    /// Adds an event. Where there is no room the newest event that is not final is dropped, which
    /// may be this one; what was queued before keeps its order.
    pub fn push(&mut self, event: Event) {
        self.events.push_back(event);
        if self.events.len() > self.capacity {
            let newest = self.events.iter().rposition(|e| !e.is_final());
            let victim = newest.unwrap_or(self.events.len() - 1);
            self.events.remove(victim);
            self.dropped += 1;
        }
    }

    /// Takes the oldest event.
    pub fn pop(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The oldest event, left where it is.
    pub fn peek(&self) -> Option<&Event> {
        self.events.front()
    }

    /// How many events wait.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// How many were dropped for want of room.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Happening, Source, StepRef, TaskEnd, TaskOutcome};
    use baton_protocol::Timestamp;
    use proptest::prelude::*;
    use std::time::SystemTime;

    fn event(number: u32, last: bool) -> Event {
        let now = Timestamp(SystemTime::UNIX_EPOCH);
        let what = if last {
            Happening::TaskFinished(TaskEnd {
                outcome: TaskOutcome::Succeeded,
                exit_code: 0,
                failed_step: None,
                started_at: now,
                finished_at: now,
                message: String::new(),
            })
        } else {
            let name = "s".to_owned();
            Happening::StepStarted {
                step: StepRef { name, number },
            }
        };
        Source::new(number.to_string(), "t", "p").event(now, what)
    }

    #[test]
    fn the_last_word_finds_room() {
        let mut backlog = Backlog::new(2);
        backlog.push(event(1, false));
        backlog.push(event(2, false));
        backlog.push(event(3, false));
        backlog.push(event(4, true));
        let kept: Vec<_> = std::iter::from_fn(|| backlog.pop()).collect();
        assert_eq!(kept, [event(1, false), event(4, true)]);
        assert_eq!(backlog.dropped(), 2);
    }

    proptest! {
        #[test]
        fn bounded_counted_and_in_order(
            ops in proptest::collection::vec((any::<bool>(), proptest::bool::weighted(0.2)), 0..200), capacity in 1..10_usize,
        ) {
            let mut backlog = Backlog::new(capacity);
            let (mut pushed, mut popped) = (0_u32, Vec::new());
            for (push, last) in ops {
                if push {
                    pushed += 1;
                    backlog.push(event(pushed, last));
                } else if let Some(event) = backlog.pop() {
                    popped.push(event);
                }
                prop_assert!(backlog.len() <= capacity);
            }
            popped.extend(std::iter::from_fn(|| backlog.pop()));
            prop_assert_eq!(popped.len() as u64 + backlog.dropped(), u64::from(pushed));
            let numbers: Vec<u32> = popped.iter().map(|e| e.id.split('-').next().unwrap().parse().unwrap()).collect();
            prop_assert!(numbers.windows(2).all(|w| w[0] < w[1]), "{:?}", numbers);
        }
    }
}
