//! Runs against a model of a pod: entrypoints that wait, run, stop, fail, die or hang, and a
//! scheduler that loses, repeats, delays and reorders what is heard of them, and restarts the run.

use std::time::{Duration, SystemTime};

use crate::{Death, Effect, Event, Kind, Plan, Run, Sidecar, Step};
use baton_protocol::{Reason, Record, Timestamp};
use proptest::prelude::*;

mod world;

use world::World;

fn at(secs: u64) -> Timestamp {
    Timestamp(SystemTime::UNIX_EPOCH + Duration::from_secs(secs))
}

fn record(reason: Reason, continued: bool) -> Record {
    let code = if reason.is_success() { 0 } else { 3 };
    Record {
        continued,
        ..Record::new(reason, code, at(0))
    }
}

fn plan(steps: usize, finally: usize, sidecars: Vec<bool>, timeout: Option<u64>) -> Plan {
    let name = |kind: &str, i: usize| format!("{kind}-{i}");
    Plan {
        steps: (0..steps)
            .map(|i| Step {
                name: name("step", i),
            })
            .collect(),
        finally: (0..finally)
            .map(|i| Step {
                name: name("finally", i),
            })
            .collect(),
        sidecars: sidecars
            .into_iter()
            .enumerate()
            .map(|(i, awaited)| Sidecar {
                name: name("sidecar", i),
                awaited,
            })
            .collect(),
        timeout: timeout.map(Duration::from_secs),
        grace: Duration::from_secs(10),
    }
}

prop_compose! {
    fn any_plan()(
        steps in 1..5_usize,
        finally in 0..3_usize,
        sidecars in proptest::collection::vec(any::<bool>(), 0..3),
        timeout in proptest::option::of(1..200_u64),
    ) -> Plan {
        plan(steps, finally, sidecars, timeout)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn whatever_happens_the_order_holds_and_the_run_ends(
        plan in any_plan(),
        ops in proptest::collection::vec((0..25_u8, any::<u8>()), 0..120),
    ) {
        let mut world = World::new(plan);
        for (op, arg) in ops {
            world.step(op, arg);
        }
        world.finish();
        world.check_end();
        let (outcome, states) = (world.run.outcome().cloned().unwrap(), world.states());
        world.restart();
        let again = world.run.outcome().cloned().expect("it was over before the restart");
        prop_assert_eq!((again.phase, again.exit_code, again.cause), (outcome.phase, outcome.exit_code, outcome.cause));
        prop_assert_eq!(world.states(), states);
    }

    #[test]
    fn final_facts_lead_to_one_outcome_in_any_order(
        plan in any_plan(),
        ends in proptest::collection::vec(0..6_u8, 12),
        keys in proptest::collection::vec(any::<u64>(), 40),
    ) {
        let plan = Plan { timeout: None, ..plan };
        let mut facts = vec![Event::Begin];
        for (number, kind, _) in plan.numbered() {
            if kind == Kind::Sidecar {
                facts.push(Event::Ready { number });
                continue;
            }
            let record = match ends[number as usize] {
                0..=1 => record(Reason::Completed, false),
                2 => record(Reason::Skipped, false),
                3 => record(Reason::Error, true),
                4 => record(Reason::Error, false),
                _ => {
                    facts.push(Event::Died { number, how: Death::Gone });
                    continue;
                }
            };
            facts.push(Event::Finished { number, record });
        }
        let outcome = |facts: &[Event]| {
            let mut run = Run::new(plan.clone());
            let mut orders = Vec::new();
            for event in facts.iter().chain(facts) {
                for effect in run.apply(at(1), event.clone()) {
                    if let Effect::WriteOrder(order) = effect {
                        orders.push(order);
                    }
                }
            }
            // The sidecars end when they are told to.
            for (number, _, _) in plan.numbered().filter(|(_, kind, _)| *kind == Kind::Sidecar) {
                run.apply(at(1), Event::Finished { number, record: record(Reason::Cancelled, false) });
            }
            let states: Vec<_> = run.steps().map(|s| s.state).collect();
            (run.outcome().cloned(), states, run.order())
        };
        let want = outcome(&facts);
        prop_assert!(want.0.is_some());
        let mut shuffled: Vec<_> = keys.into_iter().zip(facts.clone()).collect();
        shuffled.sort_by_key(|(key, _)| *key);
        let shuffled: Vec<_> = shuffled.into_iter().map(|(_, event)| event).collect();
        prop_assert_eq!(outcome(&shuffled), want);
    }
}
