//! Structured logs.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// What is logged where nothing else is asked for.
pub const DEFAULT_LEVEL: &str = "info";

/// The Kubernetes client is left out unless it is named: it logs every attempt to reach a server that
/// is away.
const QUIET: &str = "kube_client=off,kube_runtime=off";

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
    let filter = match from {
        "RUST_LOG" => EnvFilter::try_new(&text),
        _ => quiet(&text),
    };
    let filter = filter.map_err(|source| LogError { from, text, source })?;
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

fn quiet(level: &str) -> Result<EnvFilter, tracing_subscriber::filter::ParseError> {
    // Of two that name the same, the later counts.
    EnvFilter::try_new(format!("{QUIET},{level}"))
}

/// A filter that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{from} is {text:?}: {source}")]
pub struct LogError {
    from: &'static str,
    text: String,
    source: tracing_subscriber::filter::ParseError,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kubernetes_client_is_quiet_unless_it_is_named() {
        let filter = quiet("debug").unwrap().to_string();
        assert!(filter.contains("kube_client=off"), "{filter}");
        assert!(filter.contains("debug"), "{filter}");
        let filter = quiet("info,kube_client=debug").unwrap().to_string();
        assert!(filter.contains("kube_client=debug"), "{filter}");
        assert!(!filter.contains("kube_client=off"), "{filter}");
        assert!(quiet("loud=very").is_err());
    }
}
