//! Whatever happens in whatever order: a Job keeps its bounds, counts rightly and ends.

use proptest::prelude::*;

use super::*;
use crate::job::condition::ConditionType;

/// What the world does next.
#[derive(Debug, Clone)]
enum Turn {
    /// A live pod, chosen by the number, ends.
    End(u8, bool),
    Ready(u8),
    Restart(u8),
    Scale(u32),
    Suspend(bool),
    Wait(u32),
    /// An event about a pod that may not exist.
    Stale(u32, bool),
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let turn = prop_oneof![
        4 => (any::<u8>(), any::<bool>()).prop_map(|(pod, ok)| Turn::End(pod, ok)),
        2 => any::<u8>().prop_map(Turn::Ready),
        2 => any::<u8>().prop_map(Turn::Restart),
        1 => (0..6_u32).prop_map(Turn::Scale),
        1 => any::<bool>().prop_map(Turn::Suspend),
        2 => (0..60_u32).prop_map(Turn::Wait),
        1 => (0..40_u32, any::<bool>()).prop_map(|(pod, ok)| Turn::Stale(pod, ok)),
    ];
    proptest::collection::vec(turn, 0..80)
}

fn specs() -> impl Strategy<Value = Spec> {
    let numbers = (0..6_u32, proptest::option::of(0..8_u32), 0..5_u32);
    let deadline = proptest::option::weighted(0.3, 1..200_u32);
    (numbers, deadline, any::<(bool, bool, bool)>()).prop_map(
        |((parallelism, completions, backoff_limit), deadline, (indexed, never, suspend))| Spec {
            parallelism,
            completions,
            indexed: indexed && completions.is_some(),
            backoff_limit,
            active_deadline: deadline.map(|s| SEC * s),
            restart: if never {
                Restart::Never
            } else {
                Restart::OnFailure
            },
            suspend,
            ..Spec::default()
        },
    )
}

/// What an onlooker counts, by other means than the Job.
struct World {
    job: Job,
    now: Duration,
    parallelism: u32,
    /// Live pods: index, and whether it is being deleted.
    live: BTreeMap<PodId, (Option<u32>, bool)>,
    succeeded: u32,
    failed: u32,
    last_failure: Option<Duration>,
    verdict: Option<Condition>,
}

impl World {
    fn new(spec: &Spec) -> World {
        World {
            job: Job::new(spec.clone()),
            now: Duration::ZERO,
            parallelism: spec.parallelism,
            live: BTreeMap::new(),
            succeeded: 0,
            failed: 0,
            last_failure: None,
            verdict: None,
        }
    }

    fn apply(&mut self, spec: &Spec, event: Event) -> Result<(), TestCaseError> {
        let over = self.verdict.is_some();
        if let Event::Scaled(n) = event {
            self.parallelism = n;
        }
        if let Event::Ended { pod, success } = event {
            match self.live.remove(&pod) {
                Some((_, false)) if success => {
                    self.succeeded += 1;
                    self.last_failure = None;
                }
                Some((_, false)) => {
                    self.failed += 1;
                    self.last_failure = Some(self.now);
                }
                _ => {}
            }
        }
        let was_failing = self.job.verdict.is_some();
        let actions = self.job.apply(self.now, event);
        prop_assert!(!over || actions.is_empty(), "{:?} after the end", actions);
        let fails =
            !was_failing && matches!(&self.job.verdict, Some(c) if c.kind == ConditionType::Failed);
        for action in actions {
            match action {
                Action::Create { pod, index } => {
                    prop_assert!(!fails, "created in a failing Job");
                    let early = self
                        .last_failure
                        .is_some_and(|at| self.now < at + spec.backoff_base);
                    prop_assert!(!early, "created within the back-off");
                    prop_assert_eq!(index.is_some(), spec.indexed);
                    let twin = self
                        .live
                        .values()
                        .any(|(i, gone)| !gone && index.is_some() && *i == index);
                    prop_assert!(!twin, "two active pods with index {:?}", index);
                    prop_assert!(self.live.insert(pod, (index, false)).is_none());
                }
                Action::Delete(pod) => {
                    let live = self.live.get_mut(&pod);
                    prop_assert!(matches!(live, Some((_, false))), "deleted twice or unknown");
                    if let Some((_, gone)) = live {
                        *gone = true;
                    }
                    self.failed += u32::from(fails);
                }
                Action::Condition(c) if c.kind == ConditionType::Suspended => {}
                Action::Condition(c) => {
                    prop_assert!(self.live.is_empty(), "ended over live pods");
                    self.verdict = Some(c);
                }
            }
        }
        self.check(spec)
    }

