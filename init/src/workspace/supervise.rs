//! The loop that does what the plan says: one poll over signals, output, probes and timers.

mod start;
mod tellers;

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use baton_pid1::{Ended, Inherited, Reaped, Signals, reap, signals, tree};
use baton_protocol::event::Fact;
use baton_protocol::time::format_duration;
use baton_protocol::{Reason, Timestamp};
use nix::poll::{PollFd, PollFlags, poll};
use nix::unistd::Pid;

use super::config::Workspace;
use super::logs::{Console, Output};
use super::plan::{self, Action, Event, Index, Kind, Plan, Why};
use super::probe::Probe;
use super::report::{Activity, StateDir, Status};
use super::tell::{Events, now as wall_clock};
use super::users::Account;
use baton_pid1::deadline::poll_timeout;
use tellers::ACTIVITY;

/// How long a log that nobody takes is waited for at the end.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A running workspace.
pub(super) struct Supervisor<'a> {
    workspace: &'a Workspace,
    accounts: Vec<Option<Account>>,
    inherited: &'a Inherited,
    signals: Signals,
    plan: Plan,
    units: Vec<Unit>,
    out: Console,
    err: Console,
    /// Nothing to read, for services that share a log.
    null: Option<OwnedFd>,
    events: Events,
    state: Option<StateDir>,
    step_dir: Option<PathBuf>,
    started_at: Timestamp,
    status: Option<Status>,
    activity: Option<Activity>,
    next_look: Option<Instant>,
    exit: Option<i32>,
}

/// The process of one service.
#[derive(Default)]
struct Unit {
    pid: Option<Pid>,
    /// The process group of the last run, of which some may be left.
    group: Option<Pid>,
    since: Option<Timestamp>,
    probe: Option<Probe>,
    streams: Option<Streams>,
}

/// A service's output, where it shares the log. Our copies of its ends stay open, for restarts.
struct Streams {
    out: Output,
    out_end: OwnedFd,
    err: Output,
    err_end: OwnedFd,
}

impl Streams {
    fn open(name: &str) -> io::Result<Streams> {
        let (out, out_end) = Output::open(name)?;
        let (err, err_end) = Output::open(name)?;
        Ok(Streams {
            out,
            out_end,
            err,
            err_end,
        })
    }
}

