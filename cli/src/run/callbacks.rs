//! Telling the callbacks of a task or a flow what happens.

use std::time::Duration;

use baton_api::Rendered;
use baton_api::task::{Callback, CallbackEvent, CallbackFormat};
use baton_callbacks::event::StepRef;
use baton_callbacks::{
    Event, Format, Happening, Kind, Policy, Secret, SecretError, Sender, Sink, SinkError, Source,
    StartError, TaskEnd, TaskOutcome,
};
use baton_protocol::Timestamp;
use baton_steps::{Cause, Kind as StepKind, Notice, Phase, Plan, StepState};

/// How long deliveries may take after the task is over.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why callbacks cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum CallbackError {
    /// Where to.
    #[error("callback {url}: {source}")]
    Sink {
        /// The URL.
        url: String,
        /// What is wrong with it.
        source: SinkError,
    },
    /// The key.
    #[error("callback {url}: its secret: {source}")]
    Secret {
        /// The URL.
        url: String,
        /// What is wrong with it.
        source: SecretError,
    },
    /// A key that a cluster would provide.
    #[error(
        "callback {url}: its secret comes from {from}, which is not there; without a cluster give \
         secret.env, the name of a variable that holds it"
    )]
    NoSecret {
        /// The URL.
        url: String,
        /// Where the key should come from.
        from: String,
    },
    /// The thread that sends.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// The receivers of one run of a task or a flow.
#[derive(Debug)]
pub struct Callbacks {
    sender: Sender,
    source: Source,
    names: Vec<String>,
}

/// The receivers that a task names.
///
/// # Errors
/// Where one of them cannot be used.
pub fn sinks(task: &Rendered) -> Result<Vec<Sink>, CallbackError> {
    sinks_of(&task.spec().callbacks)
}

/// The receivers that a list names.
///
/// # Errors
/// Where one of them cannot be used.
pub fn sinks_of(callbacks: &[Callback]) -> Result<Vec<Sink>, CallbackError> {
    callbacks.iter().map(sink).collect()
}

fn sink(callback: &Callback) -> Result<Sink, CallbackError> {
    let format = match callback.format {
        CallbackFormat::CloudEvents => Format::CloudEvents,
        CallbackFormat::Get => Format::Get,
    };
    let kinds = callback.events.iter().map(|event| match event {
        CallbackEvent::TaskStarted => Kind::TaskStarted,
        CallbackEvent::TaskFinished => Kind::TaskFinished,
        CallbackEvent::StepStarted => Kind::StepStarted,
        CallbackEvent::StepFinished => Kind::StepFinished,
        CallbackEvent::StepRetrying => Kind::StepRetrying,
        CallbackEvent::FlowStarted => Kind::FlowStarted,
        CallbackEvent::FlowFinished => Kind::FlowFinished,
        CallbackEvent::NodeStarted => Kind::NodeStarted,
        CallbackEvent::NodeFinished => Kind::NodeFinished,
    });
    let secret = secret(callback)?;
    Sink::new(&callback.url, format, kinds.collect(), secret).map_err(|source| {
        CallbackError::Sink {
            url: callback.url.clone(),
            source,
        }
    })
}

fn secret(callback: &Callback) -> Result<Option<Secret>, CallbackError> {
    let Some(given) = &callback.secret else {
        return Ok(None);
    };
    let missing = |from: String| CallbackError::NoSecret {
        url: callback.url.clone(),
        from,
    };
    // `env` first: that is what it is for.
    let text = match (&given.env, &given.value, &given.value_from) {
        (Some(name), _, _) => {
            std::env::var(name).map_err(|_| missing(format!("the variable {name}")))?
        }
        (None, Some(value), _) => value.clone(),
        (None, None, Some(from)) => {
            let key = &from.secret_key_ref;
            return Err(missing(format!("key {} of Secret {}", key.key, key.name)));
        }
        (None, None, None) => return Ok(None),
    };
    text.parse()
        .map(Some)
        .map_err(|source| CallbackError::Secret {
            url: callback.url.clone(),
            source,
        })
}

impl Callbacks {
    /// Starts to send for one run of a task. `run` sets it apart from every other run.
    ///
    /// # Errors
    /// Where nothing can be sent at all.
    pub fn start(
        sinks: Vec<Sink>,
        task: &str,
        run: &str,
        plan: &Plan,
    ) -> Result<Callbacks, CallbackError> {
        Ok(Callbacks {
            sender: Sender::start(sinks, Policy::default())?,
            source: Source::new(run, task, format!("{task}-{run}")),
            names: plan
                .numbered()
                .map(|(_, _, name)| name.to_owned())
                .collect(),
        })
    }

