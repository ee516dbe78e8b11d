//! When the events that wait are sent: pure, with the clock given.
//!
//! The coordinator answers once a batch is durable, which it makes of a Task once a second at most. So
//! what comes together is sent together, at most once a second, and is on its way for milliseconds: the
//! end of a task, which goes at once, then never has to wait behind it.

use std::time::{Duration, Instant};

use baton_events::What;

/// How long an event waits for others: the end of a step and the start of the next are one batch.
pub(super) const TOGETHER: Duration = Duration::from_millis(100);
/// Shortest time between batches that nobody waits for.
pub(super) const SPACING: Duration = Duration::from_secs(1);
/// How long the beginning of a task waits for that of its first step.
pub(super) const BEGINNING: Duration = Duration::from_secs(2);

/// When the next batch is due.
#[derive(Debug, Default)]
pub(super) struct Gather {
    due: Option<Instant>,
    sent: Option<Instant>,
}

impl Gather {
    /// An event was appended.
    pub(super) fn appended(&mut self, now: Instant, what: &What) {
        let due = match what {
            What::TaskFinished { .. } | What::TaskStopping { .. } => now,
            What::TaskStarted => now + BEGINNING,
            _ => {
                let spaced = self.sent.map_or(now, |at| at + SPACING);
                (now + TOGETHER).max(spaced)
            }
        };
        self.due = Some(self.due.map_or(due, |known| known.min(due)));
    }

    /// There are events that are due: they were found on the disk, or were not delivered.
    pub(super) fn again(&mut self, now: Instant) {
        self.due = Some(now);
    }

    /// Events were taken to be sent; `all` of them, or some are left.
    pub(super) fn took(&mut self, now: Instant, all: bool) {
        self.sent = Some(now);
        self.due = (!all).then_some(now);
    }

    /// When the next batch is due; `None` where nothing waits.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_steps::StopReason;

    fn started(number: u32) -> What {
        What::StepStarted { number, attempt: 1 }
    }

    fn stopping() -> What {
        What::TaskStopping {
            why: StopReason::Cancelled,
        }
    }

    #[test]
    fn what_comes_together_goes_together_once_a_second() {
        let start = Instant::now();
        let mut gather = Gather::default();
        assert_eq!(gather.due(), None);
        gather.appended(start, &What::TaskStarted);
        assert_eq!(gather.due(), Some(start + BEGINNING));
        let first = start + Duration::from_millis(700);
        gather.appended(first, &started(1));
        assert_eq!(gather.due(), Some(first + TOGETHER), "with the first step");
        gather.appended(first + TOGETHER / 2, &started(2));
        assert_eq!(gather.due(), Some(first + TOGETHER), "not put off");
        let sent = first + TOGETHER;
        gather.took(sent, true);
        assert_eq!(gather.due(), None);
        gather.appended(sent + TOGETHER, &started(3));
        assert_eq!(gather.due(), Some(sent + SPACING));
        gather.took(sent + SPACING, true);
        let late = sent + 5 * SPACING;
        gather.appended(late, &started(4));
        assert_eq!(gather.due(), Some(late + TOGETHER));
    }

    #[test]
    fn an_end_waits_for_nothing() {
        let now = Instant::now();
        let mut gather = Gather::default();
        gather.took(now, true);
        gather.appended(now, &started(1));
        gather.appended(now, &stopping());
        assert_eq!(gather.due(), Some(now));
    }

    #[test]
    fn what_is_left_or_was_not_delivered_is_due() {
        let now = Instant::now();
        let mut gather = Gather::default();
        gather.again(now);
        assert_eq!(gather.due(), Some(now));
        gather.took(now, false);
        assert_eq!(gather.due(), Some(now), "the rest");
    }
}
