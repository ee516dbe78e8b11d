//! `init workspace`'s command line.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use baton_protocol::layout::is_name;
use lexopt::{Arg, Parser};

use super::config::{self, MAX_CONFIG, RESTART, Ready, STOP_DEADLINE, Seed, Service, Workspace};
use super::error::{ConfigError, Mistake};
use super::plan::{Kind, Restart, When};
use crate::cli::{self, UsageError};

/// Where the configuration is where nothing is said.
const CONFIG: &str = "/etc/baton/workspace.toml";
/// Names the user's folders, with `:` between, as in images of old.
const FOLDERS_ENV: &str = "USER_WORKSPACE";
/// Names the step folder.
const STEP_DIR_ENV: &str = "BATON_STEP_DIR";

/// What the command line says.
#[derive(Debug, Default)]
pub struct Options {
    config: Option<PathBuf>,
    folders: Vec<PathBuf>,
    seeds: Vec<Seed>,
    port: Option<u16>,
    stop_deadline: Option<Duration>,
    /// Where state is kept.
    pub state: Option<PathBuf>,
    step_dir: Option<PathBuf>,
    ready_port: Option<u16>,
    ready_http: Option<String>,
    ready_fd: Option<i32>,
    restart: Option<When>,
    user: Option<String>,
    command: Vec<OsString>,
}

const OPTIONS: &[&str] = &[
    "config",
    "user-dir",
    "seed",
    "port",
    "stop-deadline",
    "state",
    "step-dir",
    "ready-port",
    "ready-http",
    "ready-fd",
    "restart",
    "user",
    "help",
];

/// Reads the command line behind `init workspace`.
pub(crate) fn parse(parser: &mut Parser) -> Result<cli::Command, UsageError> {
    let mut options = Options::default();
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("config") => options.config = Some(cli::path("--config", parser)?),
            Arg::Long("user-dir") => options.folders.push(cli::path("--user-dir", parser)?),
            Arg::Long("seed") => options.seeds.push(seed(parser)?),
            Arg::Long("port") => options.port = Some(port("--port", parser)?),
            Arg::Long("stop-deadline") => {
                options.stop_deadline = Some(cli::duration("--stop-deadline", parser)?);
            }
            Arg::Long("state") => options.state = Some(cli::path("--state", parser)?),
            Arg::Long("step-dir") => options.step_dir = Some(cli::path("--step-dir", parser)?),
            Arg::Long("ready-port") => options.ready_port = Some(port("--ready-port", parser)?),
            Arg::Long("ready-http") => {
                let path = cli::text("--ready-http", parser)?;
                if !config::is_http_path(&path) {
                    let wrong = "takes a path that begins with `/` and has no spaces";
                    return Err(UsageError::Value("--ready-http", wrong));
                }
                options.ready_http = Some(path);
            }
            Arg::Long("ready-fd") => {
                let fd = cli::text("--ready-fd", parser)?.parse().ok();
                let wrong = UsageError::Value("--ready-fd", "takes a number from 3 to 255");
                options.ready_fd = Some(fd.filter(|fd| (3..=255).contains(fd)).ok_or(wrong)?);
            }
            Arg::Long("restart") => options.restart = Some(when(parser)?),
            Arg::Long("user") => options.user = Some(cli::text("--user", parser)?),
            Arg::Long("help") | Arg::Short('h') => return Ok(cli::Command::Help),
            Arg::Value(first) => {
                options.command = cli::command(first, parser)?;
                break;
            }
            other => return Err(cli::unknown("workspace", OPTIONS, other)),
        }
    }
    options.check()?;
    Ok(cli::Command::Workspace(Box::new(options)))
}

fn port(option: &'static str, parser: &mut Parser) -> Result<u16, UsageError> {
    let port = cli::text(option, parser)?.parse().ok();
    port.filter(|port| *port > 0)
        .ok_or(UsageError::Value(option, "takes a number from 1 to 65535"))
}

fn seed(parser: &mut Parser) -> Result<Seed, UsageError> {
    let text = parser.value()?.into_vec();
    let wrong = "takes SOURCE:DIR, two paths with one `:` between";
    let mut parts = text.split(|b| *b == b':');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(from), Some(to), None) if !from.is_empty() && !to.is_empty() => Ok(Seed {
            from: OsString::from_vec(from.to_vec()).into(),
            to: OsString::from_vec(to.to_vec()).into(),
            version: None,
            adopt: false,
            prune: false,
        }),
        _ => Err(UsageError::Value("--seed", wrong)),
    }
}

