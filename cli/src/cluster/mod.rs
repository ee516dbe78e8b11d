//! `baton` against a cluster: applies Tasks, JobFlows and DaemonJobs, follows them, shows and changes
//! them.
//!
//! The pure parts ([`telling`], [`states`], [`standing`], [`parts`], [`resume`], [`waiting`],
//! [`describe::text`], [`table`]) make words of objects; the rest is thin I/O around them. Tokio runs in these commands alone.

mod act;
pub mod advice;
mod apply;
pub mod connect;
pub mod describe;
pub mod error;
pub mod follow;
mod graph;
pub mod kind;
mod list;
pub mod logs;
pub mod object;
mod once;
pub mod parts;
mod print;
pub mod reading;
pub mod resume;
mod run;
pub mod shown;
pub mod since;
pub mod standing;
pub mod states;
pub mod table;
pub mod telling;
pub mod waiting;
mod watching;

use std::future::Future;

use baton_protocol::exit;

use self::error::ClusterError;
use crate::args;
use crate::show::terminal::{Terminal, To};

/// `baton run --cluster`: gives the exit code.
pub fn run(args: &args::Run) -> i32 {
    let mut terminal = Terminal::new(args.color, args.output == args::Output::Text);
    block_on(run::run(args, &mut terminal))
}

/// `baton logs`: gives the exit code.
pub fn logs(args: &args::Logs) -> i32 {
    let mut terminal = Terminal::new(args.color, true);
    block_on(print::logs(args, &mut terminal))
}

/// `baton list`: gives the exit code.
pub fn list(args: &args::List) -> i32 {
    let mut terminal = Terminal::new(args.color, true);
    block_on(list::list(args, &mut terminal))
}

/// `baton describe`: gives the exit code.
pub fn describe(args: &args::Describe) -> i32 {
    let mut terminal = Terminal::new(args.color, true);
    block_on(describe::describe(args, &mut terminal))
}

/// `baton cancel`: gives the exit code.
pub fn cancel(args: &args::Cancel) -> i32 {
    block_on(act::cancel_all(args))
}

/// `baton rerun`: gives the exit code.
pub fn rerun(args: &args::Rerun) -> i32 {
    let mut terminal = Terminal::new(args.color, true);
    block_on(act::rerun_all(args, &mut terminal))
}

/// Runs a command to its end, and says why it failed where it did.
fn block_on(command: impl Future<Output = Result<i32, ClusterError>>) -> i32 {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let code = match runtime {
        Ok(runtime) => {
            let code = runtime.block_on(command);
            // A name that is being looked up is not waited for.
            runtime.shutdown_background();
            code
        }
        Err(e) => Err(ClusterError::Other(format!("cannot start: {e}"))),
    };
    code.unwrap_or_else(|e| {
        say(&e.to_string());
        exit::FAILED
    })
}

/// Says something to the person, on standard error.
fn say(text: &str) {
    let mut terminal = Terminal::new(args::Color::Never, false);
    terminal.put(To::Baton, format!("{text}\n").as_bytes());
    terminal.flush();
}
