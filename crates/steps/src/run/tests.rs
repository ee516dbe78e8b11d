use std::time::{Duration, SystemTime};

use baton_protocol::{Order, Reason, Record, Timestamp};

use super::*;
use crate::outcome::Phase;
use crate::plan::{Sidecar, Step};

mod never_started;

fn at(secs: u64) -> Timestamp {
    Timestamp(SystemTime::UNIX_EPOCH + Duration::from_secs(secs))
}

fn record(reason: Reason, exit_code: i32) -> Record {
    Record::new(reason, exit_code, at(0))
}

fn finished(number: u32, reason: Reason, exit_code: i32) -> Event {
    let record = record(reason, exit_code);
    Event::Finished { number, record }
}

fn ok(number: u32) -> Event {
    finished(number, Reason::Completed, 0)
}

fn plan(finally: usize, sidecars: &[bool]) -> Plan {
    Plan {
        finally: (0..finally)
            .map(|i| Step {
                name: format!("f{i}"),
            })
            .collect(),
        sidecars: sidecars
            .iter()
            .enumerate()
            .map(|(i, awaited)| Sidecar {
                name: format!("s{i}"),
                awaited: *awaited,
            })
            .collect(),
        ..Plan::of_steps(["a", "b", "c"])
    }
}

/// The order that the effects write, if any.
fn order(effects: &[Effect]) -> Option<String> {
    effects.iter().find_map(|e| match e {
        Effect::WriteOrder(order) => Some(order.to_string()),
        _ => None,
    })
}

fn orders(run: &mut Run, events: impl IntoIterator<Item = Event>) -> Vec<String> {
    let mut orders = Vec::new();
    for (i, event) in events.into_iter().enumerate() {
        orders.extend(order(&run.apply(at(i as u64), event)));
    }
    orders
}

fn phase(run: &Run) -> (Phase, i32) {
    let outcome = run.outcome().expect("over");
    (outcome.phase, outcome.exit_code)
}

fn states(run: &Run) -> Vec<StepState> {
    run.steps().map(|s| s.state).collect()
}

#[test]
fn each_step_hands_over_to_the_next() {
    let mut run = Run::new(plan(0, &[]));
    let got = orders(&mut run, [Event::Begin, ok(1), ok(2), ok(3)]);
    assert_eq!(got, ["1", "2", "3", "4"]);
    assert_eq!(phase(&run), (Phase::Succeeded, 0));
    assert_eq!(run.outcome().unwrap().cause, None);
}

#[test]
fn the_hand_off_comes_before_all_else() {
    let mut run = Run::new(plan(0, &[]));
    run.apply(at(0), Event::Begin);
    let effects = run.apply(at(1), ok(1));
    assert_eq!(effects[0], Effect::WriteOrder(Order::Turn(2)));
    assert_eq!(effects[1], Effect::Remember(ok(1)));
}

#[test]
fn a_failure_cancels_the_rest() {
    let mut run = Run::new(plan(0, &[]));
    let got = orders(
        &mut run,
        [Event::Begin, ok(1), finished(2, Reason::Error, 7)],
    );
    assert_eq!(got, ["1", "2", "-1"]);
    assert_eq!(phase(&run), (Phase::Failed, 7));
    assert_eq!(
        states(&run)[2],
        StepState::NotRun {
            why: NotRun::Failure { number: 2 }
        }
    );
}

#[test]
fn a_failure_that_is_to_be_ignored_or_a_skip_hands_over() {
    let mut run = Run::new(plan(0, &[]));
    let mut ignored = record(Reason::Error, 7);
    ignored.continued = true;
    let ignored = Event::Finished {
        number: 1,
        record: ignored,
    };
    let got = orders(
        &mut run,
        [
            Event::Begin,
            ignored,
            finished(2, Reason::Skipped, 0),
            ok(3),
        ],
    );
    assert_eq!(got, ["1", "2", "3", "4"]);
    assert_eq!(phase(&run), (Phase::Succeeded, 0));
}

#[test]
fn finally_steps_run_whatever_happened() {
    let mut run = Run::new(plan(2, &[]));
    let events = [
        Event::Begin,
        finished(1, Reason::Error, 3),
        finished(4, Reason::Error, 9),
        ok(5),
    ];
    assert_eq!(orders(&mut run, events), ["1", "4", "5", "6"]);
    assert_eq!(phase(&run), (Phase::Failed, 3));
}

#[test]
fn a_failed_finally_step_fails_the_task() {
    let mut run = Run::new(plan(1, &[]));
    let events = [
        Event::Begin,
        ok(1),
        ok(2),
        ok(3),
        finished(4, Reason::Error, 9),
    ];
    assert_eq!(orders(&mut run, events), ["1", "2", "3", "4", "5"]);
    assert_eq!(phase(&run), (Phase::Failed, 9));
}

