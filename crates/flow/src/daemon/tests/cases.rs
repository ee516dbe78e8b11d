//! What each policy means, one case at a time.

use std::time::Duration;

use super::super::*;
use super::{Move, Run, World, at, rules};
use crate::state::{Cause, FlowPhase, StopReason};
use DaemonPhase::{Cancelled, Failed, Removed, Running, Starting, Succeeded, Waiting};

/// A run of these nodes, once folded and acted on.
fn run(rules: DaemonRules, nodes: u8) -> Run {
    let mut run = Run {
        rules,
        world: World::default(),
        state: DaemonState::default(),
        now: 1000,
    };
    for n in 0..nodes {
        run.go(Move::Join(n));
    }
    run.control();
    run
}

fn states(run: &Run) -> Vec<(DaemonPhase, &str)> {
    let nodes = run.state.nodes.iter();
    nodes.map(|n| (n.state, n.reason.as_str())).collect()
}

#[test]
fn a_share_of_the_nodes_runs_at_a_time() {
    let mut run = run(
        DaemonRules {
            parallel: Parallel::Share(40),
            ..rules()
        },
        5,
    );
    assert_eq!(run.state.phase(), FlowPhase::Running);
    for left in [3, 2, 1, 0, 0] {
        assert_eq!(run.state.count(Waiting), left);
        run.world.end(0, JobSeen::Succeeded);
        run.control();
    }
    assert_eq!(run.state.phase(), FlowPhase::Succeeded);
    assert!(states(&run).iter().all(|s| *s == (Succeeded, "")));
}

#[test]
fn what_keeps_a_node_from_starting_is_said() {
    let mut run = run(rules(), 0);
    assert_eq!(run.state.phase(), FlowPhase::Pending, "no node counts");
    for n in 0..4 {
        run.go(Move::Join(n));
    }
    run.go(Move::Hold(0, true));
    run.go(Move::Ready(1, false));
    run.go(Move::Take(2, true));
    run.go(Move::Place(3, Place::Closed));
    run.control();
    assert_eq!(
        states(&run),
        [
            (Waiting, "Cordoned"),
            (Waiting, "NotReady"),
            (Waiting, "NameTaken")
        ]
    );
    // Let go, and only then is it seen that the name is taken: it counts as not let go.
    run.go(Move::Take(2, false));
    run.state = run.fold(false);
    assert_eq!(run.state.nodes[2].state, Starting);
    run.go(Move::Take(2, true));
    run.control();
    assert_eq!(states(&run)[2], (Waiting, "NameTaken"));
    assert_eq!(run.state.nodes[2].attempts, 0);
    for n in 0..3 {
        run.go(Move::Hold(n, false));
        run.go(Move::Ready(n, true));
        run.go(Move::Take(n, false));
    }
    run.control();
    run.control();
    assert_eq!(states(&run), [(Running, ""); 3]);
}

#[test]
fn a_node_that_is_not_ready_for_too_long_fails() {
    let mut run = run(rules(), 2);
    run.go(Move::Ready(0, false));
    run.now += 299;
    run.control();
    assert_eq!(states(&run), [(Running, ""), (Running, "")]);
    run.now += 1;
    run.control();
    assert_eq!(states(&run)[0], (Failed, "NodeNotReady"));
    assert_eq!(run.world.deleting.len(), 1, "its Job is deleted");
    run.world.vanish();
    run.world.end(0, JobSeen::Succeeded);
    run.control();
    assert_eq!(run.state.phase(), FlowPhase::Failed);
    let reason = "NodeNotReady".to_owned();
    let name = "node0".to_owned();
    assert_eq!(run.state.cause, Some(Cause::Node { name, reason }));

    // It is ready again, and is tried again; what succeeded is kept.
    run.go(Move::Ready(0, true));
    run.state.rerun(false);
    run.control();
    run.control();
    assert_eq!(states(&run), [(Running, ""), (Succeeded, "")]);
    assert_eq!(run.state.nodes[0].attempts, 2);
}

