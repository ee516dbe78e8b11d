//! One case each.

use super::*;

#[test]
fn the_seeds_flow() {
    let mut world = World::new(seed());
    world.settle();
    assert_eq!(world.live(), ["f-job1", "f-job4"]);
    assert_eq!(world.stored.phase, JobFlowPhase::Running);
    world.succeed("f-job1");
    world.succeed("f-job4");
    assert_eq!(world.live(), ["f-job2"]);
    assert_eq!(world.stored.progress, "2/5");
    world.succeed("f-job2");
    assert_eq!(world.live(), ["f-job3", "f-job5"]);
    world.succeed("f-job3");
    world.succeed("f-job5");
    assert_eq!(world.stored.phase, JobFlowPhase::Succeeded);
    assert_eq!(world.stored.progress, "5/5");
    assert_eq!(
        world.condition("Succeeded"),
        ("True".into(), "Completed".into())
    );
    assert_eq!(world.notes.last().unwrap().reason, "Succeeded");
    // Each node: its start, that it runs, its end; and what goes together is written together.
    assert!(world.writes <= 15, "{} writes", world.writes);
}

#[test]
fn a_failure_skips_what_depends_on_it() {
    let mut world = World::new(seed());
    world.settle();
    world.fail("f-job1");
    assert_eq!(world.stored.phase, JobFlowPhase::Running);
    world.succeed("f-job4");
    assert_eq!(
        world.states(),
        [
            "job1 Failed BackoffLimitExceeded",
            "job2 Skipped DependencyNotMet",
            "job3 Skipped DependencyNotMet",
            "job4 Succeeded",
            "job5 Skipped DependencyNotMet",
        ]
    );
    assert_eq!(world.stored.phase, JobFlowPhase::Failed);
    assert_eq!(world.stored.reason, "BackoffLimitExceeded");
    assert!(
        world.stored.message.contains("\"job1\""),
        "{}",
        world.stored.message
    );

    // Run again from there: what succeeded is kept, names are new.
    world.restart();
    world.change(seed(), "again");
    assert_eq!(world.live(), ["f-job1-r2"]);
    assert_eq!(world.stored.run, 2);
    world.succeed("f-job1-r2");
    world.succeed("f-job2");
    world.succeed("f-job3");
    world.succeed("f-job5");
    assert_eq!(world.stored.phase, JobFlowPhase::Succeeded);
    world.change(seed(), "once-more");
    assert!(world.notes.iter().any(|n| n.reason == "NothingToRun"));
    assert_eq!(world.live(), Vec::<String>::new());
    world.children.clear();
    world.change(seed(), "all-1");
    assert_eq!(world.live(), ["f-job1-r3", "f-job4-r2"]);
}

#[test]
fn a_template_may_come_later_and_its_mistakes_are_waited_for() {
    let mut world = World::new(json!({"flows": [{"name": "a", "jobTemplateRef": "t"}]}));
    world.settle();
    assert_eq!(
        world.condition("Progressing"),
        ("False".into(), "JobTemplateMissing".into())
    );
    assert_eq!(world.states(), ["a Waiting JobTemplateMissing"]);
    let template = |spec| Template {
        version: "t@1".to_owned(),
        spec,
    };
    world
        .templates
        .insert("t".into(), template(Err("bad".into())));
    world.settle();
    assert_eq!(world.states(), ["a Waiting JobTemplateInvalid"]);
    let spec = serde_json::from_value(json!({"jobTemplate": job()})).unwrap();
    world
        .templates
        .insert("t".into(), template(Ok(Arc::new(spec))));
    world.settle();
    assert_eq!(world.live(), ["f-a"]);
    world.templates.clear();
    world.succeed("f-a");
    assert_eq!(world.stored.phase, JobFlowPhase::Succeeded);
}

#[test]
fn a_change_that_rewrites_history_is_refused_and_cancel_is_not() {
    let mut world = World::new(seed());
    world.settle();
    world.succeed("f-job1");
    let mut other = seed();
    other["flows"][0]["retries"] = json!(2);
    world.change(other.clone(), "");
    assert_eq!(
        world.condition("Accepted"),
        ("False".into(), "ChangeRefused".into())
    );
    world.succeed("f-job2");
    assert_eq!(world.live(), ["f-job4"], "nothing new is let go");
    // It is recorded, so its Job may go.
    world
        .children
        .remove(&(ChildKind::Job, "f-job2".to_owned()));
    world.settle();
    world.restart();
    world.settle();
    assert_eq!(world.live(), ["f-job4"]);
    world.change(seed(), "");
    assert_eq!(
        world.condition("Accepted"),
        ("True".into(), "Accepted".into())
    );
    assert_eq!(world.live(), ["f-job3", "f-job4"]);

    other["cancel"] = json!(true);
    world.change(other, "");
    assert_eq!(world.stored.phase, JobFlowPhase::Cancelled);
    assert_eq!(world.live(), Vec::<String>::new());
}

