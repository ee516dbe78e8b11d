//! The order of a pod without the baton volume: by its status alone.
//!
//! The kubelet's view of the containers takes the place of the volume's files: a container that ended
//! is a step that is over, and the termination message holds the record and the small results. What an
//! entrypoint waits for is the pod's annotation, by the downward API.
//!
//! An [`Ordered`] keeps nothing that is not in the pod: whoever drives it may stop at any instant, and
//! [`open`](Ordered::open) goes on from the pod as the API server has it.

use std::collections::{BTreeMap, BTreeSet};

use baton_events::{MAX_TASK_RESULTS_BYTES, MissingResult, PodRef, StepResult, Told, What};
use baton_protocol::layout::ORDER_ANNOTATION;
use baton_protocol::{Order, Timestamp};
use baton_steps::{Death, Effect, Event, Outcome, Plan, Run};
use k8s_openapi::api::core::v1::Pod;

use crate::facts::{ContainerFacts, ContainerState, End, PodFacts, facts};
use crate::names::MEMORY_ANNOTATION;

mod memory;

use memory::Memory;

/// A pod without the baton volume, and the run of its plan.
#[derive(Debug)]
pub struct Ordered {
    pod: PodRef,
    run: Run,
    memory: Memory,
    /// Warnings that were told.
    warned: BTreeSet<(u32, String)>,
    /// Bytes of results that may still be told.
    room: usize,
}

/// What is to be done, in this order: the patch, then the kills and what is told.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Update {
    /// The annotations that the pod is to have, where they changed. The caller patches them, and again
    /// ([`Ordered::annotations`]) until it succeeded.
    pub patch: Option<BTreeMap<String, String>>,
    /// What happened, for the Task's status. Told again after a restart, with the same ids.
    pub told: Vec<Told>,
    /// Steps and sidecars that did not stop in their time: the caller ends their containers, or the pod.
    pub kill: Vec<u32>,
}

impl Ordered {
    /// Takes up a pod as it is: new, under way or over. `now` is the time of the caller's clock.
    pub fn open(plan: Plan, pod: &Pod, now: Timestamp) -> (Ordered, Update) {
        let seen = facts(pod, &plan);
        let annotations = pod.metadata.annotations.as_ref();
        let memory = annotations.and_then(|a| a.get(MEMORY_ANNOTATION));
        let memory = Memory::read(memory.map_or("", String::as_str));
        let found = found(&seen, &plan);
        let (run, effects) = Run::resume(
            plan,
            seen.order.unwrap_or(Order::HOLD),
            memory.events(),
            found,
            now,
        );
        let meta = &pod.metadata;
        let mut ordered = Ordered {
            pod: PodRef {
                namespace: meta.namespace.clone().unwrap_or_default(),
                name: meta.name.clone().unwrap_or_default(),
                uid: meta.uid.clone().unwrap_or_default(),
            },
            run,
            memory,
            warned: BTreeSet::new(),
            room: MAX_TASK_RESULTS_BYTES,
        };
        let mut update = Update::default();
        ordered.perform(effects, &seen, now, &mut update);
        ordered.absorb(&seen, now, &mut update);
        (ordered, update)
    }

    /// Takes the pod as it is now.
    pub fn update(&mut self, pod: &Pod, now: Timestamp) -> Update {
        let seen = facts(pod, self.run.plan());
        let mut update = Update::default();
        self.absorb(&seen, now, &mut update);
        update
    }

    /// The task is to stop: the running step has its grace, `finally` steps run.
    pub fn cancel(&mut self, pod: &Pod, now: Timestamp) -> Update {
        self.event(Event::Cancel, pod, now)
    }

    /// The task is to be over now: no grace, no `finally` steps.
    pub fn kill(&mut self, pod: &Pod, now: Timestamp) -> Update {
        self.event(Event::Kill, pod, now)
    }

    /// The time that [`wake_at`](Ordered::wake_at) gave has come.
    pub fn tick(&mut self, pod: &Pod, now: Timestamp) -> Update {
        self.event(Event::Tick, pod, now)
    }

