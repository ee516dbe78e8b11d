//! Runs from beginning to end, with restarts, deaths and lost events.

use super::*;

#[test]
fn a_chain_runs_step_by_step() {
    let pod = Pod::new(plan(4, 1));
    let steps: Vec<_> = (1..=5)
        .map(|n| Entrypoint::run(&pod.root, n, n == 5, 0))
        .collect();
    let (outcome, notices) = pod.run(Deaths::ByClose, |_, _| {});
    assert_eq!(
        (outcome.phase, outcome.exit_code),
        (Phase::Succeeded, 0),
        "{outcome:?}"
    );
    assert!(steps.into_iter().all(|s| s.join().unwrap()));
    assert_eq!(order(&pod.root), Order::Turn(6));
    let want = [
        "task", "+1", "-1", "+2", "-2", "+3", "-3", "+4", "-4", "+5", "-5", "end",
    ];
    assert_eq!(words(&notices), want);
}

#[test]
fn a_failure_stops_the_rest_but_finally_steps() {
    for finally in [0, 1] {
        let pod = Pod::new(plan(3, finally));
        let last = 3 + u32::try_from(finally).unwrap();
        let steps: Vec<_> = (1..=last)
            .map(|n| Entrypoint::run(&pod.root, n, n > 3, if n == 2 { 7 } else { 0 }))
            .collect();
        let (outcome, _) = pod.run(Deaths::ByClose, |_, _| {});
        assert_eq!((outcome.phase, outcome.exit_code), (Phase::Failed, 7));
        let ran: Vec<_> = steps.into_iter().map(|s| s.join().unwrap()).collect();
        assert_eq!(ran[..3], [true, true, false]);
        assert!(ran[3..].iter().all(|ran| *ran));
        let want = [Order::Cancelled, Order::Turn(5)][finally];
        assert_eq!(order(&pod.root), want);
    }
}

#[test]
fn a_node_that_starts_again_goes_on_where_it_was() {
    let pod = Pod::new(plan(3, 0));
    let first = Entrypoint::run(&pod.root, 1, false, 0);
    let second = Entrypoint::start(&pod.root, 2);
    let third = Entrypoint::run(&pod.root, 3, false, 0);
    let mut node = pod.node(Deaths::ByClose);
    let handle = node.handle();
    handle.begin();
    let stopped = node.run(|notice| {
        if matches!(
            notice,
            Notice::Run(RunNotice::StepFinished { number: 1, .. })
        ) {
            handle.stop();
        }
    });
    assert!(matches!(stopped, Err(NodeError::Stopped)));
    drop(node);
    assert!(first.join().unwrap());
    assert_eq!(second.turn(false), Verdict::Go);
    // Nobody watches while step 2 ends, and while somebody takes away what step 1 left.
    second.exit(Reason::Completed, 0);
    fs::remove_file(step_dir(&pod.root, 1).join(EXIT)).unwrap();
    assert_eq!(order(&pod.root), Order::Turn(2));
    // The first life has begun the pod, so this one need not.
    let mut node = pod.node(Deaths::ByClose);
    let outcome = node.run(|_| {}).unwrap();
    assert_eq!(outcome.phase, Phase::Succeeded, "{outcome:?}");
    assert!(third.join().unwrap());
    // A third one finds it over, and changes nothing.
    let outcome = pod.node(Deaths::ByClose).run(|_| {}).unwrap();
    assert_eq!(outcome.phase, Phase::Succeeded);
    assert_eq!(order(&pod.root), Order::Turn(4));
}

#[test]
fn a_cancel_that_was_given_before_a_restart_still_holds() {
    let pod = Pod::new(plan(2, 1));
    let running = Entrypoint::start(&pod.root, 1);
    let waiting = Entrypoint::run(&pod.root, 2, false, 0);
    let tidy = Entrypoint::run(&pod.root, 3, true, 0);
    let mut node = pod.node(Deaths::Told);
    let handle = node.handle();
    handle.begin();
    let stopped = node.run(|notice| match notice {
        Notice::Run(RunNotice::TaskStarted { .. }) => handle.cancel(),
        Notice::Run(RunNotice::TaskStopping { .. }) => handle.stop(),
        _ => {}
    });
    assert!(matches!(stopped, Err(NodeError::Stopped)));
    drop(node);
    assert_eq!(order(&pod.root), Order::Cancelled);
    running.exit(Reason::Cancelled, exit::CANCELLED);
    let outcome = pod.node(Deaths::Told).run(|_| {}).unwrap();
    assert_eq!((outcome.phase, outcome.exit_code), (Phase::Cancelled, 130));
    assert_eq!(outcome.cause, Some(Cause::Cancelled { turn: 1 }));
    assert!(!waiting.join().unwrap());
    assert!(tidy.join().unwrap());
}

