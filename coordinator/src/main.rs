//! The coordinator's process: see the library.

use std::process::ExitCode;

use baton_coordinator::config::Config;
use baton_coordinator::process;
use baton_daemon::logs;
use clap::Parser;

fn main() -> ExitCode {
    let config = Config::parse();
    if let Err(error) = logs::init(config.log_format, &config.log_level) {
        eprintln!("baton-coordinator: {error}");
        return ExitCode::from(2);
    }
    match process::run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
