//! One command and everything that it starts, from its first signal to its last zombie.

use std::time::{Duration, Instant};

use nix::unistd::{Pid, getpid};

use crate::reap::{Ended, Reaped, Usage, reap};
use crate::signals::{Inherited, Signals};
use crate::spawn::{Command, SpawnError};
use crate::stop::{Act, Stop};
use crate::tree;

/// A running command. The caller polls the signal descriptor and calls [`on_signals`] when it is
/// readable, and [`tick`] at [`deadline`].
///
/// [`on_signals`]: Runner::on_signals
/// [`tick`]: Runner::tick
/// [`deadline`]: Runner::deadline
#[derive(Debug)]
pub struct Runner {
    main: Pid,
    single_child: bool,
    terminal: Option<i32>,
    stop: Stop,
    ended: Option<Ended>,
    alone: bool,
    usage: Usage,
    asked_by_signal: bool,
    others: Vec<(Pid, Ended)>,
}

/// How a command is run.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// Signals go to the command alone and not to its process group.
    pub single_child: bool,
    /// Time between SIGTERM and SIGKILL.
    pub grace: Duration,
}

impl Runner {
    /// Starts the command.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn start(
        command: &Command,
        inherited: &Inherited,
        policy: Policy,
    ) -> Result<Runner, SpawnError> {
        let main = command.spawn(inherited)?;
        Ok(Runner {
            main,
            single_child: policy.single_child,
            terminal: command.terminal,
            stop: Stop::new(policy.grace),
            ended: None,
            alone: false,
            usage: Usage::default(),
            asked_by_signal: false,
            others: Vec::new(),
        })
    }

    /// Takes every signal that is there: passes it on, or reaps.
    pub fn on_signals(&mut self, signals: &mut Signals, now: Instant) {
        while let Some(signal) = signals.take() {
            self.take(signal, now);
        }
    }

    /// Passes one signal on.
    pub fn take(&mut self, signal: i32, now: Instant) {
        match signal {
            libc::SIGCHLD => self.reap_all(now),
            libc::SIGTERM => {
                self.asked_by_signal |= !self.stop.is_requested();
                let act = self.stop.request(now);
                self.act(act);
            }
            _ => {
                if let (libc::SIGCONT, Some(terminal)) = (signal, self.terminal) {
                    // SAFETY: touches no memory; a terminal that is gone is no error.
                    unsafe { libc::tcsetpgrp(terminal, self.main.as_raw()) };
                }
                self.forward(signal);
            }
        }
    }

    /// Asks the command to end; the second time it is killed.
    pub fn stop(&mut self, now: Instant) {
        let act = self.stop.request(now);
        self.act(act);
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) {
        let act = self.stop.tick(now);
        self.act(act);
    }

    /// When [`tick`](Runner::tick) is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.stop.deadline()
    }

    /// How the command ended, once nothing that it started is left either.
    pub fn finished(&self) -> Option<Ended> {
        self.ended.filter(|_| self.alone || self.stop.gave_up())
    }

    /// Whether not even SIGKILL ended all of it.
    pub fn gave_up(&self) -> bool {
        self.stop.gave_up()
    }

    /// Whether the end was asked for, by [`stop`](Runner::stop) or by a SIGTERM.
    pub fn is_stopping(&self) -> bool {
        self.stop.is_requested()
    }

    /// Whether it was a SIGTERM that asked for the end.
    pub fn asked_by_signal(&self) -> bool {
        self.asked_by_signal
    }

    /// What all processes used that were reaped so far.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// Other children that were reaped since the last call.
    pub fn take_others(&mut self) -> Vec<(Pid, Ended)> {
        std::mem::take(&mut self.others)
    }

    fn reap_all(&mut self, now: Instant) {
        loop {
            match reap() {
                Reaped::Ended { pid, how, usage } => {
                    self.usage.add(usage);
                    if pid == self.main {
                        self.ended = Some(how);
                    } else {
                        self.others.push((pid, how));
                    }
                }
                Reaped::Stopped(pid) => self.suspend_with(pid),
                Reaped::NoChildren => {
                    self.alone = true;
                    return;
                }
                Reaped::None => break,
            }
        }
        if self.ended.is_some() {
            // What outlives the command gets SIGTERM, and time to clean up if that means anything.
            self.single_child = false;
            let act = self.stop.leftovers(now);
            self.act(act);
            if act == Act::Terminate {
                tree::kill_deaf();
            }
        }
    }

    fn act(&self, act: Act) {
        match act {
            Act::Nothing => {}
            Act::Terminate => {
                self.forward(libc::SIGTERM);
                tree::wake_stopped(); // else it could not clean up
            }
            Act::Kill => tree::kill_all(),
        }
    }

    fn forward(&self, signal: i32) {
        let ends = matches!(
            signal,
            libc::SIGTERM | libc::SIGINT | libc::SIGQUIT | libc::SIGHUP
        );
        if self.single_child {
            tree::send(self.main, signal);
        } else if ends {
            tree::send_all(self.main, signal);
        } else {
            tree::send_group(self.main, signal);
        }
    }

    /// In a shell's job control: the command was stopped from its terminal, so we stop as well.
    fn suspend_with(&self, pid: Pid) {
        if pid == self.main && self.terminal.is_some() && getpid().as_raw() != 1 {
            tree::send(getpid(), libc::SIGSTOP);
        }
    }
}
