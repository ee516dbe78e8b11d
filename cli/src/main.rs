//! `baton`, and under another name the entrypoint of the steps that it runs.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use baton_cli::args::{Cli, Command};
use baton_cli::cluster;
use baton_cli::run::children::Children;
use clap::{CommandFactory, FromArgMatches, Parser};

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
    match parse().command {
        Command::Run(args) if args.cluster => code(cluster::run(&args)),
        Command::Run(args) if args.target.given().is_some() => {
            let option = args.target.given().unwrap_or_default();
            eprintln!("baton: {option} needs --cluster: without it, nothing is run in a cluster");
            code(baton_protocol::exit::USAGE)
        }
        Command::Logs(args) => code(cluster::logs(&args)),
        Command::List(args) => code(cluster::list(&args)),
        Command::Describe(args) => code(cluster::describe(&args)),
        Command::Cancel(args) => code(cluster::cancel(&args)),
        Command::Rerun(args) => code(cluster::rerun(&args)),
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

/// The command line. As `kubectl-baton`, kubectl's plugin, it is `kubectl baton` to its user.
fn parse() -> Cli {
    let name = std::env::args_os().next().unwrap_or_default();
    let stem = Path::new(&name).file_stem().unwrap_or_default();
    if stem != "kubectl-baton" && stem != "kubectl_baton" {
        return Cli::parse();
    }
    let matches = Cli::command().bin_name("kubectl baton").get_matches();
    Cli::from_arg_matches(&matches).unwrap_or_else(|e| e.exit())
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
