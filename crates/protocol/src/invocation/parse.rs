//! Reading the entrypoint's command line.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lexopt::ValueExt;

use super::{Invocation, MAX_RETRIES, Probe, ScriptSource};
use crate::layout;
use crate::time::parse_duration;

/// Why a command line is not understood.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// Not of the form of any option.
    #[error("{0}")]
    Form(#[from] lexopt::Error),
    /// No such option.
    #[error("there is no option {0}{1}")]
    Unknown(String, Suggestion),
    /// A value of another kind.
    #[error("{option}: {cause}")]
    Value {
        /// The option.
        option: &'static str,
        /// What is wrong with its value.
        cause: String,
    },
    /// Options that do not go together, or one that is missing.
    #[error("{0}")]
    Combination(&'static str),
}

/// What was probably meant.
#[derive(Debug, PartialEq, Eq)]
pub struct Suggestion(Option<&'static str>);

impl std::fmt::Display for Suggestion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(option) => write!(f, "; did you mean --{option}?"),
            None => Ok(()),
        }
    }
}

/// What a command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Run a step.
    Run(Box<Invocation>),
    /// Look whether something accepts connections on this port of the loopback address, and nothing
    /// else: `--check-port PORT` alone.
    CheckPort(u16),
    /// `--help`
    Help,
    /// `--version`
    Version,
}

const OPTIONS: &[&str] = &[
    "wait",
    "wait-content",
    "through-cancel",
    "until",
    "step",
    "step-dir",
    "results-of",
    "out",
    "err",
    "output-limit",
    "script",
    "encode-file",
    "when",
    "timeout",
    "grace",
    "on-error",
    "retries",
    "retry-delay",
    "ready-port",
    "ready-command",
    "single-child",
    "success-code",
    "termination-message",
    "command",
    "check-port",
    "help",
    "version",
];

impl Invocation {
    /// Reads a command line, the program's name left out.
    ///
    /// What follows `--`, or the value of `--command`, belongs to the command and is never read as
    /// ours.
    ///
    /// # Errors
    /// Where an option or a value is not understood, or options do not go together.
    pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Request, UsageError> {
        use lexopt::Arg::{Long, Short, Value};
        let mut call = Invocation::default();
        let mut parser = lexopt::Parser::from_args(args);
        while let Some(arg) = parser.next()? {
            match arg {
                Long("wait") => call.wait.push(parser.value()?.into()),
                Long("wait-content" | "waitcontent") => {
                    call.wait_content = text("--wait-content", &mut parser)?
                }
                Long("through-cancel") => call.through_cancel = true,
                Long("until") => call.until = Some(number("--until", &mut parser)?),
                Long("step") => call.step = Some(step_name(&mut parser)?),
                Long("step-dir") => call.step_dir = Some(parser.value()?.into()),
                Long("results-of") => call.results_of.push(named_folder(&parser.value()?)?),
                Long("out") => call.out = stream(parser.value()?, "stdout"),
                Long("err") => call.err = stream(parser.value()?, "stderr"),
                Long("output-limit") => call.output_limit = number("--output-limit", &mut parser)?,
                Long("script") => set_script(
                    &mut call,
                    ScriptSource::Inline(text("--script", &mut parser)?),
                )?,
                Long("encode-file" | "encodefile") => {
                    set_script(&mut call, ScriptSource::File(parser.value()?.into()))?
                }
                Long("when") => call.when.push(json("--when", &mut parser)?),
                Long("timeout") => call.timeout = Some(duration("--timeout", &mut parser)?),
                Long("grace") => call.grace = duration("--grace", &mut parser)?,
                Long("on-error") => {
                    call.continue_on_error = on_error(&text("--on-error", &mut parser)?)?
                }
                Long("retries") => call.retries = bounded("--retries", &mut parser, MAX_RETRIES)?,
                Long("retry-delay") => call.retry_delay = duration("--retry-delay", &mut parser)?,
                Long("ready-port") => {
                    call.ready = Some(Probe::Port(number("--ready-port", &mut parser)?))
                }
                Long("ready-command") => {
                    call.ready = Some(Probe::Command(probe_command(&mut parser)?))
                }
                Long("single-child") => call.single_child = true,
                Long("success-code") => call
                    .success_codes
                    .push(number("--success-code", &mut parser)?),
                Long("termination-message") => {
                    call.termination_message = Some(parser.value()?.into())
                }
                Long("command") => {
                    call.command.push(parser.value()?);
                    // The original design puts no `--` between the command and its arguments.
                    let mut rest = parser.raw_args()?.peekable();
                    rest.next_if(|arg| arg == "--");
                    call.command.extend(rest);
                    break;
                }
                Value(word) => {
                    // Only after `--` can a bare word be the command: elsewhere it is a mistake.
                    return Err(value_error(
                        "--command",
                        format!("{word:?} stands alone; write --command CMD -- ARGS..."),
                    ));
                }
                Long("check-port") => {
                    let port = number("--check-port", &mut parser)?;
                    if call != Invocation::default() || parser.next()?.is_some() {
                        return Err(UsageError::Combination("--check-port stands alone"));
                    }
                    return Ok(Request::CheckPort(port));
                }
                Long("help") | Short('h') => return Ok(Request::Help),
                Long("version") | Short('V') => return Ok(Request::Version),
                Long(other) => {
                    return Err(UsageError::Unknown(format!("--{other}"), suggest(other)));
                }
                Short(other) => {
                    return Err(UsageError::Unknown(format!("-{other}"), Suggestion(None)));
                }
            }
        }
        call.check()?;
        Ok(Request::Run(Box::new(call)))
    }

