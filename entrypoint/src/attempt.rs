//! One run of the command, from its start until nothing of it is left.

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use baton_pid1::reap::Usage;
use baton_pid1::runner::Policy;
use baton_pid1::{Command, Ended, Inherited, Runner, Signals, SpawnError};
use baton_protocol::event::Fact;
use baton_protocol::invocation::Invocation;
use baton_protocol::order::Verdict;
use baton_protocol::{Reason, Timestamp};
use nix::poll::{PollFd, PollFlags, poll};
use nix::unistd::Pid;

use crate::facts::{Facts, now};
use crate::probe::Readiness;
use crate::tee::{Tee, TeeError};
use crate::watch::Watch;
use baton_pid1::deadline::poll_timeout;

/// How long a console may take nothing, once the command was told to stop: the record of that has to be
/// written before somebody kills us for being late.
const STUCK: Duration = Duration::from_secs(1);

/// Why the command was told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The step's time was up.
    TimedOut,
    /// The order was taken back.
    Cancelled,
    /// A SIGTERM came.
    Signal,
    /// A sidecar's work is done.
    Finished,
}

/// How one run went.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) ended: Ended,
    pub(crate) cause: Option<Cause>,
    pub(crate) usage: Usage,
    pub(crate) started_at: Timestamp,
    /// A file of captured output does not hold all of it.
    pub(crate) output_cut: bool,
    /// What a person should know of the output or of what could not be killed.
    pub(crate) trouble: Vec<String>,
}

/// Why the command did not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttemptError {
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    #[error(transparent)]
    Tee(#[from] TeeError),
}

/// What a run needs, besides the command.
pub(crate) struct Setting<'a, 'w> {
    pub(crate) call: &'a Invocation,
    pub(crate) inherited: &'a Inherited,
    pub(crate) signals: &'a mut Signals,
    pub(crate) watch: &'a mut Watch<'w>,
    pub(crate) facts: &'a mut Facts,
    /// Signals that came before the command was there.
    pub(crate) held: Vec<i32>,
    /// What an order file means to the running step: anything but `Wait` stops it.
    pub(crate) revoked: &'a dyn Fn(&[u8]) -> Verdict,
}

/// Runs the command once.
pub(crate) fn run(
    mut command: Command,
    attempt: u32,
    setting: &mut Setting<'_, '_>,
) -> Result<Outcome, AttemptError> {
    let call = setting.call;
    let (mut tees, ends) = open_tees(&mut command, call, attempt > 1)?;
    let policy = Policy {
        single_child: call.single_child,
        grace: call.grace,
    };
    let started_at = now();
    let mut runner = Runner::start(&command, setting.inherited, policy)?;
    drop(ends); // the command has its own
    let began = Instant::now();
    setting.facts.emit(Fact::Started { attempt });
    for signal in std::mem::take(&mut setting.held) {
        runner.take(signal, began);
    }
    let deadline = call.timeout.and_then(|length| began.checked_add(length));
    let mut readiness = call
        .ready
        .as_ref()
        .map(|probe| Readiness::new(probe, began));
    let mut cause = None;
    let mut next_look = began;
    let ended = loop {
        if let Some(ended) = runner.finished() {
            break ended;
        }
        let now = Instant::now();
        // Taken also where nobody asks, or a long life full of orphans would fill the memory.
        let orphans = runner.take_others();
        if runner.is_stopping() {
            readiness = None; // one that ends gets no new probe, whose end it would have to wait for
        }
        if readiness
            .as_mut()
            .is_some_and(|probe| is_ready(probe, &orphans, setting, now))
        {
            readiness = None;
            setting.facts.emit(Fact::Ready { port: None });
        }
        if cause.is_none() {
            cause = reason_to_stop(&runner, setting, deadline, &mut next_look, now);
            match cause {
                Some(Cause::Signal) | None => {} // passed on already
                Some(_) => runner.stop(now),
            }
            if let Some(cause) = cause {
                setting.facts.emit(Fact::Stopping {
                    reason: cause.reason(),
                });
            }
        }
        let open_end = deadline.filter(|_| cause.is_none());
        sleep(&runner, setting, &tees, &readiness, open_end, next_look);
        let now = Instant::now();
        runner.on_signals(setting.signals, now);
        for tee in &mut tees {
            tee.pump();
        }
        runner.tick(now);
    };
    // A SIGTERM that came together with the command's end.
    let cause = cause.or(runner.asked_by_signal().then_some(Cause::Signal));
    drain(&mut tees, setting.signals, cause.map(|_| STUCK));
    let mut trouble: Vec<_> = tees
        .iter()
        .filter_map(Tee::trouble)
        .map(str::to_owned)
        .collect();
    let output_cut = !trouble.is_empty();
    if runner.gave_up() {
        trouble.push("some of its processes did not end even by SIGKILL".to_owned());
    }
    Ok(Outcome {
        ended,
        cause,
        usage: runner.usage(),
        started_at,
        output_cut,
        trouble,
    })
}