    fn check(&self, spec: &Spec) -> Result<(), TestCaseError> {
        let active = self.live.values().filter(|(_, gone)| !gone).count() as u32;
        prop_assert_eq!(active, self.job.active());
        prop_assert_eq!(self.live.len() as u32 - active, self.job.terminating());
        prop_assert!(
            active <= self.parallelism || spec.completions.is_none() && self.succeeded > 0,
            "{} active of {}",
            active,
            self.parallelism
        );
        if let Some(completions) = spec.completions {
            prop_assert!(active + self.succeeded <= completions, "more than needed");
        }
        prop_assert_eq!(
            (self.succeeded, self.failed),
            (self.job.succeeded(), self.job.failed())
        );
        match &self.verdict {
            Some(c) if c.kind == ConditionType::Complete => {
                prop_assert!(self.succeeded >= spec.completions.unwrap_or(1));
            }
            Some(c) if c.reason == "BackoffLimitExceeded" => {
                prop_assert!(
                    self.failed > spec.backoff_limit || spec.restart == Restart::OnFailure
                );
            }
            Some(_) => prop_assert!(spec.active_deadline.is_some()),
            None => {}
        }
        Ok(())
    }

    fn pick(&self, n: u8) -> Option<PodId> {
        let at = usize::from(n) % self.live.len().max(1);
        self.live.keys().nth(at).copied()
    }
}

proptest! {
    #[test]
    fn bounded_counted_and_always_ended(spec in specs(), turns in turns(), fates in proptest::collection::vec(any::<bool>(), 8)) {
        let mut world = World::new(&spec);
        world.apply(&spec, Event::Tick)?;
        for turn in turns {
            let event = match turn {
                Turn::End(n, success) => world.pick(n).map(|pod| Event::Ended { pod, success }),
                Turn::Ready(n) => world.pick(n).map(Event::Ready),
                Turn::Restart(n) => world.pick(n).map(Event::Restarted),
                Turn::Scale(n) => Some(Event::Scaled(n)),
                Turn::Suspend(yes) => Some(Event::Suspended(yes)),
                Turn::Wait(secs) => {
                    world.now += SEC * secs;
                    Some(Event::Tick)
                }
                Turn::Stale(pod, success) => {
                    let pod = PodId(pod);
                    (!world.live.contains_key(&pod)).then_some(Event::Ended { pod, success })
                }
            };
            world.apply(&spec, event.unwrap_or(Event::Tick))?;
        }
        // From here on nobody interferes: every pod ends, and the loop sleeps until it is woken.
        world.apply(&spec, Event::Suspended(false))?;
        world.apply(&spec, Event::Scaled(3))?;
        let mut fates = fates.iter().cycle();
        for _ in 0..100 {
            if world.verdict.is_some() {
                break;
            }
            let event = match world.pick(0) {
                Some(pod) => Event::Ended { pod, success: *fates.next().unwrap() },
                None => {
                    let wake = world.job.next_wake(world.now);
                    prop_assert!(wake.is_some(), "nothing lives and nothing is awaited");
                    world.now = world.now.max(wake.unwrap());
                    Event::Tick
                }
            };
            world.apply(&spec, event)?;
        }
        prop_assert!(world.verdict.is_some(), "the Job did not end");
    }
}
