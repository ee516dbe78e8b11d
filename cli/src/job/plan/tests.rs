use super::*;

mod world;

const SEC: Duration = Duration::from_secs(1);

fn create(pod: u32) -> Action {
    Action::Create {
        pod: PodId(pod),
        index: None,
    }
}

fn create_indexed(pod: u32, index: u32) -> Action {
    Action::Create {
        pod: PodId(pod),
        index: Some(index),
    }
}

fn ended(pod: u32, success: bool) -> Event {
    Event::Ended {
        pod: PodId(pod),
        success,
    }
}

/// Applies events at whole seconds and checks each answer.
fn script(spec: Spec, lines: &[(u64, Event, &[Action])]) -> Job {
    let mut job = Job::new(spec);
    for (at, event, want) in lines {
        assert_eq!(
            job.apply(SEC * *at as u32, *event),
            *want,
            "{event:?} at {at} s"
        );
    }
    job
}

fn complete() -> Action {
    Action::Condition(Condition::complete())
}

fn too_many_failures() -> Action {
    Action::Condition(Condition::backoff_limit_exceeded())
}

#[test]
fn completions_with_parallelism() {
    let spec = Spec {
        parallelism: 2,
        completions: Some(3),
        ..Spec::default()
    };
    let job = script(
        spec,
        &[
            (0, Event::Tick, &[create(1), create(2)]),
            (1, ended(2, true), &[create(3)]),
            (2, ended(1, true), &[]),
            (3, ended(1, true), &[]),
            (4, ended(3, true), &[complete()]),
            (5, Event::Tick, &[]),
        ],
    );
    assert_eq!((job.succeeded(), job.failed()), (3, 0));
}

#[test]
fn failed_pods_are_replaced_with_growing_delays_until_the_limit() {
    let spec = Spec {
        backoff_limit: 3,
        ..Spec::default()
    };
    let job = script(
        spec,
        &[
            (0, Event::Tick, &[create(1)]),
            (5, ended(1, false), &[]),
            (14, Event::Tick, &[]),
            (15, Event::Tick, &[create(2)]),
            (16, ended(2, false), &[]),
            (35, Event::Tick, &[]),
            (36, Event::Tick, &[create(3)]),
            (40, ended(3, false), &[]),
            (80, Event::Tick, &[create(4)]),
            (81, ended(4, false), &[too_many_failures()]),
        ],
    );
    assert_eq!((job.succeeded(), job.failed()), (0, 4));
}

#[test]
fn the_loop_is_woken_when_the_delay_is_over() {
    let mut job = Job::new(Spec::default());
    job.apply(SEC, Event::Tick);
    assert_eq!(job.next_wake(SEC), None);
    job.apply(SEC * 2, ended(1, false));
    assert_eq!(job.next_wake(SEC * 2), Some(SEC * 12));
    job.apply(SEC * 12, Event::Tick);
    assert_eq!(job.next_wake(SEC * 12), None);
}

#[test]
fn delays_end_at_six_minutes_and_a_success_sets_them_back() {
    let spec = Spec {
        completions: Some(2),
        backoff_limit: 100,
        ..Spec::default()
    };
    let mut job = Job::new(spec);
    let mut now = Duration::ZERO;
    let mut delays = Vec::new();
    job.apply(now, Event::Tick);
    for pod in 1..=8 {
        job.apply(now, ended(pod, false));
        let wake = job.next_wake(now).unwrap();
        delays.push((wake - now).as_secs());
        now = wake;
        assert_eq!(job.apply(now, Event::Tick), [create(pod + 1)]);
    }
    assert_eq!(delays, [10, 20, 40, 80, 160, 320, 360, 360]);
    assert_eq!(job.apply(now, ended(9, true)), [create(10)]);
    job.apply(now, ended(10, false));
    assert_eq!(job.next_wake(now), Some(now + SEC * 10));
}

#[test]
fn a_limit_of_zero_bears_no_failure() {
    let never = Spec {
        backoff_limit: 0,
        ..Spec::default()
    };
    script(
        never.clone(),
        &[
            (0, Event::Tick, &[create(1)]),
            (1, ended(1, false), &[too_many_failures()]),
        ],
    );
    let on_failure = Spec {
        restart: Restart::OnFailure,
        ..never
    };
    script(
        on_failure,
        &[
            (0, Event::Tick, &[create(1)]),
            (1, Event::Restarted(PodId(1)), &[Action::Delete(PodId(1))]),
            (2, ended(1, false), &[too_many_failures()]),
        ],
    );
}

#[test]
fn restarts_are_counted_over_all_live_pods() {
    let spec = Spec {
        parallelism: 2,
        completions: Some(5),
        backoff_limit: 3,
        restart: Restart::OnFailure,
        ..Spec::default()
    };
    let job = script(
        spec,
        &[
            (0, Event::Tick, &[create(1), create(2)]),
            (1, Event::Restarted(PodId(1)), &[]),
            (2, Event::Restarted(PodId(1)), &[]),
            // A pod that is over takes its restarts with it.
            (3, ended(1, true), &[create(3)]),
            (4, Event::Restarted(PodId(2)), &[]),
            (5, Event::Restarted(PodId(3)), &[]),
            (
                6,
                Event::Restarted(PodId(2)),
                &[Action::Delete(PodId(2)), Action::Delete(PodId(3))],
            ),
            (7, ended(3, false), &[]),
            (8, ended(2, true), &[too_many_failures()]),
        ],
    );
    assert_eq!((job.succeeded(), job.failed()), (1, 2));
}

