//! How runs end: one case each.

use super::*;
use baton_api::status::CallbackStatus;

#[test]
fn a_cancel_goes_to_the_agent_and_the_pod_stays() {
    let mut world = World::new(spec(2));
    world.work();
    world.happen(Happens::Begin);
    world.happen(Happens::Cancel(true));
    let annotations = world.only_pod().metadata.annotations.clone().unwrap();
    assert_eq!(
        annotations.get("baton.dev/cancel").map(String::as_str),
        Some("true")
    );
    world.tell(What::TaskStopping {
        why: StopReason::Cancelled,
    });
    world.pass(2);
    assert_eq!(
        (world.phase(), world.reason()),
        (TaskPhase::Running, "Cancelling")
    );
    world.finish(Some(Cause::Cancelled { turn: 1 }));
    world.edit_all(|pod| pod.status = Some(status("Failed", &[])));
    world.pass(120);
    assert_eq!(
        (world.phase(), world.reason()),
        (TaskPhase::Cancelled, "Cancelled")
    );
    assert_eq!(world.pods.len(), 1);
}

#[test]
fn a_pod_whose_node_is_slow_keeps_its_logs() {
    let mut world = World::new(spec(2));
    world.work();
    world.run(0);
    let waits = |reason: &str| {
        json!([{ "name": "s1", "image": "", "imageID": "", "ready": false,
        "restartCount": 0, "state": { "waiting": { "reason": reason } } }])
    };
    let shown = |reason| status("Pending", waits(reason).as_array().unwrap());
    world.edit_all(|pod| pod.status = Some(shown("ContainerCreating")));
    world.pass(300);
    assert_eq!(world.phase(), TaskPhase::Succeeded);
    assert_eq!(world.only_pod().metadata.deletion_timestamp, None);
    // This one never ends by itself.
    world.edit_all(|pod| pod.status = Some(shown("ErrImageNeverPull")));
    world.pass(2);
    assert!(world.only_pod().metadata.deletion_timestamp.is_some());
}

#[test]
fn a_cancel_that_nobody_answers_deletes_the_pod() {
    let mut world = World::new(spec(2));
    world.work();
    world.happen(Happens::Begin);
    world.happen(Happens::Cancel(true));
    world.pass(30);
    assert_eq!(world.phase(), TaskPhase::Running);
    world.pass(30);
    assert_eq!(world.phase(), TaskPhase::Cancelled);
    assert!(world.only_pod().metadata.deletion_timestamp.is_some());
}

#[test]
fn a_cancel_amid_finally_steps_leaves_them_alone() {
    let mut asked = spec(1);
    asked["finally"] = json!([{ "name": "f", "image": "i", "command": ["true"] }]);
    let mut world = World::new(asked);
    world.work();
    world.happen(Happens::Begin);
    world.step_finished(1, 3);
    world.tell(What::StepStarted {
        number: 2,
        attempt: 1,
    });
    world.happen(Happens::Cancel(true));
    world.pass(300);
    assert_eq!(world.phase(), TaskPhase::Running);
    assert_eq!(world.only_pod().metadata.deletion_timestamp, None);
}

#[test]
fn the_end_of_a_run_that_is_repeated_waits_for_no_pod() {
    let mut asked = spec(1);
    asked["taskRetries"] = json!({ "failure": 1 });
    let mut world = World::new(asked);
    world.work();
    world.happen(Happens::Begin);
    world.step_finished(1, 3);
    world.finish(Some(Cause::Step {
        number: 1,
        name: "s1".to_owned(),
        reason: Reason::Error,
        exit_code: 3,
        message: String::new(),
    }));
    world.pass(4);
    assert!(world.only_pod().metadata.deletion_timestamp.is_some());
    let durable = &world.memory.durable;
    assert_eq!((durable.run, durable.runs[0].reason.as_str()), (2, "Error"));
    world.pass(60);
    assert_eq!(world.made.len(), 1, "the pod before is still there");
    world.happen(Happens::PodGone);
    assert_eq!(world.made.len(), 2);
}

#[test]
fn a_change_that_is_taken_back_runs_anew() {
    let mut world = World::new(spec(2));
    world.work();
    world.happen(Happens::Begin);
    world.happen(Happens::Change(3));
    assert!(world.only_pod().metadata.deletion_timestamp.is_some());
    world.happen(Happens::Change(2));
    // Its steps were told to stop.
    world.finish(Some(Cause::Cancelled { turn: 1 }));
    world.pass(30);
    world.happen(Happens::PodGone);
    assert_eq!(world.made.len(), 2);
    world.run(0);
    world.work();
    assert_eq!(world.phase(), TaskPhase::Succeeded);
}

#[test]
fn a_node_that_was_started_anew_lost_the_run() {
    let mut world = World::new(spec(1));
    world.work();
    world.happen(Happens::Begin);
    let ended = json!({ "terminated": { "exitCode": 255, "reason": "Unknown" } });
    let container = json!({ "name": "s1", "image": "", "imageID": "", "containerID": "containerd://1",
                            "ready": false, "restartCount": 0, "state": ended });
    world.edit_all(|pod| pod.status = Some(status("Failed", std::slice::from_ref(&container))));
    world.pass(20);
    assert_eq!(
        (world.phase(), world.reason()),
        (TaskPhase::Failed, "NodeLost")
    );
}

