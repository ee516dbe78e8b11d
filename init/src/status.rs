//! `init status`: what runs in this container's workspace.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use baton_protocol::Timestamp;
use baton_protocol::time::format_duration;
use lexopt::{Arg, Parser};

use crate::cli::{self, UsageError};
use crate::workspace::report::{self, ServiceStatus, Status};

/// What to show, and how.
#[derive(Debug, Default)]
pub struct Options {
    /// Where the supervisor keeps its state.
    pub state: Option<PathBuf>,
    /// For programs.
    pub json: bool,
}

/// Reads the command line behind `init status`.
pub(crate) fn parse(parser: &mut Parser) -> Result<cli::Command, UsageError> {
    let mut options = Options::default();
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("state") => options.state = Some(cli::path("--state", parser)?),
            Arg::Short('o') | Arg::Long("output") => match &*cli::text("-o", parser)? {
                "json" => options.json = true,
                "text" => options.json = false,
                _ => return Err(UsageError::Value("-o", "takes json or text")),
            },
            Arg::Long("help") | Arg::Short('h') => return Ok(cli::Command::Help),
            other => return Err(cli::unknown("status", &["state", "output", "help"], other)),
        }
    }
    Ok(cli::Command::Status(options))
}

/// The text to print.
///
/// # Errors
/// Where nothing runs here.
pub fn show(options: &Options) -> Result<String, String> {
    let status = report::read(options.state.as_deref()).map_err(|e| e.to_string())?;
    if options.json {
        let json = serde_json::to_string_pretty(&status).map_err(|e| e.to_string())?;
        return Ok(json + "\n");
    }
    Ok(table(&status, SystemTime::now().into()))
}

fn table(status: &Status, now: Timestamp) -> String {
    let mut rows = vec![
        [
            "SERVICE",
            "STATE",
            "READY",
            "PID",
            "UPTIME",
            "RESTARTS",
            "LAST EXIT",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    rows.extend(status.services.iter().map(|service| row(service, now)));
    let mut text = format!(
        "init {} {:?} for {}",
        status.pid,
        status.phase,
        uptime(now.since(status.started_at))
    );
    if let Some(port) = status.port {
        let _ = write!(text, ", port {port}");
    }
    text.push('\n');
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(String::len).max().unwrap_or(0)
    };
    for row in &rows {
        let cells = row.iter().enumerate();
        let line: String = cells
            .map(|(column, cell)| format!("{cell:width$}  ", width = width(column)))
            .collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn row(service: &ServiceStatus, now: Timestamp) -> Vec<String> {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let main = if service.main { " (main)" } else { "" };
    vec![
        format!("{}{main}", service.name),
        format!("{:?}", service.state),
        if service.ready { "yes" } else { "no" }.to_owned(),
        or_none(service.pid.map(|pid| pid.to_string())),
        or_none(service.since.map(|since| uptime(now.since(since)))),
        service.restarts.to_string(),
        or_none(service.last_exit_code.map(|code| code.to_string())),
    ]
}

fn uptime(length: Duration) -> String {
    format_duration(Duration::from_secs(length.as_secs()))
}
