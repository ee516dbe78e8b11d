//! What a workspace consists of: read from `workspace.toml`, or made of flags.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use baton_protocol::layout::is_name;
use baton_protocol::time::parse_duration;

use super::error::{ConfigError, Mistake};
use super::plan::{Index, Kind, Restart, When};
use super::resolve::{Draft, resolve};
use super::table::Table;

#[cfg(test)]
mod tests;

/// Largest configuration file, in bytes.
pub const MAX_CONFIG: u64 = 256 << 10;
/// Shortest first delay: a service that cannot start never spins.
const MIN_DELAY: Duration = Duration::from_millis(10);
/// What services together have to end: well inside the 30 seconds that a pod has by default.
pub const STOP_DEADLINE: Duration = Duration::from_secs(25);

/// How a service is started again where nothing is said.
pub const RESTART: Restart = Restart {
    when: When::Always,
    delay: Duration::from_millis(500),
    max_delay: Duration::from_secs(30),
    healthy: Duration::from_secs(60),
    deaths: 5,
    window: Duration::from_secs(60),
};

/// A workspace.
#[derive(Debug, Clone)]
pub struct Workspace {
    /// The file that describes it, where one does.
    pub file: Option<PathBuf>,
    /// Folders to make.
    pub folders: Vec<PathBuf>,
    /// What to seed, in order.
    pub seeds: Vec<Seed>,
    /// What all services together have to end.
    pub stop_deadline: Duration,
    /// Where clients connect.
    pub port: Option<u16>,
    /// What runs; never empty.
    pub services: Vec<Service>,
    /// The main one of the services.
    pub main: Index,
}

/// One `init seed`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seed {
    /// A folder, or an archive.
    pub from: PathBuf,
    /// The target folder.
    pub to: PathBuf,
    /// Names what is seeded.
    pub version: Option<String>,
    /// Accept data that was not seeded.
    pub adopt: bool,
    /// Remove what the source no longer has and nobody touched.
    pub prune: bool,
}

/// One service.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its name, alone of its kind.
    pub name: String,
    /// The program and its arguments; never empty.
    pub command: Vec<OsString>,
    /// What it is expected to do.
    pub kind: Kind,
    /// What it needs, by place in the list.
    pub needs: Vec<Index>,
    /// Whom it runs as: `NAME`, `UID`, or either with `:GROUP`.
    pub user: Option<String>,
    /// Variables set besides ours.
    pub env: Vec<(OsString, OsString)>,
    /// Where it starts.
    pub cwd: Option<PathBuf>,
    /// How it is found to be ready.
    pub ready: Option<Ready>,
    /// How it is started again.
    pub restart: Restart,
    /// Where its command stands in the file; 0 where there is none.
    pub line: usize,
}

/// How a service is found to be ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ready {
    /// It accepts connections on this port of the loopback address.
    Port(u16),
    /// It answers a GET with 2xx or 3xx.
    Http {
        /// The port.
        port: u16,
        /// The path, with its `/`.
        path: String,
    },
    /// It writes a newline to the descriptor of this number (`NOTIFY_FD` tells it which).
    Fd(i32),
}

impl Ready {
    /// The port that is asked.
    pub fn port(&self) -> Option<u16> {
        match self {
            Ready::Port(port) | Ready::Http { port, .. } => Some(*port),
            Ready::Fd(_) => None,
        }
    }
}

/// Reads a configuration; `path` is for the messages.
///
/// # Errors
/// At the first mistake, with its line.
pub fn parse(path: &Path, content: &str) -> Result<Workspace, ConfigError> {
    let mut workspace = read(content).map_err(|e| e.in_file(path))?;
    workspace.file = Some(path.to_owned());
    Ok(workspace)
}

fn read(content: &str) -> Result<Workspace, ConfigError> {
    let root = toml_span::parse(content).map_err(|e| {
        let line = super::table::line_of(content, e.span.start);
        ConfigError::at(line, Mistake::Syntax(e.kind.to_string()))
    })?;
    let mut root = Table::of(root, content, "the file")?;
    let (mut folders, mut seeds) = (Vec::new(), Vec::new());
    let (mut stop_deadline, mut port) = (STOP_DEADLINE, None);
    if let Some(mut table) = root.table("workspace")? {
        folders = table
            .strings("folders")?
            .into_iter()
            .map(|(folder, _)| folder.into())
            .collect();
        for seed in table.tables("seed")? {
            seeds.push(read_seed(seed)?);
        }
        stop_deadline = duration(&mut table, "stop_deadline", stop_deadline)?;
        port = table.port("port")?;
        table.end()?;
    }
    let mut drafts = Vec::new();
    for service in root.tables("service")? {
        drafts.push(read_service(service, port)?);
    }
    root.end()?;
    let (services, main) = resolve(drafts)?;
    Ok(Workspace {
        file: None,
        folders,
        seeds,
        stop_deadline,
        port,
        services,
        main,
    })
}

