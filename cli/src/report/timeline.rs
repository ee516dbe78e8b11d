//! Where bars and ticks go: the geometry of the timeline, in per cent of its width.

use std::fmt;
use std::time::Duration;

use baton_protocol::Timestamp;

use super::facts::{Attempt, End, Facts, StepFacts};
use crate::show::style::span;

/// Narrowest bar, in per cent: what happened must be seen.
const MIN_WIDTH: f64 = 0.5;
/// Most ticks of the axis.
const MAX_TICKS: u32 = 6;

/// A share of the timeline's width, from 0 to 100.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub(super) struct Percent(pub(super) f64);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2}%", self.0)
    }
}

/// A bar of a row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bar {
    /// Left end.
    pub(super) x: Percent,
    /// Width.
    pub(super) width: Percent,
    /// What it stands for.
    pub(super) class: Class,
    /// What it says when pointed at.
    pub(super) title: String,
}

/// What a bar stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Waiting for its turn.
    Wait,
    /// Between two attempts.
    Pause,
    /// Ran and did what it should.
    Good,
    /// Failed, and the run went on: a retry followed, or the failure was ignored.
    Warn,
    /// Failed.
    Bad,
    /// Was told to stop.
    Stopped,
}

impl Class {
    /// The name in the style sheet.
    pub(super) fn name(self) -> &'static str {
        match self {
            Class::Wait => "wait",
            Class::Pause => "pause",
            Class::Good => "good",
            Class::Warn => "warn",
            Class::Bad => "bad",
            Class::Stopped => "stopped",
        }
    }
}

/// A mark on the time axis.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tick {
    /// Where.
    pub(super) x: Percent,
    /// The time since the start.
    pub(super) label: String,
}

/// The time that the page's width stands for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    start: Timestamp,
    span: Duration,
}

impl Scale {
    /// From the run's start to its end, and never nothing.
    pub(super) fn of(facts: &Facts) -> Scale {
        let span = facts.finished_at.since(facts.started_at);
        Scale {
            start: facts.started_at,
            span: span.max(Duration::from_millis(1)),
        }
    }

    /// Where a time is, in per cent, kept within the page.
    pub(super) fn x(&self, at: Timestamp) -> Percent {
        Percent(self.share(at.since(self.start)))
    }

    fn share(&self, d: Duration) -> f64 {
        (d.as_secs_f64() / self.span.as_secs_f64() * 100.0).min(100.0)
    }

    fn end(&self) -> Timestamp {
        Timestamp(self.start.0.checked_add(self.span).unwrap_or(self.start.0))
    }

    /// A bar from one time to another.
    pub(super) fn bar(&self, from: Timestamp, to: Timestamp, class: Class, title: String) -> Bar {
        let x = self.x(from).0.min(100.0 - MIN_WIDTH);
        let width = (self.x(to).0 - x).max(MIN_WIDTH);
        Bar {
            x: Percent(x),
            width: Percent(width),
            class,
            title,
        }
    }

    /// Ticks at round times, the start left out.
    pub(super) fn ticks(&self) -> Vec<Tick> {
        let step = round_step(self.span / MAX_TICKS);
        (1..=MAX_TICKS)
            .map(|n| step * n)
            // The last stretch has no room for a label.
            .filter(|at| self.share(*at) <= 97.0 && *at < self.span)
            .map(|at| Tick {
                x: Percent(self.share(at)),
                label: span(at).replace(".0s", "s"),
            })
            .collect()
    }
}

/// The shortest round step that is at least `least`: 1, 2 or 5 of something below a minute, and
/// what a clock has above.
fn round_step(least: Duration) -> Duration {
    const ROUND_SECS: [u64; 15] = [
        60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400, 172_800, 604_800,
        2_592_000,
    ];
    let decades = (0..5).map(|e| Duration::from_millis(10_u64.pow(e)));
    let below = decades
        .flat_map(|d| [d, d * 2, d * 5])
        .filter(|d| *d < Duration::from_secs(60));
    let above = ROUND_SECS.iter().map(|s| Duration::from_secs(*s));
    below
        .chain(above)
        .find(|step| *step >= least)
        .unwrap_or(least)
}

