use super::*;
use baton_steps::{Sidecar, Step};
use proptest::prelude::*;
use std::time::{Duration, SystemTime};

pub(crate) fn at(seconds: u64) -> Timestamp {
    Timestamp(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds))
}

pub(crate) fn plan() -> Plan {
    Plan {
        finally: vec![Step {
            name: "tidy".into(),
        }],
        sidecars: vec![Sidecar {
            name: "db".into(),
            awaited: true,
        }],
        ..Plan::of_steps(["build", "test", "ship"])
    }
}

fn fresh() -> TaskStatus {
    TaskStatus {
        run: 1,
        steps: steps(&plan()),
        ..TaskStatus::default()
    }
}

fn done(number: u32, record: Record, results: &[(&str, usize)]) -> (Timestamp, What) {
    let result = |(name, len): &(&str, usize)| StepResult {
        name: (*name).to_owned(),
        value: "x".repeat(*len),
    };
    let what = What::StepFinished {
        number,
        state: StepState::Done {
            record: record.clone(),
        },
        results: results.iter().map(result).collect(),
        missing: Vec::new(),
    };
    (record.finished_at, what)
}

fn record(reason: Reason, code: i32, end: u64) -> Record {
    let mut record = Record::new(reason, code, at(end));
    record.started_at = Some(at(end - 1));
    record.attempts = 1;
    record.user_us = 5000;
    record
}

fn died(number: u32, how: Death, end: u64) -> (Timestamp, What) {
    let what = What::StepFinished {
        number,
        state: StepState::Died { how, at: at(end) },
        results: Vec::new(),
        missing: Vec::new(),
    };
    (at(end), what)
}

fn finished(phase: Phase, cause: Option<Cause>, end: u64) -> (Timestamp, What) {
    let outcome = Outcome {
        phase,
        exit_code: cause.as_ref().map_or(0, Cause::exit_code),
        cause,
        started_at: Some(at(1)),
        finished_at: at(end),
    };
    (at(end), What::TaskFinished { outcome })
}

fn folded(facts: &[(Timestamp, What)]) -> TaskStatus {
    let mut status = fresh();
    for (at, what) in facts {
        fold(&mut status, *at, what);
    }
    status
}

/// Everything that an agent tells of a run: a retry, a large result, a failure, a death.
fn history(failing: u32, dies: bool) -> Vec<(Timestamp, What)> {
    let mut facts = vec![
        (at(1), What::TaskStarted),
        (at(1), What::SidecarReady { number: 5 }),
        (
            at(1),
            What::StepStarted {
                number: 5,
                attempt: 1,
            },
        ),
    ];
    let mut cause = None;
    for number in 1..=4 {
        if number > failing && number < 4 && cause.is_some() {
            continue;
        }
        let begin = u64::from(number) * 10;
        facts.push((at(begin), What::StepStarted { number, attempt: 1 }));
        facts.push((
            at(begin + 1),
            What::StepRetrying {
                number,
                attempt: 1,
                reason: Reason::Error,
                exit_code: 7,
                delay_ms: 5,
            },
        ));
        facts.push((at(begin + 2), What::StepStarted { number, attempt: 2 }));
        facts.push((
            at(begin + 2),
            What::Warning {
                number,
                about: "slow".into(),
                message: "the step is slow".into(),
            },
        ));
        let name = plan().name(number).to_owned();
        if number == failing && dies {
            facts.push(died(number, Death::Signal(9), begin + 5));
            let how = Death::Signal(9);
            cause = Some(Cause::Died { number, name, how });
        } else {
            let bad = number == failing;
            let (reason, code) = if bad {
                (Reason::Error, 3)
            } else {
                (Reason::Completed, 0)
            };
            facts.push(done(
                number,
                record(reason, code, begin + 5),
                &[("r", 100 << 10)],
            ));
            if bad {
                cause = Some(Cause::Step {
                    number,
                    name,
                    reason,
                    exit_code: code,
                    message: String::new(),
                });
            }
        }
    }
    facts.push(done(5, record(Reason::Cancelled, 143, 60), &[]));
    let phase = cause.as_ref().map_or(Phase::Succeeded, Cause::phase);
    facts.push(finished(phase, cause, 61));
    facts
}

