//! Mistakes in a workspace's description.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::cli::Suggestion;

/// Why a workspace's description is not accepted, and where.
#[derive(Debug)]
pub struct ConfigError {
    file: Option<PathBuf>,
    line: usize,
    /// What is wrong.
    pub mistake: Box<Mistake>,
}

impl ConfigError {
    /// A mistake in a line, from 1; 0 where it is in none.
    pub(super) fn at(line: usize, mistake: Mistake) -> ConfigError {
        ConfigError {
            file: None,
            line,
            mistake: Box::new(mistake),
        }
    }

    pub(super) fn in_file(mut self, file: &Path) -> ConfigError {
        self.file = Some(file.to_owned());
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}", file.display())?;
            if self.line > 0 {
                write!(f, ":{}", self.line)?;
            }
            f.write_str(": ")?;
        }
        self.mistake.fmt(f)
    }
}

impl std::error::Error for ConfigError {}

/// What is wrong with a workspace's description.
#[derive(Debug, thiserror::Error)]
pub enum Mistake {
    /// The file cannot be read.
    #[error("cannot read the workspace's configuration: {0}")]
    Unreadable(std::io::Error),
    /// The file is too long.
    #[error("the configuration is longer than {0} bytes")]
    TooLong(u64),
    /// Not UTF-8.
    #[error("the configuration is not UTF-8")]
    Encoding,
    /// Not TOML.
    #[error("{0}")]
    Syntax(String),
    /// A key that means nothing.
    #[error("there is no key `{0}` here{1}")]
    Key(String, Suggestion),
    /// A key that has to be there.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// A text that may not be empty.
    #[error("`{0}` is empty")]
    Empty(&'static str),
    /// A value of the wrong kind.
    #[error("`{0}` takes {1}")]
    Kind(&'static str, &'static str),
    /// A number out of its range.
    #[error("`{0}` takes a number from {1} to {2}")]
    Number(&'static str, i64, i64),
    /// A word that is not among those allowed.
    #[error("`{0}` cannot be `{1}`, but one of {2}{3}")]
    Choice(&'static str, String, String, Suggestion),
    /// A duration that cannot be read.
    #[error("`{0}`: {1}")]
    Duration(&'static str, String),
    /// A bad name of a service.
    #[error(
        "`{0}` cannot name a service: letters, digits, `-`, `_` and `.`, at most 63, beginning with a letter or a digit"
    )]
    Name(String),
    /// A service without a command.
    #[error("the service `{0}` has no command: give it `command = [\"PROGRAM\", \"ARGUMENT\"]`")]
    NoCommand(String),
    /// A bad name of a variable, or a bad value.
    #[error(
        "`{0}` cannot be a variable: its name is not empty and has no `=`, and neither has NUL"
    )]
    Variable(String),
    /// A probe for what is ready when it is done.
    #[error("a oneshot has no `ready`: it is ready when it has succeeded")]
    ReadyOneshot,
    /// A oneshot that would be started for ever.
    #[error("a oneshot is not restarted when it succeeds: `when` is on-failure or never")]
    EndlessOneshot,
    /// An unclear probe.
    #[error(
        "`ready` takes one of {{ port = N }}, {{ http = \"/PATH\", port = N }} and {{ fd = N }}"
    )]
    ReadyForm,
    /// A path that cannot be asked for.
    #[error("`{0}` is no path of a request: it begins with `/` and has no spaces")]
    HttpPath(String),
    /// A request to nowhere.
    #[error("the probe needs a port: its own, or the workspace's")]
    NoPort,
    /// Delays that make no sense.
    #[error("`delay` is at least 10ms, and `max_delay` at least `delay`")]
    Delays,
    /// No service at all.
    #[error("there is no [[service]]")]
    NoService,
    /// Too many of them.
    #[error("there are more than {0} services")]
    Services(usize),
    /// Two of one name.
    #[error("there are two services `{0}`")]
    Twice(String),
    /// A need that nobody meets.
    #[error("there is no service `{0}` that could be needed{1}")]
    Need(String, Suggestion),
    /// Services that wait for each other.
    #[error("services need each other in a circle: {0}")]
    Cycle(String),
    /// No main service.
    #[error("no service is the main one, whose exit code counts: give one of them `main = true`")]
    NoMain,
    /// Two main services.
    #[error("both `{0}` and `{1}` say `main = true`; one can be the main service")]
    TwoMains(String, String),
    /// A program that is not there.
    #[error("the service `{service}`: {cause} {}{meant}", .program.display())]
    Program {
        /// The service.
        service: String,
        /// What is wrong.
        cause: &'static str,
        /// The program.
        program: OsString,
        /// What was probably meant.
        meant: Suggestion,
    },
    /// A user that is not there.
    #[error("the service `{service}`: {cause}")]
    User {
        /// The service.
        service: String,
        /// Why not.
        cause: String,
    },
}
