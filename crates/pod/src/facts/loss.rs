//! Pods that were ended from outside.

use k8s_openapi::api::core::v1::{Pod, PodStatus};

use super::bounded;

/// Why a pod as a whole was or is being ended from outside; each with the sentence of whoever did it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PodLoss {
    /// Its node ran short of something, or somebody evicted it through the API.
    Evicted(String),
    /// A pod of higher priority needed its place.
    Preempted(String),
    /// Its node is gone, was tainted, or was shut down.
    NodeLost(String),
    /// Its node refused it when it came: nothing of it ran.
    Rejected(String),
    /// It lived longer than its native `activeDeadlineSeconds`.
    DeadlineExceeded(String),
}

impl PodLoss {
    /// Whether the infrastructure is at fault: another run may well succeed.
    pub fn is_infrastructure(&self) -> bool {
        !matches!(self, PodLoss::DeadlineExceeded(_))
    }

    /// One word for it: `Evicted`, `Preempted`, `NodeLost`, `Rejected`, `DeadlineExceeded`.
    pub fn reason(&self) -> &'static str {
        match self {
            PodLoss::Evicted(_) => "Evicted",
            PodLoss::Preempted(_) => "Preempted",
            PodLoss::NodeLost(_) => "NodeLost",
            PodLoss::Rejected(_) => "Rejected",
            PodLoss::DeadlineExceeded(_) => "DeadlineExceeded",
        }
    }

    /// The sentence of whoever ended it; may be empty.
    pub fn message(&self) -> &str {
        match self {
            PodLoss::Evicted(message)
            | PodLoss::Preempted(message)
            | PodLoss::NodeLost(message)
            | PodLoss::Rejected(message)
            | PodLoss::DeadlineExceeded(message) => message,
        }
    }
}

pub(super) fn of(pod: &Pod, status: &PodStatus) -> Option<PodLoss> {
    let is_over = matches!(status.phase.as_deref(), Some("Failed" | "Unknown"));
    let message = bounded(status.message.as_deref().unwrap_or_default());
    let by_reason = match status.reason.as_deref().unwrap_or_default() {
        "Evicted" => Some(PodLoss::Evicted(message)),
        "Preempting" => Some(PodLoss::Preempted(message)),
        "DeadlineExceeded" => Some(PodLoss::DeadlineExceeded(message)),
        // The kubelet's words for a node that shuts down changed over time.
        "NodeLost" | "NodeShutdown" | "Shutdown" | "Terminated" => Some(PodLoss::NodeLost(message)),
        "" => None,
        reason if is_over && nothing_ran(status) => Some(PodLoss::Rejected(match &*message {
            "" => bounded(reason),
            message => format!("{}: {message}", bounded(reason)),
        })),
        _ => None,
    };
    by_reason
        .filter(|_| is_over)
        .or_else(|| disruption(pod, status))
}

/// The condition by which Kubernetes 1.26 and later say why they end a pod.
fn disruption(pod: &Pod, status: &PodStatus) -> Option<PodLoss> {
    let conditions = status.conditions.as_deref().unwrap_or_default();
    let target = conditions
        .iter()
        .find(|c| c.type_ == "DisruptionTarget" && c.status == "True")?;
    let is_ending = pod.metadata.deletion_timestamp.is_some()
        || matches!(status.phase.as_deref(), Some("Failed" | "Unknown"));
    let message = bounded(target.message.as_deref().unwrap_or_default());
    let loss = match target.reason.as_deref().unwrap_or_default() {
        "PreemptionByScheduler" => PodLoss::Preempted(message),
        "DeletionByTaintManager" | "DeletionByPodGC" => PodLoss::NodeLost(message),
        _ => PodLoss::Evicted(message),
    };
    is_ending.then_some(loss)
}

fn nothing_ran(status: &PodStatus) -> bool {
    let statuses = status.container_statuses.as_deref().unwrap_or_default();
    statuses.iter().all(|s| {
        let state = s.state.as_ref();
        state.is_none_or(|s| s.running.is_none() && s.terminated.is_none())
    })
}
