//! The command line.

use std::path::PathBuf;

use crate::cluster::kind::{Kind, Named};
use clap::{Args, Parser, Subcommand, ValueEnum};

/// Runs ordered steps, with a cluster or without.
#[derive(Debug, Parser)]
#[command(name = "baton", version, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What `baton` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run Tasks, Jobs, JobFlows and DaemonJobs: on this machine, or in a cluster (--cluster)
    ///
    /// What the steps print goes to standard output, each line after its step's name; what Baton
    /// itself says goes to standard error. The exit code is the task's: 0, or the failed step's
    /// code; 1 of a JobFlow or DaemonJob of which something failed; 124 where the time was up, 130 after Ctrl-C. 2 means that the input was not
    /// understood and nothing was started, 125 that Baton could not do its own part.
    ///
    /// With --cluster they are applied to a cluster and followed there until they are over; Ctrl-C
    /// cancels what runs, a second one leaves it running.
    Run(Box<Run>),
    /// Check files without running anything
    Validate(Validate),
    /// Print what an object's pods print in a cluster: of a Task in the order of its steps
    ///
    /// An object is named by NAME, or by KIND/NAME (task/x, jobflow/x, daemonjob/x) where one name
    /// has several.
    Logs(Logs),
    /// List the Tasks, JobFlows and DaemonJobs of a cluster
    #[command(visible_alias = "ls")]
    List(List),
    /// Show all that is known of an object in a cluster, and what to do about a failure
    Describe(Describe),
    /// Cancel Tasks, JobFlows and DaemonJobs in a cluster; what is over is kept
    Cancel(Cancel),
    /// Run again in a cluster: a Task from its first step, a JobFlow or DaemonJob what did not succeed
    Rerun(Rerun),
}

/// `baton run`
#[derive(Debug, Args)]
pub struct Run {
    /// YAML or JSON files, run in this order; `-` is standard input
    #[arg(required = true, value_name = "FILE|-")]
    pub files: Vec<PathBuf>,
    /// Set a parameter; an array or object as JSON, an array also as a,b,c
    #[arg(short, long = "param", value_name = "NAME=VALUE")]
    pub params: Vec<String>,
    /// Run in a cluster: apply what is in the files, and follow it until it is over
    #[arg(long)]
    pub cluster: bool,
    /// Set a variable in every step's environment; a step's own `env` wins over it
    #[arg(short, long = "env", value_name = "NAME=VALUE", value_parser = assignment, conflicts_with = "cluster")]
    pub env: Vec<(String, String)>,
    /// What to print at the end: a table for people, or one JSON document on standard output (the steps' output then goes to standard error)
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    /// Write a page with the timeline and the logs
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,
    /// Keep the scratch folder, and say where it is
    #[arg(long, conflicts_with = "cluster")]
    pub keep: bool,
    /// The steps' working folder; without it, the one of the YAML file
    #[arg(long, value_name = "DIR", conflicts_with = "cluster")]
    pub workdir: Option<PathBuf>,
    /// Colours and a live status line
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = Color::Auto)]
    pub color: Color,
    /// Print the steps' output and errors alone
    #[arg(short, long)]
    pub quiet: bool,
    /// With --cluster: which cluster.
    #[command(flatten)]
    pub target: Target,
}

/// Which cluster, and which namespace of it.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Cluster")]
pub struct Target {
    /// The namespace; without it, that of the context, or else `default`
    #[arg(short, long, value_name = "NAME")]
    pub namespace: Option<String>,
    /// The context of the kubeconfig; without it, the current one
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// The kubeconfig; without it, $KUBECONFIG, ~/.kube/config, or the pod that this runs in
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
}

impl Target {
    /// The first option that was given, if any was.
    pub fn given(&self) -> Option<&'static str> {
        [
            ("--namespace", self.namespace.is_some()),
            ("--context", self.context.is_some()),
            ("--kubeconfig", self.kubeconfig.is_some()),
        ]
        .into_iter()
        .find_map(|(name, given)| given.then_some(name))
    }
}