#[test]
fn what_is_over_is_kept_as_long_as_is_said() {
    let mut spec = seed();
    spec["flows"] = json!([node("a", &[]), node("b", &["a"])]);
    spec["flows"][0]["jobTemplate"]["ttlSecondsAfterFinished"] = json!(0);
    spec["ttlSecondsAfterFinished"] = json!(60);
    spec["retainPolicy"] = json!("DeleteOnSuccess");
    let mut world = World::new(spec);
    world.settle();
    world.succeed("f-a");
    assert_eq!(
        world
            .children
            .keys()
            .map(|k| k.1.as_str())
            .collect::<Vec<_>>(),
        ["f-b"]
    );
    world.restart();
    world.settle();
    assert_eq!(
        world.made,
        ["f-a", "f-b"],
        "what is recorded never runs again"
    );
    world.succeed("f-b");
    assert!(world.children.is_empty());
    assert!(!world.deleted_flow);
    let wake = world.plan().wake.unwrap();
    assert!(wake > at(world.now) && wake <= at(world.now + 60));
    world.now += 60;
    let ops = world.plan().ops;
    assert_eq!(ops, [Op::DeleteFlow]);
}

#[test]
fn a_foreign_object_of_the_name_is_waited_for() {
    let mut world = World::new(json!({"flows": [node("a", &[])]}));
    let mut creates = 0;
    for _ in 0..20 {
        world.now += 1;
        for op in world.plan().ops {
            match op {
                Op::Create(key, _) => {
                    creates += 1;
                    let now = at(world.now);
                    world
                        .memory
                        .failed(key, "NameTaken", "there is another", now);
                }
                op => world.apply(op),
            }
        }
    }
    assert!((2..=6).contains(&creates), "{creates}");
    assert_eq!(world.states(), ["a Running NameTaken"]);
    assert_eq!(
        world.condition("Progressing"),
        ("False".into(), "NameTaken".into())
    );
    world.now += 60;
    world.settle();
    assert_eq!(world.live(), ["f-a"]);
}

#[test]
fn names_of_elements_and_nodes_stay_apart() {
    let mut spec = json!({"flows": [node("a", &[]), node("a-0", &[])]});
    spec["flows"][0]["forEach"] = json!({"items": ["x", "y"]});
    let mut world = World::new(spec);
    world.settle();
    assert_eq!(world.live(), ["f-a--0", "f-a--1", "f-a-0"]);
    let of = |name: &str| world.children[&(ChildKind::Job, name.to_owned())].index;
    assert_eq!((of("f-a--1"), of("f-a-0")), (1, 0));
}

#[test]
fn a_stop_that_fails_is_tried_again_later() {
    // One that is told to stop, and one that nobody waits for.
    for is_stray in [false, true] {
        let mut spec = json!({"flows": [node("a", &[])]});
        let mut world = World::new(spec.clone());
        world.settle();
        if is_stray {
            let live = world.children.clone();
            world.succeed("f-a");
            world.children = live;
        }
        spec["cancel"] = json!(true);
        world.view = flow(spec, "", 2);
        let mut stops = 0;
        for _ in 0..20 {
            world.now += 1;
            let next = world.plan();
            let mut stopped = false;
            for op in next.ops {
                match op {
                    Op::Stop(child) => {
                        stopped = true;
                        let now = at(world.now);
                        world.memory.failed(child.key(), "CallFailed", "no", now);
                    }
                    op => world.apply(op),
                }
            }
            stops += usize::from(stopped);
            let waits = stops > 0 && !stopped;
            assert!(!waits || next.wake.is_some(), "it is looked at again");
        }
        assert!((2..=6).contains(&stops), "{stops}, {is_stray}");
        world.now += 60;
        world.settle();
        assert_eq!(world.live(), Vec::<String>::new());
    }
}

#[test]
fn a_flow_is_kept_until_its_callbacks_are_told_or_an_hour_longer() {
    let mut spec = json!({"flows": [node("a", &[])], "ttlSecondsAfterFinished": 60});
    spec["callbacks"] = json!([{"url": "https://ci.example.com/"}]);
    let mut world = World::new(spec);
    world.settle();
    world.succeed("f-a");
    let ended = world.stored.finished_at.unwrap();
    let told = u32::try_from(story("u", "f", &world.stored).len()).unwrap();
    assert_eq!(told, 4);
    let mut deletes = |settled: Option<u32>, after: u64| {
        let callback = |settled| baton_api::status::CallbackStatus {
            settled,
            ..Default::default()
        };
        world.memory.status.callbacks = settled.map(callback).into_iter().collect();
        let now = later(ended, Duration::from_secs(after));
        world.now = now
            .0
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_secs()
            + 1;
        world.plan().ops.contains(&Op::DeleteFlow)
    };
    assert!(!deletes(None, 60), "nothing is known of them");
    // Its end is not among what is settled, though nothing more was known to wait.
    assert!(!deletes(Some(told - 1), 60));
    assert!(!deletes(Some(told), 50));
    assert!(deletes(Some(told), 60));
    assert!(!deletes(Some(1), 3600));
    assert!(deletes(Some(1), 3660), "somebody does not answer");
}