impl Cause {
    pub(crate) fn reason(self) -> Reason {
        match self {
            Cause::TimedOut => Reason::TimedOut,
            Cause::Cancelled | Cause::Signal => Reason::Cancelled,
            Cause::Finished => Reason::Completed,
        }
    }
}

/// Sleeps until something is to be done.
fn sleep(
    runner: &Runner,
    setting: &Setting<'_, '_>,
    tees: &[Tee],
    readiness: &Option<Readiness<'_>>,
    deadline: Option<Instant>,
    next_look: Instant,
) {
    // Once the command is to end, no order matters any more; its events stay unread.
    let watches = !setting.call.wait.is_empty() && !runner.is_stopping();
    let mut fds = vec![PollFd::new(setting.signals.as_fd(), PollFlags::POLLIN)];
    fds.extend(tees.iter().filter_map(Tee::poll_fd));
    fds.extend(
        setting
            .watch
            .fd()
            .filter(|_| watches)
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN)),
    );
    let due = [
        runner.deadline(),
        deadline,
        readiness.as_ref().map(Readiness::deadline),
        watches.then_some(next_look),
    ];
    let _ = poll(&mut fds, poll_timeout(due.into_iter().flatten().min()));
}

fn is_ready(
    readiness: &mut Readiness<'_>,
    reaped: &[(Pid, Ended)],
    setting: &Setting<'_, '_>,
    now: Instant,
) -> bool {
    // First what has ended: tick may start another.
    let mut ready = false;
    for (pid, how) in reaped {
        ready |= readiness.reaped(*pid, *how, now);
    }
    ready || readiness.tick(setting.inherited, now)
}

fn reason_to_stop(
    runner: &Runner,
    setting: &mut Setting<'_, '_>,
    deadline: Option<Instant>,
    next_look: &mut Instant,
    now: Instant,
) -> Option<Cause> {
    if runner.asked_by_signal() {
        return Some(Cause::Signal);
    }
    if runner.is_stopping() {
        return None; // the command is over, and what it left behind is being ended
    }
    if deadline.is_some_and(|deadline| now >= deadline) {
        return Some(Cause::TimedOut);
    }
    let watch = &mut setting.watch;
    let heard = watch.drain() | setting.signals.take_folder_change();
    if setting.call.wait.is_empty() || !(heard || now >= *next_look) {
        return None;
    }
    watch.arm();
    let verdict = watch.look(setting.revoked);
    *next_look = now + watch.patience();
    match verdict {
        Verdict::Wait | Verdict::Go => None,
        Verdict::Passed(_) if setting.call.until.is_some() => Some(Cause::Finished),
        Verdict::Passed(_) | Verdict::Cancelled => Some(Cause::Cancelled),
    }
}

/// Opens what output is captured in. Where both streams go to one file they share one pipe, so that
/// their order is kept.
fn open_tees(
    command: &mut Command,
    call: &Invocation,
    again: bool,
) -> Result<(Vec<Tee>, Vec<OwnedFd>), TeeError> {
    let (mut tees, mut ends) = (Vec::new(), Vec::new());
    let mut open = |console: RawFd, path| -> Result<RawFd, TeeError> {
        let (tee, end) = Tee::open(console, path, call.output_limit, again)?;
        let fd = end.as_raw_fd();
        tees.push(tee);
        ends.push(end);
        Ok(fd)
    };
    match (&call.out, &call.err) {
        (Some(out), Some(err)) if out == err => {
            command.stdout = Some(open(libc::STDOUT_FILENO, out)?);
            command.stderr = command.stdout;
        }
        (out, err) => {
            if let Some(out) = out {
                command.stdout = Some(open(libc::STDOUT_FILENO, out)?);
            }
            if let Some(err) = err {
                command.stderr = Some(open(libc::STDERR_FILENO, err)?);
            }
        }
    }
    Ok((tees, ends))
}

/// Moves what is left in the pipes. A writer that is still there delays nothing: what is not in the
/// pipe yet is not waited for. A console that takes nothing for as long as `patience` is given up.
fn drain(tees: &mut [Tee], signals: &mut Signals, patience: Option<Duration>) {
    let until = || patience.and_then(|patience| Instant::now().checked_add(patience));
    let mut given_up = until();
    loop {
        let moved = tees.iter_mut().fold(false, |moved, tee| tee.pump() | moved);
        if moved {
            given_up = until();
            continue;
        }
        if !tees.iter().any(Tee::is_behind) {
            return;
        }
        if given_up.is_some_and(|end| Instant::now() >= end) {
            tees.iter_mut().for_each(Tee::abandon);
            continue;
        }
        let mut fds = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        fds.extend(
            tees.iter()
                .filter(|tee| tee.is_behind())
                .filter_map(Tee::poll_fd),
        );
        let _ = poll(&mut fds, poll_timeout(given_up));
        while let Some(signal) = signals.take() {
            if signal == libc::SIGTERM {
                tees.iter_mut().for_each(Tee::abandon);
            }
        }
    }
}
