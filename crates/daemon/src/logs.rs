//! Structured logs.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// What is logged where nothing else is asked for. The Kubernetes client is left out: it logs every
/// attempt to reach a server that is away.
pub const DEFAULT_LEVEL: &str = "info,kube_client=off,kube_runtime=off";

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Logs to standard error: in the given form, or as JSON where standard error is no terminal.
/// `RUST_LOG` goes before `level`.
///
/// # Errors
/// Where the filter cannot be read.
pub fn init(format: Option<LogFormat>, level: &str) -> Result<(), LogError> {
    let (from, text) = match std::env::var("RUST_LOG") {
        Ok(text) if !text.is_empty() => ("RUST_LOG", text),
        _ => ("--log-level", level.to_owned()),
    };
    let filter = EnvFilter::try_new(&text).map_err(|source| LogError { from, text, source })?;
    let format = format.unwrap_or(if std::io::stderr().is_terminal() {
        LogFormat::Text
    } else {
        LogFormat::Json
    });
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().flatten_event(true).init(),
    }
    Ok(())
}

/// A filter that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{from} is {text:?}: {source}")]
pub struct LogError {
    from: &'static str,
    text: String,
    source: tracing_subscriber::filter::ParseError,
}
