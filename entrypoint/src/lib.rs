//! PID 1 of one step.
//!
//! Reads top to bottom: [`step`] is a step's whole life; [`turn`] waits; [`attempt`] runs the command
//! once; the rest are their hands. It is a library, so that `baton run` can be its own entrypoint.

mod attempt;
mod facts;
mod inputs;
mod oom;
mod probe;
mod script;
mod step;
mod tee;
mod turn;
mod watch;

use std::ffi::OsString;
use std::fmt;
use std::io::Write;
use std::time::Duration;

use baton_pid1::Inherited;
pub use baton_pid1::signals::Runtime;
use baton_protocol::exit;
use baton_protocol::invocation::{Invocation, Request};

/// How long `--check-port` waits for a connection.
const CHECK: Duration = Duration::from_secs(1);
/// The exit code of `--check-port` where nothing accepts connections.
const CLOSED: i32 = 1;
const HELP: &str = include_str!("help.txt");

/// Runs an entrypoint and gives its exit code. To be called first thing in `main`, while the process
/// has one thread; `args` come without the program's name.
pub fn main(args: Vec<OsString>, runtime: Runtime) -> i32 {
    baton_pid1::stdio::reserve();
    let inherited = match Inherited::capture(runtime) {
        Ok(inherited) => inherited,
        Err(e) => {
            say(&e);
            return exit::FAILED;
        }
    };
    match Invocation::parse(args) {
        Ok(Request::Run(call)) => step::run(&call, &inherited),
        Ok(Request::CheckPort(port)) => match probe::accepts(port, CHECK) {
            true => 0,
            false => CLOSED,
        },
        Ok(Request::Help) => print(HELP),
        Ok(Request::Version) => print(concat!("entrypoint ", env!("CARGO_PKG_VERSION"), "\n")),
        Err(e) => {
            say(&format_args!("{e}\nentrypoint --help lists the options"));
            exit::USAGE
        }
    }
}

/// A line on standard error. A closed one is no reason to fail.
fn say(message: &dyn fmt::Display) {
    let _ = writeln!(std::io::stderr(), "entrypoint: {message}");
}

fn print(text: &str) -> i32 {
    let _ = std::io::stdout().write_all(text.as_bytes());
    0
}
