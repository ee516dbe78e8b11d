//! The command line.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use baton_protocol::time;
use clap::{Args, Parser, Subcommand, ValueEnum};

use baton_daemon::logs::{self, LogFormat};

/// The node agent of Baton: CSI node plugin, step order, events.
#[derive(Debug, Parser)]
#[command(name = "baton-agent", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do; `run` where nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The options of `run`.
    #[command(flatten)]
    pub run: RunArgs,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve this node, until SIGTERM
    Run(Box<RunArgs>),
    /// Show how the agent that runs on this node stands
    Status(StatusArgs),
}

/// How the agent runs.
#[derive(Debug, Args, Clone)]
pub struct RunArgs {
    /// This node's name in the cluster
    #[arg(long, env = "NODE_NAME", default_value = "", value_name = "NAME")]
    pub node_name: String,
    /// The namespace of the installation
    #[arg(
        long,
        env = "POD_NAMESPACE",
        default_value = "baton-system",
        value_name = "NAME"
    )]
    pub namespace: String,
    /// The kubelet's root folder, by the path that the kubelet uses for it
    #[arg(
        long,
        env = "BATON_KUBELET_DIR",
        default_value = "/var/lib/kubelet",
        value_name = "DIR"
    )]
    pub kubelet_dir: PathBuf,
    /// The agent's folder on the host's disk: records of pods, and the spool
    #[arg(long, env = "BATON_STATE_DIR", default_value = DEFAULT_STATE_DIR, value_name = "DIR")]
    pub state_dir: PathBuf,
    /// The folder that holds the tools for pods: `entrypoint` and `init`
    #[arg(
        long,
        env = "BATON_TOOLS_DIR",
        default_value = "/bin",
        value_name = "DIR"
    )]
    pub tools_dir: PathBuf,
    /// Where events go. The certificate is checked for the name in this URL
    #[arg(
        long,
        env = "BATON_COORDINATOR",
        default_value = "https://baton-coordinator.baton-system.svc",
        value_name = "URL"
    )]
    pub coordinator: String,
    /// The address of the coordinator's Service, for clusters whose DNS does not resolve its name
    #[arg(long, env = "BATON_COORDINATOR_SERVICE_HOST", value_name = "IP")]
    pub coordinator_address: Option<IpAddr>,
    /// The coordinator's certificate authority, in place of ConfigMap `baton-ca`
    #[arg(long, env = "BATON_CA_FILE", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// The agent's token for the coordinator
    #[arg(
        long,
        env = "BATON_TOKEN_FILE",
        default_value = "/var/run/secrets/baton/token",
        value_name = "FILE"
    )]
    pub token_file: PathBuf,
    /// Where `/metrics`, `/healthz` and `/readyz` are served
    #[arg(
        long,
        env = "BATON_LISTEN",
        default_value = "0.0.0.0:8080",
        value_name = "ADDRESS"
    )]
    pub listen: SocketAddr,
    /// Most bytes of events on the disk that wait for the coordinator
    #[arg(long, env = "BATON_SPOOL_BYTES", default_value = "64Mi", value_parser = parse_bytes, value_name = "BYTES")]
    pub spool_bytes: u64,
    /// Most bytes of a pod's volume, in memory
    #[arg(long, env = "BATON_VOLUME_BYTES", default_value = "64Mi", value_parser = parse_bytes, value_name = "BYTES")]
    pub volume_bytes: u64,
    /// Most files and folders that a pod may make in its volume
    #[arg(
        long,
        env = "BATON_VOLUME_FILES",
        default_value_t = 16 << 10,
        value_name = "COUNT"
    )]
    pub volume_files: u64,
    /// How long a pod has to be gone from the API server before its volume is removed without the kubelet's
    /// asking
    #[arg(long, env = "BATON_GONE_AFTER", default_value = "2m", value_parser = time::parse_duration, value_name = "TIME")]
    pub gone_after: Duration,
    /// The form of log lines; JSON where standard error is no terminal
    #[arg(long, env = "BATON_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// What is logged, as `RUST_LOG` takes it
    #[arg(
        long,
        env = "BATON_LOG_LEVEL",
        default_value = logs::DEFAULT_LEVEL,
        value_name = "FILTER"
    )]
    pub log_level: String,
}

const DEFAULT_STATE_DIR: &str = "/var/lib/baton";

/// How the state is shown.
#[derive(Debug, Args, Clone)]
pub struct StatusArgs {
    /// The agent's folder on the host's disk
    #[arg(long, env = "BATON_STATE_DIR", default_value = DEFAULT_STATE_DIR, value_name = "DIR")]
    pub state_dir: PathBuf,
    /// The form of the output
    #[arg(long, short, default_value = "text", value_name = "FORMAT")]
    pub output: Output,
}

/// A form of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Reads a number of bytes: `65536`, `64Ki`, `64Mi`, `1Gi`.
fn parse_bytes(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let factor: u64 = match unit {
        "" => 1,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        _ => {
            return Err(format!(
                "{unit:?} is no unit of bytes; write 65536, 64Ki, 64Mi or 1Gi"
            ));
        }
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(factor))
        .ok_or_else(|| format!("{text:?} is no number of bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_is_what_is_done_where_nothing_is_said() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
        let cli = Cli::parse_from(["baton-agent", "--node-name", "n1", "--spool-bytes", "1Mi"]);
        assert!(cli.command.is_none());
        assert_eq!(
            (cli.run.node_name.as_str(), cli.run.spool_bytes),
            ("n1", 1 << 20)
        );
        let cli = Cli::parse_from(["baton-agent", "run", "--node-name", "n1"]);
        assert!(matches!(cli.command, Some(Command::Run(args)) if args.node_name == "n1"));
        let cli = Cli::parse_from(["baton-agent", "status", "-o", "json"]);
        assert!(matches!(cli.command, Some(Command::Status(args)) if args.output == Output::Json));
    }

    #[test]
    fn bytes_are_read_strictly() {
        for (text, want) in [
            ("0", Some(0)),
            ("65536", Some(65536)),
            ("2Ki", Some(2048)),
            ("1Gi", Some(1 << 30)),
            ("", None),
            ("Mi", None),
            ("1M", None),
            ("-1", None),
            ("1.5Gi", None),
            ("99999999999Gi", None),
        ] {
            assert_eq!(parse_bytes(text).ok(), want, "{text}");
        }
    }
}
