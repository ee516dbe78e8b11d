//! What to do about a receiver's answer.

use std::time::{Duration, SystemTime};

/// How patient a sender is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Delay before the second attempt; it doubles with each one.
    pub base: Duration,
    /// Longest delay, and the most that a receiver's `Retry-After` is honoured.
    pub cap: Duration,
    /// Attempts in all; at least one is always made.
    pub attempts: u32,
    /// Longest that one attempt may take, connecting and answer included.
    pub timeout: Duration,
}

impl Default for Policy {
    /// From half a second to a minute apart, twelve times (about six minutes in all), ten seconds
    /// each.
    fn default() -> Self {
        Policy {
            base: Duration::from_millis(500),
            cap: Duration::from_secs(60),
            attempts: 12,
            timeout: Duration::from_secs(10),
        }
    }
}

/// What came of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The receiver answered.
    Status {
        /// The HTTP status.
        code: u16,
        /// What its `Retry-After` asks for.
        retry_after: Option<Duration>,
        /// The beginning of what it said, for a message.
        excerpt: String,
    },
    /// It did not: no connection, no answer in time, an answer that is not HTTP.
    Unreachable(String),
    /// It was not asked: the sender may not go there.
    Refused(String),
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The receiver has it.
    Accepted,
    /// Send it again after this delay.
    Retry(Duration),
    /// Never send it again. The text says why.
    GiveUp(String),
}

impl Policy {
    /// What to do after attempt number `attempt` (from 1) got `reply`.
    ///
    /// `jitter` from 0 to 1 spreads senders that failed together: a delay lies between half and
    /// all of its nominal length.
    pub fn next(&self, attempt: u32, reply: &Reply, jitter: f64) -> Decision {
        let asked = match reply {
            Reply::Status {
                code: 200..=299, ..
            } => return Decision::Accepted,
            Reply::Status {
                code, retry_after, ..
            } if is_transient(*code) => *retry_after,
            Reply::Status {
                code: 300..=399, ..
            } => {
                return Decision::GiveUp(format!("{reply}: redirects are not followed"));
            }
            Reply::Status { .. } => return Decision::GiveUp(reply.to_string()),
            Reply::Unreachable(_) => None,
            Reply::Refused(why) => return Decision::GiveUp(why.clone()),
        };
        if attempt >= self.attempts {
            return Decision::GiveUp(format!("{reply} (attempt {attempt} of {attempt})"));
        }
        let nominal = self
            .base
            .saturating_mul(1 << attempt.saturating_sub(1).min(30))
            .min(self.cap);
        let backoff = nominal.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0);
        Decision::Retry(asked.unwrap_or_default().min(self.cap).max(backoff))
    }
}

/// Whether the same request may be answered otherwise later.
fn is_transient(code: u16) -> bool {
    matches!(code, 408 | 425 | 429 | 500..=599)
}

/// Reads a `Retry-After` header: seconds, or an HTTP date that is measured from `now`.
pub fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than fit mean a long time all the same.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

impl std::fmt::Display for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Reply::Status { code, excerpt, .. } if excerpt.is_empty() => {
                write!(f, "the receiver answered {code}")
            }
            Reply::Status { code, excerpt, .. } => {
                write!(f, "the receiver answered {code} ({excerpt})")
            }
            Reply::Unreachable(cause) | Reply::Refused(cause) => f.write_str(cause),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const POLICY: Policy = Policy {
        base: Duration::from_secs(1),
        cap: Duration::from_secs(60),
        attempts: 5,
        timeout: Duration::from_secs(10),
    };

    fn status(code: u16) -> Reply {
        Reply::Status {
            code,
            retry_after: None,
            excerpt: String::new(),
        }
    }

    #[test]
    fn answers_are_told_apart() {
        for code in [200, 201, 202, 204, 299] {
            assert_eq!(POLICY.next(1, &status(code), 0.0), Decision::Accepted);
        }
        for code in [408, 425, 429, 500, 502, 503, 599] {
            let got = POLICY.next(1, &status(code), 1.0);
            assert_eq!(got, Decision::Retry(Duration::from_secs(1)), "{code}");
        }
        for code in [100, 301, 307, 400, 401, 404, 410, 422, 600] {
            let got = POLICY.next(1, &status(code), 0.0);
            assert!(matches!(got, Decision::GiveUp(_)), "{code}: {got:?}");
        }
        let lost = Reply::Unreachable("connecting: refused".into());
        assert!(matches!(POLICY.next(4, &lost, 0.0), Decision::Retry(_)));
        assert_eq!(
            POLICY.next(5, &lost, 0.0),
            Decision::GiveUp("connecting: refused (attempt 5 of 5)".into())
        );
    }

    #[test]
    fn delays_double_up_to_the_cap() {
        let policy = Policy {
            attempts: 100,
            ..POLICY
        };
        let delays: Vec<_> = (1..=8)
            .map(|n| policy.next(n, &status(500), 1.0))
            .map(|d| match d {
                Decision::Retry(d) => d.as_secs(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn retry_after_is_honoured_within_the_cap() {
        let asks = |secs| Reply::Status {
            code: 429,
            retry_after: Some(Duration::from_secs(secs)),
            excerpt: String::new(),
        };
        for (asked, delay) in [(0, 1), (7, 7), (60, 60), (86_400, 60)] {
            let got = POLICY.next(1, &asks(asked), 1.0);
            assert_eq!(got, Decision::Retry(Duration::from_secs(delay)));
        }
    }

    #[test]
    fn retry_after_comes_in_two_forms() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        for (value, secs) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("soon", None),
            ("-1", None),
            ("", None),
        ] {
            let got = retry_after(value, now);
            assert_eq!(got, secs.map(Duration::from_secs), "{value:?}");
        }
    }

    proptest! {
        #[test]
        fn delays_are_bounded_and_attempts_end(
            attempt in 1..u32::MAX, code in 100..1000_u16, asked in proptest::option::of(any::<u64>()), jitter in -1.0..2.0,
        ) {
            let reply = Reply::Status { code, retry_after: asked.map(Duration::from_secs), excerpt: String::new() };
            match POLICY.next(attempt, &reply, jitter) {
                Decision::Retry(delay) => {
                    prop_assert!(attempt < POLICY.attempts && is_transient(code));
                    prop_assert!(delay <= POLICY.cap && delay >= POLICY.base / 2);
                }
                Decision::Accepted => prop_assert!((200..300).contains(&code)),
                Decision::GiveUp(_) => prop_assert!(!is_transient(code) || attempt >= POLICY.attempts),
            }
        }

        #[test]
        fn no_retry_after_panics(value in "\\PC{0,60}") {
            let _ = retry_after(&value, SystemTime::UNIX_EPOCH);
        }
    }
}