    /// Starts to send for one run of a flow; `None` where it names no receiver.
    ///
    /// # Errors
    /// Where nothing can be sent at all, or a receiver cannot be used.
    pub fn of_flow(
        receivers: &[Callback],
        flow: &str,
        run: &str,
    ) -> Result<Option<Callbacks>, CallbackError> {
        let sinks = sinks_of(receivers)?;
        if sinks.is_empty() {
            return Ok(None);
        }
        Ok(Some(Callbacks {
            sender: Sender::start(sinks, Policy::default())?,
            source: Source::of_flow(run, flow),
            names: Vec::new(),
        }))
    }

    /// Tells the receivers what happened to a flow. Never blocks.
    pub fn say(&self, at: Timestamp, what: Happening) {
        self.sender.send(&self.source.event(at, what));
    }

    /// Tells the receivers. Never blocks.
    pub fn tell(&self, notice: &Notice) {
        if let Some(event) = self.event(notice) {
            self.sender.send(&event);
        }
    }

    /// Waits until everything was accepted or given up, for half a minute at most. Gives what did not
    /// arrive, and why.
    pub fn finish(self) -> Vec<String> {
        let reports = self.sender.finish(PATIENCE);
        reports.iter().filter_map(|r| r.complaint()).collect()
    }

    fn event(&self, notice: &Notice) -> Option<Event> {
        let (at, what) = match notice {
            Notice::TaskStarted { at } => (*at, Happening::TaskStarted),
            // Sidecars have no part in the order, and attempts after the first are told by the retry.
            Notice::StepStarted {
                number,
                kind: StepKind::Step | StepKind::Finally,
                attempt: 1,
                at,
            } => {
                let step = self.step(*number);
                (*at, Happening::StepStarted { step })
            }
            Notice::StepRetrying {
                number,
                kind: StepKind::Step | StepKind::Finally,
                attempt,
                reason,
                exit_code,
                delay_ms,
                at,
            } => {
                let what = Happening::StepRetrying {
                    step: self.step(*number),
                    attempt: *attempt,
                    reason: *reason,
                    exit_code: *exit_code,
                    delay_ms: *delay_ms,
                };
                (*at, what)
            }
            Notice::StepFinished {
                number,
                kind: StepKind::Step | StepKind::Finally,
                state,
            } => {
                let record = match state {
                    StepState::Done { record } => record.clone(),
                    StepState::Died { how, at } => {
                        let reason = baton_protocol::Reason::Error;
                        let mut record = baton_protocol::Record::new(reason, how.exit_code(), *at);
                        record.message = how.to_string();
                        record
                    }
                    _ => return None,
                };
                let step = self.step(*number);
                (record.finished_at, Happening::StepFinished { step, record })
            }
            Notice::TaskFinished { outcome } => {
                let failed_step = match &outcome.cause {
                    Some(
                        Cause::Step { name, .. }
                        | Cause::Died { name, .. }
                        | Cause::NotReady { name, .. },
                    ) => Some(name.clone()),
                    _ => None,
                };
                let end = TaskEnd {
                    outcome: match outcome.phase {
                        Phase::Succeeded => TaskOutcome::Succeeded,
                        Phase::Failed => TaskOutcome::Failed,
                        Phase::Cancelled => TaskOutcome::Cancelled,
                        Phase::TimedOut => TaskOutcome::TimedOut,
                    },
                    exit_code: outcome.exit_code,
                    failed_step,
                    started_at: outcome.started_at.unwrap_or(outcome.finished_at),
                    finished_at: outcome.finished_at,
                    message: outcome
                        .cause
                        .as_ref()
                        .map(|c| c.to_string())
                        .unwrap_or_default(),
                };
                (outcome.finished_at, Happening::TaskFinished(end))
            }
            _ => return None,
        };
        Some(self.source.event(at, what))
    }

    fn step(&self, number: u32) -> StepRef {
        let index = usize::try_from(number)
            .unwrap_or(usize::MAX)
            .wrapping_sub(1);
        StepRef {
            name: self.names.get(index).cloned().unwrap_or_default(),
            number,
        }
    }
}

/// A name for a run that no other run has.
pub fn run_id() -> String {
    match std::fs::read_to_string("/proc/sys/kernel/random/uuid") {
        Ok(uuid) if !uuid.trim().is_empty() => uuid.trim().to_owned(),
        _ => {
            let now = std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .unwrap_or_default();
            format!("{:x}-{:x}", now.as_nanos(), std::process::id())
        }
    }
}
