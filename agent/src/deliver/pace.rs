//! What to do after an answer of the coordinator: pure, with the jitter given.

use std::time::Duration;

use baton_events::MAX_BATCH_EVENTS;
use serde::Deserialize;

/// Delay before the second attempt at most; it doubles with each failure.
const BASE: Duration = Duration::from_millis(250);
/// Longest delay that is chosen here.
const CAP: Duration = Duration::from_secs(15);
/// Shortest delay.
const FLOOR: Duration = Duration::from_millis(50);
/// Longest delay that the coordinator may ask for.
const MAX_ASKED: Duration = Duration::from_secs(60);
/// How often in a row another replica is tried at once, before it counts as a failure.
const MAX_REPLICAS: u32 = 8;
/// Most characters of an answer that a log line repeats.
const EXCERPT_CHARS: usize = 160;

/// What came of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// An answer.
    Answer {
        /// The HTTP status.
        code: u16,
        /// What its `Retry-After` asks for.
        retry_after: Option<Duration>,
        /// Its body, or the beginning of it.
        body: Vec<u8>,
    },
    /// No answer.
    Unreachable {
        /// Why.
        cause: String,
        /// The other side showed a certificate that is not trusted.
        untrusted: bool,
    },
}

/// An event that the coordinator refused.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Refused {
    /// Its id.
    pub id: String,
    /// Why.
    pub why: String,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// The coordinator has the batch, but for those it refused for ever.
    Done(Vec<Refused>),
    /// The batch holds one event, and that one is bad: drop it.
    Drop(String),
    /// Send fewer events at once: one of them is bad.
    Split,
    /// Another replica leads: try again over a new connection, after this time.
    OtherReplica(Duration),
    /// Try again after this time.
    Again {
        /// How long.
        delay: Duration,
        /// What went wrong.
        why: String,
        /// The coordinator may have a new certificate.
        untrusted: bool,
    },
}

/// How the attempts went so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pace {
    failures: u32,
    replicas: u32,
    limit: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            failures: 0,
            replicas: 0,
            limit: MAX_BATCH_EVENTS,
        }
    }
}

impl Pace {
    /// Most events that the next batch should have; at least 1.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// What to do after a batch of `sent` events got `reply`. `jitter` from 0 to 1 spreads agents that
    /// failed together.
    pub fn next(&mut self, sent: usize, reply: Reply, jitter: f64) -> Next {
        let jitter = jitter.clamp(0.0, 1.0);
        match reply {
            Reply::Answer {
                code: 200, body, ..
            } => match accepted(&body) {
                Ok(refused) => {
                    self.failures = 0;
                    self.replicas = 0;
                    self.limit = self.limit.saturating_mul(2).min(MAX_BATCH_EVENTS);
                    Next::Done(refused)
                }
                Err(cause) => {
                    self.again(None, format!("no answer of a coordinator: {cause}"), jitter)
                }
            },
            Reply::Answer {
                code: code @ (400 | 413 | 422),
                body,
                ..
            } => {
                self.failures = 0;
                if sent <= 1 {
                    self.limit = MAX_BATCH_EVENTS;
                    return Next::Drop(said(code, &body));
                }
                self.limit = sent / 2;
                Next::Split
            }
            Reply::Answer {
                code: 503, body, ..
            } if self.replicas < MAX_REPLICAS && is_follower(&body) => {
                self.replicas += 1;
                let spread = Duration::from_millis(200).mul_f64(jitter);
                Next::OtherReplica(FLOOR + spread)
            }
            Reply::Answer {
                code,
                retry_after,
                body,
            } => self.again(retry_after, said(code, &body), jitter),
            Reply::Unreachable { cause, untrusted } => match self.again(None, cause, jitter) {
                Next::Again { delay, why, .. } => Next::Again {
                    delay,
                    why,
                    untrusted,
                },
                next => next,
            },
        }
    }

    fn again(&mut self, asked: Option<Duration>, why: String, jitter: f64) -> Next {
        self.replicas = 0;
        let most = BASE.saturating_mul(1 << self.failures.min(16)).min(CAP);
        self.failures = self.failures.saturating_add(1);
        let chosen = most.mul_f64(jitter).max(FLOOR);
        // Asked-for times are spread as well: all agents were asked for the same.
        let asked = asked.map(|a| a.min(MAX_ASKED));
        let delay = asked.map_or(chosen, |a| a + chosen.min(a / 2));
        Next::Again {
            delay,
            why,
            untrusted: false,
        }
    }
}

