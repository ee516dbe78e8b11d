use super::*;
use proptest::prelude::*;

const SEC: Duration = Duration::from_secs(1);
const SUCCESS: Effect = Effect::Over { success: true };
const FAILURE: Effect = Effect::Over { success: false };

fn ended(container: usize, success: bool) -> Event {
    Event::Ended { container, success }
}

fn script(shape: Shape, lines: &[(u32, Event, &[Effect])]) -> Pod {
    let mut pod = Pod::new(shape);
    for (at, event, want) in lines {
        assert_eq!(pod.apply(SEC * *at, *event), *want, "{event:?} at {at} s");
    }
    pod
}

#[test]
fn init_containers_come_first_one_by_one() {
    let shape = Shape {
        init: 2,
        main: 2,
        ..Shape::default()
    };
    script(
        shape,
        &[
            (0, Event::Tick, &[Effect::Start(0)]),
            (1, Event::Tick, &[]),
            (2, ended(0, true), &[Effect::Start(1)]),
            (
                3,
                ended(1, true),
                &[Effect::Start(2), Effect::Start(3), Effect::Ready],
            ),
            (4, ended(3, true), &[]),
            (5, ended(2, true), &[SUCCESS]),
            (6, ended(2, true), &[]),
        ],
    );
}

#[test]
fn a_failed_init_container_fails_the_pod() {
    let shape = Shape {
        init: 2,
        ..Shape::default()
    };
    script(
        shape,
        &[
            (0, Event::Tick, &[Effect::Start(0)]),
            (1, ended(0, false), &[FAILURE]),
        ],
    );
}

#[test]
fn the_others_run_to_their_ends() {
    let shape = Shape {
        main: 2,
        ..Shape::default()
    };
    script(
        shape,
        &[
            (
                0,
                Event::Tick,
                &[Effect::Start(0), Effect::Start(1), Effect::Ready],
            ),
            (1, ended(0, false), &[]),
            (9, ended(1, true), &[FAILURE]),
        ],
    );
}

#[test]
fn restarts_in_place_at_once_and_then_later_and_later() {
    let shape = Shape {
        restart: Restart::OnFailure,
        ..Shape::default()
    };
    let mut pod = Pod::new(shape);
    pod.apply(Duration::ZERO, Event::Tick);
    let mut now = SEC;
    let mut delays = Vec::new();
    for _ in 0..8 {
        let end = now;
        let mut effects = pod.apply(now, ended(0, false));
        while effects.is_empty() {
            now = pod.next_wake().unwrap();
            effects = pod.apply(now, Event::Tick);
        }
        assert_eq!(effects, [Effect::Restarting(0)]);
        assert_eq!(pod.apply(now, Event::Tick), [Effect::Start(0)]);
        delays.push((now - end).as_secs());
        now += SEC;
    }
    assert_eq!(delays, [0, 10, 20, 40, 80, 160, 300, 300]);
    // It ran for long: the next restart is at once again.
    now += RESTART_CAP * 2;
    assert_eq!(pod.apply(now, ended(0, false)), [Effect::Restarting(0)]);
    pod.apply(now, Event::Tick);
    assert_eq!(pod.apply(now, ended(0, true)), [SUCCESS]);
}

#[test]
fn an_announced_restart_can_be_called_off() {
    let shape = Shape {
        restart: Restart::OnFailure,
        ..Shape::default()
    };
    script(
        shape,
        &[
            (0, Event::Tick, &[Effect::Start(0), Effect::Ready]),
            (1, ended(0, false), &[Effect::Restarting(0)]),
            (1, Event::Stop, &[FAILURE]),
        ],
    );
}

#[test]
fn what_is_stopped_is_awaited() {
    let shape = Shape {
        main: 2,
        restart: Restart::OnFailure,
        ..Shape::default()
    };
    let pod = script(
        shape,
        &[
            (
                0,
                Event::Tick,
                &[Effect::Start(0), Effect::Start(1), Effect::Ready],
            ),
            (1, ended(0, true), &[]),
            (2, Event::Stop, &[Effect::Stop(1)]),
            (3, Event::Stop, &[]),
            (4, ended(1, true), &[FAILURE]),
        ],
    );
    assert!(pod.is_stopping());
}

#[test]
fn a_pod_has_a_deadline_of_its_own() {
    let shape = Shape {
        deadline: Some(SEC * 5),
        ..Shape::default()
    };
    let mut pod = Pod::new(shape);
    pod.apply(SEC, Event::Tick);
    assert_eq!(pod.next_wake(), Some(SEC * 6));
    assert_eq!(pod.apply(SEC * 6, Event::Tick), [Effect::Stop(0)]);
    assert_eq!(pod.apply(SEC * 7, ended(0, true)), [FAILURE]);
}

#[test]
fn stopped_before_it_began() {
    assert_eq!(
        Pod::new(Shape::default()).apply(SEC, Event::Stop),
        [FAILURE]
    );
}

proptest! {
    #[test]
    fn each_container_runs_once_at_a_time_and_every_pod_ends(
        (init, main, never) in (0..3_usize, 1..4_usize, any::<bool>()),
        deadline in proptest::option::weighted(0.2, 1..100_u32),
        turns in proptest::collection::vec((0..7_usize, any::<bool>(), 0..20_u32), 0..60),
    ) {
        let restart = if never { Restart::Never } else { Restart::OnFailure };
        let shape = Shape { init, main, restart, deadline: deadline.map(|s| SEC * s), ..Shape::default() };
        let mut pod = Pod::new(shape);
        let (mut now, mut running, mut over) = (Duration::ZERO, std::collections::BTreeSet::new(), false);
        let stop = turns.len();
        let orderly = (0..100).map(|i| (i % (init + main), true, 1));
        for (i, (container, success, wait)) in turns.into_iter().chain(orderly).enumerate() {
            now += SEC * wait;
            let event = match container {
                _ if i == stop => Event::Stop,
                c if running.contains(&c) => ended(c, success),
                // An end that never was.
                c if i % 2 == 0 => ended(c, success),
                _ => Event::Tick,
            };
            if let Event::Ended { container, .. } = event {
                running.remove(&container);
            }
            for effect in pod.apply(now, event) {
                prop_assert!(!over, "{effect:?} after the end");
                match effect {
                    Effect::Start(c) => {
                        prop_assert!(running.insert(c), "{c} runs already");
                        let alone = c < init && running.len() == 1;
                        prop_assert!(alone || c >= init && running.iter().all(|r| *r >= init));
                    }
                    Effect::Stop(c) => prop_assert!(running.contains(&c)),
                    Effect::Ready => prop_assert!(running.len() == main),
                    Effect::Restarting(_) => prop_assert!(!never),
                    Effect::Over { .. } => {
                        prop_assert!(running.is_empty());
                        over = true;
                    }
                }
            }
        }
        prop_assert!(over, "the pod did not end");
    }
}