#[test]
fn the_first_success_ends_a_job_without_completions() {
    let spec = Spec {
        parallelism: 3,
        completions: None,
        ..Spec::default()
    };
    let job = script(
        spec,
        &[
            (0, Event::Tick, &[create(1), create(2), create(3)]),
            (1, ended(2, true), &[]),
            (2, ended(1, false), &[]),
            (300, Event::Tick, &[]),
            (301, ended(3, true), &[complete()]),
        ],
    );
    assert_eq!((job.succeeded(), job.failed()), (2, 1));
}

#[test]
fn the_deadline_ends_it_whatever_runs() {
    let spec = Spec {
        parallelism: 2,
        completions: Some(2),
        active_deadline: Some(SEC * 30),
        ..Spec::default()
    };
    let mut job = Job::new(spec);
    job.apply(SEC, Event::Tick);
    assert_eq!(job.next_wake(SEC), Some(SEC * 31));
    assert_eq!(job.apply(SEC * 30, Event::Ready(PodId(1))), []);
    let deleted = job.apply(SEC * 31, Event::Tick);
    assert_eq!(
        deleted,
        [Action::Delete(PodId(2)), Action::Delete(PodId(1))]
    );
    assert_eq!(job.finished(), None);
    job.apply(SEC * 32, ended(1, true));
    let last = job.apply(SEC * 33, ended(2, false));
    assert_eq!(last, [Action::Condition(Condition::deadline_exceeded())]);
    assert_eq!((job.succeeded(), job.failed()), (0, 2));
    assert_eq!(job.finished().unwrap().reason, "DeadlineExceeded");
}

#[test]
fn surplus_pods_are_deleted_least_ready_first() {
    let spec = Spec {
        parallelism: 5,
        completions: None,
        restart: Restart::OnFailure,
        ..Spec::default()
    };
    let mut job = Job::new(spec);
    job.apply(SEC, Event::Tick);
    // 1 and 2 are ready, 2 for longer; 3 restarted; 4 and 5 never were.
    job.apply(SEC * 2, Event::Ready(PodId(2)));
    job.apply(SEC * 3, Event::Ready(PodId(1)));
    job.apply(SEC * 3, Event::Ready(PodId(3)));
    job.apply(SEC * 4, Event::Restarted(PodId(3)));
    let order: Vec<_> = (0..5)
        .rev()
        .flat_map(|n| job.apply(SEC * 5, Event::Scaled(n)))
        .collect();
    assert_eq!(order, [3, 5, 4, 1, 2].map(|n| Action::Delete(PodId(n))));
    // They count as nothing, and others take their places.
    job.apply(SEC * 6, ended(3, false));
    assert_eq!((job.active(), job.terminating(), job.failed()), (0, 4, 0));
    assert_eq!(job.apply(SEC * 7, Event::Scaled(1)), [create(6)]);
}

#[test]
fn each_index_succeeds_once() {
    let spec = Spec {
        parallelism: 2,
        completions: Some(4),
        indexed: true,
        ..Spec::default()
    };
    let mut job = Job::new(spec);
    let now = Duration::ZERO;
    assert_eq!(
        job.apply(now, Event::Tick),
        [create_indexed(1, 0), create_indexed(2, 1)]
    );
    assert_eq!(job.apply(now, ended(2, true)), [create_indexed(3, 2)]);
    assert_eq!(job.apply(now, ended(1, false)), []);
    assert_eq!(job.apply(SEC * 10, Event::Tick), [create_indexed(4, 0)]);
    assert_eq!(job.apply(SEC * 11, ended(3, true)), [create_indexed(5, 3)]);
    assert_eq!(job.completed_indexes(), "1,2");
    job.apply(SEC * 12, ended(5, true));
    assert_eq!(job.completed_indexes(), "1-3");
    assert_eq!(job.apply(SEC * 13, ended(4, true)), [complete()]);
    assert_eq!(job.completed_indexes(), "0-3");
}

#[test]
fn a_suspended_job_runs_nothing_and_its_deadline_stands_still() {
    let spec = Spec {
        suspend: true,
        active_deadline: Some(SEC * 10),
        ..Spec::default()
    };
    let suspended = |yes| Action::Condition(Condition::suspended(yes));
    let job = script(
        spec,
        &[
            (0, Event::Tick, &[suspended(true)]),
            (100, Event::Tick, &[]),
            (200, Event::Suspended(false), &[suspended(false), create(1)]),
            (
                205,
                Event::Suspended(true),
                &[suspended(true), Action::Delete(PodId(1))],
            ),
            (300, ended(1, false), &[]),
            (400, Event::Suspended(false), &[suspended(false), create(2)]),
            (409, ended(2, true), &[complete()]),
        ],
    );
    assert_eq!((job.succeeded(), job.failed()), (1, 0));
}

#[test]
fn a_great_many_pods_come_in_portions() {
    let spec = Spec {
        parallelism: u32::MAX,
        completions: Some(1200),
        indexed: true,
        ..Spec::default()
    };
    let mut job = Job::new(spec);
    let portions: Vec<_> = (0..4)
        .map(|_| (job.apply(SEC, Event::Tick).len(), job.next_wake(SEC)))
        .collect();
    let at_once = Some(SEC);
    assert_eq!(
        portions,
        [(500, at_once), (500, at_once), (200, None), (0, None)]
    );
}

#[test]
fn nothing_to_complete_is_complete() {
    let spec = Spec {
        completions: Some(0),
        ..Spec::default()
    };
    script(spec, &[(0, Event::Tick, &[complete()])]);
}
