use std::collections::BTreeSet;
use std::time::Duration;

use baton_protocol::Timestamp;
use proptest::prelude::*;

use super::times::{crons, zones};
use super::{at, cron, minus, plus};
use crate::plan::MAX_CLOCK_ERROR;
use crate::{Concurrency, MAX_COUNTED, Missed, Run, RunState, Schedule, Seen, Zone, next, plan};

fn every(minutes: &str) -> Schedule {
    Schedule {
        cron: cron(minutes),
        zone: Zone::utc(),
        concurrency: Concurrency::Allow,
        starting_deadline: None,
        keep_successful: 3,
        keep_failed: 1,
        is_suspended: false,
    }
}

fn run(due: &str, state: RunState) -> Run {
    Run {
        name: format!("run-{due}"),
        due: at(due),
        state,
        is_going: false,
    }
}

fn seen<'a>(created: &str, last: Option<&str>, runs: &'a [Run]) -> Seen<'a> {
    Seen {
        created: at(created),
        last: last.map(at),
        runs,
    }
}

#[test]
fn a_run_starts_when_it_is_due_and_once() {
    let schedule = every("*/5 * * * *");
    let new = seen("2030-01-01T12:00:30Z", None, &[]);
    let before = plan(&schedule, &new, at("2030-01-01T12:04:59Z"));
    assert_eq!(
        (before.start, before.next),
        (None, Some(at("2030-01-01T12:05:00Z")))
    );
    let due = plan(&schedule, &new, at("2030-01-01T12:05:00Z"));
    assert_eq!(
        (due.start, due.missed),
        (Some(at("2030-01-01T12:05:00Z")), None)
    );
    assert_eq!(due.next, Some(at("2030-01-01T12:10:00Z")));
    // Known by the status, or by the run alone.
    let started = seen("2030-01-01T12:00:30Z", Some("2030-01-01T12:05:00Z"), &[]);
    assert_eq!(
        plan(&schedule, &started, at("2030-01-01T12:09:59Z")).start,
        None
    );
    let runs = [run("2030-01-01T12:05:00Z", RunState::Active)];
    let there = seen("2030-01-01T12:00:30Z", None, &runs);
    assert_eq!(
        plan(&schedule, &there, at("2030-01-01T12:09:59Z")).start,
        None
    );
}

#[test]
fn of_missed_starts_the_last_is_made_up_for() {
    let schedule = every("*/5 * * * *");
    let last = seen("2029-01-01T00:00:00Z", Some("2030-01-01T12:00:00Z"), &[]);
    let late = plan(&schedule, &last, at("2030-01-01T12:17:00Z"));
    assert_eq!(late.start, Some(at("2030-01-01T12:15:00Z")));
    let missed = Missed {
        last: at("2030-01-01T12:10:00Z"),
        count: 2,
    };
    assert_eq!(late.missed, Some(missed));
    let years = plan(&schedule, &last, at("2034-01-01T12:17:00Z"));
    assert_eq!(years.start, Some(at("2034-01-01T12:15:00Z")));
    assert_eq!(years.missed.map(|m| m.count), Some(MAX_COUNTED));
}

#[test]
fn a_start_after_its_deadline_is_missed() {
    let mut schedule = every("0 * * * *");
    schedule.starting_deadline = Some(Duration::from_secs(600));
    let last = seen("2029-01-01T00:00:00Z", Some("2030-01-01T11:00:00Z"), &[]);
    let in_time = plan(&schedule, &last, at("2030-01-01T12:09:59Z"));
    assert_eq!(in_time.start, Some(at("2030-01-01T12:00:00Z")));
    let late = plan(&schedule, &last, at("2030-01-01T12:10:00Z"));
    let missed = Missed {
        last: at("2030-01-01T12:00:00Z"),
        count: 1,
    };
    assert_eq!((late.start, late.missed), (None, Some(missed)));
    assert_eq!(late.next, Some(at("2030-01-01T13:00:00Z")));
}

