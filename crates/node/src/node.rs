//! One pod with a loop of its own, and a handle for other threads.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use baton_steps::{Death, Event, Outcome, Plan, Run};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::os::fd::AsFd;

use crate::notice::{NodeError, Notice};
use crate::watcher::{PodId, Watcher};

/// How the death of an entrypoint that left no final record is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deaths {
    /// By the closing of its event file, which it holds open as long as it lives; after a restart, or
    /// where inotify is used up, by a look whether anybody has that file open for writing. That look
    /// takes a lease (see fcntl(2)): the file has to be this user's, or the process has CAP_LEASE;
    /// where it cannot be had, the closing alone counts.
    ByClose,
    /// The caller tells, and knows best: it is the entrypoints' parent.
    Told,
}

/// Drives one pod.
#[derive(Debug)]
pub struct Node {
    watcher: Watcher,
    pod: PodId,
    shared: Arc<Shared>,
}

/// Tells a [`Node`] what happens outside its folder, from any thread.
#[derive(Debug, Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    commands: Mutex<VecDeque<Command>>,
    wake: EventFd,
}

#[derive(Debug)]
enum Command {
    Apply(Event),
    Died(u32, Death),
    Stop,
}

impl Node {
    /// Opens a folder that [`prepare`](crate::prepare) made and goes on where its files stand: a run
    /// that an earlier process began is continued.
    ///
    /// # Errors
    /// Where the plan is past its bounds, or the folder cannot be used.
    pub fn open(root: &Path, plan: Plan, deaths: Deaths) -> Result<Node, NodeError> {
        Node::with(Watcher::new(), root, plan, deaths)
    }

    pub(crate) fn with(
        mut watcher: Watcher,
        root: &Path,
        plan: Plan,
        deaths: Deaths,
    ) -> Result<Node, NodeError> {
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
            .map_err(|e| NodeError::io("make an eventfd for", root, io::Error::from(e)))?;
        let pod = watcher.add(root, plan, deaths)?;
        let commands = Mutex::default();
        let shared = Arc::new(Shared { commands, wake });
        Ok(Node {
            watcher,
            pod,
            shared,
        })
    }

    /// A handle to this node.
    pub fn handle(&self) -> Handle {
        Handle {
            shared: Arc::clone(&self.shared),
        }
    }

    /// The run of the pod, for displays.
    pub fn state(&self) -> Option<&Run> {
        self.watcher.run(self.pod)
    }

    /// Runs until the task is over. `tell` is called on this thread, always after the order that goes
    /// with a notice was written; the next hand-off waits for its return, so it should be quick.
    ///
    /// # Errors
    /// [`NodeError::Stopped`] after [`Handle::stop`]; or where waiting itself fails.
    pub fn run(&mut self, mut tell: impl FnMut(Notice)) -> Result<Outcome, NodeError> {
        let mut tell = |_: PodId, notice| tell(notice);
        loop {
            self.watcher.dispatch(&mut tell);
            for command in self.shared.take() {
                match command {
                    Command::Apply(event) => self.watcher.apply(self.pod, event, &mut tell),
                    Command::Died(number, how) => {
                        self.watcher.died(self.pod, number, how, &mut tell);
                    }
                    Command::Stop => return Err(NodeError::Stopped),
                }
            }
            if let Some(outcome) = self.state().and_then(Run::outcome) {
                return Ok(outcome.clone());
            }
            self.wait()?;
        }
    }

    fn wait(&self) -> Result<(), NodeError> {
        let timeout = self
            .watcher
            .timeout()
            .map_or(PollTimeout::NONE, poll_timeout);
        let wake = PollFd::new(self.shared.wake.as_fd(), PollFlags::POLLIN);
        let inotify = self
            .watcher
            .fd()
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        let mut fds: Vec<_> = inotify.into_iter().chain([wake]).collect();
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(e) => Err(NodeError::io("wait for", "inotify", io::Error::from(e))),
        }
    }
}

/// In whole milliseconds, rounded up, so that a deadline is not met too early and in a spin.
fn poll_timeout(time: Duration) -> PollTimeout {
    let millis = time.as_millis().saturating_add(1);
    let millis = i32::try_from(millis).unwrap_or(i32::MAX);
    PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
}

impl Handle {
    /// The pod may begin: every entrypoint is started.
    pub fn begin(&self) {
        self.send(Command::Apply(Event::Begin));
    }

    /// The task is to stop: the running step gets its grace, `finally` steps run.
    pub fn cancel(&self) {
        self.send(Command::Apply(Event::Cancel));
    }

    /// The task is to be over now: no grace, no `finally` steps.
    pub fn kill(&self) {
        self.send(Command::Apply(Event::Kill));
    }

    /// The entrypoint of this step or sidecar is gone. Where it left a final record, that counts, so
    /// this may be told of every entrypoint that ends.
    pub fn died(&self, number: u32, how: Death) {
        self.send(Command::Died(number, how));
    }

    /// Ends [`Node::run`] and leaves everything as it is.
    pub fn stop(&self) {
        self.send(Command::Stop);
    }

    fn send(&self, command: Command) {
        let mut commands = self.shared.lock();
        commands.push_back(command);
        // It can fail only where its counter is full, and then the node is woken already.
        let _ = self.shared.wake.write(1);
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Command>> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> VecDeque<Command> {
        let mut commands = self.lock();
        if !commands.is_empty() {
            // Nothing to read means that it was read before.
            let _ = self.wake.read();
        }
        std::mem::take(&mut commands)
    }
}