fn when(parser: &mut Parser) -> Result<When, UsageError> {
    match &*cli::text("--restart", parser)? {
        "always" => Ok(When::Always),
        "on-failure" => Ok(When::OnFailure),
        "never" => Ok(When::Never),
        _ => Err(UsageError::Value(
            "--restart",
            "takes one of always, on-failure, never",
        )),
    }
}

impl Options {
    fn check(&self) -> Result<(), UsageError> {
        let for_command = self.ready_port.is_some()
            || self.ready_http.is_some()
            || self.ready_fd.is_some()
            || self.restart.is_some()
            || self.user.is_some();
        if self.command.is_empty() && for_command {
            return Err(UsageError::Missing(
                "--ready-*, --restart and --user are for the COMMAND behind --; in a file each service has its own",
            ));
        }
        if !self.command.is_empty() && self.config.is_some() {
            return Err(UsageError::Missing(
                "either --config or a COMMAND says what runs, not both",
            ));
        }
        if self.ready_fd.is_some() && (self.ready_port.is_some() || self.ready_http.is_some()) {
            return Err(UsageError::Missing(
                "--ready-fd goes with no other --ready option",
            ));
        }
        if self.ready_http.is_some() && self.ready_port.or(self.port).is_none() {
            return Err(UsageError::Missing(
                "--ready-http needs --port or --ready-port",
            ));
        }
        Ok(())
    }

    /// The step folder.
    pub fn step_dir(&self) -> Option<PathBuf> {
        let given = self.step_dir.clone();
        let named = || std::env::var_os(STEP_DIR_ENV).filter(|dir| !dir.is_empty());
        given.or_else(|| named().map(PathBuf::from))
    }

    /// What is asked for, by flags, environment and file together.
    ///
    /// # Errors
    /// Where the file has a mistake.
    pub fn workspace(&self) -> Result<Workspace, ConfigError> {
        let mut workspace = match self.command.is_empty() {
            true => {
                let path = self.config.as_deref().unwrap_or(Path::new(CONFIG));
                config::parse(path, &read(path)?)?
            }
            false => self.of_command(),
        };
        let named = std::env::var_os(FOLDERS_ENV).unwrap_or_default();
        let named = named.as_bytes().split(|b| *b == b':');
        workspace.folders.extend(
            named
                .filter(|folder| !folder.is_empty())
                .map(|folder| OsString::from_vec(folder.to_vec()).into()),
        );
        workspace.folders.extend_from_slice(&self.folders);
        workspace.seeds.extend_from_slice(&self.seeds);
        workspace.port = self.port.or(workspace.port).or_else(|| {
            let main = workspace.services.get(workspace.main)?;
            main.ready.as_ref()?.port()
        });
        if let Some(deadline) = self.stop_deadline {
            workspace.stop_deadline = deadline;
        }
        Ok(workspace)
    }

    fn of_command(&self) -> Workspace {
        let port = self.ready_port.or(self.port);
        let ready = match (&self.ready_http, self.ready_port, self.ready_fd) {
            (Some(path), _, _) => port.map(|port| Ready::Http {
                port,
                path: path.clone(),
            }),
            (None, Some(port), _) => Some(Ready::Port(port)),
            (None, None, Some(fd)) => Some(Ready::Fd(fd)),
            // Where clients connect is the best sign of all that they can.
            (None, None, None) => self.port.map(Ready::Port),
        };
        let name = self.command.first().map(Path::new);
        let name = name.and_then(|path| path.file_name()?.to_str());
        let service = Service {
            name: name
                .filter(|name| is_name(name))
                .unwrap_or("main")
                .to_owned(),
            command: self.command.clone(),
            kind: Kind::Daemon,
            needs: Vec::new(),
            user: self.user.clone(),
            env: Vec::new(),
            cwd: None,
            ready,
            restart: Restart {
                when: self.restart.unwrap_or(RESTART.when),
                ..RESTART
            },
            line: 0,
        };
        Workspace {
            file: None,
            folders: Vec::new(),
            seeds: Vec::new(),
            stop_deadline: STOP_DEADLINE,
            port: None,
            services: vec![service],
            main: 0,
        }
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let wrong = |mistake| ConfigError::at(0, mistake).in_file(path);
    let mut content = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_CONFIG + 1).read_to_end(&mut content))
        .map_err(|e| wrong(Mistake::Unreadable(e)))?;
    if content.len() as u64 > MAX_CONFIG {
        return Err(wrong(Mistake::TooLong(MAX_CONFIG)));
    }
    String::from_utf8(content).map_err(|_| wrong(Mistake::Encoding))
}
