//! The time, a schedule and its runs -> what to start, to stop and to forget.

use std::time::Duration;

use baton_protocol::Timestamp;

use crate::cron::Cron;
use crate::next::{minute, next, timestamp};
use crate::zone::Zone;

/// Most missed starts that are counted.
pub const MAX_COUNTED: u32 = 100;
/// A start that is known to have been later than this from now was told by a wrong clock: it holds up
/// nothing.
pub const MAX_CLOCK_ERROR: Duration = Duration::from_secs(3600);
/// How late a start may be seen that follows one of a wrong clock.
const AFTER_ERROR: Duration = Duration::from_secs(120);

/// What a schedule says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// When runs are due.
    pub cron: Cron,
    /// Of which time zone that is.
    pub zone: Zone,
    /// What becomes of a run that is due while another is active.
    pub concurrency: Concurrency,
    /// How late a run may be started; any time where nothing is said.
    pub starting_deadline: Option<Duration>,
    /// How many runs that succeeded are kept.
    pub keep_successful: usize,
    /// How many other runs that are over are kept.
    pub keep_failed: usize,
    /// Nothing is started.
    pub is_suspended: bool,
}

/// What becomes of a run that is due while another is active.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concurrency {
    /// Both run.
    Allow,
    /// It waits for the other's end, and is missed where the next one is due by then.
    Forbid,
    /// It takes the other's place.
    Replace,
}

/// A run that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Its name.
    pub name: String,
    /// When it was due.
    pub due: Timestamp,
    /// How it stands.
    pub state: RunState,
    /// It is being deleted already.
    pub is_going: bool,
}

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// It is not over.
    Active,
    /// It is over, and succeeded.
    Succeeded,
    /// It is over, and did not.
    Failed,
}

/// What is known of a schedule's past.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// When it was made: nothing before counts.
    pub created: Timestamp,
    /// What the last run that was started was due at.
    pub last: Option<Timestamp>,
    /// The runs that are there.
    pub runs: &'a [Run],
}

/// What is to be done. What is in `stop` goes before `start` comes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Runs that make room, by name.
    pub stop: Vec<String>,
    /// Start the run that was due at this time.
    pub start: Option<Timestamp>,
    /// Runs that are over and not to be kept, by name.
    pub forget: Vec<String>,
    /// This one is due, and waits for the end of those that are active.
    pub waits: Option<Timestamp>,
    /// Starts that are never made up for.
    pub missed: Option<Missed>,
    /// The last start that the runs tell of and the status does not: to be written before anything is
    /// forgotten.
    pub last: Option<Timestamp>,
    /// When the next run is due; look again then at the latest.
    pub next: Option<Timestamp>,
}

/// Starts that were missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missed {
    /// The last of them.
    pub last: Timestamp,
    /// How many; at most [`MAX_COUNTED`].
    pub count: u32,
}

/// What to do for a schedule now.
///
/// Of several starts that were missed, because nobody was there to make them, the last one alone is
/// made up for, within the deadline. No time is started twice.
pub fn plan(schedule: &Schedule, seen: &Seen<'_>, now: Timestamp) -> Plan {
    let mut plan = Plan {
        forget: forget(schedule, seen.runs),
        last: unwritten(seen, now),
        ..Plan::default()
    };
    if schedule.is_suspended {
        return plan;
    }
    let since = since(seen, now);
    plan.next = next(&schedule.cron, &schedule.zone, now.max(since));
    let Some(due) = latest(schedule, since, now) else {
        return plan;
    };
    let is_late = |limit| now.since(due) >= limit;
    if schedule.starting_deadline.is_some_and(is_late) {
        plan.missed = Some(Missed {
            last: due,
            count: count(schedule, since, due),
        });
        return plan;
    }
    let active = || seen.runs.iter().filter(|r| r.state == RunState::Active);
    if schedule.concurrency == Concurrency::Forbid && active().next().is_some() {
        plan.waits = Some(due);
        return plan;
    }
    if schedule.concurrency == Concurrency::Replace {
        let stop = active().filter(|r| !r.is_going);
        plan.stop = stop.map(|r| r.name.clone()).collect();
    }
    plan.start = Some(due);
    let before = earlier(due, Duration::from_secs(1));
    plan.missed = latest(schedule, since, before).map(|last| Missed {
        last,
        count: count(schedule, since, last),
    });
    plan
}