#[test]
fn what_becomes_of_a_run_beside_another() {
    let runs = [run("2030-01-01T12:00:00Z", RunState::Active)];
    let last = seen("2029-01-01T00:00:00Z", Some("2030-01-01T12:00:00Z"), &runs);
    let (now, due) = (at("2030-01-01T12:05:01Z"), at("2030-01-01T12:05:00Z"));
    let mut schedule = every("*/5 * * * *");
    let both = plan(&schedule, &last, now);
    assert_eq!((both.start, both.stop.len()), (Some(due), 0));
    schedule.concurrency = Concurrency::Forbid;
    let one = plan(&schedule, &last, now);
    assert_eq!((one.start, one.waits, one.missed), (None, Some(due), None));
    // It begins with the other's end; what was due in between is missed.
    let over = [run("2030-01-01T12:00:00Z", RunState::Failed)];
    let later = plan(
        &schedule,
        &Seen {
            runs: &over,
            ..last
        },
        at("2030-01-01T12:11:00Z"),
    );
    assert_eq!(later.start, Some(at("2030-01-01T12:10:00Z")));
    assert_eq!(later.missed.map(|m| m.count), Some(1));
    schedule.concurrency = Concurrency::Replace;
    let new = plan(&schedule, &last, now);
    assert_eq!(
        (new.start, new.stop),
        (Some(due), vec![runs[0].name.clone()])
    );
}

#[test]
fn a_suspended_schedule_starts_nothing_and_still_forgets() {
    let mut schedule = every("* * * * *");
    (schedule.is_suspended, schedule.keep_failed) = (true, 0);
    let runs = [run("2030-01-01T12:00:00Z", RunState::Failed)];
    let plan = plan(
        &schedule,
        &seen("2029-01-01T00:00:00Z", None, &runs),
        at("2030-01-01T13:00:00Z"),
    );
    assert_eq!((plan.start, plan.next, plan.missed), (None, None, None));
    assert_eq!(plan.forget, [runs[0].name.clone()]);
}

#[test]
fn the_newest_runs_are_kept() {
    let times = [
        "12:00", "12:01", "12:02", "12:03", "12:04", "12:05", "12:06",
    ];
    let states = [
        RunState::Succeeded,
        RunState::Failed,
        RunState::Succeeded,
        RunState::Active,
        RunState::Failed,
        RunState::Succeeded,
        RunState::Succeeded,
    ];
    let time = |t: &str| format!("2030-01-01T{t}:00Z");
    let runs: Vec<Run> = times
        .iter()
        .zip(states)
        .map(|(t, s)| run(&time(t), s))
        .collect();
    let now = at("2030-01-01T12:06:30Z");
    let mut forget = plan(
        &every("* * * * *"),
        &seen("2029-01-01T00:00:00Z", None, &runs),
        now,
    )
    .forget;
    forget.sort();
    assert_eq!(forget, [runs[0].name.clone(), runs[1].name.clone()]);
    let mut going = runs.clone();
    going[0].is_going = true;
    let forget = plan(
        &every("* * * * *"),
        &seen("2029-01-01T00:00:00Z", None, &going),
        now,
    )
    .forget;
    assert_eq!(forget, [runs[1].name.clone()]);
}

#[test]
fn a_wrong_clock_holds_up_nothing_once_it_is_right() {
    let schedule = every("*/5 * * * *");
    let last = seen("2029-01-01T00:00:00Z", Some("2031-06-01T00:00:00Z"), &[]);
    let quiet = plan(&schedule, &last, at("2030-01-01T12:03:00Z"));
    assert_eq!(
        (quiet.start, quiet.next),
        (None, Some(at("2030-01-01T12:05:00Z")))
    );
    let due = plan(&schedule, &last, at("2030-01-01T12:05:01Z"));
    assert_eq!(due.start, Some(at("2030-01-01T12:05:00Z")));
    // A little back is waited for: nothing is started twice.
    let back = seen("2029-01-01T00:00:00Z", Some("2030-01-01T12:05:00Z"), &[]);
    let back = plan(&schedule, &back, at("2030-01-01T11:59:59Z"));
    assert_eq!(
        (back.start, back.next),
        (None, Some(at("2030-01-01T12:10:00Z")))
    );
}

