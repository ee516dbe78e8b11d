//! The command line.

use std::path::PathBuf;

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
    /// Run Tasks and Jobs on this machine, without a cluster
    ///
    /// What the steps print goes to standard output, each line after its step's name; what Baton
    /// itself says goes to standard error. The exit code is the task's: 0, or the failed step's
    /// code; 124 where the time was up, 130 after Ctrl-C. 2 means that the input was not
    /// understood and nothing was started, 125 that Baton could not do its own part.
    Run(Box<Run>),
    /// Check files without running anything
    Validate(Validate),
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
    /// Set a variable in every step's environment; a step's own `env` wins over it
    #[arg(short, long = "env", value_name = "NAME=VALUE", value_parser = assignment)]
    pub env: Vec<(String, String)>,
    /// What to print at the end: a table for people, or one JSON document on standard output (the steps' output then goes to standard error)
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    /// Write a page with the timeline and the logs
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,
    /// Keep the scratch folder, and say where it is
    #[arg(long)]
    pub keep: bool,
    /// The steps' working folder; without it, the one of the YAML file
    #[arg(long, value_name = "DIR")]
    pub workdir: Option<PathBuf>,
    /// Colours and a live status line
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = Color::Auto)]
    pub color: Color,
    /// Print the steps' output and errors alone
    #[arg(short, long)]
    pub quiet: bool,
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
