//! `baton`, and under another name the entrypoint of the steps that it runs.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use baton_cli::args::{Cli, Command};
use baton_cli::run::children::Children;
use clap::Parser;

/// The word by which the entrypoint can be asked for where the program's name cannot be chosen.
const ENTRYPOINT: &str = "__entrypoint";

fn main() -> ExitCode {
    // Before anything else: an entrypoint is PID 1 of its step, and has one thread and its signals as
    // they were given.
    if let Some(args) = entrypoint_args() {
        let _ = nix::sys::prctl::set_name(c"entrypoint");
        return code(baton_entrypoint::main(
            args,
            baton_entrypoint::Runtime::Rust,
        ));
    }
    let cli = Cli::parse();
    match cli.command {
        Command::Validate(args) => code(baton_cli::run::validate(&args)),
        Command::Run(args) => match Children::take_charge() {
            Ok(children) => code(baton_cli::run::run(&args, &children)),
            Err(e) => {
                eprintln!("baton: cannot take charge of signals: {e}");
                code(baton_protocol::exit::FAILED)
            }
        },
    }
}

/// The entrypoint's arguments, where it is meant.
fn entrypoint_args() -> Option<Vec<OsString>> {
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_default();
    if Path::new(&name).file_name() == Some("entrypoint".as_ref()) {
        return Some(args.collect());
    }
    (args.next()? == ENTRYPOINT).then(|| args.collect())
}

fn code(code: i32) -> ExitCode {
    // Codes past a byte come from nobody; 1 is failure to everybody.
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
