//! Every graph, every order of endings, lost writes and stale views.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use baton_protocol::Timestamp;
use proptest::prelude::*;

use super::*;

fn node(name: &str, needs: &[(&str, On)]) -> Node {
    let need = |(node, on): &(&str, On)| Need {
        node: (*node).to_owned(),
        on: *on,
    };
    Node {
        name: name.to_owned(),
        needs: needs.iter().map(need).collect(),
        finally: false,
    }
}

fn at(seconds: u64) -> Timestamp {
    Timestamp(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

#[test]
fn every_mistake_is_named() {
    let errors = Graph::new(vec![
        node("a", &[("c", On::Complete)]),
        node("b", &[("a", On::Complete)]),
        node("c", &[("b", On::Complete)]),
        node("d", &[("d", On::Complete), ("x", On::Complete)]),
        node("a", &[("b", On::Complete), ("b", On::Failed)]),
        Node {
            finally: true,
            ..node("end", &[])
        },
        node("e", &[("end", On::Complete)]),
    ])
    .unwrap_err();
    let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "two flows are called \"a\"",
            "\"d\" depends on itself",
            "\"d\" depends on \"x\", and there is no flow of this name",
            "\"a\" names its dependency \"b\" twice",
            "\"e\" depends on \"end\", which runs after it, as all of `finally` do",
            "flows depend on one another in a circle: a -> c -> b -> a",
        ]
    );
    assert_eq!(Graph::new(vec![]), Err(vec![GraphError::Empty]));
    let many = (0..=MAX_NODES).map(|i| node(&i.to_string(), &[])).collect();
    assert_eq!(
        Graph::new(many),
        Err(vec![GraphError::TooManyNodes(MAX_NODES + 1)])
    );
}

/// Jobs as a cluster has them, by instance and attempt.
#[derive(Default)]
struct World {
    jobs: BTreeMap<(InstanceId, u32), Seen>,
    /// What was made once.
    made: BTreeSet<(InstanceId, u32)>,
    /// Instances that have succeeded.
    done: BTreeSet<InstanceId>,
    /// A Job failed, or was deleted.
    harmed: bool,
}

impl World {
    fn see(&self, id: InstanceId, attempt: u32) -> Seen {
        self.jobs
            .get(&(id, attempt))
            .cloned()
            .unwrap_or(Seen::Absent)
    }

    fn start(&mut self, id: InstanceId, attempt: u32) {
        let live = |((i, _), seen): (&(InstanceId, u32), &Seen)| *i == id && *seen == Seen::Live;
        assert!(!self.jobs.iter().any(live), "{id:?} has two live Jobs");
        assert!(!self.done.contains(&id), "{id:?} runs after its success");
        self.made.insert((id, attempt));
        self.jobs.insert((id, attempt), Seen::Live);
    }

    fn end(&mut self, which: usize, how: &Seen) {
        let live: Vec<_> = self
            .jobs
            .iter()
            .filter(|(_, seen)| **seen == Seen::Live)
            .map(|(key, _)| *key)
            .collect();
        if let Some(key) = live.get(which % live.len().max(1)) {
            if *how == Seen::Succeeded {
                self.done.insert(key.0);
            }
            self.harmed |= *how != Seen::Succeeded;
            self.jobs.insert(*key, how.clone());
        }
    }
}

#[derive(Debug, Clone)]
enum Move {
    /// Fold, persist, act.
    Control,
    /// Fold, and die before the result is persisted.
    LoseWrite,
    /// Fold and persist, and die before acting.
    LoseActions,
    /// Fold by a view in which nothing that ended has ended.
    Stale,
    End(usize, Seen),
    /// A live Job is deleted by hand.
    Delete(usize),
    /// Jobs whose end is recorded are cleaned up.
    CleanUp,
    Wait(u64),
    Cancel,
    Suspend(bool),
}

fn a_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        6 => Just(Move::Control),
        1 => Just(Move::LoseWrite),
        1 => Just(Move::LoseActions),
        1 => Just(Move::Stale),
        4 => any::<usize>().prop_map(|i| Move::End(i, Seen::Succeeded)),
        2 => any::<usize>().prop_map(|i| Move::End(i, Seen::Failed("Error".into()))),
        1 => any::<usize>().prop_map(Move::Delete),
        1 => Just(Move::CleanUp),
        1 => (0u64..400).prop_map(Move::Wait),
        1 => prop_oneof![9 => Just(Move::Control), 1 => Just(Move::Cancel)],
        1 => any::<bool>().prop_map(Move::Suspend),
    ]
}

