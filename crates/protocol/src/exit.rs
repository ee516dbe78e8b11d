//! Exit codes of the entrypoint's own.
//!
//! The command's code passes through as it is, and a command killed by signal n gives 128+n. The
//! codes below stand only where there is no command's code to give; a record's
//! [`reason`](crate::Record::reason) always tells which it was.

/// The step was cancelled, while it waited or while it ran, or its turn was already past.
pub const CANCELLED: i32 = 1;
/// The entrypoint was called in a way that it does not understand. Nothing was started.
pub const USAGE: i32 = 2;
/// The step's time was up (`--timeout`), whatever its command made of the signal.
pub const TIMED_OUT: i32 = 124;
/// The entrypoint could not do its own part (unreadable script, missing result, unwritable file).
/// The command was not started, or its outcome could not be recorded.
pub const FAILED: i32 = 125;
/// The command exists and cannot be executed.
pub const NOT_EXECUTABLE: i32 = 126;
/// The command does not exist.
pub const NOT_FOUND: i32 = 127;

/// The exit code of a process that signal `signal` ended.
pub const fn of_signal(signal: i32) -> i32 {
    128 + signal
}
