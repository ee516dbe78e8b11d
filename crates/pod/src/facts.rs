//! What a pod's status tells. The termination messages in it are tenants': bounded, read strictly, and
//! believed only where the exit code that the kubelet saw agrees.

use std::time::{Duration, SystemTime};

use baton_protocol::layout::{MAX_TERMINATION_BYTES, ORDER_ANNOTATION, is_name};
use baton_protocol::record::Termination;
use baton_protocol::{Order, Reason, Record, Timestamp, exit};
use baton_steps::{Death, Plan};
use k8s_openapi::api::core::v1::{
    Container, ContainerState as Native, ContainerStateTerminated, ContainerStatus, Pod, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::names::TOOLS_CONTAINER;

mod loss;

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

/// What is known of one container.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerFacts {
    /// The number of its step, `finally` step or sidecar.
    pub number: u32,
    /// Its name.
    pub name: String,
    /// How it stands.
    pub state: ContainerState,
    /// The image that it runs, by digest, as the container runtime names it; empty until it is known.
    pub image_id: String,
    /// It runs, and answers its native readiness probe (or has none).
    pub ready: bool,
    /// Its entrypoint decides by conditions whether its command runs at all.
    pub conditional: bool,
    /// Its entrypoint leaves a record in the termination message.
    pub leaves_record: bool,
}

/// How a container stands.
#[derive(Debug, Clone, PartialEq)]
pub enum ContainerState {
    /// The status says nothing of it.
    Unknown,
    /// It was not started.
    Waiting {
        /// Why, in one word: `ContainerCreating`, `ImagePullBackOff`; may be empty.
        reason: String,
        /// The same as a sentence; may be empty.
        message: String,
    },
    /// It runs. Its command may still be waiting for its turn.
    Running {
        /// Since when; whole seconds.
        since: Option<Timestamp>,
    },
    /// It ended.
    Terminated(Box<Terminated>),
}

/// The end of a container.
#[derive(Debug, Clone, PartialEq)]
pub struct Terminated {
    /// Its exit code.
    pub exit_code: i32,
    /// The signal that ended it, where the runtime tells.
    pub signal: Option<i32>,
    /// The kubelet's word for it: `Completed`, `Error`, `OOMKilled`, `ContainerStatusUnknown`.
    pub reason: String,
    /// When it was started; whole seconds.
    pub started_at: Option<Timestamp>,
    /// When it ended; whole seconds.
    pub finished_at: Option<Timestamp>,
    /// What it left in its termination message.
    pub message: Message,
}

/// A termination message.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// None.
    Empty,
    /// An entrypoint's, which agrees with the exit code.
    Record(Box<Termination>),
    /// Something else.
    Other(String),
}

/// How a container ended, for the state machine.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// With a record: its entrypoint's, or what the kubelet saw, where that is the whole truth.
    Record(Box<Record>),
    /// Without one.
    Died(Death),
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
        let ran = |c: &ContainerFacts| {
            matches!(
                c.state,
                ContainerState::Running { .. } | ContainerState::Terminated(_)
            )
        };
        self.phase == PodPhase::Running || self.containers.iter().any(ran)
    }

    /// The containers that can never start, each with a sentence why: number 0 is the init container
    /// that brings the tools, without which none starts.
    pub fn never_starting(&self) -> impl Iterator<Item = (u32, String)> {
        let all = self.tools.iter().chain(&self.containers);
        all.filter_map(|c| Some((c.number, c.never_starts()?)))
    }
}

impl ContainerFacts {
    /// Why it can never start, where that is so.
    pub fn never_starts(&self) -> Option<String> {
        const NEVER: [&str; 6] = [
            "CreateContainerConfigError",
            "CreateContainerError",
            "ErrImageNeverPull",
            "ImageInspectError",
            "ImagePullBackOff",
            "InvalidImageName",
        ];
        match &self.state {
            ContainerState::Waiting { reason, message } if NEVER.contains(&reason.as_str()) => {
                Some(sentence(reason, message))
            }
            _ => None,
        }
    }

    /// What keeps it from starting, where somebody should know and it may pass: the kubelet's word and
    /// the sentence.
    pub fn trouble(&self) -> Option<(&str, String)> {
        const NORMAL: [&str; 3] = ["", "ContainerCreating", "PodInitializing"];
        match &self.state {
            ContainerState::Waiting { reason, message } if !NORMAL.contains(&reason.as_str()) => {
                Some((reason, sentence(reason, message)))
            }
            _ => None,
        }
    }