    fn check(&self) -> Result<(), UsageError> {
        if self.command.is_empty() && self.script.is_none() {
            return Err(UsageError::Combination(
                "there is nothing to run: give --command CMD -- ARGS..., --script or --encode-file",
            ));
        }
        if self.until.is_some() && self.wait.is_empty() {
            return Err(UsageError::Combination(
                "--until needs --wait: the order file that it watches",
            ));
        }
        if self.ready.is_some() && self.step_dir.is_none() {
            return Err(UsageError::Combination(
                "--ready-port and --ready-command need --step-dir, to tell of it",
            ));
        }
        Ok(())
    }
}

fn value_error(option: &'static str, cause: impl Into<String>) -> UsageError {
    UsageError::Value {
        option,
        cause: cause.into(),
    }
}

fn text(option: &'static str, parser: &mut lexopt::Parser) -> Result<String, UsageError> {
    parser
        .value()?
        .string()
        .map_err(|_| value_error(option, "the value is not UTF-8"))
}

fn number<T: std::str::FromStr<Err: std::fmt::Display>>(
    option: &'static str,
    parser: &mut lexopt::Parser,
) -> Result<T, UsageError> {
    let value = text(option, parser)?;
    value.parse().map_err(|e| {
        value_error(
            option,
            format!("{value:?} is no number that fits here ({e})"),
        )
    })
}

fn bounded(
    option: &'static str,
    parser: &mut lexopt::Parser,
    most: u32,
) -> Result<u32, UsageError> {
    match number(option, parser)? {
        n if n > most => Err(value_error(option, format!("{n} is more than {most}"))),
        n => Ok(n),
    }
}

fn duration(option: &'static str, parser: &mut lexopt::Parser) -> Result<Duration, UsageError> {
    parse_duration(&text(option, parser)?).map_err(|e| value_error(option, e.to_string()))
}

fn json<T: serde::de::DeserializeOwned>(
    option: &'static str,
    parser: &mut lexopt::Parser,
) -> Result<T, UsageError> {
    let text = text(option, parser)?;
    serde_json::from_str(&text).map_err(|e| {
        value_error(
            option,
            format!("{text:?} is not the JSON that it takes: {e}"),
        )
    })
}

fn probe_command(parser: &mut lexopt::Parser) -> Result<Vec<String>, UsageError> {
    match json::<Vec<String>>("--ready-command", parser)? {
        words if words.is_empty() => Err(value_error("--ready-command", "the command is empty")),
        words => Ok(words),
    }
}

fn step_name(parser: &mut lexopt::Parser) -> Result<String, UsageError> {
    let name = text("--step", parser)?;
    if layout::is_name(&name) {
        Ok(name)
    } else {
        Err(value_error(
            "--step",
            format!("{name:?} cannot name a step"),
        ))
    }
}

fn named_folder(value: &OsStr) -> Result<(String, PathBuf), UsageError> {
    use std::os::unix::ffi::OsStrExt;
    let bytes = value.as_bytes();
    bytes
        .iter()
        .position(|b| *b == b'=')
        .and_then(|at| bytes.split_at_checked(at))
        .and_then(|(name, folder)| Some((std::str::from_utf8(name).ok()?, folder.get(1..)?)))
        .filter(|(name, folder)| layout::is_name(name) && !folder.is_empty())
        .map(|(name, folder)| {
            (
                name.to_owned(),
                Path::new(OsStr::from_bytes(folder)).to_owned(),
            )
        })
        .ok_or_else(|| {
            value_error(
                "--results-of",
                format!("{value:?} is not of the form STEP=FOLDER"),
            )
        })
}

/// `stdout` (or `stderr`) names our own stream, which always gets the output; anything else a file.
fn stream(value: OsString, own: &str) -> Option<PathBuf> {
    (value != own).then(|| value.into())
}

fn set_script(call: &mut Invocation, source: ScriptSource) -> Result<(), UsageError> {
    match call.script.replace(source) {
        None => Ok(()),
        Some(_) => Err(UsageError::Combination(
            "one script is enough: --script and --encode-file are given together, or twice",
        )),
    }
}

fn on_error(value: &str) -> Result<bool, UsageError> {
    match value {
        "continue" => Ok(true),
        "stop" => Ok(false),
        other => Err(value_error(
            "--on-error",
            format!("{other:?} is neither stop nor continue"),
        )),
    }
}

/// The option that shares the longest beginning with what was given, at least three letters.
fn suggest(given: &str) -> Suggestion {
    let common = |option: &str| {
        option
            .bytes()
            .zip(given.bytes())
            .take_while(|(a, b)| a == b)
            .count()
    };
    let best = OPTIONS.iter().copied().max_by_key(|option| common(option));
    Suggestion(best.filter(|option| common(option) >= 3))
}