#[test]
fn a_cancel_waits_for_the_running_step() {
    let mut run = Run::new(plan(1, &[]));
    let events = [
        Event::Begin,
        ok(1),
        Event::Cancel,
        Event::Cancel,
        finished(2, Reason::Cancelled, 1),
        finished(3, Reason::Passed, 1),
        ok(4),
    ];
    assert_eq!(orders(&mut run, events), ["1", "2", "-1", "4", "5"]);
    assert_eq!(phase(&run), (Phase::Cancelled, 130));
    assert_eq!(
        states(&run)[2],
        StepState::NotRun {
            why: NotRun::Cancelled
        }
    );
}

#[test]
fn a_cancelled_step_that_does_not_stop_is_killed_and_then_given_up() {
    let mut run = Run::new(plan(0, &[]));
    run.apply(at(0), Event::Begin);
    let effects = run.apply(at(100), Event::Cancel);
    assert_eq!(effects.last(), Some(&Effect::WakeAt(at(115))));
    assert_eq!(run.apply(at(114), Event::Tick), []);
    let effects = run.apply(at(115), Event::Tick);
    assert_eq!(effects, [Effect::Kill(1), Effect::WakeAt(at(120))]);
    run.apply(at(120), Event::Tick);
    assert_eq!(phase(&run), (Phase::Cancelled, 130));
    assert!(matches!(
        states(&run)[0],
        StepState::Died {
            how: Death::Unresponsive,
            ..
        }
    ));
}

#[test]
fn a_cancel_before_the_beginning_runs_nothing() {
    for (finally, want) in [(0, "-1"), (1, "5")] {
        let mut run = Run::new(plan(finally, &[]));
        assert_eq!(orders(&mut run, [Event::Cancel, Event::Begin]), [want]);
        assert_eq!(phase(&run), (Phase::Cancelled, 130));
    }
}

#[test]
fn the_task_s_time_covers_the_steps_alone() {
    let mut run = Run::new(Plan {
        timeout: Some(Duration::from_secs(60)),
        ..plan(1, &[])
    });
    let effects = run.apply(at(0), Event::Begin);
    assert_eq!(effects.last(), Some(&Effect::WakeAt(at(60))));
    run.apply(at(1), ok(1));
    assert_eq!(order(&run.apply(at(60), Event::Tick)).unwrap(), "-1");
    let effects = run.apply(at(61), finished(2, Reason::Cancelled, 1));
    assert_eq!(order(&effects).unwrap(), "4");
    assert_eq!(run.apply(at(999), Event::Tick), []);
    run.apply(at(999), ok(4));
    assert_eq!(phase(&run), (Phase::TimedOut, 124));
}

#[test]
fn a_task_whose_last_step_is_over_is_in_time() {
    let mut run = Run::new(Plan {
        timeout: Some(Duration::from_secs(60)),
        ..Plan::of_steps(["a"])
    });
    run.apply(at(0), Event::Begin);
    run.apply(at(61), ok(1));
    assert_eq!(phase(&run), (Phase::Succeeded, 0));
}

#[test]
fn a_kill_ends_everything_at_once() {
    let mut run = Run::new(plan(1, &[false]));
    run.apply(at(0), Event::Begin);
    run.apply(at(1), Event::Cancel);
    let effects = run.apply(at(2), Event::Kill);
    assert_eq!(order(&effects).unwrap(), "5");
    let kills: Vec<_> = effects
        .iter()
        .filter(|e| matches!(e, Effect::Kill(_)))
        .collect();
    assert_eq!(kills, [&Effect::Kill(1), &Effect::Kill(5)]);
    for number in [1, 5] {
        let how = Death::Signal(9);
        run.apply(at(3), Event::Died { number, how });
    }
    assert_eq!(phase(&run), (Phase::Cancelled, 130));
    assert_eq!(
        states(&run)[3],
        StepState::NotRun {
            why: NotRun::Cancelled
        }
    );
}

#[test]
fn the_first_step_waits_for_awaited_sidecars() {
    let mut run = Run::new(plan(0, &[true, false, true]));
    let events = [
        Event::Begin,
        Event::Ready { number: 6 },
        Event::Ready { number: 5 },
        Event::Ready { number: 4 },
    ];
    assert_eq!(orders(&mut run, events), ["1"]);
}

