//! Reading `init`'s command line.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use baton_protocol::time::{DurationError, parse_duration};
use lexopt::{Arg, Parser};

use crate::install;
use crate::run;
use crate::seed;
use crate::status;
use crate::workspace;

const SUBCOMMANDS: &[&str] = &["install", "seed", "run", "workspace", "status"];

/// Most threads that one may ask for.
const MAX_THREADS: usize = 64;
/// Longest name of a version, in bytes.
const MAX_VERSION: usize = 256;

/// What `--help` prints.
pub const HELP: &str = include_str!("help.txt");

/// What is asked for.
#[derive(Debug)]
pub enum Command {
    /// `init install`
    Install(install::Options),
    /// `init seed`
    Seed(seed::Options),
    /// `init run`
    Run(run::Options),
    /// `init workspace`
    Workspace(Box<workspace::args::Options>),
    /// `init status`
    Status(status::Options),
    /// `--help`
    Help,
    /// `--version`, before any subcommand
    Version,
}

/// Why a command line is not understood.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// Not of the form of any option.
    #[error("{0}")]
    Form(#[from] lexopt::Error),
    /// No such subcommand.
    #[error("there is no `init {0}`{1}")]
    Subcommand(String, Suggestion),
    /// No such option.
    #[error("init {0} has no option {1}{2}")]
    Option(&'static str, String, Suggestion),
    /// A value that makes no sense.
    #[error("{0} {1}")]
    Value(&'static str, &'static str),
    /// A duration that cannot be read.
    #[error("{0}: {1}")]
    Duration(&'static str, DurationError),
    /// Something is missing.
    #[error("{0}")]
    Missing(&'static str),
}

/// What was probably meant, to be put behind a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suggestion(Option<String>);

impl Suggestion {
    /// No idea.
    pub const NONE: Suggestion = Suggestion(None);
}

/// The candidate that is most like `word`, if one is much like it.
pub(crate) fn suggest(word: &str, candidates: &[&str]) -> Suggestion {
    Suggestion(nearest(word, candidates).map(|meant| format!("`{meant}`")))
}

impl std::fmt::Display for Suggestion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Some(meant) => write!(f, "; did you mean {meant}?"),
            None => Ok(()),
        }
    }
}

/// Reads a command line, the program's name left out.
///
/// # Errors
/// Where it is not understood.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, UsageError> {
    let mut parser = Parser::from_args(args);
    match parser.next()? {
        None => Err(UsageError::Missing(
            "a subcommand is missing: install, seed, run, workspace or status (see init --help)",
        )),
        Some(Arg::Long("help") | Arg::Short('h')) => Ok(Command::Help),
        Some(Arg::Long("version") | Arg::Short('V')) => Ok(Command::Version),
        Some(Arg::Value(word)) => match word.to_str() {
            Some("install") => install_options(&mut parser),
            Some("seed") => seed_options(&mut parser),
            Some("run") => run::parse(&mut parser),
            Some("workspace") => workspace::args::parse(&mut parser),
            Some("status") => status::parse(&mut parser),
            Some("help") => Ok(Command::Help),
            _ => {
                let word = word.to_string_lossy().into_owned();
                let meant = nearest(&word, SUBCOMMANDS);
                Err(UsageError::Subcommand(
                    word,
                    Suggestion(meant.map(|m| format!("init {m}"))),
                ))
            }
        },
        Some(other) => Err(other.unexpected().into()),
    }
}

fn install_options(parser: &mut Parser) -> Result<Command, UsageError> {
    let (mut to, mut from) = (None, None);
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("to") => to = Some(path("--to", parser)?),
            Arg::Long("from") => from = Some(path("--from", parser)?),
            Arg::Long("help") | Arg::Short('h') => return Ok(Command::Help),
            other => return Err(unknown("install", &["to", "from", "help"], other)),
        }
    }
    let to = to.ok_or(UsageError::Missing(
        "init install needs --to DIR, the folder for the tools",
    ))?;
    Ok(Command::Install(install::Options { to, from }))
}