/// What happens to a schedule.
#[derive(Debug, Clone)]
enum Step {
    /// So many seconds pass.
    Wait(u64),
    /// The clock is set back by so many seconds.
    Back(u64),
    /// The oldest active run ends.
    End(bool),
    /// The controller dies after it made the run and before it wrote the status; or at once.
    Die { made: bool },
    /// The schedule is suspended, or goes on.
    Suspend(bool),
    /// Somebody deletes the oldest run.
    Delete,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1_u64..400).prop_map(Step::Wait),
        1 => (400_u64..200_000).prop_map(Step::Wait),
        1 => (1_u64..MAX_CLOCK_ERROR.as_secs() / 4).prop_map(Step::Back),
        3 => any::<bool>().prop_map(Step::End),
        2 => any::<bool>().prop_map(|made| Step::Die { made }),
        1 => any::<bool>().prop_map(Step::Suspend),
        1 => Just(Step::Delete),
    ];
    proptest::collection::vec(step, 1..60)
}

fn schedules() -> impl Strategy<Value = Schedule> {
    let concurrency = prop::sample::select(vec![
        Concurrency::Allow,
        Concurrency::Forbid,
        Concurrency::Replace,
    ]);
    let dense = prop_oneof![Just(cron("* * * * *")), Just(cron("*/7 * * * *")), crons()];
    let deadline = prop_oneof![
        Just(None),
        (1_u64..5000).prop_map(|s| Some(Duration::from_secs(s)))
    ];
    (
        dense,
        zones(),
        concurrency,
        deadline,
        0_usize..4,
        0_usize..3,
    )
        .prop_map(
            |(cron, zone, concurrency, starting_deadline, keep_successful, keep_failed)| Schedule {
                cron,
                zone,
                concurrency,
                starting_deadline,
                keep_successful,
                keep_failed,
                is_suspended: false,
            },
        )
}

/// A cluster that has one schedule.
struct World {
    schedule: Schedule,
    created: Timestamp,
    now: Timestamp,
    /// The latest time that the clock showed.
    latest: Timestamp,
    /// What the status says.
    last: Option<Timestamp>,
    runs: Vec<Run>,
    started: BTreeSet<Timestamp>,
}