#[test]
fn a_node_that_goes_is_no_failure_and_one_that_comes_has_a_job() {
    let mut run = run(rules(), 2);
    run.go(Move::Remove(0));
    run.control();
    assert_eq!(states(&run)[0], (Removed, "NodeRemoved"));
    // Another one of its name waits until the Job of the one before is gone.
    run.go(Move::Join(0));
    run.go(Move::Join(3));
    run.control();
    assert_eq!(states(&run)[0], (Waiting, "EarlierJobEnding"));
    run.world.vanish();
    run.control();
    run.control();
    assert_eq!(states(&run), [(Running, ""); 3]);
    assert_eq!(run.state.nodes[0].attempts, 2);
    for _ in 0..3 {
        run.world.end(0, JobSeen::Succeeded);
    }
    run.control();
    assert_eq!(run.state.phase(), FlowPhase::Succeeded);
}

#[test]
fn a_run_of_the_initial_nodes_takes_no_other() {
    let mut run = run(
        DaemonRules {
            completion: Completion::InitialNodes,
            ..rules()
        },
        1,
    );
    run.go(Move::Join(1));
    run.control();
    assert_eq!(run.state.nodes.len(), 1);
    run.go(Move::Remove(0));
    run.control();
    assert_eq!(run.state.phase(), FlowPhase::Failed, "nothing was done");
}

#[test]
fn one_that_never_ends_takes_nodes_for_ever_and_forgets_the_oldest_that_went() {
    let mut run = run(
        DaemonRules {
            completion: Completion::Never,
            ..rules()
        },
        0,
    );
    for n in 0..150u8 {
        run.go(Move::Join(n));
        run.control();
        run.now += 1;
        run.world.end(0, JobSeen::Succeeded);
        run.control();
        run.go(Move::Remove(n));
        run.control();
        run.world.vanish();
    }
    run.control();
    assert_eq!(run.state.phase(), FlowPhase::Running);
    assert_eq!(run.state.nodes.len(), MAX_GONE);
    assert_eq!(run.state.forgotten.succeeded, 50);
    assert_eq!(run.world.jobs.len(), MAX_GONE);
}

#[test]
fn a_failure_stops_the_rest_where_that_is_asked_for() {
    let mut run = run(
        DaemonRules {
            fail_fast: true,
            parallel: Parallel::Number(2),
            ..rules()
        },
        3,
    );
    run.world
        .end(0, JobSeen::Failed("BackoffLimitExceeded".into()));
    run.control();
    assert_eq!(
        states(&run),
        [
            (Failed, "BackoffLimitExceeded"),
            (Running, ""),
            (Cancelled, "")
        ]
    );
    run.world.vanish();
    run.control();
    assert_eq!(states(&run)[1], (Cancelled, ""));
    assert_eq!(run.state.phase(), FlowPhase::Failed);
    assert!(matches!(&run.state.cause, Some(Cause::Node { name, .. }) if name == "node0"));
}

#[test]
fn a_deadline_stops_it_and_is_woken_for() {
    let mut run = run(
        DaemonRules {
            deadline: Some(Duration::from_secs(60)),
            ..rules()
        },
        1,
    );
    let seen = |node: &str, attempt| run.world.see(node, attempt);
    let actions = daemon_actions(&run.rules, &run.state, &run.world.members, at(1000), &seen);
    assert_eq!(actions, [DaemonAction::WakeAt(at(1060))]);
    run.now = 1060;
    run.control();
    run.world.vanish();
    run.control();
    assert_eq!(run.state.phase(), FlowPhase::Failed);
    let cause = Cause::Stopped(StopReason::DeadlineExceeded);
    assert_eq!(run.state.cause, Some(cause));
}

#[test]
fn a_suspended_one_starts_nothing_until_it_is_resumed() {
    let mut run = run(
        DaemonRules {
            suspended: true,
            ..rules()
        },
        2,
    );
    assert_eq!((run.state.started_at, run.state.nodes.len()), (None, 0));
    run.go(Move::Suspend(false));
    run.control();
    assert_eq!(run.state.count(Starting), 2);
}
