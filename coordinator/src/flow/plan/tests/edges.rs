//! What is rare: changes that are refused while a flow stops, long answers, an upgrade, clocks.

use super::*;

fn with_finally() -> Value {
    json!({
        "flows": [node("a", &[]), node("b", &["a"])],
        "finally": [node("end", &[])],
    })
}

/// The same, changed such that history would be rewritten.
fn rewritten(mut spec: Value) -> Value {
    spec["globalParams"] = json!({"nodeName": "n"});
    spec
}

#[test]
fn finally_nodes_that_run_go_on_while_a_change_is_refused() {
    let mut world = World::new(with_finally());
    world.settle();
    let mut cancelled = with_finally();
    cancelled["cancel"] = json!(true);
    world.change(cancelled.clone(), "");
    assert_eq!(world.live(), ["f-end"]);
    world.change(rewritten(cancelled.clone()), "");
    assert_eq!(world.live(), ["f-end"], "it is not stopped");
    world.succeed("f-end");
    assert_eq!(world.stored.phase, JobFlowPhase::Cancelled);
    let ends: Vec<_> = world.stored.nodes.iter().map(|n| n.state).collect();
    use NodePhase::{Cancelled, Skipped, Succeeded};
    assert_eq!(ends, [Cancelled, Skipped, Succeeded]);
}

#[test]
fn finally_nodes_wait_while_a_change_is_refused_and_the_rest_stops() {
    let mut spec = with_finally();
    spec["failurePolicy"] = json!("FailFast");
    spec["flows"].as_array_mut().unwrap().push(node("c", &[]));
    let mut world = World::new(spec.clone());
    world.settle();
    world.end("f-a", End::Failed("Error".into()));
    // The stop is written, and nothing else is done yet.
    let write = |op: &Op| matches!(op, Op::WriteStatus(_));
    world.now += 1;
    let ops = world.plan().ops;
    for op in ops.into_iter().filter(write) {
        world.apply(op);
    }
    assert!(world.stored.stopped.is_some());
    world.change(rewritten(spec.clone()), "");
    assert_eq!(world.live(), Vec::<String>::new());
    let end = |world: &World| world.stored.node("end").unwrap().state;
    assert_eq!(end(&world), NodePhase::Waiting);
    world.restart();
    world.settle();
    assert_eq!(end(&world), NodePhase::Waiting);
    world.change(spec, "");
    assert_eq!(world.live(), ["f-end"]);
    world.succeed("f-end");
    assert_eq!(world.stored.phase, JobFlowPhase::Failed);
    assert_eq!(end(&world), NodePhase::Succeeded);
}

#[test]
fn a_flow_that_is_over_runs_again_after_an_upgrade() {
    let mut world = World::new(seed());
    world.settle();
    world.succeed("f-job1");
    // Digests as a Baton wrote them whose types were others: what runs takes the new ones.
    let age = |world: &mut World| {
        for node in &mut world.stored.nodes {
            node.digest = "older".into();
        }
        world.stored.params_digest = "older".into();
        world.restart();
        world.settle();
    };
    age(&mut world);
    let mut more = seed();
    more["flows"].as_array_mut().unwrap().push(node("new", &[]));
    world.change(more.clone(), "");
    assert_eq!(
        world.condition("Accepted"),
        ("True".into(), "Accepted".into())
    );
    for name in ["f-job2", "f-job4", "f-job5", "f-new"] {
        world.succeed(name);
    }
    world.fail("f-job3");
    assert_eq!(world.stored.phase, JobFlowPhase::Failed);
    age(&mut world);
    let generation = world.view.generation.unwrap();
    world.view = flow(more, "again", generation);
    world.settle();
    assert_eq!(world.live(), ["f-job3-r2"]);
}

#[test]
fn answers_and_mistakes_of_any_length_leave_a_status_that_fits() {
    let names: Vec<_> = (0..500).map(|i| format!("n{i:0>60}")).collect();
    let mut flows: Vec<_> = names.iter().map(|name| node(name, &[])).collect();
    let mut list = node("list", &[]);
    list["forEach"] = json!({"items": vec!["x"; 1000]});
    flows.push(list);
    let late = |i: usize| json!({"name": format!("late{i}"), "jobTemplateRef": "t"});
    flows.extend((0..400).map(late));
    let mut world = World::new(json!({ "flows": flows }));
    let template = Template {
        version: "t@1".to_owned(),
        spec: Err("bad\n".repeat(5000)),
    };
    world.templates.insert("t".into(), template);
    for _ in 0..10 {
        world.now += 2;
        for op in world.plan().ops {
            match op {
                Op::Create(key, _) => world.memory.refuse(key, &"\u{1}é\"".repeat(1000)),
                op => world.apply(op),
            }
        }
    }
    let failed = |n: &&baton_api::flow_status::FlowNodeStatus| n.state == NodePhase::Failed;
    assert_eq!(world.stored.nodes.iter().filter(failed).count(), 501);
    assert!(!world.stored.nodes[0].message.is_empty());
    assert_eq!(world.memory.status, world.stored, "it rests");
    let bytes = serde_json::to_string(&world.stored).unwrap().len();
    assert!(bytes < 1_000_000, "{bytes}");
    // However much there was to tell, the end is told.
    world.templates.clear();
    let mut cancelled = json!({ "flows": flows, "cancel": true });
    cancelled["suspend"] = json!(false);
    world.change(cancelled, "");
    for _ in 0..200 {
        world.settle();
    }
    assert_eq!(world.notes.last().unwrap().reason, "Failed");
}

