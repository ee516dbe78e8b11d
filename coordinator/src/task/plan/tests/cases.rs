//! How runs begin and go on: one case each.

use super::*;

#[test]
fn a_run_that_goes_well_has_one_pod_and_three_writes_at_most() {
    let mut world = World::new(spec(3));
    world.work();
    let pod = world.only_pod();
    assert_eq!(pod.metadata.name.as_deref(), Some("t-1"));
    world.pass(4);
    assert_eq!(
        (world.phase(), world.reason()),
        (TaskPhase::Pending, "Starting")
    );
    world.run(0);
    world.work();
    assert_eq!(
        (world.phase(), world.reason()),
        (TaskPhase::Succeeded, "Completed")
    );
    let succeeded = &world.memory.durable.conditions[0];
    assert_eq!(
        (succeeded.kind.as_str(), succeeded.status.as_str()),
        ("Succeeded", "True")
    );
    let silent = |c: &&_| {
        let c: &baton_api::status::Condition = c;
        c.message.is_empty()
    };
    assert_eq!(world.memory.durable.conditions.iter().find(silent), None);
    assert_eq!(world.memory.durable.progress, "3/3");
    world.pass(300);
    assert!(world.writes.len() <= 3, "{:?}", world.writes);
    assert_eq!(world.made.len(), 1);
    // Its pod and logs stay.
    assert_eq!(world.pods.len(), 1);
}

#[test]
fn what_is_no_task_gets_a_condition_and_nothing_else() {
    let mut world =
        World::new(json!({ "steps": [{ "name": "a", "comand": ["x"] }, { "name": "a" }] }));
    world.work();
    assert_eq!(
        (world.phase(), world.reason()),
        (TaskPhase::Failed, "Invalid")
    );
    assert!(world.pods.is_empty());
    assert!(
        world.memory.durable.message.lines().count() >= 2,
        "{}",
        world.memory.durable.message
    );
    let valid = world
        .memory
        .durable
        .conditions
        .iter()
        .find(|c| c.kind == "Valid")
        .unwrap();
    assert_eq!(valid.status, "False");
    world.change(|s| *s = spec(1));
    world.work();
    assert_eq!(world.pods.len(), 1);
    assert_eq!(world.memory.status.run, 1);
}

#[test]
fn a_changed_spec_waits_until_the_old_pod_is_gone() {
    let mut world = World::new(spec(2));
    world.work();
    world.bind();
    world.tell(What::TaskStarted);
    world.pass(2);
    world.happen(Happens::Change(3));
    assert!(world.only_pod().metadata.deletion_timestamp.is_some());
    world.pass(60);
    assert_eq!(world.made.len(), 1, "the old pod is still there");
    let observed = |world: &World| {
        let status = &world.memory.durable;
        (
            status.observed_generation,
            status.conditions[0].observed_generation,
        )
    };
    let before = world.task.metadata.generation.map(|g| g - 1);
    assert_eq!(
        observed(&world),
        (before, before),
        "the run is of the spec before"
    );
    world.happen(Happens::PodGone);
    world.pass(4);
    let now = world.task.metadata.generation;
    assert_eq!(observed(&world), (now, now));
    assert_eq!(world.only_pod().metadata.name.as_deref(), Some("t-2"));
    assert_eq!(
        (world.memory.durable.run, world.memory.durable.runs.len()),
        (2, 1)
    );
    assert_eq!(world.memory.durable.runs[0].reason, "Superseded");
}

#[test]
fn what_does_not_change_what_is_run_begins_nothing() {
    let mut world = World::new(spec(1));
    world.work();
    world.run(0);
    world.work();
    world.change(|s| {
        s["ttlSecondsAfterFinished"] = 9999.into();
        s["cancel"] = true.into();
        s["callbacks"] = json!([{ "url": "https://example.com/" }]);
        s["taskRetries"] = json!({ "failure": 3, "infrastructure": 3 });
    });
    world.pass(300);
    assert_eq!((world.made.len(), world.phase()), (1, TaskPhase::Succeeded));
    world.rerun("again");
    world.change(|s| s["cancel"] = false.into());
    world.pass(2);
    assert_eq!(world.made.len(), 2);
}

#[test]
fn a_pod_on_a_node_without_the_agent_is_replaced_there() {
    let mut world = World::new(spec(1));
    world.work();
    world.bind();
    world.node(true, false);
    world.pass(9);
    assert!(world.only_pod().metadata.deletion_timestamp.is_none());
    world.pass(3);
    assert!(world.only_pod().metadata.deletion_timestamp.is_some());
    world.pass(10);
    assert_eq!(world.made.len(), 1, "it may run yet");
    world.happen(Happens::PodGone);
    assert_eq!(world.made.len(), 2);
    let pod = world.only_pod();
    assert!(pod.spec.as_ref().unwrap().init_containers.is_some());
    assert_eq!(pod.metadata.name.as_deref(), Some("t-1"));
    assert_eq!(world.memory.status.run, 1);
    assert_eq!(
        world.memory.status.pod.as_ref().unwrap().carrier,
        Carrier::DownwardAPI
    );
}