/// `baton logs`
#[derive(Debug, Args)]
pub struct Logs {
    /// The Task, JobFlow or DaemonJob
    #[arg(value_name = "[KIND/]NAME")]
    pub object: Named,
    /// Go on until it is over
    #[arg(short, long)]
    pub follow: bool,
    /// Of these steps, sidecars or containers alone; without it, of all
    #[arg(short, long = "step", value_name = "NAME")]
    pub steps: Vec<String>,
    /// Of these nodes of a JobFlow or DaemonJob alone; without it, of all
    #[arg(long = "node", value_name = "NAME")]
    pub nodes: Vec<String>,
    /// Of an earlier run of a Task; without it, of the last one
    #[arg(long, value_name = "NUMBER", conflicts_with = "follow")]
    pub run: Option<u32>,
    /// Print the lines as they are, without the steps' names before them
    #[arg(long)]
    pub no_prefix: bool,
    /// When to colour
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = Color::Auto)]
    pub color: Color,
    /// Which cluster.
    #[command(flatten)]
    pub target: Target,
}

/// `baton list`
#[derive(Debug, Args)]
pub struct List {
    /// Of these kinds alone: tasks, jobflows, daemonjobs; without one, of all
    #[arg(value_name = "KIND")]
    pub kinds: Vec<Kind>,
    /// Of all namespaces
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub all_namespaces: bool,
    /// Go on, with a line for each change
    #[arg(short, long)]
    pub watch: bool,
    /// Those with these labels alone
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub selector: Option<String>,
    /// A table for people, or the objects as JSON
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    /// When to colour
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = Color::Auto)]
    pub color: Color,
    /// Which cluster.
    #[command(flatten)]
    pub target: Target,
}

/// `baton describe`
#[derive(Debug, Args)]
pub struct Describe {
    /// The Task, JobFlow or DaemonJob
    #[arg(value_name = "[KIND/]NAME")]
    pub object: Named,
    /// For people, or the object as JSON
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    /// When to colour
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = Color::Auto)]
    pub color: Color,
    /// Which cluster.
    #[command(flatten)]
    pub target: Target,
}

/// `baton cancel`
#[derive(Debug, Args)]
pub struct Cancel {
    /// Tasks, JobFlows and DaemonJobs
    #[arg(required = true, value_name = "[KIND/]NAME")]
    pub objects: Vec<Named>,
    /// Which cluster.
    #[command(flatten)]
    pub target: Target,
}

/// `baton rerun`
#[derive(Debug, Args)]
pub struct Rerun {
    /// Tasks, JobFlows and DaemonJobs
    #[arg(required = true, value_name = "[KIND/]NAME")]
    pub objects: Vec<Named>,
    /// Follow the new run until it is over, and exit with its code; of one object
    #[arg(short, long)]
    pub follow: bool,
    /// Of a JobFlow or DaemonJob run again what succeeded too
    #[arg(long)]
    pub all: bool,
    /// When to colour
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = Color::Auto)]
    pub color: Color,
    /// Which cluster.
    #[command(flatten)]
    pub target: Target,
}

/// `baton validate`
#[derive(Debug, Args)]
pub struct Validate {
    /// YAML or JSON files; `-` is standard input
    #[arg(required = true, value_name = "FILE|-")]
    pub files: Vec<PathBuf>,
    /// Set a parameter, to check what is made of it
    #[arg(short, long = "param", value_name = "NAME=VALUE")]
    pub params: Vec<String>,
}

/// The form of what is printed at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !text.contains('\0') => {
            Ok((name.to_owned(), value.to_owned()))
        }
        _ => Err("write it as NAME=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn assignments() {
        assert_eq!(assignment("A=b=c"), Ok(("A".to_owned(), "b=c".to_owned())));
        assert_eq!(assignment("A="), Ok(("A".to_owned(), String::new())));
        assert!(assignment("A").is_err());
        assert!(assignment("=b").is_err());
    }
}