#[test]
fn a_closed_event_file_without_a_record_is_a_death() {
    let pod = Pod::new(plan(2, 0));
    let first = Entrypoint::start(&pod.root, 1);
    let second = Entrypoint::run(&pod.root, 2, false, 0);
    let mut first = Some(first);
    let (outcome, _) = pod.run(Deaths::ByClose, |notice, _| {
        if matches!(notice, Notice::Run(RunNotice::TaskStarted { .. })) {
            drop(first.take());
        }
    });
    assert_eq!(outcome.phase, Phase::Failed);
    let how = Death::Gone;
    let (number, name) = (1, "step-0".to_owned());
    assert_eq!(outcome.cause, Some(Cause::Died { number, name, how }));
    assert!(!second.join().unwrap());
}

#[test]
fn a_death_that_nobody_saw_is_found() {
    // By the next life of the node, and by one that has no inotify.
    for watcher in [Watcher::new(), Watcher::without_inotify()] {
        let pod = Pod::new(plan(2, 0));
        drop(Entrypoint::start(&pod.root, 1));
        let second = Entrypoint::run(&pod.root, 2, false, 0);
        let mut node = Node::with(watcher, &pod.root, pod.plan.clone(), Deaths::ByClose).unwrap();
        node.handle().begin();
        let outcome = node.run(|_| {}).unwrap();
        assert!(matches!(outcome.cause, Some(Cause::Died { number: 1, .. })));
        assert!(!second.join().unwrap());
    }
}

#[test]
fn an_event_file_that_somebody_else_closes_is_no_death() {
    let pod = Pod::new(plan(1, 0));
    let mut step = Some(Entrypoint::start(&pod.root, 1));
    let (outcome, _) = pod.run(Deaths::ByClose, |notice, _| match notice {
        Notice::Run(RunNotice::TaskStarted { .. }) => {
            let events = step_dir(&pod.root, 1).join(EVENTS);
            drop(OpenOptions::new().append(true).open(events).unwrap());
            step.as_mut().unwrap().emit(Fact::Started { attempt: 1 });
        }
        Notice::Run(RunNotice::StepStarted { .. }) => {
            step.take().unwrap().exit(Reason::Completed, 0);
        }
        _ => {}
    });
    assert_eq!(outcome.phase, Phase::Succeeded, "{outcome:?}");
}

#[test]
fn a_death_that_is_told_counts_unless_there_is_a_record() {
    let pod = Pod::new(plan(2, 0));
    let (outcome, _) = pod.run(Deaths::Told, |notice, handle| match notice {
        Notice::Run(RunNotice::TaskStarted { .. }) => {
            drop(Entrypoint::start(&pod.root, 1));
            leave(&pod.root, 1, &ok_record());
            handle.died(1, Death::Signal(9));
        }
        Notice::Run(RunNotice::StepFinished { number: 1, .. }) => {
            handle.died(2, Death::Signal(9));
        }
        _ => {}
    });
    assert_eq!((outcome.phase, outcome.exit_code), (Phase::Failed, 137));
    assert!(matches!(outcome.cause, Some(Cause::Died { number: 2, .. })));
}

#[test]
fn what_does_not_stop_is_to_be_killed() {
    let pod = Pod::new(plan(1, 1));
    let (outcome, notices) = pod.run(Deaths::Told, |notice, handle| match notice {
        Notice::Run(RunNotice::TaskStarted { .. }) => {
            handle.cancel();
            handle.kill();
        }
        Notice::Kill { number } => handle.died(*number, Death::Signal(9)),
        _ => {}
    });
    assert_eq!((outcome.phase, outcome.exit_code), (Phase::Cancelled, 130));
    assert!(notices.contains(&Notice::Kill { number: 1 }));
    assert_eq!(order(&pod.root), Order::Turn(3));
}

#[test]
fn the_first_step_waits_until_a_sidecar_is_ready() {
    let pod = Pod::new(Plan {
        sidecars: vec![Sidecar {
            name: "db".to_owned(),
            awaited: true,
        }],
        ..plan(1, 0)
    });
    let mut sidecar = Some(Entrypoint::start(&pod.root, 2));
    let step = Entrypoint::run(&pod.root, 1, false, 0);
    let (outcome, _) = pod.run(Deaths::ByClose, |notice, _| match notice {
        Notice::Run(RunNotice::TaskStarted { .. }) => {
            assert_eq!(order(&pod.root), Order::HOLD);
            sidecar.as_mut().unwrap().emit(Fact::Ready { port: None });
        }
        Notice::Run(RunNotice::StepFinished { number: 1, .. }) => {
            assert_eq!(order(&pod.root), Order::Turn(2));
            sidecar.take().unwrap().exit(Reason::Completed, 0);
        }
        _ => {}
    });
    assert_eq!(outcome.phase, Phase::Succeeded);
    assert!(step.join().unwrap());
}

