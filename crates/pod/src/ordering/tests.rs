use std::time::{Duration, SystemTime};

use baton_protocol::Reason;
use baton_steps::{Phase, StepState};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn at(seconds: u64) -> Timestamp {
    Timestamp(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds))
}

/// A pod of these containers, with the state that each has and the annotations that it was given.
fn pod(phase: &str, annotations: &BTreeMap<String, String>, containers: &[(&str, Value)]) -> Pod {
    let args = json!(["--termination-message=/dev/termination-log", "--command=c"]);
    let spec = |(name, _): &(&str, Value)| json!({"name": name, "args": args});
    let status =
        |(name, state): &(&str, Value)| json!({"name": name, "state": state, "ready": true});
    serde_json::from_value(json!({
        "metadata": {"namespace": "ns", "name": "p", "uid": "u", "annotations": annotations},
        "spec": {"containers": containers.iter().map(spec).collect::<Vec<_>>()},
        "status": {"phase": phase, "containerStatuses": containers.iter().map(status).collect::<Vec<_>>()},
    }))
    .unwrap()
}

fn running() -> Value {
    json!({"running": {"startedAt": "2023-11-14T22:13:20Z"}})
}

fn waiting(reason: &str) -> Value {
    json!({"waiting": {"reason": reason, "message": "m"}})
}

/// An end as an entrypoint leaves it.
fn left(reason: Reason, exit_code: i32, results: &[(&str, &str)]) -> Value {
    let mut record = baton_protocol::Record::new(reason, exit_code, at(9));
    record.started_at = Some(at(8));
    record.attempts = 1;
    let results = results
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    let message = baton_protocol::record::termination_message(&record, &results);
    let message = String::from_utf8(message).unwrap();
    json!({"terminated": {"exitCode": exit_code, "reason": "Error", "message": message}})
}

fn ids(update: &Update) -> Vec<String> {
    update.told.iter().map(|t| t.what.key()).collect()
}

fn order_of(update: &Update) -> Option<&str> {
    update
        .patch
        .as_ref()?
        .get(ORDER_ANNOTATION)
        .map(String::as_str)
}

#[test]
fn steps_follow_one_another_by_their_containers_ends() {
    let none = BTreeMap::new();
    let plan = Plan::of_steps(["a", "b"]);
    let (mut ordered, update) = Ordered::open(plan, &pod("Pending", &none, &[]), at(0));
    assert_eq!(update, Update::default());
    let update = ordered.update(
        &pod("Running", &none, &[("a", running()), ("b", running())]),
        at(1),
    );
    assert_eq!(order_of(&update), Some("1"));
    assert_eq!(ids(&update), ["task-started", "step-1-started-1"]);
    let done = left(Reason::Completed, 0, &[("tag", "v1")]);
    let next = pod("Running", &none, &[("a", done.clone()), ("b", running())]);
    let update = ordered.update(&next, at(2));
    assert_eq!(order_of(&update), Some("2"));
    assert_eq!(ids(&update), ["step-1-finished", "step-2-started-1"]);
    let What::StepFinished { results, .. } = &update.told[0].what else {
        panic!("{update:?}");
    };
    assert_eq!(
        (results[0].name.as_str(), results[0].value.as_str()),
        ("tag", "v1")
    );
    assert_eq!(
        ordered.update(&next, at(2)),
        Update::default(),
        "nothing is new"
    );
    let update = ordered.update(
        &pod("Succeeded", &none, &[("a", done.clone()), ("b", done)]),
        at(3),
    );
    assert_eq!(order_of(&update), Some("3"));
    assert_eq!(ids(&update), ["step-2-finished", "task-finished"]);
    assert_eq!(ordered.outcome().unwrap().phase, Phase::Succeeded);
}