fn seed_options(parser: &mut Parser) -> Result<Command, UsageError> {
    const OPTIONS: &[&str] = &[
        "from", "to", "version", "adopt", "prune", "dry-run", "sync", "quiet", "threads", "help",
    ];
    let (mut from, mut to, mut version) = (None, None, None);
    let (mut adopt, mut prune, mut dry_run, mut sync, mut quiet) =
        (false, false, false, false, false);
    let mut threads = default_threads();
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("from") => from = Some(path("--from", parser)?),
            Arg::Long("to") => to = Some(path("--to", parser)?),
            Arg::Long("version") => {
                let text = parser.value()?.into_vec();
                if text.is_empty() || text.len() > MAX_VERSION {
                    return Err(UsageError::Value("--version", "takes 1 to 256 bytes"));
                }
                version = Some(text);
            }
            Arg::Long("adopt") => adopt = true,
            Arg::Long("prune") => prune = true,
            Arg::Long("dry-run") => dry_run = true,
            Arg::Long("sync") => sync = true,
            Arg::Long("quiet") | Arg::Short('q') => quiet = true,
            Arg::Long("threads") => {
                let n = parser.value()?;
                let n = n.to_str().and_then(|n| n.parse().ok());
                threads = n
                    .filter(|n| (1..=MAX_THREADS).contains(n))
                    .ok_or(UsageError::Value(
                        "--threads",
                        "takes a number from 1 to 64",
                    ))?;
            }
            Arg::Long("help") | Arg::Short('h') => return Ok(Command::Help),
            other => return Err(unknown("seed", OPTIONS, other)),
        }
    }
    Ok(Command::Seed(seed::Options {
        from: from.ok_or(UsageError::Missing(
            "init seed needs --from SOURCE, a folder or an archive file",
        ))?,
        to: to.ok_or(UsageError::Missing(
            "init seed needs --to DIR, the folder to seed",
        ))?,
        version,
        adopt,
        prune,
        dry_run,
        sync,
        quiet,
        threads,
    }))
}

/// Waiting for a disk or a server takes more threads than there are cores.
pub(crate) fn default_threads() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (2 * cores).clamp(2, 16)
}

pub(crate) fn path(option: &'static str, parser: &mut Parser) -> Result<PathBuf, UsageError> {
    let value = parser.value()?;
    match value.is_empty() {
        true => Err(UsageError::Value(option, "takes a path that is not empty")),
        false => Ok(value.into()),
    }
}

pub(crate) fn text(option: &'static str, parser: &mut Parser) -> Result<String, UsageError> {
    let value = parser.value()?.into_string();
    value.map_err(|_| UsageError::Value(option, "takes text in UTF-8"))
}

pub(crate) fn duration(option: &'static str, parser: &mut Parser) -> Result<Duration, UsageError> {
    parse_duration(&text(option, parser)?).map_err(|e| UsageError::Duration(option, e))
}

/// The words behind `--`, or from the first one that is no option: a command, byte for byte.
pub(crate) fn command(first: OsString, parser: &mut Parser) -> Result<Vec<OsString>, UsageError> {
    let rest = parser.raw_args()?;
    Ok([first].into_iter().chain(rest).collect())
}

pub(crate) fn unknown(subcommand: &'static str, options: &[&str], arg: Arg<'_>) -> UsageError {
    match arg {
        Arg::Long(name) => {
            let meant = nearest(name, options);
            UsageError::Option(
                subcommand,
                format!("--{name}"),
                Suggestion(meant.map(|m| format!("--{m}"))),
            )
        }
        other => other.unexpected().into(),
    }
}

/// The candidate that few edits away from `word`.
pub(crate) fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let distance = |c: &&&str| edits(word.as_bytes(), c.as_bytes());
    let best = candidates.iter().min_by_key(distance)?;
    (word.len() <= 64 && distance(&best) <= 2.min(best.len() / 2 + 1)).then_some(best)
}

/// The number of single-byte edits between two words.
fn edits(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().take(64).enumerate() {
        let mut before = i;
        let mut left = i + 1;
        for (y, cell) in b.iter().zip(row.iter_mut().skip(1)) {
            let replaced = before + usize::from(x != y);
            before = *cell;
            left = replaced.min(left + 1).min(before + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(args: &[&str]) -> String {
        parse(args.iter().map(OsString::from))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn mistakes_are_named_with_what_was_meant() {
        for (args, text) in [
            (
                &["sed"][..],
                "there is no `init sed`; did you mean init seed?",
            ),
            (&["frobnicate"], "there is no `init frobnicate`"),
            (
                &["seed", "--form", "a"],
                "init seed has no option --form; did you mean --from?",
            ),
            (
                &["seed", "--dryrun"],
                "init seed has no option --dryrun; did you mean --dry-run?",
            ),
            (&["seed", "--zzzzzz"], "init seed has no option --zzzzzz"),
            (
                &["seed", "--from", "a"],
                "init seed needs --to DIR, the folder to seed",
            ),
            (
                &["seed", "--threads", "0"],
                "--threads takes a number from 1 to 64",
            ),
            (&["seed", "--version", ""], "--version takes 1 to 256 bytes"),
            (
                &["install"],
                "init install needs --to DIR, the folder for the tools",
            ),
            (&["install", "x"], "unexpected argument \"x\""),
            (
                &[],
                "a subcommand is missing: install, seed, run, workspace or status (see init --help)",
            ),
        ] {
            assert_eq!(error(args), text, "{args:?}");
        }
    }
}
