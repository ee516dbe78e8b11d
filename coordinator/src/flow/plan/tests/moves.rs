//! Whatever happens, in whatever order.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Move {
    /// Plan, and do so many of the planned calls.
    Work(usize),
    /// Plan, and lose what was planned: the calls never reach the server.
    Lose,
    /// Plan by a view in which nothing has ended, and do what is planned.
    Stale,
    /// The controller dies and another one begins.
    Restart,
    Succeed(usize),
    Fail(usize),
    Delete(usize),
    Wait(u64),
    Suspend(bool),
    /// Somebody adds a node that depends on this one.
    Add(usize),
    Cancel,
}

fn a_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        8 => (0usize..4).prop_map(Move::Work),
        1 => Just(Move::Lose),
        2 => Just(Move::Stale),
        2 => Just(Move::Restart),
        6 => any::<usize>().prop_map(Move::Succeed),
        2 => any::<usize>().prop_map(Move::Fail),
        1 => any::<usize>().prop_map(Move::Delete),
        1 => (0u64..100).prop_map(Move::Wait),
        1 => any::<bool>().prop_map(Move::Suspend),
        1 => any::<usize>().prop_map(Move::Add),
        1 => prop_oneof![9 => Just(Move::Work(1)), 1 => Just(Move::Cancel)],
    ]
}

fn a_spec() -> impl Strategy<Value = Value> {
    let one = (
        proptest::collection::vec(any::<prop::sample::Index>(), 0..3),
        0u32..3,
        proptest::option::weighted(0.2, 0usize..3),
    );
    let nodes = proptest::collection::vec(one, 1..7);
    (nodes, proptest::option::of(1u32..3), any::<bool>()).prop_map(|(nodes, most, fast)| {
        let flows: Vec<Value> = nodes
            .iter()
            .enumerate()
            .map(|(i, (needs, retries, list))| {
                let needs: BTreeSet<String> = match i {
                    0 => BTreeSet::new(),
                    i => needs.iter().map(|n| format!("n{}", n.index(i))).collect(),
                };
                let mut node = json!({
                    "name": format!("n{i}"), "jobTemplate": job(), "dependencies": needs, "retries": retries,
                });
                if let Some(count) = list {
                    let items: Vec<_> = (0..=*count).map(|i| i.to_string()).collect();
                    node["forEach"] = json!({ "items": items });
                }
                node
            })
            .collect();
        let mut spec = json!({ "flows": flows });
        if let Some(most) = most {
            spec["maxParallel"] = json!(most);
        }
        if fast {
            spec["failurePolicy"] = json!("FailFast");
        }
        spec
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn whatever_happens_each_node_has_one_job_and_it_ends(
        spec in a_spec(),
        moves in proptest::collection::vec(a_move(), 0..60),
    ) {
        let mut spec = spec;
        let mut world = World::new(spec.clone());
        for m in moves {
            world.now += 1;
            let live = world.live();
            let some = |which: usize| live.get(which % live.len().max(1)).cloned();
            match m {
                Move::Work(most) => {
                    let ops = world.plan().ops;
                    ops.into_iter().take(most).for_each(|op| world.apply(op));
                }
                Move::Lose => drop(world.plan()),
                Move::Stale => world.stale(),
                Move::Restart => world.restart(),
                Move::Succeed(which) => if let Some(name) = some(which) {
                    world.end(&name, End::Succeeded);
                },
                Move::Fail(which) => if let Some(name) = some(which) {
                    world.end(&name, End::Failed("Error".into()));
                },
                Move::Delete(which) => if let Some(name) = some(which) {
                    // Whoever deletes a Job before it is seen has it made again; not after.
                    let known = world.stored.nodes.iter().flat_map(|n| &n.jobs);
                    let seen = known.into_iter().any(|j| j.name == name && j.state == FlowJobState::Running);
                    if seen {
                        world.children.remove(&(ChildKind::Job, name));
                    }
                },
                Move::Wait(seconds) => world.now += seconds,
                Move::Suspend(on) => {
                    spec["suspend"] = json!(on);
                    world.view = flow(spec.clone(), "", world.view.generation.unwrap() + 1);
                }
                Move::Add(which) => if world.stored.finished_at.is_none() {
                    let flows = spec["flows"].as_array_mut().unwrap();
                    let need = flows[which % flows.len()]["name"].as_str().unwrap().to_owned();
                    flows.push(node(&format!("m{}", flows.len()), &[&need]));
                    world.view = flow(spec.clone(), "", world.view.generation.unwrap() + 1);
                },
                Move::Cancel => {
                    spec["cancel"] = json!(true);
                    world.view = flow(spec.clone(), "", world.view.generation.unwrap() + 1);
                }
            }
        }
        spec["suspend"] = json!(false);
        world.view = flow(spec.clone(), "", world.view.generation.unwrap() + 1);
        let mut rounds = 0;
        while world.stored.finished_at.is_none() {
            world.settle();
            if let Some(name) = world.live().first().cloned() {
                world.end(&name, End::Succeeded);
            }
            world.now += 400;
            rounds += 1;
            prop_assert!(rounds < 200, "it does not end: {:?}", world.stored);
        }
        world.settle();
        prop_assert_eq!(world.live(), Vec::<String>::new());
        prop_assert!(world.stored.phase.is_over());
        let over = |n: &baton_api::flow_status::FlowNodeStatus| n.state.is_over();
        prop_assert!(world.stored.nodes.iter().all(over));
        prop_assert_eq!(world.stored.nodes.len(), spec["flows"].as_array().unwrap().len());
    }
}
