//! Programs that are started as from a person's shell.

use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::signal::{SigHandler, Signal, signal};

/// Lets a program hear the signals that ask for its end: where these tests run under `nohup`, or in a
/// script's background, they are ignored, and stay so in what is started.
pub(crate) fn heard(command: &mut Command) -> &mut Command {
    let hear = || {
        for asking in [
            Signal::SIGHUP,
            Signal::SIGINT,
            Signal::SIGQUIT,
            Signal::SIGTERM,
        ] {
            // SAFETY: the default disposition runs no code of ours.
            unsafe { signal(asking, SigHandler::SigDfl) }?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec it makes system calls alone.
    unsafe { command.pre_exec(hear) }
}
