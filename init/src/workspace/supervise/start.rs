//! Starting a service.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Instant;

use baton_pid1::stdio::foreground_terminal;
use baton_pid1::{Command, SpawnError, tree};
use baton_protocol::event::Fact;

use super::Supervisor;
use crate::run::code_of;
use crate::workspace::config::{Ready, Service};
use crate::workspace::plan::{Event, Index};
use crate::workspace::probe::Probe;
use crate::workspace::tell::now as wall_clock;
use crate::workspace::users::Account;

impl Supervisor<'_> {
    pub(super) fn start(&mut self, index: Index) -> Event {
        let failed = |code| Event::Ended { index, code };
        let service = self.name(index);
        self.emit(Fact::Starting { service });
        match self.spawn(index) {
            Ok(()) => Event::Started(index),
            Err(e) => {
                self.say(&format!("{}: {e}", self.name(index)));
                let code = match &e {
                    StartError::Spawn(e) => code_of(e),
                    StartError::Probe(_) => baton_protocol::exit::FAILED,
                };
                let service = self.name(index);
                self.emit(Fact::ServiceDied {
                    service,
                    exit_code: code,
                    signal: None,
                });
                failed(code)
            }
        }
    }

    fn spawn(&mut self, index: Index) -> Result<(), StartError> {
        let workspace = self.workspace;
        let (Some(service), Some(unit)) =
            (workspace.services.get(index), self.units.get_mut(index))
        else {
            return Ok(());
        };
        // What the last run left must be gone, with the ports and files that it holds.
        if let Some(group) = unit.group.take() {
            tree::send_group(group, libc::SIGKILL);
        }
        let account = self.accounts.get(index).and_then(Option::as_ref);
        let mut command = command(service, account);
        match &unit.streams {
            Some(streams) => {
                command.stdin = self.null.as_ref().map(AsRawFd::as_raw_fd);
                command.stdout = Some(streams.out_end.as_raw_fd());
                command.stderr = Some(streams.err_end.as_raw_fd());
            }
            None => command.terminal = foreground_terminal(),
        }
        let mut end = None;
        unit.probe = None;
        if let Some(ready) = &service.ready {
            let (probe, its_end) = Probe::new(ready, Instant::now()).map_err(StartError::Probe)?;
            if let (Ready::Fd(number), Some(its_end)) = (ready, &its_end) {
                command.pass = Some((its_end.as_raw_fd(), *number));
            }
            (unit.probe, end) = (Some(probe), its_end);
        }
        let started = command.spawn(self.inherited);
        drop(end); // the service has its own
        match started {
            Ok(pid) => {
                (unit.pid, unit.since) = (Some(pid), Some(wall_clock()));
                Ok(())
            }
            Err(e) => {
                unit.probe = None;
                Err(e.into())
            }
        }
    }
}

/// Why a service did not start.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    #[error("cannot make the pipe by which it tells that it is ready: {0}")]
    Probe(io::Error),
}

/// A service's command, as far as it does not depend on what goes on.
fn command(service: &Service, account: Option<&Account>) -> Command {
    let mut command = Command::new(service.command.clone());
    command.folder = service.cwd.clone().map(OsString::from);
    command.env.clone_from(&service.env);
    let mut default = |name: &str, value: Option<OsString>| {
        if let Some(value) = value
            && !command.env.iter().any(|(set, _)| set == name)
        {
            command.env.push((name.into(), value));
        }
    };
    if let Some(account) = account {
        default("HOME", account.home.clone().map(OsString::from));
        default("USER", account.name.clone().map(OsString::from));
        default("LOGNAME", account.name.clone().map(OsString::from));
    }
    if let Some(Ready::Fd(number)) = service.ready {
        default("NOTIFY_FD", Some(number.to_string().into()));
    }
    command.user = account.map(|account| account.user.clone());
    command
}