#[test]
fn a_run_that_goes_well() {
    let status = folded(&history(9, false));
    assert_eq!(
        (status.phase, status.reason.as_str()),
        (TaskPhase::Succeeded, "Completed")
    );
    assert_eq!(
        (status.started_at, status.finished_at),
        (Some(at(1)), Some(at(61)))
    );
    let step = &status.steps[0];
    assert_eq!(
        (step.state, step.reason.as_str()),
        (StepPhase::Succeeded, "Completed")
    );
    assert_eq!(
        (step.attempts, step.retries.len(), step.exit_code),
        (2, 1, Some(0))
    );
    assert_eq!((step.started_at, step.cpu_ms), (Some(at(10)), Some(5)));
    // Two of 100 KiB fit into the 256, the third and whatever comes after do not.
    let kept: Vec<_> = status.steps.iter().map(|s| s.results.len()).collect();
    assert_eq!(kept, [1, 1, 0, 0, 0]);
    assert_eq!(status.steps[2].missing_results[0].name, "r");
    // A sidecar that was told to stop did not fail.
    assert_eq!(status.steps[4].state, StepPhase::Succeeded);
}

#[test]
fn what_follows_a_failure_did_not_run() {
    let status = folded(&history(2, false));
    assert_eq!(
        (status.phase, status.reason.as_str(), status.exit_code),
        (TaskPhase::Failed, "Error", Some(3))
    );
    let states: Vec<_> = status.steps.iter().map(|s| s.state).collect();
    use StepPhase::{Failed, NotRun, Succeeded};
    assert_eq!(states, [Succeeded, Failed, NotRun, Succeeded, Succeeded]);
}

#[test]
fn a_failure_that_was_gone_on_from_is_told_as_such() {
    let mut left = record(Reason::TimedOut, 124, 12);
    left.continued = true;
    let status = folded(&[done(1, left, &[])]);
    let step = &status.steps[0];
    assert_eq!(
        (step.state, step.reason.as_str()),
        (StepPhase::Succeeded, "Continued")
    );
    assert_eq!(step.continued_from, Some(Reason::TimedOut));
}

#[test]
fn a_container_that_never_starts_is_named_by_the_kubelets_word() {
    let how = Death::NeverStarted("ImagePullBackOff: no such image".into());
    let name = "test".to_owned();
    let cause = Cause::Died {
        number: 2,
        name,
        how: how.clone(),
    };
    let status = folded(&[died(2, how, 5), finished(Phase::Failed, Some(cause), 6)]);
    assert_eq!(status.reason, "ImagePullBackOff");
    assert_eq!(status.steps[1].reason, "ImagePullBackOff");
    assert!(status.steps[1].message.contains("no such image"));
}

#[test]
fn the_first_retries_stay() {
    let facts: Vec<_> = (1..=40)
        .map(|attempt| {
            let what = What::StepRetrying {
                number: 1,
                attempt,
                reason: Reason::Error,
                exit_code: 1,
                delay_ms: 1,
            };
            (at(attempt.into()), what)
        })
        .collect();
    let attempts: Vec<_> = folded(&facts).steps[0]
        .retries
        .iter()
        .map(|r| r.attempt)
        .collect();
    assert_eq!(attempts, (1..=16).collect::<Vec<_>>());
}

#[test]
fn what_is_lost_fails_and_what_never_began_did_not_run() {
    let mut status = folded(&[
        (at(1), What::TaskStarted),
        (
            at(2),
            What::StepStarted {
                number: 1,
                attempt: 1,
            },
        ),
    ]);
    lose(&mut status, "NodeLost", "node n is gone", at(9));
    assert_eq!(
        (status.phase, status.reason.as_str()),
        (TaskPhase::Failed, "NodeLost")
    );
    assert_eq!(
        (status.steps[0].state, status.steps[0].reason.as_str()),
        (StepPhase::Failed, "NodeLost")
    );
    assert_eq!(status.steps[1].state, StepPhase::NotRun);
}

proptest! {
    #[test]
    fn order_and_repetition_do_not_matter(
        failing in 1..=5_u32,
        dies: bool,
        seed in proptest::collection::vec((0..1000_usize, 0..1000_usize), 0..120),
    ) {
        let facts = history(failing, dies);
        let straight = folded(&facts);
        let mut mixed = facts.clone();
        for (from, to) in seed {
            let (from, to) = (from % mixed.len(), to % mixed.len());
            if from % 3 == 0 {
                mixed.push(mixed[from].clone());
            }
            mixed.swap(from, to);
        }
        // Whatever was told of it before, an end that comes again tells nothing new.
        prop_assert_eq!(&folded(&mixed), &straight);
        let mut again = straight.clone();
        for (at, what) in &mixed {
            fold(&mut again, *at, what);
        }
        prop_assert_eq!(again, straight);
    }

    #[test]
    fn numbers_that_the_run_does_not_have_change_nothing(number in 6..=u32::MAX) {
        let facts = [
            (at(1), What::SidecarReady { number }),
            died(number, Death::Gone, 3),
            (at(2), What::Warning { number, about: "x".into(), message: "y".into() }),
        ];
        prop_assert_eq!(folded(&facts), fresh());
    }
}
