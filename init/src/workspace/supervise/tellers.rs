//! What the supervisor tells others: its status, and when clients were there.

use std::time::{Duration, Instant};

use nix::unistd::Pid;

use super::Supervisor;
use crate::workspace::config::Service;
use crate::workspace::plan::{Index, State};
use crate::workspace::report::{
    Phase, ServiceState, ServiceStatus, StateDir, Status, connections, write_activity,
};
use crate::workspace::tell::now as wall_clock;

/// How often clients' connections are counted.
pub(super) const ACTIVITY: Duration = Duration::from_secs(10);

impl Supervisor<'_> {
    pub(super) fn count_connections(&mut self) {
        let (Some(due), Some(activity)) = (self.next_look, &mut self.activity) else {
            return;
        };
        if Instant::now() < due {
            return;
        }
        self.next_look = Some(Instant::now() + ACTIVITY);
        let seen = connections(activity.port);
        if seen == 0 && activity.connections == 0 {
            return;
        }
        activity.connections = seen;
        if seen > 0 {
            activity.last_seen = Some(wall_clock());
        }
        self.write_activity();
    }

    pub(super) fn write_activity(&mut self) {
        let Some(activity) = &self.activity else {
            return;
        };
        let folders = [
            self.step_dir.as_deref(),
            self.state.as_ref().map(StateDir::folder),
        ];
        let failed = folders
            .into_iter()
            .flatten()
            .find_map(|folder| write_activity(folder, activity).err());
        if let Some(e) = failed {
            self.next_look = None;
            self.activity = None;
            self.say(&format!("{e}; clients' connections are not counted"));
        }
    }

    pub(super) fn write_status(&mut self) {
        if self.state.is_none() {
            return;
        }
        let services = self.workspace.services.iter().enumerate();
        let services = services.map(|(index, service)| self.service_status(index, service));
        let status = Status {
            pid: std::process::id(),
            started_at: self.started_at,
            phase: match self.plan.is_stopping() {
                true => Phase::Stopping,
                false => Phase::Running,
            },
            port: self.workspace.port,
            services: services.collect(),
        };
        if self.status.as_ref() == Some(&status) {
            return;
        }
        let written = self.state.as_ref().map(|state| state.write(&status));
        self.status = Some(status);
        if let Some(Err(e)) = written {
            self.state = None;
            self.say(&format!(
                "{e}; `init status` will not know of this workspace"
            ));
        }
    }

    fn service_status(&self, index: Index, service: &Service) -> ServiceStatus {
        let state = match self.plan.state(index) {
            State::Waiting => ServiceState::Waiting,
            State::Starting(_) => ServiceState::Starting,
            State::Ready(_) => ServiceState::Ready,
            State::Backoff(_) => ServiceState::Backoff,
            State::Done => ServiceState::Done,
            State::Over => ServiceState::Over,
            State::Stopping => ServiceState::Stopping,
            State::Stopped => ServiceState::Stopped,
        };
        let unit = self.units.get(index);
        ServiceStatus {
            name: service.name.clone(),
            main: index == self.workspace.main,
            state,
            ready: matches!(state, ServiceState::Ready | ServiceState::Done),
            pid: unit.and_then(|unit| unit.pid).map(Pid::as_raw),
            since: unit.and_then(|unit| unit.since),
            restarts: self.plan.restarts(index),
            last_exit_code: self.plan.last_code(index),
        }
    }
}