fn accepted(body: &[u8]) -> Result<Vec<Refused>, String> {
    #[derive(Deserialize)]
    struct Accepted {
        #[serde(default)]
        refused: Vec<Refused>,
    }
    serde_json::from_slice::<Accepted>(body)
        .map(|a| a.refused)
        .map_err(|e| e.to_string())
}

fn is_follower(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Failure {
        error: String,
    }
    serde_json::from_slice::<Failure>(body).is_ok_and(|f| f.error == "not the leader")
}

fn said(code: u16, body: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(body)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(EXCERPT_CHARS)
        .collect();
    match text.trim() {
        "" => format!("it answered {code}"),
        text => format!("it answered {code}: {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answer(code: u16, body: &str) -> Reply {
        Reply::Answer {
            code,
            retry_after: None,
            body: body.into(),
        }
    }

    #[test]
    fn only_a_coordinators_yes_counts() {
        let mut pace = Pace::default();
        assert_eq!(pace.next(3, answer(200, "{}"), 0.5), Next::Done(Vec::new()));
        let refused = Refused {
            id: "u-task-started".into(),
            why: "no".into(),
        };
        let body = r#"{"refused":[{"id":"u-task-started","why":"no"}]}"#;
        assert_eq!(
            pace.next(3, answer(200, body), 0.5),
            Next::Done(vec![refused])
        );
        for other in ["", "<html>", "[1]", "{\"refused\":3}"] {
            let next = pace.next(3, answer(200, other), 0.5);
            assert!(matches!(next, Next::Again { .. }), "{other}");
        }
    }

    #[test]
    fn a_bad_event_is_found_and_dropped() {
        // Event 5 of 9 is bad.
        let (mut pace, mut sent, mut dropped) = (Pace::default(), 0, Vec::new());
        for _ in 0..40 {
            let batch: Vec<_> = (sent..9).take(pace.limit()).collect();
            if batch.is_empty() {
                break;
            }
            let reply = match batch.contains(&5) {
                true => answer(400, "bad"),
                false => answer(200, "{}"),
            };
            match pace.next(batch.len(), reply, 0.0) {
                Next::Done(_) => sent += batch.len(),
                Next::Drop(why) => {
                    assert_eq!(why, "it answered 400: bad");
                    dropped.extend(batch);
                    sent += 1;
                }
                Next::Split => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((sent, dropped), (9, vec![5]));
        assert_eq!(pace.limit(), MAX_BATCH_EVENTS);
    }

    #[test]
    fn followers_are_passed_by_at_once_but_not_for_ever() {
        let mut pace = Pace::default();
        let follower = || answer(503, r#"{"error":"not the leader"}"#);
        for _ in 0..MAX_REPLICAS {
            let next = pace.next(1, follower(), 1.0);
            assert_eq!(next, Next::OtherReplica(Duration::from_millis(250)));
        }
        assert!(matches!(pace.next(1, follower(), 1.0), Next::Again { .. }));
        assert!(matches!(
            pace.next(1, follower(), 1.0),
            Next::OtherReplica(_)
        ));
    }

    #[test]
    fn delays_grow_to_the_cap_and_what_is_asked_for_is_kept() {
        let mut pace = Pace::default();
        let delays: Vec<_> = (0..8)
            .map(|_| match pace.next(1, answer(500, ""), 1.0) {
                Next::Again { delay, .. } => delay.as_millis(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(delays, [250, 500, 1000, 2000, 4000, 8000, 15_000, 15_000]);
        let asked = Reply::Answer {
            code: 429,
            retry_after: Some(Duration::from_secs(7)),
            body: Vec::new(),
        };
        let Next::Again { delay, .. } = Pace::default().next(1, asked, 0.3) else {
            panic!("not again");
        };
        assert!(delay >= Duration::from_secs(7) && delay < Duration::from_secs(11));
    }

    proptest! {
        #[test]
        fn whatever_is_answered_delays_and_limits_are_bounded(
            replies in proptest::collection::vec(
                (any::<u16>(), proptest::option::of(any::<u64>()), proptest::collection::vec(any::<u8>(), 0..40)), 1..50),
            sent in 1..MAX_BATCH_EVENTS, jitter in -1.0..2.0,
        ) {
            let mut pace = Pace::default();
            for (code, asked, body) in replies {
                let retry_after = asked.map(Duration::from_secs);
                let next = pace.next(sent, Reply::Answer { code, retry_after, body }, jitter);
                prop_assert!((1..=MAX_BATCH_EVENTS).contains(&pace.limit()));
                if let Next::Again { delay, .. } | Next::OtherReplica(delay) = next {
                    prop_assert!(delay >= FLOOR || retry_after.is_some());
                    prop_assert!(delay <= MAX_ASKED * 2);
                }
            }
        }
    }
}
