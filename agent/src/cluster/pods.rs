//! What the API server tells of this node's pods, and what follows from it: pure, with the clock given.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use baton_events::{PodRef, Told, What};
use baton_pod::facts::{ContainerState, Message, Terminated};
use baton_pod::names::{CANCEL_ANNOTATION, COORDINATOR, ORDERED_BY_ANNOTATION};
use baton_pod::{Ordered, PlanSource, PodFacts, Update, facts, plan_of};
use baton_protocol::{Order, Timestamp, exit};
use baton_steps::{Death, Plan};
use k8s_openapi::api::core::v1::Pod;

use super::coalesce::Annotations;
use crate::turns::PodView;

/// What the keeper of a volume's order is to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// The task is to stop.
    Cancel,
    /// The container of this number ended, or will never start.
    Died(u32, Death),
}

/// What followed from a look at a pod.
#[derive(Debug, Default, PartialEq)]
pub struct Happened {
    /// Events to tell.
    pub told: Vec<Told>,
    /// Annotations that are the pod's order: to be written at once.
    pub patch: Option<(PodRef, Annotations)>,
}

/// This node's pods.
#[derive(Debug, Default)]
pub struct Pods {
    kept: HashMap<String, Kept>,
    /// While everything is listed anew: who was listed so far.
    listed: Option<HashSet<String>>,
}

#[derive(Debug)]
enum Kept {
    /// It has the volume.
    Volume(Volume),
    /// Its annotation is its order, and is kept here.
    Annotated(Box<Annotated>),
    /// Somebody else orders it, or nobody can.
    Ignored,
}

/// A pod with the volume: a few numbers, for a node has many.
#[derive(Debug, Default)]
struct Volume {
    cancelled: bool,
    ended: BTreeSet<u32>,
    /// What the volume's keeper was not told yet, for it does not know the pod.
    pending: Vec<Command>,
}

#[derive(Debug)]
struct Annotated {
    reference: PodRef,
    pod: Pod,
    plan: Arc<Plan>,
    ordered: Ordered,
    cancelled: bool,
    order: Order,
    since: Timestamp,
}

impl Pods {
    /// Everything is about to be listed anew.
    pub fn list(&mut self) {
        self.listed = Some(HashSet::new());
    }

    /// Everything was listed: pods that were not are gone.
    pub fn list_is_complete(&mut self, now: Timestamp) -> Vec<(String, Happened)> {
        let Some(listed) = self.listed.take() else {
            return Vec::new();
        };
        let gone: Vec<_> = self
            .kept
            .keys()
            .filter(|uid| !listed.contains(*uid))
            .cloned()
            .collect();
        gone.into_iter()
            .map(|uid| {
                let happened = self.gone(&uid, now);
                (uid, happened)
            })
            .collect()
    }

    /// Takes a pod as it is now.
    pub fn see(&mut self, mut pod: Pod, now: Timestamp) -> Happened {
        let Some(uid) = pod.metadata.uid.clone() else {
            return Happened::default();
        };
        if let Some(listed) = &mut self.listed {
            listed.insert(uid.clone());
        }
        slim(&mut pod);
        let mut happened = Happened::default();
        match self.kept.get_mut(&uid) {
            Some(Kept::Volume(volume)) => {
                if let Ok((plan, _)) = plan_of(&pod) {
                    volume.see(&pod, &plan);
                }
            }
            Some(Kept::Annotated(annotated)) => annotated.see(pod, now, &mut happened),
            Some(Kept::Ignored) => {}
            None => {
                let kept = Kept::new(pod, now, &mut happened);
                self.kept.insert(uid, kept);
            }
        }
        happened
    }

    /// A pod was deleted.
    pub fn gone(&mut self, uid: &str, now: Timestamp) -> Happened {
        let mut happened = Happened::default();
        if let Some(Kept::Annotated(mut gone)) = self.kept.remove(uid) {
            let update = gone.ordered.gone(&gone.pod, now);
            // There is nothing left to annotate or to kill.
            happened.told = update.told;
        }
        happened
    }