/// The minutes from 1970 to a time: what the name of the run that is due then ends in.
pub fn minutes(due: Timestamp) -> i64 {
    minute(due).unwrap_or_default()
}

/// The time after which what is due counts.
fn since(seen: &Seen<'_>, now: Timestamp) -> Timestamp {
    let bound = later(now, MAX_CLOCK_ERROR);
    let known = || {
        let runs = seen.runs.iter().map(|r| r.due);
        runs.chain(seen.last).chain([seen.created])
    };
    let sane = known().filter(|at| *at <= bound).max();
    match known().any(|at| at > bound) {
        false => sane.unwrap_or(seen.created),
        true => {
            let recent = earlier(now, AFTER_ERROR);
            sane.map_or(recent, |sane| sane.max(recent))
        }
    }
}

/// The last start that the runs tell of and the status does not. What a wrong clock told gives way to a
/// start since then.
fn unwritten(seen: &Seen<'_>, now: Timestamp) -> Option<Timestamp> {
    let bound = later(now, MAX_CLOCK_ERROR);
    let after = match seen.last {
        Some(last) if last > bound => Some(earlier(now, AFTER_ERROR)),
        last => last,
    };
    let runs = seen.runs.iter().map(|r| r.due);
    let last = runs.filter(|due| *due <= bound).max();
    last.filter(|last| after.is_none_or(|after| *last > after))
}

/// The last time that was due after `since` and until `now`.
fn latest(schedule: &Schedule, since: Timestamp, now: Timestamp) -> Option<Timestamp> {
    let first_after = |minute| {
        let due = next(&schedule.cron, &schedule.zone, timestamp(minute)?)?;
        (due <= now).then_some(due)
    };
    let mut found = first_after(minute(since)?)?;
    // What is due after a minute is the later the later that minute is: the last one is found by halves.
    let (mut low, mut high) = (minute(found)?, minute(now)?);
    while low < high {
        let middle = low + (high - low) / 2;
        match first_after(middle) {
            Some(due) => {
                found = due;
                low = minute(due)?;
            }
            None => high = middle,
        }
    }
    Some(found)
}

/// How many times were due after `since` and until `last`, both not counted beyond the bound.
fn count(schedule: &Schedule, since: Timestamp, last: Timestamp) -> u32 {
    let mut at = since;
    let mut count = 0;
    while count < MAX_COUNTED {
        match next(&schedule.cron, &schedule.zone, at) {
            Some(due) if due <= last => (at, count) = (due, count + 1),
            _ => break,
        }
    }
    count
}

/// The runs that are over beyond those that are kept: the newest are.
fn forget(schedule: &Schedule, runs: &[Run]) -> Vec<String> {
    let mut over: Vec<&Run> = runs
        .iter()
        .filter(|r| r.state != RunState::Active)
        .collect();
    over.sort_by(|a, b| b.due.cmp(&a.due).then_with(|| b.name.cmp(&a.name)));
    let kept = [
        (RunState::Succeeded, schedule.keep_successful),
        (RunState::Failed, schedule.keep_failed),
    ];
    let surplus = kept.into_iter().flat_map(|(state, kept)| {
        let of_state = over.iter().filter(move |r| r.state == state);
        of_state.skip(kept)
    });
    let surplus = surplus.filter(|r| !r.is_going);
    surplus.map(|r| r.name.clone()).collect()
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.0.checked_add(by).map_or(at, Timestamp)
}

fn earlier(at: Timestamp, by: Duration) -> Timestamp {
    at.0.checked_sub(by).map_or(at, Timestamp)
}