impl<'a> Supervisor<'a> {
    #[allow(
        clippy::too_many_arguments,
        reason = "each is one thing, named at the one call"
    )]
    pub(super) fn new(
        workspace: &'a Workspace,
        accounts: Vec<Option<Account>>,
        inherited: &'a Inherited,
        signals: Signals,
        events: Events,
        state: Option<StateDir>,
        step_dir: Option<PathBuf>,
        jitter: plan::Jitter,
    ) -> io::Result<Supervisor<'a>> {
        let shared = workspace.services.len() > 1;
        let services = workspace.services.iter().map(|service| plan::Service {
            kind: service.kind,
            needs: service.needs.clone(),
            probed: service.ready.is_some(),
            restart: service.restart,
        });
        let mut units = Vec::new();
        for service in &workspace.services {
            units.push(Unit {
                streams: shared.then(|| Streams::open(&service.name)).transpose()?,
                ..Unit::default()
            });
        }
        let null = shared.then(|| File::open("/dev/null")).transpose()?;
        Ok(Supervisor {
            plan: Plan::new(
                services.collect(),
                workspace.main,
                workspace.stop_deadline,
                jitter,
            ),
            workspace,
            accounts,
            inherited,
            signals,
            units,
            out: Console::new(libc::STDOUT_FILENO),
            err: Console::new(libc::STDERR_FILENO),
            null: null.map(OwnedFd::from),
            events,
            state,
            step_dir,
            started_at: wall_clock(),
            status: None,
            activity: None,
            next_look: None,
            exit: None,
        })
    }

    /// Runs until nothing is left, and gives the exit code.
    pub(super) fn run(mut self) -> i32 {
        self.tell(Event::Begin);
        let code = loop {
            self.write_status();
            if let Some(code) = self.exit {
                break code;
            }
            self.sleep();
            self.take_signals();
            self.pump();
            self.ask_probes();
            if self
                .plan
                .deadline()
                .is_some_and(|due| Instant::now() >= due)
            {
                self.tell(Event::Tick);
            }
            self.count_connections();
        };
        self.emit(Fact::Stopped { exit_code: code });
        self.drain();
        code
    }

    fn tell(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for action in self.plan.apply(Instant::now(), event) {
                events.extend(self.act(action));
            }
        }
    }

    fn act(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Start(index) => return Some(self.start(index)),
            Action::Ready(index) => self.is_ready(index),
            Action::Restart { index, delay } => {
                let service = self.name(index);
                self.say(&format!(
                    "{service} is started again in {}",
                    format_duration(delay)
                ));
                let delay_ms = delay.as_millis().try_into().unwrap_or(u64::MAX);
                self.emit(Fact::Restarting { service, delay_ms });
            }
            Action::GiveUp(index) => {
                let service = self.name(index);
                self.say(&format!("{service} died too often and is given up"));
                self.emit(Fact::GaveUp { service });
            }
            Action::Stopping(why) => self.is_stopping(why),
            Action::Terminate(index) => {
                if let Some(pid) = self.units.get(index).and_then(|unit| unit.pid) {
                    tree::send_group(pid, libc::SIGTERM);
                }
            }
            Action::TerminateRest => {
                for pid in tree::descendants() {
                    tree::send(pid, libc::SIGTERM);
                }
                // Time to clean up is of no use to them.
                tree::kill_deaf();
            }
            Action::KillAll => {
                self.say("not everything stopped in time; killing what is left");
                tree::kill_all();
            }
            Action::Exit(code) => self.exit = Some(code),
        }
        None
    }

    fn is_ready(&mut self, index: Index) {
        let service = self.workspace.services.get(index);
        let port = service.and_then(|service| service.ready.as_ref()?.port());
        let service = self.name(index);
        self.emit(Fact::ServiceReady { service, port });
        if index == self.workspace.main {
            let port = self.workspace.port;
            self.emit(Fact::Ready { port });
            if let Some(port) = port
                && self.activity.is_none()
            {
                self.activity = Some(Activity {
                    port,
                    connections: 0,
                    last_seen: None,
                    since: wall_clock(),
                });
                self.write_activity();
                self.next_look = Some(Instant::now() + ACTIVITY);
            }
        }
    }

    fn is_stopping(&mut self, why: Why) {
        let (reason, text) = match why {
            Why::Asked => (Reason::Cancelled, "stopping".to_owned()),
            Why::MainOver(code) => {
                let reason = if code == 0 {
                    Reason::Completed
                } else {
                    Reason::Error
                };
                (
                    reason,
                    format!("{} is over; stopping", self.name(self.workspace.main)),
                )
            }
            Why::Doomed(index) => {
                let main = self.name(self.workspace.main);
                let text = format!("{main} cannot start without {}; stopping", self.name(index));
                (Reason::Error, text)
            }
        };
        self.say(&text);
        self.emit(Fact::Stopping { reason });
        for unit in &mut self.units {
            unit.probe = None;
        }
    }

    fn take_signals(&mut self) {
        while let Some(signal) = self.signals.take() {
            match signal {
                libc::SIGCHLD => self.reap_all(),
                libc::SIGTERM | libc::SIGINT | libc::SIGQUIT => self.tell(Event::Stop),
                // Whatever else somebody sends is meant for what the workspace is about.
                other => {
                    let main = self.units.get(self.workspace.main);
                    if let Some(pid) = main.and_then(|unit| unit.pid) {
                        tree::send_group(pid, other);
                    }
                }
            }
        }
    }

    fn reap_all(&mut self) {
        let mut ended = Vec::new();
        let childless = loop {
            match reap() {
                Reaped::Ended { pid, how, .. } => ended.push((pid, how)),
                Reaped::Stopped(_) => {}
                Reaped::NoChildren => break true,
                Reaped::None => break false,
            }
        };
        if childless {
            self.tell(Event::Childless);
        }
        for (pid, how) in ended {
            let mut units = self.units.iter();
            if let Some(index) = units.position(|unit| unit.pid == Some(pid)) {
                self.has_ended(index, pid, how);
            }
        }
    }

    fn has_ended(&mut self, index: Index, pid: Pid, how: Ended) {
        self.pump();
        let daemon = self
            .workspace
            .services
            .get(index)
            .is_some_and(|service| service.kind == Kind::Daemon);
        if let Some(unit) = self.units.get_mut(index) {
            (unit.pid, unit.since, unit.probe) = (None, None, None);
            if let Some(streams) = &mut unit.streams {
                streams.out.finish(&mut self.out);
                streams.err.finish(&mut self.err);
            }
            if daemon {
                unit.group = Some(pid);
                tree::send_group(pid, libc::SIGTERM);
            }
        }
        let service = self.name(index);
        let signal = match how {
            Ended::Killed(signal) => Some(signal),
            Ended::Exited(_) => None,
        };
        match how {
            Ended::Killed(signal) => {
                self.say(&format!("{service} was ended by {}", signals::name(signal)));
            }
            Ended::Exited(0) if !daemon => {}
            Ended::Exited(code) => self.say(&format!("{service} exited with code {code}")),
        }
        let succeeded = !daemon && how == Ended::Exited(0);
        if !succeeded {
            self.emit(Fact::ServiceDied {
                service,
                exit_code: how.code(),
                signal,
            });
        }
        let code = how.code();
        self.tell(Event::Ended { index, code });
    }

    fn ask_probes(&mut self) {
        let now = Instant::now();
        for index in 0..self.units.len() {
            let Some(unit) = self.units.get_mut(index) else {
                continue;
            };
            let answer = unit.probe.as_mut().and_then(|probe| probe.tick(now));
            if let Some(ready) = answer {
                unit.probe = None;
                if ready {
                    self.tell(Event::Ready(index));
                }
            }
        }
    }

    /// Moves output. A console that is full makes services wait, not us.
    fn pump(&mut self) {
        for streams in self
            .units
            .iter_mut()
            .filter_map(|unit| unit.streams.as_mut())
        {
            streams.out.pump(&mut self.out);
            streams.err.pump(&mut self.err);
        }
        self.out.flush();
        self.err.flush();
    }

    fn sleep(&self) {
        let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        let mut due = vec![self.plan.deadline(), self.next_look];
        for unit in &self.units {
            if let Some(probe) = &unit.probe {
                fds.extend(probe.poll_fd());
                due.push(probe.deadline());
            }
            if let Some(streams) = &unit.streams {
                let both = [(&streams.out, &self.out), (&streams.err, &self.err)];
                let wanted = both.iter().filter(|(_, console)| !console.is_full());
                fds.extend(wanted.map(|(output, _)| output.poll_fd()));
            }
        }
        fds.extend(self.out.poll_fd());
        fds.extend(self.err.poll_fd());
        let _ = poll(&mut fds, poll_timeout(due.into_iter().flatten().min()));
    }

    /// Writes what is left. What outlived even SIGKILL, or a log that nobody takes, is not waited for.
    fn drain(&mut self) {
        let end = Instant::now() + LAST_WORDS;
        for streams in self
            .units
            .iter_mut()
            .filter_map(|unit| unit.streams.as_mut())
        {
            streams.out.finish(&mut self.out);
            streams.err.finish(&mut self.err);
        }
        while (self.out.flush() | self.err.flush()) && Instant::now() < end {
            let mut fds: Vec<_> = self
                .out
                .poll_fd()
                .into_iter()
                .chain(self.err.poll_fd())
                .collect();
            let _ = poll(&mut fds, poll_timeout(Some(end)));
        }
    }

    fn emit(&mut self, fact: Fact) {
        if let Err(e) = self.events.emit(fact) {
            self.say(&format!("cannot append to the event file: {e}"));
        }
    }

    fn say(&mut self, message: &str) {
        self.err.say(message);
    }

    fn name(&self, index: Index) -> String {
        let service = self.workspace.services.get(index);
        service.map_or(String::new(), |service| service.name.clone())
    }
}
