//! `init run`: plain PID 1 of one command.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use baton_pid1::deadline::poll_timeout;
use baton_pid1::runner::Policy;
use baton_pid1::stdio::foreground_terminal;
use baton_pid1::{Command, Ended, Inherited, OsError, Runner, Signals, SpawnError, tree};
use baton_protocol::exit;
use lexopt::{Arg, Parser};
use nix::poll::{PollFd, PollFlags, poll};

use crate::cli::{self, UsageError};
use crate::say;

/// Between SIGTERM and SIGKILL where nothing is said: well inside the 30 seconds of a pod.
const GRACE: Duration = Duration::from_secs(25);

/// What to run, and how.
#[derive(Debug)]
pub struct Options {
    /// The program and its arguments.
    pub command: Vec<OsString>,
    /// Signals go to the command alone and not to its process group.
    pub single_child: bool,
    /// Exit codes that become 0.
    pub success_codes: Vec<i32>,
    /// Between SIGTERM and SIGKILL.
    pub grace: Duration,
}

/// Reads the command line behind `init run`.
pub(crate) fn parse(parser: &mut Parser) -> Result<cli::Command, UsageError> {
    const OPTIONS: &[&str] = &["single-child", "success-code", "grace", "help"];
    let mut options = Options {
        command: Vec::new(),
        single_child: false,
        success_codes: Vec::new(),
        grace: GRACE,
    };
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("single-child") => options.single_child = true,
            Arg::Long("success-code") => {
                let code = cli::text("--success-code", parser)?.parse().ok();
                let code = code.filter(|code| (0..=255).contains(code));
                let wrong = UsageError::Value("--success-code", "takes a number from 0 to 255");
                options.success_codes.push(code.ok_or(wrong)?);
            }
            Arg::Long("grace") => options.grace = cli::duration("--grace", parser)?,
            Arg::Long("help") | Arg::Short('h') => return Ok(cli::Command::Help),
            Arg::Value(first) => {
                options.command = cli::command(first, parser)?;
                return Ok(cli::Command::Run(options));
            }
            other => return Err(cli::unknown("run", OPTIONS, other)),
        }
    }
    Err(UsageError::Missing(
        "init run needs a command: init run -- COMMAND ARGS...",
    ))
}

/// Runs the command and gives the exit code.
pub fn run(options: Options, inherited: &Inherited) -> i32 {
    let mut command = Command::new(options.command);
    command.terminal = foreground_terminal();
    let policy = Policy {
        single_child: options.single_child,
        grace: options.grace,
    };
    let ended = open_signals().and_then(|mut signals| {
        let runner = Runner::start(&command, inherited, policy)?;
        Ok(wait(runner, &mut signals).0)
    });
    match ended {
        Ok(ended) if options.success_codes.contains(&ended.code()) => 0,
        Ok(ended) => ended.code(),
        Err(e) => {
            say(&e.to_string());
            e.code()
        }
    }
}

/// Runs this program with `args` below us, as [`run`] does.
pub(crate) fn myself(args: Vec<OsString>, inherited: &Inherited) -> i32 {
    let options = Options {
        command: [OsString::from("/proc/self/exe")]
            .into_iter()
            .chain(args)
            .collect(),
        single_child: false,
        success_codes: Vec::new(),
        grace: GRACE,
    };
    run(options, inherited)
}

/// Why nothing runs.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error(transparent)]
    Os(#[from] OsError),
    #[error(transparent)]
    Spawn(#[from] SpawnError),
}

impl RunError {
    fn code(&self) -> i32 {
        match self {
            RunError::Os(_) => exit::FAILED,
            RunError::Spawn(e) => code_of(e),
        }
    }
}

/// The exit code that a shell would give.
pub(crate) fn code_of(e: &SpawnError) -> i32 {
    match e {
        SpawnError::NotFound { .. } => exit::NOT_FOUND,
        SpawnError::NotExecutable { .. } => exit::NOT_EXECUTABLE,
        _ => exit::FAILED,
    }
}

/// What a PID 1 needs before its first child.
pub(crate) fn open_signals() -> Result<Signals, RunError> {
    let signals = Signals::open()?;
    tree::adopt_orphans()?;
    Ok(signals)
}

/// Waits until the command and everything that it started is over; true where a SIGTERM asked for
/// that.
pub(crate) fn wait(mut runner: Runner, signals: &mut Signals) -> (Ended, bool) {
    loop {
        if let Some(ended) = runner.finished() {
            return (ended, runner.asked_by_signal());
        }
        let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut fds, poll_timeout(runner.deadline()));
        let now = Instant::now();
        runner.on_signals(signals, now);
        runner.take_others();
        runner.tick(now);
    }
}