    /// Does what is due by time.
    pub fn tick(&mut self, now: Timestamp) -> Vec<Happened> {
        let due = self.annotated_mut().filter(|a| {
            let wake = a.ordered.wake_at();
            wake.is_some_and(|at| at <= now)
        });
        due.map(|annotated| {
            let mut happened = Happened::default();
            let update = annotated.ordered.tick(&annotated.pod, now);
            annotated.take(update, now, &mut happened);
            happened
        })
        .collect()
    }

    /// When [`tick`](Pods::tick) is due.
    pub fn wake_at(&self) -> Option<Timestamp> {
        let annotated = self.kept.values().filter_map(|kept| match kept {
            Kept::Annotated(annotated) => annotated.ordered.wake_at(),
            Kept::Volume(_) | Kept::Ignored => None,
        });
        annotated.min()
    }

    /// What the keeper of a volume's order was not told yet. To be asked for once it knows the pod.
    pub fn commands(&mut self, uid: &str) -> Vec<Command> {
        match self.kept.get_mut(uid) {
            Some(Kept::Volume(volume)) => std::mem::take(&mut volume.pending),
            _ => Vec::new(),
        }
    }

    /// Whether the pod is known.
    pub fn contains(&self, uid: &str) -> bool {
        self.kept.contains_key(uid)
    }

    /// The pods whose annotation is their order, as they stand.
    pub fn annotated(&self) -> Vec<PodView> {
        let annotated = self.kept.values().filter_map(|kept| match kept {
            Kept::Annotated(annotated) => Some(annotated.view()),
            Kept::Volume(_) | Kept::Ignored => None,
        });
        annotated.collect()
    }

    fn annotated_mut(&mut self) -> impl Iterator<Item = &mut Annotated> {
        self.kept.values_mut().filter_map(|kept| match kept {
            Kept::Annotated(annotated) => Some(&mut **annotated),
            Kept::Volume(_) | Kept::Ignored => None,
        })
    }
}

impl Kept {
    fn new(pod: Pod, now: Timestamp, happened: &mut Happened) -> Kept {
        let reference = reference(&pod);
        let plan = match plan_of(&pod) {
            Ok((plan, PlanSource::Volume)) => {
                let mut volume = Volume::default();
                volume.see(&pod, &plan);
                return Kept::Volume(volume);
            }
            Ok((plan, PlanSource::Annotation | PlanSource::Containers)) => plan,
            Err(e) => {
                let message = format!("the pod is not ordered: {e}");
                happened
                    .told
                    .push(warning(&reference, now, 0, "plan", message));
                return Kept::Ignored;
            }
        };
        let by = annotation(&pod, ORDERED_BY_ANNOTATION);
        let seen = facts(&pod, &plan);
        // Over before this program came: whoever it concerned was told.
        let was_over = seen.phase.is_over() && is_last(seen.order, &plan);
        if by == Some(COORDINATOR) || was_over {
            return Kept::Ignored;
        }
        let plan = Arc::new(plan);
        let (ordered, update) = Ordered::open(Plan::clone(&plan), &pod, now);
        let mut annotated = Box::new(Annotated {
            reference,
            pod,
            plan,
            cancelled: false,
            order: ordered.order(),
            since: now,
            ordered,
        });
        annotated.take(update, now, happened);
        annotated.cancel_if_asked(now, happened);
        Kept::Annotated(annotated)
    }
}

impl Volume {
    fn see(&mut self, pod: &Pod, plan: &Plan) {
        if is_cancelled(pod) && !self.cancelled {
            self.cancelled = true;
            self.pending.push(Command::Cancel);
        }
        for (number, how) in ends(&facts(pod, plan)) {
            if self.ended.insert(number) {
                self.pending.push(Command::Died(number, how));
            }
        }
    }
}

impl Annotated {
    fn see(&mut self, pod: Pod, now: Timestamp, happened: &mut Happened) {
        let update = self.ordered.update(&pod, now);
        self.pod = pod;
        self.take(update, now, happened);
        self.cancel_if_asked(now, happened);
    }

