//! How far one receiver of one run was told. Pure: no clock, no I/O.

use std::time::{Duration, Instant};

use baton_api::status::CallbackStatus;
use baton_callbacks::{Decision, Event, Kind, Policy, Reply};

/// Longest error that a status repeats, in bytes.
const MAX_ERROR_BYTES: usize = 512;
/// Attempts at an event after one before it was given up for want of an answer: a receiver that is
/// gone for good does not hold each of a run's events for the whole of the policy's patience.
const TIRED_ATTEMPTS: u32 = 3;

/// How far a receiver was told.
#[derive(Debug, Clone, Default)]
pub(super) struct Lane {
    /// Events that are behind us: accepted, given up, or not wanted.
    settled: usize,
    delivered: u32,
    given_up: u32,
    last_error: Option<String>,
    /// Attempts made at the next event.
    attempts: u32,
    /// The event before the next was given up although it might have been accepted later.
    tired: bool,
    /// When the next attempt may be made.
    not_before: Option<Instant>,
    /// An attempt is under way.
    pub(super) busy: bool,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing waits.
    Nothing,
    /// An attempt is under way.
    Busy,
    /// Nothing until then.
    Wait(Instant),
    /// Send the event of this index.
    Send(usize),
}

/// What an attempt came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settled {
    /// The receiver has the event.
    Delivered,
    /// It is sent again.
    Retried,
    /// It is not sent again.
    GivenUp,
}

impl Lane {
    /// Goes on where a status says.
    pub(super) fn resume(known: &CallbackStatus) -> Lane {
        Lane {
            settled: usize::try_from(known.settled).unwrap_or(usize::MAX),
            delivered: known.delivered,
            given_up: known.given_up,
            last_error: known.last_error.clone(),
            ..Lane::default()
        }
    }

    /// What to do next; passes over events that are not wanted.
    pub(super) fn next(
        &mut self,
        events: &[Event],
        wants: impl Fn(Kind) -> bool,
        now: Instant,
    ) -> Next {
        if self.busy {
            return Next::Busy;
        }
        while events.get(self.settled).is_some_and(|e| !wants(e.kind())) {
            self.settled += 1;
        }
        match self.not_before {
            _ if self.settled >= events.len() => Next::Nothing,
            Some(at) if at > now => Next::Wait(at),
            _ => Next::Send(self.settled),
        }
    }

    /// Takes the answer to the event that [`next`](Lane::next) named. `jitter` is from 0 to 1.
    pub(super) fn take(
        &mut self,
        reply: &Reply,
        policy: Policy,
        jitter: f64,
        now: Instant,
    ) -> Settled {
        self.busy = false;
        self.attempts = self.attempts.saturating_add(1);
        let attempts = if self.tired {
            policy.attempts.min(TIRED_ATTEMPTS)
        } else {
            policy.attempts
        };
        let policy = Policy { attempts, ..policy };
        let settled = match policy.next(self.attempts, reply, jitter) {
            Decision::Accepted => {
                self.delivered += 1;
                self.last_error = None;
                self.tired = false;
                Settled::Delivered
            }
            Decision::GiveUp(why) => {
                // What is refused outright may be another event's success.
                self.tired = self.attempts >= attempts;
                self.fail(&why);
                Settled::GivenUp
            }
            Decision::Retry(delay) => {
                self.last_error = Some(bounded(&reply.to_string()));
                self.not_before = Some(now + delay);
                return Settled::Retried;
            }
        };
        self.step();
        settled
    }

    /// Gives up everything that waits, for a reason that will not pass. Gives how many that were.
    pub(super) fn give_up(
        &mut self,
        events: &[Event],
        wants: impl Fn(Kind) -> bool,
        why: &str,
    ) -> usize {
        let before = self.given_up;
        while let Some(event) = events.get(self.settled) {
            if wants(event.kind()) {
                self.fail(why);
            }
            self.step();
        }
        usize::try_from(self.given_up - before).unwrap_or(usize::MAX)
    }

    fn fail(&mut self, why: &str) {
        self.given_up += 1;
        self.last_error = Some(bounded(why));
    }

    fn step(&mut self) {
        self.settled += 1;
        self.attempts = 0;
        self.not_before = None;
    }

    /// Whether everything of a run with this many events is settled.
    pub(super) fn is_done(&self, events: usize) -> bool {
        !self.busy && self.settled >= events
    }