    /// How it ended, once it has.
    pub fn end(&self) -> Option<End> {
        const KILLED: i32 = exit::of_signal(9);
        let ContainerState::Terminated(end) = &self.state else {
            return None;
        };
        if let Message::Record(left) = &end.message {
            return Some(End::Record(Box::new(left.record.clone())));
        }
        let record = |reason, message: &str| {
            let at = end.finished_at.or(end.started_at);
            let at = at.unwrap_or(Timestamp(SystemTime::UNIX_EPOCH));
            let mut record = Record::new(reason, end.exit_code, at);
            record.message = message.to_owned();
            End::Record(Box::new(record))
        };
        Some(match (end.reason.as_str(), end.exit_code, end.signal) {
            ("OOMKilled", ..) => record(
                Reason::OomKilled,
                "the kernel killed the container for want of memory",
            ),
            ("ContainerStatusUnknown", ..) => End::Died(Death::Gone),
            ("ContainerCannotRun" | "StartError", ..) => {
                record(Reason::StartError, end.message.text())
            }
            (_, 0, None) => record(Reason::Completed, ""),
            (_, _, Some(signal)) if signal != 0 => End::Died(Death::Signal(signal)),
            (_, KILLED, _) => End::Died(Death::Signal(9)),
            (_, code, _) if self.leaves_record => End::Died(Death::Exited(code)),
            _ => record(Reason::Error, end.message.text()),
        })
    }

    /// What its entrypoint left, once it has ended: its record and its small results.
    pub fn left(&self) -> Option<&Termination> {
        match &self.state {
            ContainerState::Terminated(end) => match &end.message {
                Message::Record(left) => Some(left),
                Message::Empty | Message::Other(_) => None,
            },
            _ => None,
        }
    }
}

impl Message {
    fn text(&self) -> &str {
        match self {
            Message::Other(text) => text,
            Message::Empty | Message::Record(_) => "",
        }
    }
}

fn container(
    number: u32,
    name: &str,
    spec: Option<&Container>,
    status: Option<&ContainerStatus>,
) -> ContainerFacts {
    let args = || {
        let words = spec.map(|c| c.command.iter().chain(&c.args).flatten());
        words.into_iter().flatten().take_while(|word| *word != "--")
    };
    let has = |option: &str| args().any(|word| word.split('=').next() == Some(option));
    ContainerFacts {
        number,
        name: name.to_owned(),
        state: status
            .and_then(|s| s.state.as_ref())
            .map_or(ContainerState::Unknown, state),
        image_id: status.map_or(String::new(), |s| bounded(&s.image_id)),
        ready: status.is_some_and(|s| s.ready),
        conditional: has("--when"),
        leaves_record: has("--termination-message"),
    }
}

fn state(state: &Native) -> ContainerState {
    let text = |text: &Option<String>| bounded(text.as_deref().unwrap_or_default());
    match state {
        Native {
            terminated: Some(end),
            ..
        } => ContainerState::Terminated(Box::new(Terminated {
            exit_code: end.exit_code,
            signal: end.signal.filter(|s| *s != 0),
            reason: text(&end.reason),
            started_at: end.started_at.as_ref().map(time),
            finished_at: end.finished_at.as_ref().map(time),
            message: message(end),
        })),
        Native {
            running: Some(running),
            ..
        } => ContainerState::Running {
            since: running.started_at.as_ref().map(time),
        },
        Native {
            waiting: Some(waiting),
            ..
        } => ContainerState::Waiting {
            reason: text(&waiting.reason),
            message: text(&waiting.message),
        },
        _ => ContainerState::Unknown,
    }
}

fn message(end: &ContainerStateTerminated) -> Message {
    let text = end.message.as_deref().unwrap_or_default();
    if text.is_empty() {
        return Message::Empty;
    }
    if text.len() <= MAX_TERMINATION_BYTES
        && let Ok(mut left) = serde_json::from_str::<Termination>(text)
        && agrees(&left.record, end.exit_code)
    {
        left.results.retain(|name, _| is_name(name));
        return Message::Record(Box::new(left));
    }
    Message::Other(bounded(text))
}

/// Whether an entrypoint that leaves this record exits with this code.
fn agrees(record: &Record, exit_code: i32) -> bool {
    let code = match record.reason {
        _ if record.lets_next_start() => 0,
        Reason::TimedOut => exit::TIMED_OUT,
        _ => record.exit_code,
    };
    code & 0xff == exit_code & 0xff
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

fn sentence(reason: &str, message: &str) -> String {
    match message {
        "" => reason.to_owned(),
        _ => format!("{reason}: {message}"),
    }
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