#[test]
fn what_is_cancelled_before_its_pod_never_has_one() {
    let mut asked = spec(1);
    asked["cancel"] = true.into();
    let mut world = World::new(asked);
    world.pass(10);
    assert_eq!((world.phase(), world.made.len()), (TaskPhase::Cancelled, 0));
}

#[test]
fn an_evicted_run_is_repeated_as_often_as_asked_and_after_a_while() {
    let mut asked = spec(1);
    asked["taskRetries"] = json!({ "infrastructure": 1 });
    let mut world = World::new(asked);
    world.work();
    world.bind();
    world.tell(What::TaskStarted);
    world.happen(Happens::Evict);
    world.pass(14);
    assert_eq!(
        (world.phase(), world.reason()),
        (TaskPhase::Pending, "Retrying")
    );
    assert_eq!(world.memory.durable.runs[0].reason, "Evicted");
    assert_eq!(world.made.len(), 1);
    world.pass(20);
    assert_eq!(
        (world.made.len(), world.memory.status.infrastructure_retries),
        (2, 1)
    );
    world.bind();
    world.happen(Happens::Evict);
    world.pass(60);
    assert_eq!(
        (world.made.len(), world.phase(), world.reason()),
        (2, TaskPhase::Failed, "Evicted")
    );
}

#[test]
fn a_deleted_pod_is_nobodys_cancel() {
    let mut world = World::new(spec(1));
    world.work();
    world.happen(Happens::Begin);
    world.happen(Happens::DeletePod);
    world.finish(Some(Cause::Cancelled { turn: 1 }));
    world.work();
    assert_eq!(
        (world.phase(), world.reason()),
        (TaskPhase::Failed, "PodDeleted")
    );
}

#[test]
fn a_pod_that_is_over_without_a_word_from_the_agent_tells_itself() {
    let mut world = World::new(spec(2));
    world.work();
    world.bind();
    let now = world.now;
    world.edit_all(|pod| pod.status = Some(ended(pod, now)));
    world.pass(9);
    assert_eq!(world.phase(), TaskPhase::Pending);
    world.pass(5);
    assert_eq!(
        (world.phase(), world.reason()),
        (TaskPhase::Succeeded, "Completed")
    );
    assert_eq!(world.memory.durable.progress, "2/2");
}

#[test]
fn a_node_that_is_lost_ends_the_run() {
    let mut world = World::new(spec(1));
    world.work();
    world.happen(Happens::Begin);
    world.node(false, true);
    world.pass(60);
    assert_eq!(world.phase(), TaskPhase::Running, "it may come back");
    world.happen(Happens::DeletePod);
    world.pass(60);
    assert_eq!(
        (world.phase(), world.reason()),
        (TaskPhase::Failed, "NodeLost")
    );
}

#[test]
fn a_finished_task_goes_when_its_time_is_over() {
    let mut asked = spec(1);
    asked["ttlSecondsAfterFinished"] = 10.into();
    let mut world = World::new(asked);
    world.work();
    world.run(0);
    world.pass(8);
    assert!(!world.deleted);
    world.pass(5);
    assert!(world.deleted);
}

#[test]
fn a_finished_task_stays_until_its_end_is_told_or_an_hour_longer() {
    let mut asked = spec(1);
    asked["ttlSecondsAfterFinished"] = 10.into();
    asked["callbacks"] = json!([{ "url": "https://example.com/" }]);
    let finished = |settled: u32| {
        let mut world = World::new(asked.clone());
        world.work();
        world.run(0);
        world.work();
        // Of four events.
        let known = CallbackStatus {
            settled,
            ..CallbackStatus::default()
        };
        world.memory.take_progress(1, vec![known]);
        world.pass(60);
        world
    };
    assert!(finished(4).deleted);
    let mut untold = finished(3);
    assert!(
        !untold.deleted,
        "nothing waits, from before the end was told"
    );
    untold.now = later(untold.now, Duration::from_secs(3600));
    untold.pass(1);
    assert!(untold.deleted);
}

#[test]
fn a_pod_that_was_told_to_go_is_not_taken_up_again() {
    let mut world = World::new(spec(1));
    world.work();
    world.bind();
    world.node(true, false);
    world.pass(9);
    world.now = later(world.now, Duration::from_secs(2));
    assert!(matches!(world.next(), Some(Op::DeletePod { .. })));
    // The watch has not told yet that it goes.
    world.next();
    let last = Arc::new(world.only_pod().clone());
    world.pods.clear();
    world.memory.saw_last(last);
    world.work();
    assert_eq!(world.made.len(), 2);
}

#[test]
fn a_run_that_its_node_lost_track_of_is_repeated() {
    let mut asked = spec(2);
    asked["taskRetries"] = json!({ "infrastructure": 1 });
    let mut world = World::new(asked);
    world.work();
    world.happen(Happens::Begin);
    world.finish(Some(Cause::Died {
        number: 0,
        name: String::new(),
        how: Death::FolderLost,
    }));
    world.work();
    assert!(world.only_pod().metadata.deletion_timestamp.is_some());
    world.happen(Happens::PodGone);
    world.pass(60);
    assert_eq!(world.memory.durable.runs[0].reason, "NodeLost");
    assert_eq!(
        (world.made.len(), world.memory.status.infrastructure_retries),
        (2, 1)
    );
}
