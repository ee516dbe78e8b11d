//! `init`: places Baton's tools, seeds a user's volume, supervises a workspace.
//!
//! One module per subcommand; [`main`] reads the command line and turns the outcome into an exit code.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, Write as _};

pub mod cli;
pub mod install;
pub mod run;
pub mod seed;
pub mod status;
pub mod workspace;

use baton_pid1::Inherited;
use baton_pid1::signals::Runtime;
use cli::Command;
use seed::Outcome;
use seed::plan::Verb;
use seed::progress::human;

/// Exit code of what could not be done.
const FAILED: u8 = 1;
/// Exit code of a command line that is not understood.
const USAGE: u8 = 2;

/// Lines of one kind that a log gets; a dry run prints all.
const MAX_LINES: usize = 100;

/// Runs `init` with its arguments, the program's name left out, and gives the exit code. To be called
/// first thing in `main`, while the process has one thread.
pub fn main(args: Vec<OsString>) -> i32 {
    baton_pid1::stdio::reserve();
    let inherited = match Inherited::capture(Runtime::Bare) {
        Ok(inherited) => inherited,
        Err(e) => {
            say(&e.to_string());
            return FAILED.into();
        }
    };
    let command = match cli::parse(args.iter().cloned()) {
        Ok(command) => command,
        Err(e) => {
            say(&e.to_string());
            return USAGE.into();
        }
    };
    let done = match command {
        Command::Run(options) => return run::run(options, &inherited),
        Command::Workspace(options) => return workspace::run(&options, &inherited),
        // As PID 1 it would be deaf to SIGTERM: the kernel passes PID 1 no signal that it does not
        // handle.
        Command::Seed(_) if std::process::id() == 1 => return run::myself(args, &inherited),
        other => inherited
            .release()
            .map_err(|e| e.to_string())
            .and_then(|()| carry_out(other)),
    };
    match done {
        Ok(()) => 0,
        Err(message) => {
            say(&message);
            FAILED.into()
        }
    }
}

fn carry_out(command: Command) -> Result<(), String> {
    match command {
        Command::Help => print(cli::HELP),
        Command::Version => print(concat!("init ", env!("CARGO_PKG_VERSION"), "\n")),
        Command::Install(options) => install(&options)?,
        Command::Seed(options) => seed(&options)?,
        Command::Status(options) => print(&status::show(&options)?),
        Command::Run(_) | Command::Workspace(_) => {}
    }
    Ok(())
}

fn install(options: &install::Options) -> Result<(), String> {
    for (tool, done) in install::run(options).map_err(|e| e.to_string())? {
        let to = options.to.join(tool);
        match done {
            install::Done::Placed => say(&format!("placed {}", to.display())),
            install::Done::Same => say(&format!("{} is up to date", to.display())),
        }
    }
    Ok(())
}

fn seed(options: &seed::Options) -> Result<(), String> {
    let report = seed::run(options, &say).map_err(|e| e.to_string())?;
    if !options.quiet {
        for name in &report.skipped {
            say(&format!("left out the socket {name}"));
        }
    }
    let to = options.to.display();
    let took = format!("{:.1} s", report.took.as_secs_f64());
    let counted = counts(&report.steps);
    match report.outcome {
        Outcome::Planned => {
            let lines: String = report
                .steps
                .iter()
                .map(|step| format!("{step}\n"))
                .collect();
            print(&lines);
            say(&format!("dry run, nothing was changed: {counted}"));
        }
        Outcome::UpToDate => match report.finished_other {
            true => say(&format!("finished an interrupted seed of {to} in {took}")),
            false => say(&format!("{to} is up to date")),
        },
        Outcome::Seeded { entries, bytes } => {
            list(&report.steps, options.quiet, Verb::Add);
            let bytes = human(bytes);
            say(&format!(
                "seeded {to} from {}: {entries} entries, {bytes}, in {took}",
                options.from.display()
            ));
        }
        Outcome::Upgraded => {
            list(&report.steps, options.quiet, Verb::Gone);
            say(&format!(
                "followed {} in {to}: {counted}, in {took}",
                options.from.display()
            ));
        }
    }
    Ok(())
}

/// Prints a line for each step, but for those of one kind, and not without end.
fn list(steps: &[seed::plan::Step], quiet: bool, unsaid: Verb) {
    let mut steps = steps.iter().filter(|s| !quiet && s.verb != unsaid);
    for step in steps.by_ref().take(MAX_LINES) {
        say(&step.to_string());
    }
    match steps.count() {
        0 => {}
        more => say(&format!("and {more} more")),
    }
}

/// How many steps there are of each kind, in words.
fn counts(steps: &[seed::plan::Step]) -> String {
    let mut verbs: Vec<Verb> = steps.iter().map(|step| step.verb).collect();
    verbs.sort_unstable();
    let mut text = String::new();
    for same in verbs.chunk_by(|a, b| a == b) {
        if let Some(verb) = same.first() {
            let comma = if text.is_empty() { "" } else { ", " };
            let _ = write!(text, "{comma}{} {}", same.len(), verb.text());
        }
    }
    match text.is_empty() {
        true => "no changes".into(),
        false => text,
    }
}

/// Tells the people who read the log. A closed standard error is no reason to stop.
fn say(text: &str) {
    let _ = writeln!(io::stderr(), "init: {text}");
}

/// Prints what was asked for.
fn print(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}
