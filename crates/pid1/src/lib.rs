//! What a PID 1 must do, in small pieces: take every signal, start a command that inherits exactly
//! what we were given, reap, and reach every descendant.
//!
//! There is no thread, no signal handler and no clock here. The caller owns the loop: it polls
//! [`Signals`]' descriptor beside its own and acts on what it reads.
//!
//! signal-hook is not used: it works by handlers, and a handler exists only from the moment it is
//! installed. Blocking every signal first and reading them from a signalfd loses none, leaves every
//! disposition as we were given it (so that the command inherits it), takes real-time signals, and
//! costs no memory that a handler would have to share with what it interrupts.

pub mod deadline;
pub mod early;
pub mod reap;
pub mod runner;
pub mod signals;
pub mod spawn;
pub mod stdio;
pub mod stop;
pub mod tree;

pub use reap::{Ended, Reaped, reap};
pub use runner::Runner;
pub use signals::{Inherited, Signals};
pub use spawn::{Command, SpawnError, User};
pub use stop::Stop;

/// A system call that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot {action}: {source}")]
pub struct OsError {
    /// What was attempted.
    pub action: &'static str,
    /// Why it failed.
    pub source: nix::Error,
}

/// For `map_err`: names what was attempted.
pub(crate) fn failed(action: &'static str) -> impl FnOnce(nix::Error) -> OsError {
    move |source| OsError { action, source }
}
