//! Containers that can never start.

use super::*;

fn never_started(number: u32) -> Event {
    let how = Death::NeverStarted("ImagePullBackOff: no such image".to_owned());
    Event::Died { number, how }
}

fn started(number: u32) -> Event {
    Event::Started {
        number,
        attempt: 1,
        at: at(0),
    }
}

#[test]
fn a_step_that_can_never_start_fails_the_task_before_its_turn() {
    let mut run = Run::new(plan(1, &[]));
    run.apply(at(0), Event::Begin);
    let effects = run.apply(at(1), never_started(3));
    // Known before the order: a restart at any point decides the same.
    assert_eq!(
        effects[..3],
        [
            Effect::Remember(never_started(3)),
            Effect::Remember(Event::Stopped {
                why: StopReason::NeverStarted,
                turn: 1
            }),
            Effect::WriteOrder(Order::Cancelled),
        ]
    );
    let how = Death::NeverStarted("ImagePullBackOff: no such image".to_owned());
    let state = StepState::Died { how, at: at(1) };
    let told = effects.iter().filter(
        |e| matches!(e, Effect::Notify(Notice::StepFinished { state: s, .. }) if *s == state),
    );
    assert_eq!(told.count(), 1);
    // The running step has its grace, and the `finally` step its turn.
    assert_eq!(effects.last(), Some(&Effect::WakeAt(at(16))));
    let effects = run.apply(at(2), finished(1, Reason::Cancelled, 1));
    assert_eq!(order(&effects).unwrap(), "4");
    run.apply(at(3), ok(4));
    assert_eq!(phase(&run), (Phase::Failed, 125));
    assert_eq!(
        run.cause().unwrap().to_string(),
        "step c: its container cannot be started: ImagePullBackOff: no such image"
    );
    let why = NotRun::Failure { number: 3 };
    assert_eq!(states(&run)[1..3], [StepState::NotRun { why }, state]);
}

#[test]
fn a_step_that_can_never_start_fails_the_task_at_its_turn_and_before_the_beginning() {
    let mut run = Run::new(plan(0, &[]));
    assert_eq!(
        orders(&mut run, [Event::Begin, ok(1), never_started(2)]),
        ["1", "2", "-1"]
    );
    assert_eq!(phase(&run), (Phase::Failed, 125));
    for (finally, want) in [(0, "-1"), (1, "5")] {
        let mut run = Run::new(plan(finally, &[]));
        assert_eq!(
            orders(&mut run, [never_started(2), Event::Begin]),
            [want],
            "nothing ran, so there is nothing to tidy up"
        );
        assert!(matches!(run.cause(), Some(Cause::Died { number: 2, .. })));
    }
}

#[test]
fn a_finally_step_that_can_never_start_fails_at_its_turn() {
    let mut run = Run::new(plan(2, &[]));
    let events = [Event::Begin, never_started(4), ok(1), ok(2), ok(3), ok(5)];
    assert_eq!(orders(&mut run, events), ["1", "2", "3", "5", "6"]);
    assert_eq!(phase(&run), (Phase::Failed, 125));
    assert!(matches!(run.cause(), Some(Cause::Died { number: 4, .. })));
}

#[test]
fn a_sidecar_that_can_never_start_fails_the_task_where_it_is_awaited() {
    let mut run = Run::new(plan(0, &[true]));
    assert_eq!(orders(&mut run, [Event::Begin, never_started(4)]), ["-1"]);
    assert_eq!(
        run.cause().unwrap().to_string(),
        "sidecar s0 ended before it was ready: its container cannot be started: \
         ImagePullBackOff: no such image"
    );
    let mut run = Run::new(plan(0, &[false]));
    let events = [Event::Begin, never_started(4), ok(1), ok(2), ok(3)];
    assert_eq!(orders(&mut run, events), ["1", "2", "3", "4"]);
    assert_eq!(phase(&run), (Phase::Succeeded, 0));
}

#[test]
fn what_was_started_is_not_one_that_can_never_start() {
    let mut run = Run::new(plan(0, &[true]));
    for event in [Event::Begin, started(4)] {
        run.apply(at(0), event);
    }
    assert_eq!(run.apply(at(1), never_started(4)), []);
    run.apply(at(1), Event::Ready { number: 4 });
    run.apply(at(1), started(1));
    assert_eq!(run.apply(at(1), never_started(1)), []);
}

#[test]
fn a_resumed_run_goes_on_from_every_prefix_of_what_it_remembered() {
    let remembered = [
        (at(0), Event::Begin),
        (at(1), ok(1)),
        (at(2), never_started(3)),
        (
            at(2),
            Event::Stopped {
                why: StopReason::NeverStarted,
                turn: 2,
            },
        ),
    ];
    // The order is written after both.
    for (kept, order) in [
        (3, Order::Turn(2)),
        (4, Order::Turn(2)),
        (4, Order::Cancelled),
    ] {
        let known = remembered.iter().take(kept).cloned();
        let (mut run, _) = Run::resume(plan(0, &[]), order, known, [], at(9));
        assert_eq!(run.order(), Order::Cancelled);
        run.apply(at(10), finished(2, Reason::Cancelled, 1));
        assert_eq!(phase(&run), (Phase::Failed, 125));
        assert!(matches!(run.cause(), Some(Cause::Died { number: 3, .. })));
    }
}
