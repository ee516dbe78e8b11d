//! `init workspace`: makes the user's folders, seeds his volume, then starts services and keeps
//! them up.
//!
//! Reads top to bottom: [`args`] and [`config`] say what is wanted; [`plan`] decides, and does
//! nothing; `supervise` is the loop that does what it says. One process, one thread, one poll.

use std::collections::hash_map::RandomState;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::path::{Path, PathBuf};

use baton_pid1::runner::Policy;
use baton_pid1::{Command, Inherited, Runner, Signals};
use baton_protocol::event::Fact;
use baton_protocol::{Reason, exit};

use crate::run::{open_signals, wait};
use crate::{USAGE, cli, say, seed};

pub mod args;
pub mod config;
pub mod error;
mod logs;
pub mod plan;
mod probe;
pub mod program;
pub mod report;
mod resolve;
mod supervise;
mod table;
mod tell;
pub mod users;

use config::{Seed, Workspace};
use error::{ConfigError, Mistake};
use report::{Phase, StateDir, Status};
use supervise::Supervisor;
use tell::Events;
use users::Account;

/// Why services cannot even be tried.
#[derive(Debug, thiserror::Error)]
enum SetUpError {
    #[error(transparent)]
    Run(#[from] crate::run::RunError),
    #[error(transparent)]
    Events(#[from] tell::EventsError),
    #[error("cannot make the folder {}: {source}", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("cannot start the seed of {}: {source}", to.display())]
    Seed {
        to: PathBuf,
        source: baton_pid1::SpawnError,
    },
    #[error("cannot prepare the services' output: {0}")]
    Output(io::Error),
}

/// Runs a workspace to its end and gives the exit code.
pub fn run(options: &args::Options, inherited: &Inherited) -> i32 {
    let checked = options.workspace().and_then(|workspace| {
        let accounts = check(&workspace)?;
        Ok((workspace, accounts))
    });
    let (workspace, accounts) = match checked {
        Ok(checked) => checked,
        Err(e) => {
            say(&e.to_string());
            return USAGE.into();
        }
    };
    match live(options, &workspace, accounts, inherited) {
        Ok(code) => code,
        Err(e) => {
            say(&e.to_string());
            exit::CANCELLED
        }
    }
}

/// What can be wrong before anything is started.
fn check(workspace: &Workspace) -> Result<Vec<Option<Account>>, ConfigError> {
    let later: Vec<_> = workspace
        .seeds
        .iter()
        .map(|seed| seed.to.clone())
        .chain(workspace.folders.iter().cloned())
        .collect();
    let in_file = |e: ConfigError| match &workspace.file {
        Some(file) => e.in_file(file),
        None => e,
    };
    let mut accounts = Vec::new();
    for service in &workspace.services {
        program::check(service, &later).map_err(in_file)?;
        accounts.push(match &service.user {
            None => None,
            Some(user) => {
                let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
                let group = fs::read_to_string("/etc/group").unwrap_or_default();
                let found = users::find(user, &passwd, &group).map_err(|e| {
                    let mistake = Mistake::User {
                        service: service.name.clone(),
                        cause: e.to_string(),
                    };
                    in_file(ConfigError::at(service.line, mistake))
                })?;
                Some(found)
            }
        });
    }
    Ok(accounts)
}

fn live(
    options: &args::Options,
    workspace: &Workspace,
    accounts: Vec<Option<Account>>,
    inherited: &Inherited,
) -> Result<i32, SetUpError> {
    let mut signals = open_signals()?;
    let step_dir = options.step_dir();
    let mut events = Events::open(step_dir.as_deref())?;
    let state = match StateDir::open(options.state.as_deref()) {
        Ok(state) => Some(state),
        Err(e) => {
            say(&format!(
                "{e}; `init status` will not know of this workspace"
            ));
            None
        }
    };
    let owner = accounts.get(workspace.main).and_then(Option::as_ref);
    for folder in &workspace.folders {
        make_folder(folder, owner)?;
    }
    if let Some(code) = seed_all(workspace, &state, &mut events, inherited, &mut signals)? {
        return Ok(code);
    }
    let supervisor = Supervisor::new(
        workspace,
        accounts,
        inherited,
        signals,
        events,
        state,
        step_dir,
        jitter(),
    );
    Ok(supervisor.map_err(SetUpError::Output)?.run())
}

/// Makes a folder, and those above it; it then belongs to the user of the main service.
fn make_folder(folder: &Path, owner: Option<&Account>) -> Result<(), SetUpError> {
    let failed = |source| SetUpError::Folder {
        path: folder.to_owned(),
        source,
    };
    if folder.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(folder).map_err(failed)?;
    say(&format!("made the folder {}", folder.display()));
    match owner.filter(|_| rustix::process::geteuid().is_root()) {
        Some(account) => {
            let (uid, gid) = (account.user.uid, account.user.gid);
            std::os::unix::fs::chown(folder, Some(uid), Some(gid)).map_err(failed)
        }
        None => Ok(()),
    }
}

/// Seeds what is not seeded yet. Gives an exit code where that failed, or was to stop.
///
/// A seed is a process of its own: it can take minutes, and a signal must end it at once.
fn seed_all(
    workspace: &Workspace,
    state: &Option<StateDir>,
    events: &mut Events,
    inherited: &Inherited,
    signals: &mut Signals,
) -> Result<Option<i32>, SetUpError> {
    let mut told = false;
    for seed in &workspace.seeds {
        if seed::is_current(&seed_options(seed)).unwrap_or(false) {
            continue;
        }
        if !told {
            told = true;
            let _ = events.emit(Fact::Seeding);
            if let Some(state) = state {
                let _ = state.write(&Status {
                    pid: std::process::id(),
                    started_at: tell::now(),
                    phase: Phase::Seeding,
                    port: workspace.port,
                    services: Vec::new(),
                });
            }
        }
        let policy = Policy {
            single_child: false,
            grace: workspace.stop_deadline,
        };
        let command = Command::new(seed_command(seed));
        let runner =
            Runner::start(&command, inherited, policy).map_err(|source| SetUpError::Seed {
                to: seed.to.clone(),
                source,
            })?;
        let (ended, asked) = wait(runner, signals);
        if asked || ended.code() != 0 {
            let reason = if asked {
                Reason::Cancelled
            } else {
                Reason::Error
            };
            let _ = events.emit(Fact::Stopping { reason });
            let _ = events.emit(Fact::Stopped {
                exit_code: ended.code(),
            });
            if !asked {
                say("no service was started, as the seed failed");
            }
            return Ok(Some(ended.code()));
        }
    }
    Ok(None)
}

fn seed_options(seed: &Seed) -> seed::Options {
    seed::Options {
        from: seed.from.clone(),
        to: seed.to.clone(),
        version: seed.version.as_ref().map(|text| text.clone().into_bytes()),
        adopt: seed.adopt,
        prune: seed.prune,
        dry_run: false,
        sync: false,
        quiet: false,
        threads: cli::default_threads(),
    }
}

fn seed_command(seed: &Seed) -> Vec<OsString> {
    let (from, to) = (seed.from.as_os_str(), seed.to.as_os_str());
    let words = ["/proc/self/exe", "seed", "--from"].map(OsStr::new);
    let mut words: Vec<_> = words
        .into_iter()
        .chain([from, "--to".as_ref(), to])
        .collect();
    if let Some(version) = &seed.version {
        words.extend([OsStr::new("--version"), version.as_ref()]);
    }
    if seed.adopt {
        words.push("--adopt".as_ref());
    }
    if seed.prune {
        words.push("--prune".as_ref());
    }
    words.into_iter().map(OsStr::to_owned).collect()
}

/// Chance from the kernel, as the standard library gets it for its hash tables.
fn jitter() -> plan::Jitter {
    let seed = RandomState::new();
    let mut calls = 0_u64;
    Box::new(move || {
        calls += 1;
        let mut hasher = seed.build_hasher();
        hasher.write_u64(calls);
        // 32 bits: an f64 holds them exactly.
        f64::from((hasher.finish() >> 32) as u32) / f64::from(u32::MAX)
    })
}