#[test]
fn events_that_the_kernel_drops_are_made_up_for() {
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let limit: usize = limit.trim().parse().unwrap();
    let pod = Pod::new(plan(2, 0));
    let second = Entrypoint::run(&pod.root, 2, false, 0);
    let (outcome, _) = pod.run(Deaths::Told, |notice, _| {
        // The node reads nothing while it tells: the queue overflows, and the record's event is lost.
        if matches!(notice, Notice::Run(RunNotice::TaskStarted { .. })) {
            let dir = step_dir(&pod.root, 1);
            let (a, b) = (dir.join("a"), dir.join("b"));
            fs::write(&a, "").unwrap();
            for _ in 0..=limit / 2 {
                fs::rename(&a, &b).unwrap();
                fs::rename(&b, &a).unwrap();
            }
            leave(&pod.root, 1, &ok_record());
        }
    });
    assert_eq!(outcome.phase, Phase::Succeeded);
    assert!(second.join().unwrap());
}

#[test]
fn without_inotify_folders_are_looked_at_and_that_is_said_once() {
    let pod = Pod::new(plan(3, 0));
    let steps: Vec<_> = (1..=3)
        .map(|n| Entrypoint::run(&pod.root, n, false, 0))
        .collect();
    let watcher = Watcher::without_inotify();
    let mut node = Node::with(watcher, &pod.root, pod.plan.clone(), Deaths::Told).unwrap();
    node.handle().begin();
    let mut notices = Vec::new();
    let outcome = node.run(|notice| notices.push(notice)).unwrap();
    assert_eq!(outcome.phase, Phase::Succeeded);
    assert!(steps.into_iter().all(|s| s.join().unwrap()));
    let troubles = notices
        .iter()
        .filter(|n| matches!(n, Notice::Trouble { .. }));
    assert_eq!(troubles.count(), 1, "{notices:?}");
}

#[test]
fn one_watcher_serves_many_pods() {
    let pods: Vec<_> = (0..50).map(|_| Pod::new(plan(3, 0))).collect();
    let mut watcher = Watcher::new();
    let mut over = 0;
    let mut tell = |_, notice| {
        if let Notice::Run(RunNotice::TaskFinished { outcome }) = notice {
            assert_eq!(outcome.phase, Phase::Succeeded);
            over += 1;
        }
    };
    let mut steps = Vec::new();
    for pod in &pods {
        steps.extend((1..=3).map(|n| Entrypoint::run(&pod.root, n, false, 0)));
        let id = watcher
            .add(&pod.root, pod.plan.clone(), Deaths::ByClose)
            .unwrap();
        watcher.apply(id, baton_steps::Event::Begin, &mut tell);
    }
    until("end of all pods", || {
        watcher.dispatch(&mut tell);
        steps.iter().all(JoinHandle::is_finished).then_some(())
    });
    watcher.dispatch(&mut tell);
    assert_eq!(over, pods.len());
}

#[test]
fn a_folder_that_is_none_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let open = |root: &Path| Node::open(root, plan(1, 0), Deaths::Told).map(|_| ());
    assert!(matches!(
        open(&scratch.path().join("absent")),
        Err(NodeError::Io { .. })
    ));
    let pod = Pod::new(plan(1, 0));
    fs::write(pod.root.join(ORDER), "later").unwrap();
    assert!(matches!(open(&pod.root), Err(NodeError::Order { .. })));
}

#[test]
fn a_folder_is_in_use_as_long_as_an_entrypoint_lives() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("pod");
    assert!(!is_in_use(&root, 2), "it is not there");
    prepare(&root, &Plan::of_steps(["a", "b"]), Access::Owner).unwrap();
    assert!(!is_in_use(&root, 2), "nobody has come yet");
    let (first, second) = (Entrypoint::start(&root, 1), Entrypoint::start(&root, 2));
    assert!(is_in_use(&root, 2));
    drop(first);
    assert!(is_in_use(&root, 2), "the other one waits for its turn");
    drop(second);
    assert!(!is_in_use(&root, 2));
}