    /// Events that wait.
    pub(super) fn waiting(&self, events: &[Event], wants: impl Fn(Kind) -> bool) -> usize {
        let rest = events.get(self.settled..).unwrap_or_default();
        rest.iter().filter(|e| wants(e.kind())).count()
    }

    /// As a status has it.
    pub(super) fn status(&self, sink: &str, waiting: usize) -> CallbackStatus {
        CallbackStatus {
            sink: sink.to_owned(),
            settled: u32::try_from(self.settled).unwrap_or(u32::MAX),
            delivered: self.delivered,
            given_up: self.given_up,
            waiting: u32::try_from(waiting).unwrap_or(u32::MAX),
            last_error: self.last_error.clone(),
        }
    }
}

/// From a second to five minutes apart, for one to one and a half hours in all.
pub(super) const POLICY: Policy = Policy {
    base: Duration::from_secs(1),
    cap: Duration::from_secs(300),
    attempts: 24,
    timeout: Duration::from_secs(10),
};

fn bounded(text: &str) -> String {
    let mut end = text.len().min(MAX_ERROR_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_callbacks::event::StepRef;
    use baton_callbacks::{Happening, Source};
    use baton_protocol::Timestamp;
    use proptest::prelude::*;
    use std::time::SystemTime;

    fn events(count: u32) -> Vec<Event> {
        let source = Source::new("r", "t", "p");
        let event = |number: u32| {
            let name = number.to_string();
            let what = Happening::StepStarted {
                step: StepRef { name, number },
            };
            source.event(Timestamp(SystemTime::UNIX_EPOCH), what)
        };
        (1..=count).map(event).collect()
    }

    fn all(_: Kind) -> bool {
        true
    }

    fn answer(code: u16) -> Reply {
        Reply::Status {
            code,
            retry_after: None,
            excerpt: String::new(),
        }
    }

    #[test]
    fn a_receiver_that_is_gone_is_not_waited_for_at_each_event() {
        let events = events(3);
        let mut lane = Lane::default();
        let mut now = Instant::now();
        let mut attempts = Vec::new();
        loop {
            match lane.next(&events, all, now) {
                Next::Nothing => break,
                Next::Wait(at) => now = at,
                Next::Busy => panic!("nothing is under way"),
                Next::Send(i) => {
                    attempts.resize(i + 1, 0);
                    attempts[i] += 1;
                    let reply = Reply::Unreachable("connecting: refused".into());
                    lane.take(&reply, POLICY, 1.0, now);
                }
            }
        }
        assert_eq!(attempts, [POLICY.attempts, TIRED_ATTEMPTS, TIRED_ATTEMPTS]);
        assert_eq!(lane.status("s", 0).given_up, 3);
        assert!(lane.is_done(3));
    }

    #[test]
    fn what_cannot_be_sent_is_given_up_at_once() {
        let events = events(4);
        let mut lane = Lane::default();
        assert_eq!(lane.give_up(&events, all, "not a URL"), 4);
        assert_eq!(lane.status("s", 0).last_error.as_deref(), Some("not a URL"));
        assert_eq!(lane.give_up(&events, all, "not a URL"), 0);
        let mut lane = Lane::default();
        assert_eq!(lane.give_up(&events, |_| false, "not a URL"), 0);
        assert!(lane.is_done(4));
    }

    proptest! {
        /// Whatever is answered and wherever it is interrupted: events are sent in order, none is
        /// left out, and what was settled is never sent again.
        #[test]
        fn resumed_anywhere_it_goes_on(
            codes in proptest::collection::vec((prop_oneof![Just(200_u16), Just(500), Just(404)], any::<bool>()), 1..60),
            count in 1..8_u32,
        ) {
            let events = events(count);
            let mut lane = Lane::default();
            let mut now = Instant::now();
            let mut settled = 0;
            for (code, restart) in codes {
                if restart {
                    lane = Lane::resume(&lane.status("s", 0));
                }
                match lane.next(&events, all, now) {
                    Next::Nothing => break,
                    Next::Busy => prop_assert!(false),
                    Next::Wait(at) => now = at,
                    Next::Send(i) => {
                        prop_assert_eq!(i, settled);
                        lane.busy = true;
                        prop_assert_eq!(lane.next(&events, all, now), Next::Busy);
                        if lane.take(&answer(code), POLICY, 0.5, now) != Settled::Retried {
                            settled += 1;
                        }
                    }
                }
                let status = lane.status("s", lane.waiting(&events, all));
                prop_assert_eq!(status.delivered + status.given_up, status.settled);
                prop_assert_eq!(status.settled + status.waiting, count);
            }
        }
    }
}
