//! Waiting for the step's turn.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use baton_pid1::Signals;
use baton_pid1::deadline::poll_timeout;
use baton_protocol::order::{Awaited, Order, Verdict};
use nix::poll::{PollFd, PollFlags, poll};

use crate::watch::Watch;

/// How the wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It is this step's turn.
    Go,
    /// The order says cancelled.
    Cancelled,
    /// The order is already past this step: it holds this number.
    Passed(u32),
    /// This signal ended the wait.
    Signal(i32),
}

/// Waits until an order file releases the step, says that it will not, or a signal ends the wait.
///
/// Signals that do not end anything (USR1, WINCH, real-time ones) are meant for the command:
/// they are kept in `held`, once each.
pub(crate) fn wait(
    watch: &mut Watch<'_>,
    awaited: &Awaited,
    through_cancel: bool,
    signals: &mut Signals,
    held: &mut Vec<i32>,
) -> Turn {
    loop {
        // Look before arming, so that a step whose turn has come pays nothing; and after.
        loop {
            match watch.look(|content| judge(awaited, through_cancel, content)) {
                Verdict::Go => return Turn::Go,
                Verdict::Cancelled => return Turn::Cancelled,
                Verdict::Passed(now) => return Turn::Passed(now),
                Verdict::Wait if watch.arm() => {}
                Verdict::Wait => break,
            }
        }
        sleep(signals, watch, Some(Instant::now() + watch.patience()));
        watch.drain();
        if let Some(signal) = ending_signal(signals, held) {
            return Turn::Signal(signal);
        }
    }
}

/// Waits for a delay before a retry. Gives what ended it early, if anything.
pub(crate) fn delay(
    length: Duration,
    watch: &mut Watch<'_>,
    revoked: impl Fn(&[u8]) -> Verdict,
    signals: &mut Signals,
    held: &mut Vec<i32>,
) -> Option<Turn> {
    let end = Instant::now() + length;
    while Instant::now() < end {
        watch.arm();
        if watch.look(&revoked) != Verdict::Wait {
            return Some(Turn::Cancelled);
        }
        sleep(
            signals,
            watch,
            Some(end.min(Instant::now() + watch.patience())),
        );
        watch.drain();
        if let Some(signal) = ending_signal(signals, held) {
            return Some(Turn::Signal(signal));
        }
    }
    None
}

/// What an order file's content means to a step that waits.
fn judge(awaited: &Awaited, through_cancel: bool, content: &[u8]) -> Verdict {
    match awaited.judge(content) {
        Verdict::Cancelled if through_cancel => Verdict::Wait,
        verdict => verdict,
    }
}

/// What an order file's content means to a step that runs: `Wait` is "go on".
pub(crate) fn revoked(awaited: &Awaited, through_cancel: bool, content: &[u8]) -> Verdict {
    match judge(awaited, through_cancel, content) {
        Verdict::Go => Verdict::Wait,
        verdict => verdict,
    }
}

/// What an order file's content means to a sidecar: `Wait` is "go on", `Passed` is "finished".
pub(crate) fn finished(until: u32, through_cancel: bool, content: &[u8]) -> Verdict {
    match Order::parse(content) {
        Some(Order::Turn(now)) if now >= until => Verdict::Passed(now),
        Some(Order::Cancelled) if !through_cancel => Verdict::Cancelled,
        _ => Verdict::Wait,
    }
}

fn ending_signal(signals: &mut Signals, held: &mut Vec<i32>) -> Option<i32> {
    while let Some(signal) = signals.take() {
        match signal {
            libc::SIGTERM | libc::SIGINT | libc::SIGQUIT | libc::SIGHUP => return Some(signal),
            libc::SIGCHLD => {}
            other if !held.contains(&other) => held.push(other),
            _ => {}
        }
    }
    None
}

fn sleep(signals: &Signals, watch: &Watch<'_>, until: Option<Instant>) {
    let mut fds = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
    fds.extend(watch.fd().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
    let _ = poll(&mut fds, poll_timeout(until));
}
