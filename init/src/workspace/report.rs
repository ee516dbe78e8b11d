//! What a supervisor tells others: who runs (for `init status`), and when clients were there.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use baton_protocol::Timestamp;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

/// The file of [`Status`], in the state folder.
const STATUS: &str = "status.json";
/// Held by the supervisor as long as it lives.
const LOCK: &str = "lock";
/// The file of [`Activity`], in the state folder and in the step folder.
const ACTIVITY: &str = "activity";
/// Largest status file that is read, in bytes.
const MAX_STATUS: u64 = 1 << 20;
/// Where state is kept where nothing is said.
const RUN: &str = "/run/baton";

/// What a supervisor does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The supervisor.
    pub pid: u32,
    /// When it started.
    pub started_at: Timestamp,
    /// How far it is.
    pub phase: Phase,
    /// Where clients connect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The services, in the order of the configuration.
    pub services: Vec<ServiceStatus>,
}

/// How far a supervisor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// It seeds.
    Seeding,
    /// Its services start and run.
    Running,
    /// Its services end.
    Stopping,
}

/// One service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// Whether its exit code is the container's.
    pub main: bool,
    /// What goes on with it.
    pub state: ServiceState,
    /// Whether it is ready, or done.
    pub ready: bool,
    /// Its process, while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// Since when it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// How often it was started again.
    pub restarts: u32,
    /// How it ended last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit_code: Option<i32>,
}

/// What goes on with a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceState {
    /// For what it needs.
    Waiting,
    /// It runs, and is not ready.
    Starting,
    /// It runs, and is ready.
    Ready,
    /// It died, and is started again.
    Backoff,
    /// A oneshot that succeeded.
    Done,
    /// It ended, and is not started again.
    Over,
    /// It was told to stop.
    Stopping,
    /// It was stopped.
    Stopped,
}

/// When clients were there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Activity {
    /// The port that is looked at.
    pub port: u16,
    /// Established connections to it at the last look.
    pub connections: usize,
    /// The last look that saw one.
    pub last_seen: Option<Timestamp>,
    /// Since when it is looked: the workspace was ready.
    pub since: Timestamp,
}

/// Why there is no state.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The folder cannot be used.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A shared folder holds one of this name that is somebody else's.
    #[error("{} is not a folder of ours", .0.display())]
    Foreign(PathBuf),
    /// There is one already.
    #[error("another supervisor uses {}; give this one another --state DIR", .0.display())]
    Taken(PathBuf),
    /// There is none.
    #[error("no workspace runs here ({} says nothing)", .0.display())]
    NotRunning(PathBuf),
    /// The status file is broken.
    #[error("{} is not a status: {cause}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: String,
    },
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
    move |source| StateError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

/// Where state may be, in the order in which it is tried.
fn places(given: Option<&Path>) -> Vec<PathBuf> {
    match given {
        Some(given) => vec![given.to_owned()],
        None => {
            let uid = rustix::process::geteuid().as_raw();
            vec![RUN.into(), format!("/tmp/baton-{uid}").into()]
        }
    }
}

/// A supervisor's state folder.
#[derive(Debug)]
pub(super) struct StateDir {
    folder: PathBuf,
    _lock: File,
}

impl StateDir {
    /// Makes the folder, and takes it for this supervisor.
    pub(super) fn open(given: Option<&Path>) -> Result<StateDir, StateError> {
        let mut failed = None;
        for folder in places(given) {
            match Self::open_in(&folder) {
                Ok(state) => return Ok(state),
                Err(e @ StateError::Taken(_)) => return Err(e),
                Err(e) => failed = Some(e),
            }
        }
        Err(failed.unwrap_or(StateError::NotRunning(RUN.into())))
    }

