//! What a pod's status tells. The termination messages in it are tenants': bounded, read strictly, and
//! believed only where the exit code that the kubelet saw agrees.

use std::time::{Duration, SystemTime};

use baton_protocol::layout::ORDER_ANNOTATION;
use baton_protocol::{Order, Timestamp};
use baton_steps::Plan;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::names::TOOLS_CONTAINER;

mod container;
mod loss;

use container::container;
pub use container::{ContainerFacts, ContainerState, End, Message, Terminated};
pub use loss::PodLoss;

/// Longest text of a status that is kept, in characters.
const MAX_TEXT: usize = 1000;

/// What a pod's metadata, spec and status tell.
#[derive(Debug, Clone, PartialEq)]
pub struct PodFacts {
    /// How the kubelet sees the pod as a whole.
    pub phase: PodPhase,
    /// Its node, once it has one.
    pub node: Option<String>,
    /// Since when it is to be deleted.
    pub deleting: Option<Timestamp>,
    /// The order in its annotation; `None` where there is none, or what is no order.
    pub order: Option<Order>,
    /// Why no node takes it, while none does.
    pub unschedulable: Option<String>,
    /// Why the pod as a whole was or is being ended from outside.
    pub loss: Option<PodLoss>,
    /// The init container that brings the tools, where it has one; its number is 0.
    pub tools: Option<ContainerFacts>,
    /// Every step, `finally` step and sidecar of the plan, by number from 1.
    pub containers: Vec<ContainerFacts>,
}

/// The phase of a pod.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum PodPhase {
    /// Something is still to be started.
    #[default]
    Pending,
    /// Every container was started once.
    Running,
    /// Every container ended with 0.
    Succeeded,
    /// Every container ended, or will not be started.
    Failed,
    /// Its node is not heard of.
    Unknown,
}

impl PodPhase {
    /// Whether nothing of the pod will run any more.
    pub fn is_over(self) -> bool {
        matches!(self, PodPhase::Succeeded | PodPhase::Failed)
    }
}

/// Reads a pod. Containers are found by the names in the plan; one that the pod does not have stays
/// [`Unknown`](ContainerState::Unknown).
pub fn facts(pod: &Pod, plan: &Plan) -> PodFacts {
    let none = PodStatus::default();
    let status = pod.status.as_ref().unwrap_or(&none);
    let spec = pod.spec.as_ref();
    let containers = spec.map_or(&[][..], |s| &s.containers);
    let statuses = status.container_statuses.as_deref().unwrap_or_default();
    let init = status
        .init_container_statuses
        .as_deref()
        .unwrap_or_default();
    let read = |number, name: &str| {
        container(
            number,
            name,
            containers.iter().find(|c| c.name == name),
            statuses.iter().find(|s| s.name == name),
        )
    };
    let has_tools = spec
        .and_then(|s| s.init_containers.as_ref())
        .is_some_and(|c| c.iter().any(|c| c.name == TOOLS_CONTAINER));
    let tools = || {
        let status = init.iter().find(|s| s.name == TOOLS_CONTAINER);
        container(0, TOOLS_CONTAINER, None, status)
    };
    let annotations = pod.metadata.annotations.as_ref();
    let order = annotations.and_then(|a| a.get(ORDER_ANNOTATION));
    PodFacts {
        phase: phase(status),
        node: spec.and_then(|s| s.node_name.clone()),
        deleting: pod.metadata.deletion_timestamp.as_ref().map(time),
        order: order.and_then(|o| Order::parse(o.as_bytes())),
        unschedulable: unschedulable(status),
        loss: loss::of(pod, status),
        tools: has_tools.then(tools),
        containers: plan
            .numbered()
            .map(|(number, _, name)| read(number, name))
            .collect(),
    }
}

impl PodFacts {
    /// What is known of a step, `finally` step or sidecar.
    pub fn container(&self, number: u32) -> Option<&ContainerFacts> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        self.containers.get(index)
    }

    /// Whether the pod began: a container of it runs, or ran.
    pub fn has_begun(&self) -> bool {
        self.phase == PodPhase::Running || self.containers.iter().any(ContainerFacts::has_begun)
    }

    /// The containers that can never start, each with a sentence why: number 0 is the init container
    /// that brings the tools, without which none starts.
    pub fn never_starting(&self) -> impl Iterator<Item = (u32, String)> {
        let all = self.tools.iter().chain(&self.containers);
        all.filter_map(|c| Some((c.number, c.never_starts()?)))
    }
}

fn phase(status: &PodStatus) -> PodPhase {
    match status.phase.as_deref() {
        Some("Running") => PodPhase::Running,
        Some("Succeeded") => PodPhase::Succeeded,
        Some("Failed") => PodPhase::Failed,
        Some("Unknown") => PodPhase::Unknown,
        _ => PodPhase::Pending,
    }
}

fn unschedulable(status: &PodStatus) -> Option<String> {
    let conditions = status.conditions.as_deref().unwrap_or_default();
    let scheduled = conditions.iter().find(|c| c.type_ == "PodScheduled")?;
    let is_refused = scheduled.status == "False"
        && matches!(
            scheduled.reason.as_deref(),
            Some("Unschedulable" | "SchedulingGated")
        );
    is_refused.then(|| bounded(scheduled.message.as_deref().unwrap_or_default()))
}

fn bounded(text: &str) -> String {
    match text.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

fn time(time: &Time) -> Timestamp {
    // Nothing of a cluster is older than the epoch.
    let millis = u64::try_from(time.0.as_millisecond()).unwrap_or(0);
    Timestamp(SystemTime::UNIX_EPOCH + Duration::from_millis(millis))
}

#[cfg(test)]
mod tests;