impl World {
    /// Does what is planned, one thing after the other; dies before the status is written where it is said to.
    fn act(&mut self, dies: bool) -> Result<(), TestCaseError> {
        let seen = Seen {
            created: self.created,
            last: self.last,
            runs: &self.runs,
        };
        let plan = plan(&self.schedule, &seen, self.now);
        let Schedule { cron, zone, .. } = &self.schedule;
        self.runs.retain(|r| !plan.stop.contains(&r.name));
        let active = self
            .runs
            .iter()
            .filter(|r| r.state == RunState::Active)
            .count();
        if let Some(due) = plan.start {
            prop_assert!(
                !self.schedule.is_suspended,
                "a suspended schedule started one"
            );
            prop_assert!(due > self.created, "started {due}, before it was made");
            prop_assert!(due <= self.now, "started {due}, at {}", self.now);
            prop_assert_eq!(
                next(cron, zone, minus(due, 1)),
                Some(due),
                "it is no time that is due"
            );
            prop_assert!(self.started.insert(due), "{} was started twice", due);
            if let Some(limit) = self.schedule.starting_deadline {
                prop_assert!(self.now.since(due) < limit);
            }
            if self.schedule.concurrency != Concurrency::Allow {
                prop_assert_eq!(active, 0, "started beside another");
            }
            self.runs.push(Run {
                name: format!("run-{due}"),
                due,
                state: RunState::Active,
                is_going: false,
            });
        }
        if dies {
            return Ok(());
        }
        if plan.start.is_some() {
            return self.act(false);
        }
        self.last = plan.last.or(self.last);
        if let Some(next) = plan.next {
            prop_assert!(next > self.now);
        }
        self.runs.retain(|r| !plan.forget.contains(&r.name));
        let kept = |state| self.runs.iter().filter(|r| r.state == state).count();
        prop_assert!(kept(RunState::Succeeded) <= self.schedule.keep_successful);
        prop_assert!(kept(RunState::Failed) <= self.schedule.keep_failed);
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Wait(seconds) => {
                self.now = plus(self.now, *seconds);
                self.latest = self.latest.max(self.now);
            }
            Step::Back(seconds) => {
                let least = minus(self.latest, MAX_CLOCK_ERROR.as_secs());
                self.now = minus(self.now, *seconds).max(least);
            }
            Step::Suspend(is) => self.schedule.is_suspended = *is,
            Step::End(well) => {
                let state = if *well {
                    RunState::Succeeded
                } else {
                    RunState::Failed
                };
                if let Some(run) = self.runs.iter_mut().find(|r| r.state == RunState::Active) {
                    run.state = state;
                }
            }
            Step::Die { made: true } => return self.act(true),
            Step::Die { made: false } => {}
            Step::Delete if self.last.is_some() && !self.runs.is_empty() => {
                // What nothing but the run itself tells of is not deleted here.
                let known = self.runs.iter().position(|r| Some(r.due) <= self.last);
                if let Some(known) = known {
                    self.runs.remove(known);
                }
            }
            Step::Delete => {}
        }
        self.act(false)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever happens, and however often the controller dies: no time is started twice, none that
    /// is not due, none beside another where that is forbidden, and history is bounded.
    #[test]
    fn no_time_is_started_twice(schedule in schedules(), start in 26_000_000_u64..34_000_000, steps in steps()) {
        let now = plus(Timestamp(std::time::SystemTime::UNIX_EPOCH), start * 60 + 17);
        let mut world = World {
            schedule,
            created: now,
            now,
            latest: now,
            last: None,
            runs: Vec::new(),
            started: BTreeSet::new(),
        };
        for step in &steps {
            world.step(step)?;
        }
    }

    /// Who looks whenever the plan says so starts every time that is due, in time.
    #[test]
    fn every_time_that_is_due_is_started(mut schedule in schedules(), start in 26_000_000_u64..34_000_000) {
        schedule.concurrency = Concurrency::Allow;
        let now = plus(Timestamp(std::time::SystemTime::UNIX_EPOCH), start * 60 + 17);
        let (created, mut now, mut last) = (now, now, None);
        let Schedule { cron, zone, .. } = schedule.clone();
        let wanted = std::iter::successors(next(&cron, &zone, created), |t| next(&cron, &zone, *t));
        for want in wanted.take(20) {
            let before = plan(&schedule, &Seen { created, last, runs: &[] }, now);
            prop_assert_eq!((before.start, before.next), (None, Some(want)));
            now = want;
            let due = plan(&schedule, &Seen { created, last, runs: &[] }, now);
            prop_assert_eq!((due.start, due.missed), (Some(want), None));
            last = Some(want);
        }
    }

    /// Also of a clock that was wrong: once it is right, runs start again.
    #[test]
    fn it_goes_on_after_any_past(
        schedule in schedules(),
        created in 0_u64..70_000_000,
        last in proptest::option::of(0_u64..70_000_000),
        now in 26_000_000_u64..34_000_000,
    ) {
        let minute = |m: u64| plus(Timestamp(std::time::SystemTime::UNIX_EPOCH), m * 60);
        let seen = Seen { created: minute(created), last: last.map(minute), runs: &[] };
        let bound = plus(minute(now), MAX_CLOCK_ERROR.as_secs());
        let next = plan(&schedule, &seen, minute(now)).next.expect("it comes");
        let free = crate::next(&schedule.cron, &schedule.zone, minute(now)).expect("it comes");
        prop_assert!(next >= free);
        prop_assert!(next <= crate::next(&schedule.cron, &schedule.zone, bound).expect("it comes"));
    }
}
