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
