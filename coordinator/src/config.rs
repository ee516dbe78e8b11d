//! The command line.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Parser;

use crate::callbacks::guard::Allowed;
use baton_daemon::logs::{self, LogFormat};

/// Turns Tasks into pods, takes in what the agents tell, and tells receivers what happened.
///
/// It speaks to the cluster that it runs in, or to that of the kubeconfig (KUBECONFIG) elsewhere.
#[derive(Debug, Clone, Parser)]
#[command(name = "baton-coordinator", version)]
pub struct Config {
    /// Run the Tasks of this namespace; may be given more than once. Those of all namespaces where it
    /// is not given
    #[arg(long = "namespace", value_name = "NAME", env = "BATON_NAMESPACES", value_delimiter = ',', value_parser = label)]
    pub namespaces: Vec<String>,
    /// The image that brings the tools to pods on nodes without the agent
    #[arg(
        long,
        value_name = "IMAGE",
        env = "BATON_TOOLS_IMAGE",
        default_value = concat!("baton.dev/baton-tools:", env!("CARGO_PKG_VERSION"))
    )]
    pub tools_image: String,
    /// The pull policy of that image: Always, IfNotPresent or Never; the cluster's default where it is
    /// not given
    #[arg(long, value_name = "POLICY", value_parser = ["Always", "IfNotPresent", "Never"])]
    pub tools_pull_policy: Option<String>,
    /// The user that steps run as where neither the Task nor its pod template says anything: a UID, or
    /// `image` for that of each image
    #[arg(long, value_name = "UID|image", default_value_t = DefaultUser(Some(baton_pod::build::DEFAULT_USER)))]
    pub run_as_user: DefaultUser,
    /// The namespace of this installation
    #[arg(long, value_name = "NAME", env = "POD_NAMESPACE", default_value = "baton-system", value_parser = label)]
    pub own_namespace: String,
    /// The name of this replica, unique among them
    #[arg(long, value_name = "NAME", env = "POD_NAME", default_value_t = format!("baton-coordinator-{}", std::process::id()))]
    pub pod_name: String,
    /// Serve agents and the API server here, over TLS
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:8443")]
    pub listen: SocketAddr,
    /// Serve probes and metrics here
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:8080")]
    pub listen_metrics: SocketAddr,
    /// A file with receivers of every Task's events: a YAML list of {url, format, events, secretFile}
    #[arg(long, value_name = "FILE")]
    pub sinks_file: Option<PathBuf>,
    /// Callbacks may go to these addresses although they are not public: a CIDR, a host name or
    /// *.SUFFIX; may be given more than once
    #[arg(
        long,
        value_name = "CIDR|HOST",
        env = "BATON_CALLBACK_ALLOW",
        value_delimiter = ','
    )]
    pub callback_allow: Vec<Allowed>,
    /// The form of log lines: json where standard error is no terminal
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// What is logged, as RUST_LOG takes it
    #[arg(long, value_name = "FILTER", default_value = logs::DEFAULT_LEVEL)]
    pub log_level: String,
}

/// The user of steps that name none; `None` for that of their images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DefaultUser(pub Option<i64>);

impl fmt::Display for DefaultUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(uid) => uid.fmt(f),
            None => f.write_str("image"),
        }
    }
}

impl FromStr for DefaultUser {
    type Err = String;

    fn from_str(text: &str) -> Result<DefaultUser, String> {
        if text == "image" {
            return Ok(DefaultUser(None));
        }
        // What Kubernetes takes.
        match text.parse::<i64>() {
            Ok(uid @ 0..=2_147_483_647) => Ok(DefaultUser(Some(uid))),
            _ => Err("it is neither a UID (0 to 2147483647) nor `image`".to_owned()),
        }
    }
}

/// A DNS label, as namespaces' names are.
fn label(text: &str) -> Result<String, String> {
    let fits = (1..=63).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-');
    if fits {
        Ok(text.to_owned())
    } else {
        Err("it is no name of a namespace: lower-case letters, digits and hyphens".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Config::command().debug_assert();
        let config = Config::try_parse_from([
            "baton-coordinator",
            "--namespace=a,b",
            "--namespace=c",
            "--callback-allow=10.0.0.0/8",
            "--callback-allow=*.svc",
        ])
        .unwrap();
        assert_eq!(config.namespaces, ["a", "b", "c"]);
        assert_eq!(config.callback_allow.len(), 2);
        assert_eq!(config.run_as_user, DefaultUser(Some(65532)));
        assert_eq!("image".parse(), Ok(DefaultUser(None)));
        for bad in [
            "--run-as-user=root",
            "--tools-pull-policy=Sometimes",
            "--namespace=A_b",
            "--callback-allow=10.0.0.0/33",
            "--callback-allow=a b",
        ] {
            assert!(
                Config::try_parse_from(["baton-coordinator", bad]).is_err(),
                "{bad}"
            );
        }
    }
}
