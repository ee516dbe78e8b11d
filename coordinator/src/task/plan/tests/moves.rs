//! Whatever happens, in whatever order.

use proptest::prelude::*;

use super::*;

/// What may happen at any time.
#[derive(Debug, Clone, Copy)]
pub(super) enum Happens {
    Change(u32),
    Rerun(u32),
    Cancel(bool),
    Bind,
    Run(i32),
    Begin,
    /// The agent makes the pod's volume and takes it away again, and nothing ran in between.
    Miss,
    DeletePod,
    PodGone,
    Evict,
    Node(bool, bool),
    Restart,
    Refuse(bool),
    Pass(u64),
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        2 => (1..4_u32).prop_map(Happens::Change),
        1 => (0..3_u32).prop_map(Happens::Rerun),
        1 => any::<bool>().prop_map(Happens::Cancel),
        4 => Just(Happens::Bind),
        3 => (0..3_i32).prop_map(Happens::Run),
        2 => Just(Happens::Begin),
        2 => Just(Happens::Miss),
        2 => Just(Happens::DeletePod),
        2 => Just(Happens::PodGone),
        1 => Just(Happens::Evict),
        2 => (any::<bool>(), any::<bool>()).prop_map(|(r, d)| Happens::Node(r, d)),
        2 => Just(Happens::Restart),
        1 => any::<bool>().prop_map(Happens::Refuse),
        4 => (1..40_u64).prop_map(Happens::Pass),
    ]
}

impl World {
    pub(super) fn happen(&mut self, what: Happens) {
        match what {
            Happens::Change(steps) => self.change(|s| s["steps"] = spec(steps)["steps"].take()),
            Happens::Rerun(n) => self.rerun(&n.to_string()),
            Happens::Cancel(cancel) => self.change(|spec| spec["cancel"] = cancel.into()),
            Happens::Bind => self.bind(),
            Happens::Run(code) if self.may_run() => self.run(code),
            Happens::Begin if self.may_run() => {
                self.bind();
                self.tell(What::TaskStarted);
                self.tell(What::StepStarted {
                    number: 1,
                    attempt: 1,
                });
            }
            Happens::Miss if self.may_run() => {
                self.bind();
                self.tell(What::TaskStarted);
                self.tell(What::StepFinished {
                    number: 1,
                    state: StepState::Died {
                        how: Death::Gone,
                        at: self.now,
                    },
                    results: Vec::new(),
                    missing: Vec::new(),
                });
                self.finish(Some(Cause::Died {
                    number: 1,
                    name: "s1".to_owned(),
                    how: Death::Gone,
                }));
            }
            Happens::Run(_) | Happens::Begin | Happens::Miss => {}
            Happens::DeletePod => {
                let at = time(later(self.now, Duration::from_secs(15)));
                self.edit_all(|pod| {
                    pod.metadata.deletion_timestamp.get_or_insert(at.clone());
                });
            }
            Happens::PodGone => self.gone(),
            Happens::Evict => self.edit_all(|pod| {
                let mut evicted = status("Failed", &[]);
                evicted.reason = Some("Evicted".into());
                pod.status = Some(evicted);
            }),
            Happens::Node(ready, driver) => self.node(ready, driver),
            Happens::Restart => self.restart(),
            Happens::Refuse(refuse) => self.refuse = refuse,
            Happens::Pass(seconds) => return self.pass(seconds),
        }
        self.work();
    }

    /// From now on everybody does their part: does it come to an end?
    fn come_to_an_end(&mut self) {
        self.refuse = false;
        self.node(true, true);
        for _ in 0..40 {
            self.gone();
            self.work();
            if self.may_run() {
                self.run(0);
            } else {
                // Without the volume: what the kubelet says.
                let now = self.now;
                self.bind();
                self.edit_all(|pod| pod.status = Some(ended(pod, now)));
            }
            self.pass(30);
            if self.memory.is_final() && self.memory.status == self.memory.durable {
                return;
            }
        }
        panic!("no end in sight: {:#?}", self.memory.status);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Never two pods, never a finished run again, at most one write a second on the long run, and an
    /// end once everybody does their part: whatever happens before.
    #[test]
    fn whatever_happens_comes_to_an_end(
        history in proptest::collection::vec(happens(), 0..30),
        infrastructure in 0..3_u32,
        failure in 0..3_u32,
    ) {
        let mut asked = spec(2);
        asked["taskRetries"] = json!({ "infrastructure": infrastructure, "failure": failure });
        let mut world = World::new(asked);
        world.work();
        for what in history {
            world.happen(what);
        }
        world.come_to_an_end();
        let made = world.made.len();
        world.restart();
        world.pass(600);
        prop_assert_eq!(world.made.len(), made, "it began again by itself");
        for (i, at) in world.writes.iter().enumerate() {
            let within = world.writes.iter().skip(i).filter(|w| w.since(*at) < Duration::from_secs(10));
            prop_assert!(within.count() <= 14, "too many writes");
        }
    }
}