    /// The pod is gone, and was last seen like this: what had not ended has ended now.
    pub fn gone(&mut self, last: &Pod, now: Timestamp) -> Update {
        let seen = facts(last, self.run.plan());
        let mut update = Update::default();
        self.absorb(&seen, now, &mut update);
        self.lose(&seen, "the pod was deleted", now, &mut update);
        update
    }

    /// The annotations that the pod is to have.
    pub fn annotations(&self) -> BTreeMap<String, String> {
        let order = (ORDER_ANNOTATION.to_owned(), self.run.order().to_string());
        let memory = self.memory.write();
        let memory = memory.map(|memory| (MEMORY_ANNOTATION.to_owned(), memory));
        [order].into_iter().chain(memory).collect()
    }

    /// When [`tick`](Ordered::tick) is due; `None` where nothing waits for time.
    pub fn wake_at(&self) -> Option<Timestamp> {
        self.run.wake_at()
    }

    /// The order as the pod's annotation is to hold it.
    pub fn order(&self) -> Order {
        self.run.order()
    }

    /// How the task ended; `None` while it has not.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.run.outcome()
    }

    /// The run, for displays.
    pub fn run(&self) -> &Run {
        &self.run
    }

    fn event(&mut self, event: Event, pod: &Pod, now: Timestamp) -> Update {
        let seen = facts(pod, self.run.plan());
        let mut update = Update::default();
        self.apply(event, &seen, now, &mut update);
        self.running(&seen, now, &mut update);
        update
    }

    fn absorb(&mut self, seen: &PodFacts, now: Timestamp, update: &mut Update) {
        if seen.has_begun() {
            self.apply(Event::Begin, seen, now, update);
        }
        for event in found(seen, self.run.plan()) {
            self.apply(event, seen, now, update);
        }
        for (number, why) in seen.never_starting() {
            let (number, why) = match number {
                0 => (1, format!("the tools cannot be brought to the pod: {why}")),
                _ => (number, why),
            };
            let how = Death::NeverStarted(why);
            self.apply(Event::Died { number, how }, seen, now, update);
        }
        if seen.phase.is_over() {
            let why = match &seen.loss {
                Some(loss) => format!("{}: {}", loss.reason(), loss.message()),
                None => "the pod is over".to_owned(),
            };
            self.lose(seen, &why, now, update);
        }
        self.running(seen, now, update);
        self.warn(seen, now, update);
    }

    /// Whatever has not ended has ended now.
    fn lose(&mut self, seen: &PodFacts, why: &str, now: Timestamp, update: &mut Update) {
        if self.run.outcome().is_some() {
            return;
        }
        if !self.memory.has_begun() {
            let how = Death::NeverStarted(why.to_owned());
            return self.apply(Event::Died { number: 1, how }, seen, now, update);
        }
        for number in 1..=self.run.plan().total() {
            let how = Death::Gone;
            self.apply(Event::Died { number, how }, seen, now, update);
        }
    }

    /// The command of a step whose turn it is runs with its container, as far as can be seen.
    fn running(&mut self, seen: &PodFacts, now: Timestamp, update: &mut Update) {
        for container in &seen.containers {
            if let ContainerState::Running { since } = container.state
                && !container.conditional
            {
                let is_sidecar = container.number > self.run.plan().last();
                let started = Event::Started {
                    number: container.number,
                    attempt: 1,
                    at: since.filter(|_| is_sidecar).unwrap_or(now),
                };
                self.apply(started, seen, now, update);
            }
        }
    }

    fn warn(&mut self, seen: &PodFacts, now: Timestamp, update: &mut Update) {
        let unschedulable = seen.unschedulable.as_ref().map(|message| {
            (
                0,
                "Unschedulable",
                format!("no node takes the pod: {message}"),
            )
        });
        let containers = seen.tools.iter().chain(&seen.containers);
        let troubles = containers.filter_map(|c| {
            let (about, message) = c.trouble()?;
            Some((c.number, about, message))
        });
        for (number, about, message) in unschedulable.into_iter().chain(troubles) {
            if self.warned.insert((number, about.to_owned())) {
                let about = about.to_owned();
                let what = What::Warning {
                    number,
                    about,
                    message,
                };
                update.told.push(self.told(now, what));
            }
        }
    }

    fn apply(&mut self, event: Event, seen: &PodFacts, now: Timestamp, update: &mut Update) {
        let effects = self.run.apply(now, event);
        self.perform(effects, seen, now, update);
    }

    fn perform(
        &mut self,
        effects: Vec<Effect>,
        seen: &PodFacts,
        now: Timestamp,
        update: &mut Update,
    ) {
        let mut changed = false;
        for effect in effects {
            match effect {
                Effect::Remember(event) => {
                    self.memory.add(now, &event);
                    changed |= matches!(event, Event::Stopped { .. } | Event::Killed { .. });
                }
                Effect::WriteOrder(_) => changed = true,
                Effect::Kill(number) => update.kill.push(number),
                Effect::Notify(notice) => {
                    let (at, mut what) = What::of_notice(&notice, now);
                    self.add_results(&mut what, seen);
                    update.told.push(self.told(at, what));
                }
                // Asked for by `wake_at` and `outcome`.
                Effect::WakeAt(_) | Effect::Ended(_) => {}
            }
        }
        if changed {
            update.patch = Some(self.annotations());
        }
    }

    fn told(&self, at: Timestamp, what: What) -> Told {
        let pod = self.pod.clone();
        Told { pod, at, what }
    }

    fn add_results(&mut self, what: &mut What, seen: &PodFacts) {
        let What::StepFinished {
            number,
            results,
            missing,
            ..
        } = what
        else {
            return;
        };
        let Some(left) = seen.container(*number).and_then(ContainerFacts::left) else {
            return;
        };
        for (name, value) in &left.results {
            let name = name.clone();
            match self.room.checked_sub(name.len() + value.len()) {
                Some(room) => {
                    self.room = room;
                    let value = value.clone();
                    results.push(StepResult { name, value });
                }
                None => missing.push(MissingResult {
                    name,
                    why: format!(
                        "with it, the Task's results have more than {MAX_TASK_RESULTS_BYTES} bytes"
                    ),
                }),
            }
        }
        if left.more_results > 0 {
            missing.push(MissingResult {
                name: "*".to_owned(),
                why: format!(
                    "{} more did not fit into the termination message (4 KiB), which is all there \
                     is on a node without the agent",
                    left.more_results
                ),
            });
        }
    }
}

