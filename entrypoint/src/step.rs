//! A step's whole life: prepare, wait, run (and again), record.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use baton_pid1::reap::Usage;
use baton_pid1::stdio::foreground_terminal;
use baton_pid1::{Command, Ended, Inherited, Signals, SpawnError, signals, tree};
use baton_protocol::event::Fact;
use baton_protocol::invocation::{Invocation, MAX_RETRY_DELAY};
use baton_protocol::layout;
use baton_protocol::order::Awaited;
use baton_protocol::text::cut;
use baton_protocol::{Reason, Record, exit};

use crate::attempt::{self, AttemptError, Cause, Outcome, Setting};
use crate::facts::{Facts, now};
use crate::inputs::{InputError, Inputs};
use crate::oom::OomKills;
use crate::say;
use crate::script::{PrepareError, Prepared, prepare};
use crate::turn::{self, Turn};
use crate::watch::Watch;

/// Runs the step and gives the entrypoint's exit code.
pub(crate) fn run(call: &Invocation, inherited: &Inherited) -> i32 {
    let opened = Signals::open().and_then(|signals| {
        tree::adopt_orphans()?;
        Ok(signals)
    });
    let mut signals = match opened {
        Ok(signals) => signals,
        Err(e) => {
            say(&format_args!("{}: {e}", call.name()));
            return exit::FAILED;
        }
    };
    let mut facts = match Facts::open(call.step_dir.as_deref()) {
        Ok(facts) => facts,
        Err(e) => {
            say(&format_args!("{}: {e}", call.name()));
            return exit::FAILED;
        }
    };
    // Kept to the end: closing inotify takes 10 to 20 ms, for which nobody should have to wait.
    let mut watch = Watch::new(&call.wait);
    let record = Step::new(call, inherited).live(&mut watch, &mut signals, &mut facts);
    conclude(call, record, &mut facts)
}

/// Writes the record and chooses the exit code.
fn conclude(call: &Invocation, mut record: Record, facts: &mut Facts) -> i32 {
    record.finished_at = now();
    record.continued = call.continue_on_error && may_continue(record.reason);
    if !record.message.is_empty() {
        say(&format_args!("{}: {}", call.name(), record.message));
    }
    if let Err(e) = facts.finish(&record, call.termination_message.as_deref()) {
        say(&format_args!("{}: {e}", call.name()));
        return exit::FAILED;
    }
    match record.reason {
        _ if record.continued => 0,
        Reason::Completed | Reason::Skipped => 0,
        Reason::TimedOut => exit::TIMED_OUT,
        _ => record.exit_code,
    }
}

/// Cancelled means that nothing is to go on.
fn may_continue(reason: Reason) -> bool {
    !reason.is_success() && !matches!(reason, Reason::Cancelled | Reason::Passed)
}

/// Why the command could not be started.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    #[error(transparent)]
    Input(#[from] InputError),
    #[error(transparent)]
    Attempt(#[from] AttemptError),
}

impl StartError {
    fn exit_code(&self) -> i32 {
        match self {
            StartError::Attempt(AttemptError::Spawn(SpawnError::NotFound { .. })) => {
                exit::NOT_FOUND
            }
            StartError::Attempt(AttemptError::Spawn(SpawnError::NotExecutable { .. })) => {
                exit::NOT_EXECUTABLE
            }
            _ => exit::FAILED,
        }
    }
}

/// What is counted over a step's life.
struct Step<'a> {
    call: &'a Invocation,
    inherited: &'a Inherited,
    awaited: Awaited,
    born: Instant,
    /// When the turn came.
    turn: Option<Instant>,
    attempts: u32,
    usage: Usage,
    held: Vec<i32>,
}