#[test]
fn a_sidecar_that_ends_before_it_is_ready_fails_the_task() {
    let mut run = Run::new(plan(0, &[true]));
    let events = [Event::Begin, finished(4, Reason::Error, 2)];
    assert_eq!(orders(&mut run, events), ["-1"]);
    assert_eq!(phase(&run), (Phase::Failed, 2));
    let cause = run.cause().unwrap().to_string();
    assert_eq!(
        cause,
        "sidecar s0 ended before it was ready: Error, exit code 2"
    );
}

#[test]
fn a_sidecar_that_ends_later_is_only_recorded() {
    let mut run = Run::new(plan(0, &[true]));
    let events = [
        Event::Begin,
        Event::Ready { number: 4 },
        finished(4, Reason::Error, 2),
        ok(1),
        ok(2),
        ok(3),
    ];
    assert_eq!(orders(&mut run, events), ["1", "2", "3", "4"]);
    assert_eq!(phase(&run), (Phase::Succeeded, 0));
}

#[test]
fn a_sidecar_delays_the_end_by_its_grace_at_most() {
    let mut run = Run::new(plan(0, &[false]));
    for event in [Event::Begin, ok(1), ok(2)] {
        run.apply(at(0), event);
    }
    let effects = run.apply(at(10), ok(3));
    assert_eq!(order(&effects).unwrap(), "4");
    assert_eq!(effects.last(), Some(&Effect::WakeAt(at(25))));
    let effects = run.apply(at(25), Event::Tick);
    assert_eq!(effects[0], Effect::Kill(4));
    run.apply(at(30), Event::Tick);
    assert_eq!(phase(&run), (Phase::Succeeded, 0));
}

#[test]
fn what_a_record_claims_is_no_exit_code_of_a_failure() {
    for claimed in [0, 256, -5, i32::MAX] {
        let mut run = Run::new(plan(0, &[]));
        orders(
            &mut run,
            [Event::Begin, finished(1, Reason::Error, claimed)],
        );
        assert_eq!(phase(&run), (Phase::Failed, 1), "{claimed}");
    }
}

#[test]
fn starts_are_told_once_also_after_the_end() {
    let mut run = Run::new(plan(0, &[]));
    run.apply(at(0), Event::Begin);
    let started = |number, attempt| Event::Started {
        number,
        attempt,
        at: at(1),
    };
    assert_eq!(run.apply(at(1), started(2, 1)), [], "not its turn");
    run.apply(at(2), ok(1));
    assert_eq!(run.apply(at(2), started(1, 1)).len(), 1);
    assert_eq!(run.apply(at(2), started(1, 1)), []);
    assert_eq!(run.apply(at(2), started(9, 1)), [], "no such step");
}

#[test]
fn a_resumed_run_never_goes_back() {
    // The record of step 1 is gone, though the order went past it.
    let (run, effects) = Run::resume(
        plan(1, &[]),
        Order::Turn(2),
        [(at(0), Event::Begin)],
        [],
        at(9),
    );
    assert_eq!(order(&effects).unwrap(), "4");
    assert!(matches!(
        states(&run)[0],
        StepState::Died {
            how: Death::RecordLost,
            ..
        }
    ));
}

#[test]
fn a_resumed_run_goes_on_where_the_order_is() {
    let begun = || [(at(0), Event::Begin), (at(1), ok(1))];
    let (run, effects) = Run::resume(plan(0, &[]), Order::Turn(2), begun(), [], at(9));
    assert_eq!((run.turn(), order(&effects)), (Some(2), None));
    // Step 2 ended while nobody watched; a claim of a step that had no turn is not believed.
    let claim = Event::Started {
        number: 3,
        attempt: 1,
        at: at(1),
    };
    let (run, effects) = Run::resume(plan(0, &[]), Order::Turn(1), begun(), [ok(2)], at(9));
    assert_eq!(
        (run.turn(), order(&effects).as_deref()),
        (Some(3), Some("3"))
    );
    let (run, _) = Run::resume(plan(0, &[]), Order::Turn(2), begun(), [claim], at(9));
    assert_eq!(states(&run)[2], StepState::Pending);
}

#[test]
fn a_resumed_run_does_not_release_finally_steps_beside_a_running_step() {
    // Time was up while nobody watched, but step 2 had its turn and still runs.
    let plan = Plan {
        timeout: Some(Duration::from_secs(60)),
        ..plan(1, &[])
    };
    let remembered = [(at(0), Event::Begin)];
    let (mut run, effects) = Run::resume(plan, Order::Turn(2), remembered, [ok(1)], at(99));
    assert_eq!(order(&effects).unwrap(), "-1");
    let effects = run.apply(at(100), finished(2, Reason::Cancelled, 1));
    assert_eq!(order(&effects).unwrap(), "4");
}