/// The bars of a step: waiting, its attempts, and what lies between them.
pub(super) fn bars(step: &StepFacts, scale: &Scale) -> Vec<Bar> {
    let over = match &step.end {
        End::Recorded(record) => record.finished_at,
        End::NotRun | End::Died(_) => scale.end(),
    };
    let since = step.waiting_since.unwrap_or(scale.start);
    let attempts = attempts(step);
    let Some(first) = attempts.first() else {
        let waited = span(over.since(since));
        let title = format!("never ran (waited {waited})");
        return vec![scale.bar(since, over, Class::Wait, title)];
    };
    let mut bars = Vec::new();
    if first.started_at > since {
        let waited = span(first.started_at.since(since));
        let title = format!("waited {waited}");
        bars.push(scale.bar(since, first.started_at, Class::Wait, title));
    }
    let many = attempts.len() > 1;
    for (i, attempt) in attempts.iter().enumerate() {
        let next = attempts.get(i + 1).map(|a| a.started_at);
        let end = attempt.finished_at.or(next).unwrap_or(over);
        let ran = span(end.since(attempt.started_at));
        let (class, how) = match (attempt.failure, next) {
            (Some((reason, code)), _) => (Class::Warn, format!("{reason}, exit {code}")),
            (None, Some(_)) => (Class::Warn, "failed".to_owned()),
            (None, None) => (class_of(step), last_words(step)),
        };
        let title = match many {
            true => format!("attempt {}: {how} after {ran}", i + 1),
            false => format!("{how} after {ran}"),
        };
        bars.push(scale.bar(attempt.started_at, end, class, title));
        if let Some(next) = next.filter(|next| *next > end) {
            let pause = span(next.since(end));
            let title = format!("{pause} until the next attempt");
            bars.push(scale.bar(end, next, Class::Pause, title));
        }
    }
    bars
}

/// The attempts that were seen; or one, made of what the record says.
fn attempts(step: &StepFacts) -> Vec<Attempt> {
    match &step.end {
        End::Recorded(record) if step.attempts.is_empty() && record.attempts > 0 => {
            let ran = Duration::from_millis(record.ran_ms);
            let start = record.finished_at.0.checked_sub(ran);
            vec![Attempt {
                started_at: Timestamp(start.unwrap_or(record.finished_at.0)),
                finished_at: Some(record.finished_at),
                failure: None,
            }]
        }
        _ => step.attempts.clone(),
    }
}

/// How a step's last attempt, and so the step, is to look.
pub(super) fn class_of(step: &StepFacts) -> Class {
    use baton_protocol::Reason;
    match &step.end {
        End::NotRun => Class::Wait,
        End::Died(_) => Class::Bad,
        End::Recorded(record) => match record.reason {
            Reason::Completed => Class::Good,
            Reason::Skipped | Reason::Passed => Class::Wait,
            _ if record.continued => Class::Warn,
            Reason::Cancelled => Class::Stopped,
            _ => Class::Bad,
        },
    }
}

fn last_words(step: &StepFacts) -> String {
    match &step.end {
        End::Recorded(record) if record.exit_code == 0 => format!("{:?}", record.reason),
        End::Recorded(record) => format!("{:?}, exit {}", record.reason, record.exit_code),
        End::Died(_) => "died".into(),
        End::NotRun => "no record".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn steps_are_round() {
        for (least, want) in [
            (0, 1),
            (3, 5),
            (150, 200),
            (501, 1000),
            (7_000, 10_000),
            (21_000, 50_000),
            (51_000, 60_000),
            (700_000, 900_000),
            (3_700_000, 7_200_000),
        ] {
            let got = round_step(Duration::from_millis(least));
            assert_eq!(got, Duration::from_millis(want), "{least}");
        }
    }

    proptest! {
        #[test]
        fn ticks_fit_and_rise(millis in 1..u64::from(u32::MAX)) {
            let start = Timestamp(std::time::SystemTime::UNIX_EPOCH);
            let ticks = Scale { start, span: Duration::from_millis(millis) }.ticks();
            prop_assert!(ticks.len() <= MAX_TICKS as usize);
            prop_assert!(ticks.windows(2).all(|w| w[0].x < w[1].x));
            prop_assert!(ticks.iter().all(|t| t.x.0 > 0.0 && t.x.0 <= 97.0));
            prop_assert!(millis < 3 || !ticks.is_empty(), "{} ms", millis);
        }

        #[test]
        fn bars_stay_on_the_page(span in 0..100_000_u64, from in 0..300_000_u64, to in 0..300_000_u64) {
            let at = |ms| Timestamp(std::time::SystemTime::UNIX_EPOCH + Duration::from_millis(ms));
            let scale = Scale { start: at(1000), span: Duration::from_millis(span.max(1)) };
            let bar = scale.bar(at(from), at(to), Class::Good, String::new());
            prop_assert!(bar.x.0 >= 0.0 && bar.width.0 >= MIN_WIDTH && bar.x.0 + bar.width.0 <= 100.0001);
        }
    }
}