/// What the containers' ends and readiness tell, in the order of their numbers.
fn found(seen: &PodFacts, plan: &Plan) -> Vec<Event> {
    let events = |container: &ContainerFacts| {
        [
            ready(container).filter(|_| plan.is_awaited(container.number)),
            started(container),
            ended(container),
        ]
    };
    seen.containers.iter().flat_map(events).flatten().collect()
}

fn ready(container: &ContainerFacts) -> Option<Event> {
    let runs = matches!(container.state, ContainerState::Running { .. });
    let number = container.number;
    (runs && container.ready).then_some(Event::Ready { number })
}

/// The last start of a command, as its entrypoint's record tells it.
fn started(container: &ContainerFacts) -> Option<Event> {
    let record = &container.left()?.record;
    Some(Event::Started {
        number: container.number,
        attempt: record.attempts.max(1),
        at: record.started_at?,
    })
}

fn ended(container: &ContainerFacts) -> Option<Event> {
    let number = container.number;
    Some(match container.end()? {
        End::Record(record) => Event::Finished {
            number,
            record: *record,
        },
        End::Died(how) => Event::Died { number, how },
    })
}

/// Whether this is among what the pod's annotation has to remember.
fn is_memorable(event: &Event) -> bool {
    matches!(
        event,
        Event::Begin | Event::Killed { .. } | Event::Stopped { .. }
    )
}

#[cfg(test)]
mod tests;