fn read_seed(mut table: Table<'_>) -> Result<Seed, ConfigError> {
    let seed = Seed {
        from: table.required("from")?.0.into(),
        to: table.required("to")?.0.into(),
        version: table.string("version")?.map(|(version, _)| version),
        adopt: table.flag("adopt")?,
        prune: table.flag("prune")?,
    };
    table.end()?;
    Ok(seed)
}

fn read_service(mut table: Table<'_>, port: Option<u16>) -> Result<Draft, ConfigError> {
    let (name, line) = table.required("name")?;
    if !is_name(&name) {
        return Err(ConfigError::at(line, Mistake::Name(name)));
    }
    let command = table.strings("command")?;
    let Some((_, command_line)) = command.first() else {
        return Err(ConfigError::at(line, Mistake::NoCommand(name)));
    };
    let command_line = *command_line;
    let kind = match table.choice("kind", &["service", "oneshot"])? {
        Some("oneshot") => Kind::Oneshot,
        _ => Kind::Daemon,
    };
    let ready = match table.table("ready")? {
        None => None,
        Some(ready) if kind == Kind::Oneshot => {
            return Err(ConfigError::at(ready.line(), Mistake::ReadyOneshot));
        }
        Some(ready) => Some(read_ready(ready, port)?),
    };
    let mut restart = Restart {
        when: match kind {
            Kind::Daemon => When::Always,
            Kind::Oneshot => When::OnFailure,
        },
        ..RESTART
    };
    if let Some(table) = table.table("restart")? {
        read_restart(table, kind, &mut restart)?;
    }
    let mut env = Vec::new();
    for (variable, value, line) in table.pairs("env")? {
        if variable.is_empty() || variable.contains(['=', '\0']) || value.contains('\0') {
            return Err(ConfigError::at(line, Mistake::Variable(variable)));
        }
        env.push((variable.into(), value.into()));
    }
    let draft = Draft {
        needs: table.strings("needs")?,
        main: table.flag("main")?,
        line,
        service: Service {
            user: table.string("user")?.map(|(user, _)| user),
            cwd: table.string("cwd")?.map(|(cwd, _)| cwd.into()),
            name,
            command: command.into_iter().map(|(word, _)| word.into()).collect(),
            kind,
            needs: Vec::new(),
            env,
            ready,
            restart,
            line: command_line,
        },
    };
    table.end()?;
    Ok(draft)
}

fn read_ready(mut table: Table<'_>, default: Option<u16>) -> Result<Ready, ConfigError> {
    let line = table.line();
    let (port, http, fd) = (
        table.port("port")?,
        table.string("http")?,
        table.number("fd", 3, 255)?,
    );
    table.end()?;
    match (port, http, fd) {
        (None, None, Some(fd)) => Ok(Ready::Fd(i32::try_from(fd).unwrap_or(3))),
        (port, Some((path, line)), None) => {
            if !is_http_path(&path) {
                return Err(ConfigError::at(line, Mistake::HttpPath(path)));
            }
            match port.or(default) {
                Some(port) => Ok(Ready::Http { port, path }),
                None => Err(ConfigError::at(line, Mistake::NoPort)),
            }
        }
        (Some(port), None, None) => Ok(Ready::Port(port)),
        _ => Err(ConfigError::at(line, Mistake::ReadyForm)),
    }
}

/// Whether `path` can stand in a request as it is.
pub fn is_http_path(path: &str) -> bool {
    path.starts_with('/') && path.len() <= 1024 && path.bytes().all(|b| b.is_ascii_graphic())
}

fn read_restart(
    mut table: Table<'_>,
    kind: Kind,
    restart: &mut Restart,
) -> Result<(), ConfigError> {
    let line = table.line();
    match table.choice("when", &["always", "on-failure", "never"])? {
        Some("always") if kind == Kind::Oneshot => {
            return Err(ConfigError::at(line, Mistake::EndlessOneshot));
        }
        Some("always") => restart.when = When::Always,
        Some("on-failure") => restart.when = When::OnFailure,
        Some(_) => restart.when = When::Never,
        None => {}
    }
    restart.delay = duration(&mut table, "delay", restart.delay)?;
    let longest = restart.max_delay.max(restart.delay);
    restart.max_delay = duration(&mut table, "max_delay", longest)?;
    restart.healthy = duration(&mut table, "healthy", restart.healthy)?;
    restart.window = duration(&mut table, "window", restart.window)?;
    if let Some(deaths) = table.number("deaths", 0, 1000)? {
        restart.deaths = u32::try_from(deaths).unwrap_or(0);
    }
    table.end()?;
    if restart.delay < MIN_DELAY || restart.max_delay < restart.delay {
        return Err(ConfigError::at(line, Mistake::Delays));
    }
    Ok(())
}

fn duration(
    table: &mut Table<'_>,
    key: &'static str,
    default: Duration,
) -> Result<Duration, ConfigError> {
    let Some((text, line)) = table.string(key)? else {
        return Ok(default);
    };
    parse_duration(&text).map_err(|e| ConfigError::at(line, Mistake::Duration(key, e.to_string())))
}