#[derive(Debug, Clone)]
struct Flow {
    graph: Graph,
    rules: Rules,
    counts: Vec<Begin>,
}

fn a_flow() -> impl Strategy<Value = Flow> {
    let on = prop_oneof![4 => Just(On::Complete), 1 => Just(On::Failed), 1 => Just(On::Finished)];
    let needs = proptest::collection::vec((any::<prop::sample::Index>(), on), 0..4);
    let begin = prop_oneof![
        8 => Just(Begin::Run(1)),
        2 => (0usize..4).prop_map(Begin::Run),
        1 => Just(Begin::Skip),
        1 => Just(Begin::Fail("bad".into())),
    ];
    let one = (
        needs,
        prop::bool::weighted(0.15),
        begin,
        0u32..3,
        proptest::option::of(0u32..3),
    );
    let rules = (
        proptest::option::of(0u32..4),
        any::<bool>(),
        proptest::option::weighted(0.2, 0u64..2000),
    );
    (proptest::collection::vec(one, 1..12), rules).prop_map(|(nodes, rules)| {
        let finally: Vec<bool> = nodes.iter().map(|n| n.1).collect();
        let made = nodes
            .iter()
            .enumerate()
            .map(|(i, (needs, is_finally, ..))| {
                let mut seen = BTreeSet::new();
                let needs = needs.iter().filter_map(|(index, on)| {
                    // To the left alone: no cycle.
                    let need = (i > 0).then(|| index.index(i))?;
                    let allowed = *is_finally || !finally[need];
                    (allowed && seen.insert(need)).then(|| Need {
                        node: format!("n{need}"),
                        on: *on,
                    })
                });
                Node {
                    name: format!("n{i}"),
                    needs: needs.collect(),
                    finally: *is_finally,
                }
            });
        Flow {
            graph: Graph::new(made.collect()).unwrap(),
            rules: Rules {
                max_parallel: rules.0,
                fail_fast: rules.1,
                deadline: rules.2.map(at),
                retries: nodes.iter().map(|n| n.3).collect(),
                parallel: nodes.iter().map(|n| n.4).collect(),
                ..Rules::default()
            },
            counts: nodes.into_iter().map(|n| n.2).collect(),
        }
    })
}

impl Flow {
    fn fold(&self, state: &State, now: Timestamp, world: &World, stale: bool) -> State {
        let seen = |id, attempt| match world.see(id, attempt) {
            Seen::Absent if stale => Seen::Unknown,
            Seen::Succeeded | Seen::Failed(_) if stale => Seen::Live,
            seen => seen,
        };
        let mut begin = |state: &State, node: usize| {
            for (need, on) in self.graph.needs(node) {
                let phase = state.nodes[*need].phase;
                assert!(phase.is_over(), "n{node} begins before n{need} is over");
                if *on == On::Failed {
                    assert_eq!(phase, NodePhase::Failed);
                }
            }
            self.counts[node].clone()
        };
        fold(&self.graph, &self.rules, state, now, &seen, &mut begin)
    }

    /// Goes on without any harm until it is over.
    fn end(
        &self,
        state: &mut State,
        now: &mut u64,
        world: &mut World,
    ) -> Result<(), TestCaseError> {
        let mut rounds = 0;
        while state.finished_at.is_none() {
            *now += 400;
            *state = self.fold(state, at(*now), world, false);
            self.act(state, at(*now), world);
            world.end(0, &Seen::Succeeded);
            rounds += 1;
            prop_assert!(rounds < 500, "it does not end: {state:?}");
        }
        Ok(())
    }

    fn check_attempts(&self, state: &State) -> Result<(), TestCaseError> {
        for (id, instance) in state.instances() {
            let most = state.nodes[id.node].earlier_attempts + self.rules.retries[id.node] + 1;
            prop_assert!(instance.attempts <= most);
        }
        Ok(())
    }

