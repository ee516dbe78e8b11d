//! One container: how it stands, and how it ended.

use std::time::SystemTime;

use baton_protocol::layout::{MAX_TERMINATION_BYTES, is_name};
use baton_protocol::record::Termination;
use baton_protocol::{Reason, Record, Timestamp, exit};
use baton_steps::Death;
use k8s_openapi::api::core::v1::{
    Container, ContainerState as Native, ContainerStateTerminated, ContainerStatus,
};

use super::{bounded, time};

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
    /// It runs, and answers its native startup and readiness probes (or has none).
    pub ready: bool,
    /// Its entrypoint decides by conditions whether its command runs at all.
    pub conditional: bool,
    /// Its entrypoint leaves a record in the termination message.
    pub leaves_record: bool,
    /// There is a container: the container runtime gave it an ID.
    pub is_made: bool,
}

/// The kubelet's reason of the end of a container that it could not find.
const UNKNOWN: &str = "ContainerStatusUnknown";

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

impl ContainerFacts {
    /// Why it can never start, where that is so.
    ///
    /// A failed pull counts where its cause is told, unless that is the kubelet's own limit of pulls, which
    /// is over soon. A back-off alone, as older kubelets tell it, says nothing of the cause: the failure
    /// before it and the one after it do.
    pub fn never_starts(&self) -> Option<String> {
        const NEVER: [&str; 5] = [
            "CreateContainerConfigError",
            "CreateContainerError",
            "ErrImageNeverPull",
            "ImageInspectError",
            "InvalidImageName",
        ];
        const LIMIT: &str = "QPS exceeded";
        let ContainerState::Waiting { reason, message } = &self.state else {
            return None;
        };
        let is_final = match reason.as_str() {
            "ErrImagePull" => !message.contains(LIMIT),
            "ImagePullBackOff" => message.contains("\": ") && !message.contains(LIMIT),
            reason => NEVER.contains(&reason),
        };
        is_final.then(|| sentence(reason, message))
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

    /// Whether it runs, or ran. Of one that it never made a kubelet that lets a pod go may say that it ended and
    /// could not be found.
    pub fn has_begun(&self) -> bool {
        match &self.state {
            ContainerState::Running { .. } => true,
            ContainerState::Terminated(end) => self.is_made || end.reason != UNKNOWN,
            ContainerState::Waiting { .. } | ContainerState::Unknown => false,
        }
    }

    /// Whether its node lost track of it: nobody saw how it ended. The kubelet says so, or the container runtime of
    /// what it finds no process of as it starts.
    pub fn is_lost(&self) -> bool {
        matches!(&self.state, ContainerState::Terminated(end) if [UNKNOWN, "Unknown"].contains(&&*end.reason))
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
            (UNKNOWN, ..) => End::Died(Death::Gone),
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

pub(super) fn container(
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
        ready: status.is_some_and(|s| s.ready || only_starts(spec) && s.started == Some(true)),
        conditional: has("--when"),
        leaves_record: has("--termination-message"),
        is_made: status
            .and_then(|s| s.container_id.as_ref())
            .is_some_and(|id| !id.is_empty()),
    }
}

/// Whether a startup probe alone tells that it is ready. Older kubelets say so of the container as a
/// whole a minute later.
fn only_starts(spec: Option<&Container>) -> bool {
    spec.is_some_and(|c| c.startup_probe.is_some() && c.readiness_probe.is_none())
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

fn sentence(reason: &str, message: &str) -> String {
    match message {
        "" => reason.to_owned(),
        _ => format!("{reason}: {message}"),
    }
}