#[test]
fn results_that_are_too_long_are_told_of_once() {
    let mut world = World::new(json!({"flows": [{"name": "t", "taskTemplate": {
        "steps": [{"name": "s", "image": "i", "command": ["c"], "results": [{"name": "r"}]}],
    }}]}));
    world.now += 1;
    for op in world.plan().ops {
        world.apply(op);
    }
    let task = json!({
        "metadata": {"name": "f-t", "namespace": "ci", "uid": "t", "labels": {"baton.dev/flow": "t"},
            "ownerReferences": [{"apiVersion": "baton.dev/v1alpha1", "kind": "JobFlow", "name": "f",
                                 "uid": "u", "controller": true}]},
        "status": {"phase": "Failed", "reason": "Error", "steps": [
            {"name": "s", "results": [{"name": "r", "value": "x".repeat(300 << 10)}]}]},
    });
    let child = Child::of_task(&serde_json::from_value(task).unwrap()).unwrap();
    world.children.insert(child.key(), Arc::new(child));
    let mut other = json!({"flows": [node("t", &[])]});
    other["cancel"] = json!(false);
    world.change(other, "");
    for _ in 0..5 {
        world.settle();
    }
    let told = world.notes.iter().filter(|n| n.reason == "ResultsTooLong");
    assert_eq!(told.count(), 1);
}

#[test]
fn a_node_that_is_added_changes_no_name_that_is_taken() {
    let list = |more: &[&str]| {
        let mut spec = json!({"flows": [node("a", &[])], "maxParallel": 2});
        spec["flows"][0]["forEach"] = json!({"items": ["x", "y", "z"]});
        let flows = spec["flows"].as_array_mut().unwrap();
        // Before it: places change too.
        more.iter()
            .for_each(|name| flows.insert(0, node(name, &[])));
        spec
    };
    let mut world = World::new(list(&[]));
    world.settle();
    assert_eq!(world.live(), ["f-a-0", "f-a-1"]);
    world.change(list(&["a-7"]), "");
    assert_eq!(world.live(), ["f-a-0", "f-a-1"], "they are the same still");
    assert_eq!(
        world.states(),
        ["a-7 Running", "a Running"],
        "none of them was taken for deleted"
    );
    for name in ["f-a-0", "f-a-1"] {
        world.succeed(name);
    }
    // What is made from now on is called as it has to be.
    assert_eq!(world.live(), ["f-a--2", "f-a-7"]);
    // A node whose name another's Job has waits for its own.
    let generation = world.view.generation.unwrap() + 1;
    world.view = flow(list(&["a-0", "a-7"]), "", generation);
    world.end("f-a-7", End::Succeeded);
    let creates = |op: &Op| matches!(op, Op::Create((_, name), _) if name == "f-a-0");
    let mut wanted = 0;
    for _ in 0..5 {
        world.now += 2;
        let (its, others): (Vec<_>, Vec<_>) = world.plan().ops.into_iter().partition(creates);
        wanted += its.len();
        others.into_iter().for_each(|op| world.apply(op));
    }
    assert!(wanted > 0, "it is to be made");
    assert_eq!(world.states()[1], "a-0 Running");
}

/// What the webhook would find, which knows what is durable alone.
fn accepted_by_webhook(world: &World, spec: &Value) -> bool {
    let spec = FlowSpec::new(serde_json::from_value(spec.clone()).unwrap()).unwrap();
    refused(&world.stored, &spec).is_empty()
}

#[test]
fn a_change_is_judged_by_what_is_durable() {
    let first = json!({"flows": [node("a", &[]), node("b", &["a"])]});
    let second = json!({"flows": [node("a", &[]), node("b", &["a", "c"]), node("c", &[])]});
    for writes in [false, true] {
        let mut world = World::new(first.clone());
        world.settle();
        world.end("f-a", End::Succeeded);
        // It is known that b begins, and not written when the spec changes.
        drop(world.plan());
        assert!(accepted_by_webhook(&world, &second));
        world.view = flow(second.clone(), "", 2);
        if writes {
            // The write is still to be refused.
            world.busy.flow = true;
            assert!(world.plan().ops.is_empty());
            world.busy.flow = false;
        }
        world.settle();
        let accepted = ("True".into(), "Accepted".into());
        assert_eq!(world.condition("Accepted"), accepted, "{writes}");
        assert_eq!(world.live(), ["f-c"]);
        assert!(!world.notes.iter().any(|n| n.reason == "ChangeRefused"));
        world.succeed("f-c");
        assert_eq!(world.live(), ["f-b"]);
    }
}

#[test]
fn a_node_that_is_added_before_the_end_is_written_runs() {
    let mut world = World::new(json!({"flows": [node("a", &[])]}));
    world.settle();
    world.end("f-a", End::Succeeded);
    drop(world.plan());
    assert_eq!(world.memory.status.phase, JobFlowPhase::Succeeded);
    let told = baton_api::status::CallbackStatus::default();
    world.memory.status.callbacks = vec![told];
    let more = json!({"flows": [node("a", &[]), node("b", &[])]});
    world.change(more, "");
    assert_eq!(world.stored.phase, JobFlowPhase::Running);
    assert_eq!(world.live(), ["f-b"]);
    assert_eq!(world.stored.callbacks.len(), 1, "what was told stays told");
    world.succeed("f-b");
    assert_eq!(world.stored.phase, JobFlowPhase::Succeeded);
}