    fn open_in(folder: &Path) -> Result<StateDir, StateError> {
        let mut make = DirBuilder::new();
        match make.recursive(false).mode(0o755).create(folder) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => make
                .recursive(true)
                .create(folder)
                .map_err(io_error("make", folder))?,
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                return Err(io_error("make", folder)(e));
            }
            _ => {}
        }
        let meta = fs::symlink_metadata(folder).map_err(io_error("look at", folder))?;
        if !meta.is_dir() || meta.uid() != rustix::process::geteuid().as_raw() {
            return Err(StateError::Foreign(folder.to_owned()));
        }
        let path = folder.join(LOCK);
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)
            .map_err(io_error("open", &path))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(StateDir {
                folder: folder.to_owned(),
                _lock: lock,
            }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(StateError::Taken(folder.to_owned())),
            Err(e) => Err(io_error("lock", &path)(e.into())),
        }
    }

    pub(super) fn write(&self, status: &Status) -> Result<(), StateError> {
        replace(
            &self.folder,
            STATUS,
            &serde_json::to_vec(status).unwrap_or_default(),
        )
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Writes the activity file into a folder.
pub(super) fn write_activity(folder: &Path, activity: &Activity) -> Result<(), StateError> {
    let mut content = serde_json::to_vec(activity).unwrap_or_default();
    content.push(b'\n');
    replace(folder, ACTIVITY, &content)
}

/// Readers see the old content or the new, never a part.
fn replace(folder: &Path, name: &str, content: &[u8]) -> Result<(), StateError> {
    let (made, path) = (folder.join(format!(".{name}")), folder.join(name));
    fs::write(&made, content)
        .and_then(|()| fs::rename(&made, &path))
        .map_err(io_error("write", &path))
}

/// Reads what the supervisor does that runs here.
///
/// # Errors
/// Where none runs, or its state cannot be read.
pub fn read(given: Option<&Path>) -> Result<Status, StateError> {
    let mut nothing = None;
    for folder in places(given) {
        match read_in(&folder) {
            Err(e @ StateError::NotRunning(_)) => nothing = nothing.or(Some(e)),
            done => return done,
        }
    }
    Err(nothing.unwrap_or(StateError::NotRunning(RUN.into())))
}

fn read_in(folder: &Path) -> Result<Status, StateError> {
    let none = || StateError::NotRunning(folder.to_owned());
    let lock = match File::open(folder.join(LOCK)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(none()),
        lock => lock.map_err(io_error("open", &folder.join(LOCK)))?,
    };
    // The kernel releases it with the supervisor's end, however that came.
    match flock(&lock, FlockOperation::NonBlockingLockShared) {
        Err(rustix::io::Errno::WOULDBLOCK) => {}
        _ => return Err(none()),
    }
    let path = folder.join(STATUS);
    let mut content = Vec::new();
    File::open(&path)
        .and_then(|file| file.take(MAX_STATUS).read_to_end(&mut content))
        .map_err(io_error("read", &path))?;
    serde_json::from_slice(&content).map_err(|e| StateError::Malformed {
        path,
        cause: e.to_string(),
    })
}

/// Counts established connections to a port, by the text of /proc/net/tcp or tcp6.
pub(super) fn established(table: &str, port: u16) -> usize {
    let is_one = |line: &&str| {
        let mut fields = line.split_ascii_whitespace();
        let local = fields.nth(1).and_then(|address| address.rsplit_once(':'));
        let at_port = local.is_some_and(|(_, hex)| u16::from_str_radix(hex, 16) == Ok(port));
        at_port && fields.nth(1) == Some("01")
    };
    table.lines().filter(is_one).count()
}

/// Established connections to a port of this network namespace, now.
pub(super) fn connections(port: u16) -> usize {
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .map(|table| established(&table, port))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_established_connections_to_the_port_count() {
        let table = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:270F 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1
   1: 0100007F:270F 0200000A:C350 01 00000000:00000000 00:00000000 00000000     0        0 2 1
   2: 0100007F:270F 0200000A:C351 06 00000000:00000000 03:00001770 00000000     0        0 0 3
   3: 0100007F:C352 0100007F:270F 01 00000000:00000000 00:00000000 00000000     0        0 3 1
   4: 0000000000000000FFFF00000100007F:270F 0000000000000000FFFF00000100007F:C353 01 0:0 0:0 0 0 0 4
";
        assert_eq!(established(table, 9999), 2);
        assert_eq!(established(table, 8080), 0);
        assert_eq!(established("nonsense\n\n: : :", 9999), 0);
    }

    #[test]
    fn a_status_is_there_as_long_as_its_supervisor() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        assert!(matches!(read(Some(&path)), Err(StateError::NotRunning(_))));
        let state = StateDir::open(Some(&path)).unwrap();
        let status = Status {
            pid: 1,
            started_at: Timestamp(std::time::UNIX_EPOCH),
            phase: Phase::Running,
            port: Some(9999),
            services: Vec::new(),
        };
        state.write(&status).unwrap();
        assert_eq!(read(Some(&path)).unwrap(), status);
        assert!(matches!(
            StateDir::open(Some(&path)),
            Err(StateError::Taken(_))
        ));
        drop(state);
        assert!(matches!(read(Some(&path)), Err(StateError::NotRunning(_))));
    }
}