#[test]
fn a_pod_whose_node_had_the_agent_waits_longer_for_it() {
    let mut world = World::new(spec(1));
    world.work();
    world.bind();
    world.node(true, false);
    world.work();
    // It comes and goes, and nobody looks meanwhile.
    world.node(true, true);
    world.node(true, false);
    world.pass(299);
    assert!(world.only_pod().metadata.deletion_timestamp.is_none());
    // Again: the kubelet may have asked it, so the wait begins anew.
    world.node(true, true);
    world.node(true, false);
    world.pass(299);
    assert!(world.only_pod().metadata.deletion_timestamp.is_none());
    world.pass(3);
    assert!(world.only_pod().metadata.deletion_timestamp.is_some());
    world.pass(40);
    assert_eq!(world.made.len(), 1, "its kubelet cannot let it go");
    world.pass(10);
    assert_eq!(world.made.len(), 2);
}

#[test]
fn a_pod_that_began_unnoticed_is_not_replaced() {
    let mut world = World::misplaced();
    // What its kubelet says as it goes.
    let now = world.now;
    let mut last = Pod::clone(world.only_pod());
    last.status = Some(ended(&last, now));
    world.pods.clear();
    world.work();
    world.memory.saw_last(Arc::new(last));
    world.pass(30);
    assert_eq!(
        (world.made.len(), world.phase(), world.reason()),
        (1, TaskPhase::Failed, "PodDeleted")
    );
}

#[test]
fn a_pod_that_its_agent_found_only_as_it_went_is_replaced() {
    // What the kubelet says as it goes: of this age, and of newer ones.
    let unknown = json!({ "terminated": { "exitCode": 137, "reason": "ContainerStatusUnknown" } });
    for last in [
        status("Pending", &[]),
        status(
            "Failed",
            &[
                json!({ "name": "s1", "image": "", "imageID": "", "ready": false,
                      "restartCount": 0, "state": unknown }),
            ],
        ),
    ] {
        let mut world = World::misplaced();
        // Its agent comes back, and makes the volume of a pod that does not start any more.
        world.node(true, true);
        world.happen(Happens::Miss);
        world.pass(2);
        assert_eq!(world.phase(), TaskPhase::Pending);
        world.edit_all(|pod| pod.status = Some(last.clone()));
        world.pass(20);
        assert_eq!((world.made.len(), world.phase()), (1, TaskPhase::Pending));
        world.happen(Happens::PodGone);
        world.happen(Happens::Miss);
        assert_eq!(world.made.len(), 2);
        world.pass(3);
        assert_eq!(
            (world.phase(), world.memory.status.run),
            (TaskPhase::Pending, 1)
        );
        let pod = world.memory.status.pod.as_ref().unwrap();
        assert_eq!(
            (pod.carrier, pod.uid.as_str()),
            (Carrier::DownwardAPI, "pod-2")
        );
    }
}

#[test]
fn a_task_that_was_cancelled_without_its_agent_stays_so() {
    let mut world = World::misplaced();
    world.happen(Happens::Cancel(true));
    world.happen(Happens::PodGone);
    world.pass(30);
    assert_eq!(world.phase(), TaskPhase::Cancelled);
    world.happen(Happens::Cancel(false));
    world.pass(30);
    assert_eq!((world.phase(), world.made.len()), (TaskPhase::Cancelled, 1));
}

#[test]
fn a_pod_whose_agent_came_back_and_saw_it_run_is_not_replaced() {
    let mut world = World::misplaced();
    world.node(true, true);
    world.happen(Happens::Begin);
    world.pass(2);
    assert_eq!(world.phase(), TaskPhase::Running);
    world.happen(Happens::PodGone);
    world.pass(30);
    assert_eq!((world.made.len(), world.phase()), (1, TaskPhase::Failed));
}

#[test]
fn a_quota_is_waited_for() {
    let mut world = World::new(spec(1));
    world.refuse = true;
    world.pass(100);
    assert_eq!(
        (world.phase(), world.reason()),
        (TaskPhase::Pending, "CreateFailed")
    );
    assert_eq!(world.memory.durable.message, "quota");
    assert_eq!(world.notes.len(), 1);
    world.refuse = false;
    world.pass(70);
    assert_eq!(world.made.len(), 1);
}

#[test]
fn a_restart_finds_the_pod_that_was_made_last() {
    let mut world = World::new(spec(1));
    world.work();
    assert_eq!(world.memory.durable.run, 0, "nothing is written yet");
    world.restart();
    world.pass(4);
    assert_eq!((world.made.len(), world.memory.durable.run), (1, 1));
    assert_eq!(world.memory.durable.pod.as_ref().unwrap().uid, "pod-1");
}

#[test]
fn short_steps_without_the_agent_share_a_write() {
    let mut world = World::new(spec(3));
    world.node(true, false);
    world.work();
    assert!(
        world
            .only_pod()
            .spec
            .as_ref()
            .unwrap()
            .init_containers
            .is_some()
    );
    world.bind();
    world.pass(2);
    assert!(world.writes.is_empty(), "it may begin yet");
    for over in 0..=3 {
        let now = world.now;
        world.edit_all(|pod| pod.status = Some(under_way(pod, over, now)));
        world.pass(1);
    }
    assert_eq!(
        (world.phase(), world.memory.durable.progress.as_str()),
        (TaskPhase::Succeeded, "3/3")
    );
    assert_eq!(world.writes.len(), 2, "its beginning and its end");
    world.pass(300);
    assert_eq!(world.writes.len(), 2);
}