    fn act(&self, state: &State, now: Timestamp, world: &mut World) {
        let actions = actions(&self.graph, &self.rules, state, now, &|id, n| {
            world.see(id, n)
        });
        for action in actions {
            match action {
                Action::Start { id, attempt } => world.start(id, attempt),
                Action::Stop { id, attempt } => {
                    world
                        .jobs
                        .insert((id, attempt), Seen::Failed("Stopped".into()));
                }
                Action::WakeAt(time) => assert!(time > now),
            }
        }
        let room = self.rules.max_parallel.map_or(u32::MAX, |n| n.max(1)) as usize;
        assert!(world.jobs.values().filter(|s| **s == Seen::Live).count() <= room);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn each_node_runs_in_its_time_and_the_flow_ends(
        mut flow in a_flow(),
        moves in proptest::collection::vec(a_move(), 0..60),
        all in any::<bool>(),
    ) {
        let mut world = World::default();
        let mut state = State::new(flow.graph.len());
        let mut now = 1000;
        for m in moves {
            now += 1;
            match m {
                Move::Control => {
                    state = flow.fold(&state, at(now), &world, false);
                    flow.act(&state, at(now), &mut world);
                }
                Move::LoseWrite => {
                    let _ = flow.fold(&state, at(now), &world, false);
                }
                Move::LoseActions => state = flow.fold(&state, at(now), &world, false),
                Move::Stale => state = flow.fold(&state, at(now), &world, true),
                Move::End(which, how) => world.end(which, &how),
                Move::Delete(which) => world.end(which, &Seen::Absent),
                Move::CleanUp => {
                    let over = |id| state.instance(id).is_some_and(|i| i.attempt.is_over());
                    world.jobs.retain(|(id, _), _| !over(*id));
                }
                Move::Wait(seconds) => now += seconds,
                Move::Cancel => flow.rules.cancelled = true,
                Move::Suspend(on) => flow.rules.suspended = on,
            }
            for id in &world.done {
                let attempt = &state.instance(*id).unwrap().attempt;
                prop_assert!(!matches!(attempt, Attempt::Failed(_)));
            }
        }
        // From here all goes well, and has to come to an end.
        flow.rules.suspended = false;
        flow.end(&mut state, &mut now, &mut world)?;
        let bad = |n: &NodeState| matches!(n.phase, NodePhase::Failed);
        let phase = state.phase();
        let failed = state.nodes.iter().any(bad);
        flow.check_attempts(&state)?;
        let invalid = state.nodes.iter().any(|n| n.error.is_some());
        prop_assert!(!failed || world.harmed || invalid, "nothing failed, and yet: {state:?}");
        if state.stopped.is_none() {
            prop_assert_eq!(phase, if failed { FlowPhase::Failed } else { FlowPhase::Succeeded });
        } else {
            prop_assert!(phase != FlowPhase::Succeeded);
        }
        for (i, n) in state.nodes.iter().enumerate() {
            prop_assert!(n.phase.is_over());
            // `finally` nodes without dependencies run whatever came before.
            if flow.graph.is_finally(i) && flow.graph.needs(i).is_empty() {
                prop_assert!(n.phase != NodePhase::Cancelled);
                prop_assert!(n.phase != NodePhase::Skipped || n.skipped == Some(SkipReason::When));
            }
        }
        // What is over stays as it is.
        prop_assert_eq!(flow.fold(&state, at(now + 1), &World::default(), false), state.clone());

        // Run again, what succeeded is kept, no name of a Job comes twice, and it ends once more.
        let before = state.clone();
        flow.rules.cancelled = false;
        flow.rules.deadline = None;
        state.run_again(&flow.graph, all);
        world.done.retain(|id| {
            let kept = state.instance(*id);
            kept.is_some_and(|i| i.attempt == Attempt::Succeeded)
        });
        flow.end(&mut state, &mut now, &mut world)?;
        flow.check_attempts(&state)?;
        for (i, (old, new)) in before.nodes.iter().zip(&state.nodes).enumerate() {
            if !all && old.phase == NodePhase::Succeeded && !flow.graph.is_finally(i) {
                prop_assert_eq!(old, new);
            }
        }
        let cancelled = |n: &NodeState| n.phase == NodePhase::Cancelled;
        prop_assert!(state.stopped.is_some() || !state.nodes.iter().any(cancelled));
    }
}