#[test]
fn a_failure_ends_the_order_and_cancel_asks_the_running_step() {
    let none = BTreeMap::new();
    let start = pod("Running", &none, &[("a", running()), ("b", running())]);
    let (mut ordered, _) = Ordered::open(Plan::of_steps(["a", "b"]), &start, at(1));
    let update = ordered.update(
        &pod(
            "Running",
            &none,
            &[("a", left(Reason::Error, 7, &[])), ("b", running())],
        ),
        at(2),
    );
    assert_eq!(order_of(&update), Some("-1"));
    assert_eq!(
        ordered.outcome().map(|o| (o.phase, o.exit_code)),
        Some((Phase::Failed, 7))
    );

    let (mut ordered, _) = Ordered::open(Plan::of_steps(["a", "b"]), &start, at(1));
    let update = ordered.cancel(&start, at(2));
    assert_eq!(
        (order_of(&update), ids(&update)),
        (Some("-1"), vec!["task-stopping".to_owned()])
    );
    assert!(
        ordered.outcome().is_none(),
        "the running step has its grace"
    );
    let wake = ordered.wake_at().unwrap();
    let update = ordered.tick(&start, wake);
    assert_eq!(update.kill, [1]);
    let gone = ordered.gone(&start, at(100));
    assert!(ids(&gone).contains(&"task-finished".to_owned()), "{gone:?}");
    assert_eq!(ordered.outcome().unwrap().phase, Phase::Cancelled);
}

#[test]
fn a_timeout_is_still_one_after_a_restart() {
    let plan = Plan {
        timeout: Some(Duration::from_secs(5)),
        ..Plan::of_steps(["a", "b"])
    };
    let none = BTreeMap::new();
    let start = pod("Running", &none, &[("a", running()), ("b", running())]);
    let (mut ordered, _) = Ordered::open(plan.clone(), &start, at(1));
    let update = ordered.tick(&start, at(7));
    let annotations = update.patch.unwrap();
    assert_eq!(annotations[ORDER_ANNOTATION], "-1");
    let later = pod(
        "Failed",
        &annotations,
        &[
            ("a", left(Reason::Cancelled, 1, &[])),
            ("b", left(Reason::Cancelled, 1, &[])),
        ],
    );
    let (ordered, update) = Ordered::open(plan, &later, at(60));
    let outcome = ordered.outcome().unwrap();
    assert_eq!(
        (outcome.phase, outcome.started_at),
        (Phase::TimedOut, Some(at(1))),
        "{update:?}"
    );
}

#[test]
fn what_can_never_start_fails_the_task_before_its_turn() {
    let none = BTreeMap::new();
    let never = pod(
        "Pending",
        &none,
        &[("a", running()), ("b", waiting("ErrImagePull"))],
    );
    let (ordered, update) = Ordered::open(Plan::of_steps(["a", "b"]), &never, at(1));
    assert_eq!(order_of(&update), Some("-1"), "{update:?}");
    assert!(ordered.outcome().is_none(), "the first step may have begun");
    let mut tools = never.clone();
    let status = tools.status.as_mut().unwrap();
    status.container_statuses = None;
    status.init_container_statuses = Some(
        serde_json::from_value(
            json!([{"name": "baton-tools", "state": waiting("ErrImageNeverPull")}]),
        )
        .unwrap(),
    );
    let spec = tools.spec.as_mut().unwrap();
    spec.init_containers = Some(serde_json::from_value(json!([{"name": "baton-tools"}])).unwrap());
    let (ordered, _) = Ordered::open(Plan::of_steps(["a", "b"]), &tools, at(1));
    let outcome = ordered.outcome().unwrap();
    assert_eq!(outcome.phase, Phase::Failed);
    assert!(
        format!("{:?}", outcome.cause).contains("the tools cannot be brought"),
        "{outcome:?}"
    );
}

#[test]
fn an_evicted_pod_ends_its_task() {
    let none = BTreeMap::new();
    let start = pod("Running", &none, &[("a", running()), ("b", running())]);
    let (mut ordered, _) = Ordered::open(Plan::of_steps(["a", "b"]), &start, at(1));
    let mut evicted = pod("Failed", &none, &[]);
    evicted.status.as_mut().unwrap().reason = Some("Evicted".to_owned());
    let update = ordered.update(&evicted, at(2));
    assert_eq!(ids(&update), ["step-1-finished", "task-finished"]);
    assert_eq!(ordered.outcome().unwrap().phase, Phase::Failed);
    let rejected = Ordered::open(Plan::of_steps(["a"]), &evicted, at(2)).0;
    assert_eq!(rejected.outcome().unwrap().started_at, None, "nothing ran");
}