impl<'a> Step<'a> {
    fn new(call: &'a Invocation, inherited: &'a Inherited) -> Step<'a> {
        Step {
            call,
            inherited,
            awaited: Awaited::parse(&call.wait_content),
            born: Instant::now(),
            turn: None,
            attempts: 0,
            usage: Usage::default(),
            held: Vec::new(),
        }
    }

    fn live(&mut self, watch: &mut Watch<'_>, signals: &mut Signals, facts: &mut Facts) -> Record {
        let call = self.call;
        // All that can be done before the turn is, so that nothing of it delays the hand-off.
        let prepared = prepare(call);
        let oom = facts.are_kept().then(OomKills::remember);
        if call.until.is_none() && !call.wait.is_empty() {
            facts.emit(Fact::Waiting);
            let turn = turn::wait(
                watch,
                &self.awaited,
                call.through_cancel,
                signals,
                &mut self.held,
            );
            if turn != Turn::Go {
                return self.not_run(turn);
            }
        }
        self.turn = Some(Instant::now());
        match self.run(prepared, watch, signals, facts, oom.as_ref()) {
            Ok(record) => record,
            Err(e) => self.record(Reason::StartError, e.exit_code(), e.to_string()),
        }
    }

    fn run(
        &mut self,
        prepared: Result<Prepared, PrepareError>,
        watch: &mut Watch<'_>,
        signals: &mut Signals,
        facts: &mut Facts,
        oom: Option<&OomKills>,
    ) -> Result<Record, StartError> {
        let call = self.call;
        let prepared = prepared?;
        let inputs = Inputs(&call.results_of);
        if let Some(unmet) = inputs.unmet(&call.when)? {
            return Ok(self.record(Reason::Skipped, 0, unmet));
        }
        let mut command = self.command(&prepared, &inputs)?;
        let awaited = self.awaited.clone();
        let revoked = move |content: &[u8]| match call.until {
            Some(until) => turn::finished(until, call.through_cancel, content),
            None => turn::revoked(&awaited, call.through_cancel, content),
        };
        loop {
            self.attempts += 1;
            if call.step_dir.is_some() {
                set_env(
                    &mut command,
                    layout::ATTEMPT_ENV,
                    self.attempts.to_string().into(),
                );
            }
            let held = std::mem::take(&mut self.held);
            let mut setting = Setting {
                call,
                inherited: self.inherited,
                signals,
                watch,
                facts,
                held,
                revoked: &revoked,
            };
            let outcome = attempt::run(command.clone(), self.attempts, &mut setting)
                .map_err(StartError::from)?;
            self.usage.add(outcome.usage);
            let record = self.judge(&outcome, facts, oom);
            let again = self.attempts <= call.retries && may_continue(record.reason);
            if !again {
                return Ok(record);
            }
            let delay = retry_delay(call.retry_delay, self.attempts);
            facts.emit(Fact::Retrying {
                attempt: self.attempts,
                reason: record.reason,
                exit_code: record.exit_code,
                delay_ms: millis(delay),
            });
            facts.clear_results();
            if let Some(turn) = turn::delay(delay, watch, &revoked, signals, &mut self.held) {
                return Ok(self.not_run(turn));
            }
        }
    }

    fn command(&self, prepared: &Prepared, inputs: &Inputs<'_>) -> Result<Command, InputError> {
        let argv = prepared.argv.iter().map(|word| inputs.resolve(word));
        let mut command = Command::new(argv.collect::<Result<_, _>>()?);
        command.env = inputs.environment()?;
        if let Some(results) = self.call.results_dir() {
            set_env(&mut command, layout::RESULTS_ENV, results.into_os_string());
        }
        command.terminal = foreground_terminal();
        Ok(command)
    }

    /// What one run means.
    fn judge(&self, outcome: &Outcome, facts: &Facts, oom: Option<&OomKills>) -> Record {
        let success = match outcome.ended {
            Ended::Exited(code) => {
                code == 0
                    || self
                        .call
                        .success_codes
                        .iter()
                        .any(|ok| i32::from(*ok) == code)
            }
            Ended::Killed(_) => false,
        };
        let code = outcome.ended.code();
        let mut trouble = outcome.trouble.clone();
        let (reason, code) = match outcome.cause {
            Some(Cause::Finished) => (Reason::Completed, 0),
            Some(Cause::TimedOut) => {
                let length = self.call.timeout.unwrap_or_default();
                trouble.insert(0, format!("it ran longer than its timeout of {length:?}"));
                (Reason::TimedOut, code)
            }
            Some(Cause::Cancelled) => (Reason::Cancelled, exit::CANCELLED),
            Some(Cause::Signal) => (Reason::Cancelled, code),
            None if success => (Reason::Completed, 0),
            None if oom.is_some_and(OomKills::happened) => {
                trouble.insert(0, "the kernel killed it for want of memory; raise its memory limit, or make it use less".to_owned());
                (Reason::OomKilled, code)
            }
            None => {
                if let Ended::Killed(signal) = outcome.ended {
                    trouble.insert(0, format!("it was killed by {}", signals::name(signal)));
                }
                (Reason::Error, code)
            }
        };
        let (reason, code) = match facts.oversized_result() {
            Some(name) if reason == Reason::Completed => {
                trouble.push(format!(
                    "its result {name} is larger than {} bytes, the most that a result may have",
                    layout::MAX_RESULT_BYTES
                ));
                (Reason::Error, exit::FAILED)
            }
            _ => (reason, code),
        };
        let mut record = self.record(reason, code, trouble.join("; "));
        record.started_at = Some(outcome.started_at);
        if let Ended::Killed(signal) = outcome.ended {
            record.signal = Some(signal);
        }
        record.output_cut = outcome.output_cut;
        record
    }

    /// The record of a step that was stopped while no command ran.
    fn not_run(&self, turn: Turn) -> Record {
        let (reason, code, message) = match turn {
            Turn::Passed(now) => {
                let message = format!(
                    "it was not run: the order is {now} already, past this step's {}",
                    self.awaited
                );
                (Reason::Passed, exit::CANCELLED, message)
            }
            Turn::Signal(signal) => {
                let message = format!(
                    "it was stopped by {} before its turn",
                    signals::name(signal)
                );
                (Reason::Cancelled, exit::of_signal(signal), message)
            }
            Turn::Cancelled | Turn::Go => (
                Reason::Cancelled,
                exit::CANCELLED,
                "task cancelled".to_owned(),
            ),
        };
        self.record(reason, code, message)
    }

    fn record(&self, reason: Reason, code: i32, message: String) -> Record {
        let mut record = Record::new(reason, code, now());
        record.message = cut(&message, layout::MAX_MESSAGE_BYTES);
        record.attempts = self.attempts;
        let waited = self.turn.unwrap_or_else(Instant::now) - self.born;
        record.waited_ms = millis(waited);
        record.ran_ms = millis(self.turn.map_or(Duration::ZERO, |turn| turn.elapsed()));
        record.user_us = micros(self.usage.user);
        record.system_us = micros(self.usage.system);
        record.peak_bytes = self.usage.peak_bytes;
        record
    }
}

fn set_env(command: &mut Command, name: &str, value: OsString) {
    command.env.retain(|(set, _)| set != name);
    command.env.push((name.into(), value));
}

fn retry_delay(first: Duration, attempts: u32) -> Duration {
    let factor = 2_u32.saturating_pow(attempts.saturating_sub(1));
    first.saturating_mul(factor).min(MAX_RETRY_DELAY.max(first))
}

fn millis(duration: Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}

fn micros(duration: Duration) -> u64 {
    duration.as_micros().try_into().unwrap_or(u64::MAX)
}