    fn cancel_if_asked(&mut self, now: Timestamp, happened: &mut Happened) {
        if is_cancelled(&self.pod) && !self.cancelled {
            self.cancelled = true;
            let update = self.ordered.cancel(&self.pod, now);
            self.take(update, now, happened);
        }
    }

    fn take(&mut self, update: Update, now: Timestamp, happened: &mut Happened) {
        if self.ordered.order() != self.order {
            self.order = self.ordered.order();
            self.since = now;
        }
        happened.told.extend(update.told);
        if let Some(annotations) = update.patch {
            happened.patch = Some((self.reference.clone(), annotations));
        }
        for number in update.kill {
            let name = self.plan.name(number);
            let message = format!("{name} does not stop; its pod has to be deleted");
            let told = warning(&self.reference, now, number, "unresponsive", message);
            happened.told.push(told);
        }
    }

    fn view(&self) -> PodView {
        PodView {
            pod: Arc::new(self.reference.clone()),
            plan: Arc::clone(&self.plan),
            order: self.order,
            turn: self.ordered.run().turn(),
            since: self.since,
            outcome: self.ordered.outcome().cloned(),
        }
    }
}

/// What ended in a pod with the volume, or will never start. Where an entrypoint left a record, that
/// counts, so this may be told of all.
fn ends(seen: &PodFacts) -> BTreeMap<u32, Death> {
    let mut ends: BTreeMap<u32, Death> = seen
        .never_starting()
        .filter(|(number, _)| *number > 0)
        .map(|(number, why)| (number, Death::NeverStarted(why)))
        .collect();
    for container in &seen.containers {
        let how = match &container.state {
            ContainerState::Terminated(end) => death(end),
            // One that runs is its entrypoint's to tell of, also in a pod that is being ended.
            ContainerState::Waiting { .. } | ContainerState::Unknown if seen.phase.is_over() => {
                let why = match &seen.loss {
                    Some(loss) => format!("{}: {}", loss.reason(), loss.message()),
                    None => "the pod was over before".to_owned(),
                };
                Death::NeverStarted(format!("its container was not started: {why}"))
            }
            _ => continue,
        };
        ends.insert(container.number, how);
    }
    ends
}

fn death(end: &Terminated) -> Death {
    const KILLED: i32 = exit::of_signal(9);
    match (end.reason.as_str(), end.signal, end.exit_code) {
        (reason @ ("StartError" | "ContainerCannotRun"), ..) => Death::NeverStarted(format!(
            "its container cannot be started: {reason}: {}",
            text(&end.message)
        )),
        ("ContainerStatusUnknown", ..) => Death::Gone,
        (_, Some(signal), _) if signal != 0 => Death::Signal(signal),
        (_, _, KILLED) => Death::Signal(9),
        (_, _, code) => Death::Exited(code),
    }
}

fn text(message: &Message) -> &str {
    match message {
        Message::Other(text) => text,
        Message::Empty | Message::Record(_) => "",
    }
}

fn is_last(order: Option<Order>, plan: &Plan) -> bool {
    order == Some(Order::Cancelled) || order == Some(Order::Turn(plan.finished()))
}

fn is_cancelled(pod: &Pod) -> bool {
    annotation(pod, CANCEL_ANNOTATION) == Some("true")
}

fn annotation<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    let annotations = pod.metadata.annotations.as_ref()?;
    annotations.get(name).map(String::as_str)
}

fn reference(pod: &Pod) -> PodRef {
    let meta = &pod.metadata;
    PodRef {
        namespace: meta.namespace.clone().unwrap_or_default(),
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
    }
}

fn warning(pod: &PodRef, at: Timestamp, number: u32, about: &str, message: String) -> Told {
    Told {
        pod: pod.clone(),
        at,
        what: What::Warning {
            number,
            about: about.to_owned(),
            message,
        },
    }
}

/// Drops what is large and never asked for.
fn slim(pod: &mut Pod) {
    pod.metadata.managed_fields = None;
    let Some(spec) = &mut pod.spec else {
        return;
    };
    for container in &mut spec.containers {
        container.env = None;
        container.env_from = None;
        container.volume_mounts = None;
        container.resources = None;
    }
}

#[cfg(test)]
mod tests;