#[test]
fn the_first_step_waits_for_awaited_sidecars_alone() {
    let plan = Plan {
        sidecars: vec![
            baton_steps::Sidecar {
                name: "db".into(),
                awaited: true,
            },
            baton_steps::Sidecar {
                name: "log".into(),
                awaited: false,
            },
        ],
        ..Plan::of_steps(["a"])
    };
    let none = BTreeMap::new();
    let all = [("a", running()), ("db", running()), ("log", running())];
    let mut unready = pod("Running", &none, &all);
    for status in unready
        .status
        .as_mut()
        .unwrap()
        .container_statuses
        .as_mut()
        .unwrap()
    {
        status.ready = status.name == "a";
    }
    let (mut ordered, update) = Ordered::open(plan, &unready, at(1));
    assert_eq!((order_of(&update), ordered.order()), (None, Order::HOLD));
    let update = ordered.update(&pod("Running", &none, &all), at(2));
    assert_eq!(order_of(&update), Some("1"));
    assert!(
        ids(&update).contains(&"step-2-ready".to_owned()),
        "{update:?}"
    );
    assert!(
        !ids(&update).contains(&"step-3-ready".to_owned()),
        "{update:?}"
    );
}

/// The life of a pod of three steps as its kubelet shows it, where the order reaches the entrypoints late
/// or not at all before the next look.
fn states(order: Order, fails: Option<usize>, over: usize) -> Vec<(&'static str, Value)> {
    const NAMES: [&str; 3] = ["a", "b", "c"];
    let state = |(i, name): (usize, &&'static str)| {
        let state = match order {
            _ if i < over && fails == Some(i) => left(Reason::Error, 1, &[]),
            _ if i < over => left(Reason::Completed, 0, &[]),
            Order::Cancelled => left(Reason::Cancelled, 1, &[]),
            Order::Turn(_) => running(),
        };
        (*name, state)
    };
    NAMES.iter().enumerate().map(state).collect()
}

proptest! {
    /// However often whoever orders it is started anew, and whatever it misses: the order never goes back,
    /// the end is the same, and nothing is told under one id with two meanings.
    #[test]
    fn restarts_and_missed_looks_change_nothing(
        fails in proptest::option::of(0..3_usize),
        restarts in proptest::collection::vec(any::<bool>(), 24),
        patched in proptest::collection::vec(any::<bool>(), 24),
    ) {
        let plan = Plan::of_steps(["a", "b", "c"]);
        let mut annotations = BTreeMap::new();
        let (mut ordered, _) = Ordered::open(plan.clone(), &pod("Pending", &annotations, &[]), at(0));
        let mut seen: Vec<Told> = Vec::new();
        let (mut over, mut last, mut reached) = (0, Order::HOLD, Order::HOLD);
        for (i, (restart, patch)) in restarts.into_iter().zip(patched).enumerate() {
            let now = at(10 + i as u64);
            let is_over = over == 3 || reached == Order::Cancelled;
            let phase = match (is_over, fails) {
                (true, None) => "Succeeded",
                (true, Some(_)) => "Failed",
                _ => "Running",
            };
            let look = pod(phase, &annotations, &states(reached, fails, over));
            let update = if restart {
                let (new, update) = Ordered::open(plan.clone(), &look, now);
                ordered = new;
                update
            } else {
                ordered.update(&look, now)
            };
            let order = ordered.order();
            prop_assert!(order == Order::Cancelled || order >= last, "{last} to {order}");
            prop_assert!(last != Order::Cancelled || order == last);
            last = order;
            seen.extend(update.told);
            if patch {
                annotations = ordered.annotations();
                reached = order;
                // The step whose turn it is runs to its end.
                if let Order::Turn(turn) = order && turn as usize == over + 1 && over < 3 {
                    over += 1;
                }
            }
        }
        let (end, _) = Ordered::open(plan, &pod("Succeeded", &annotations, &states(reached, fails, over)), at(90));
        if let Some(outcome) = ordered.outcome() {
            let want = if fails.is_some() { Phase::Failed } else { Phase::Succeeded };
            prop_assert_eq!(outcome.phase, want);
            prop_assert_eq!(end.outcome().map(|o| o.phase), Some(want));
        }
        let mut finished = BTreeMap::new();
        for told in seen {
            if let What::StepFinished { number, state: StepState::Done { record }, .. } = &told.what {
                let known = finished.entry(*number).or_insert_with(|| record.clone());
                prop_assert_eq!(&*known, record);
            }
        }
    }
}
