//! What a plan is about: services, what happens to them, what is done with them.

use std::time::{Duration, Instant};

/// Which service, by its place in the list.
pub type Index = usize;

/// What a service is expected to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Runs to its end, which is good if its exit code is 0.
    Oneshot,
    /// Runs until it is stopped.
    Daemon,
}

/// Which ends of a service are followed by another start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Every one.
    Always,
    /// Those with another exit code than 0, or by a signal.
    OnFailure,
    /// None.
    Never,
}

/// How a service is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restart {
    /// After which ends.
    pub when: When,
    /// Before the first restart; each delay is twice the one before, less up to half by chance.
    pub delay: Duration,
    /// No delay is longer.
    pub max_delay: Duration,
    /// Having run this long, earlier deaths are forgotten.
    pub healthy: Duration,
    /// This many deaths within `window` and it is given up; 0 for never.
    pub deaths: u32,
    /// See `deaths`.
    pub window: Duration,
}

/// A service, as far as its plan goes.
#[derive(Debug, Clone)]
pub struct Service {
    /// See [`Kind`].
    pub kind: Kind,
    /// What has to be ready, or done, before it starts. Never a cycle.
    pub needs: Vec<Index>,
    /// Whether a probe tells when it is ready; without one a daemon is ready once it runs.
    pub probed: bool,
    /// How it is started again.
    pub restart: Restart,
}

/// What goes on with a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// For its needs.
    Waiting,
    /// It runs and is not ready yet; since then.
    Starting(Instant),
    /// It runs and is ready; running since then.
    Ready(Instant),
    /// It died and is started again then.
    Backoff(Instant),
    /// A oneshot that succeeded.
    Done,
    /// It ended and is not started again.
    Over,
    /// It was told to stop.
    Stopping,
    /// The workspace ends, and it does not run.
    Stopped,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The supervisor is there.
    Begin,
    /// A [`Action::Start`] was carried out.
    Started(Index),
    /// The service's probe succeeded.
    Ready(Index),
    /// The service's process ended, or could not be started.
    Ended {
        /// Which.
        index: Index,
        /// Its exit code, 128+n for signal n.
        code: i32,
    },
    /// Somebody wants the end.
    Stop,
    /// No process is left below us.
    Childless,
    /// Time has passed.
    Tick,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Start the service, and tell what came of it.
    Start(Index),
    /// News: the service is ready, or done.
    Ready(Index),
    /// News: the service will be started again.
    Restart {
        /// Which.
        index: Index,
        /// After this time.
        delay: Duration,
    },
    /// News: the service died too often, and is not started again.
    GiveUp(Index),
    /// News: the workspace ends.
    Stopping(Why),
    /// Send SIGTERM to the service.
    Terminate(Index),
    /// Send SIGTERM to whatever is left when all services have ended.
    TerminateRest,
    /// Send SIGKILL to every process.
    KillAll,
    /// It is over; the container's exit code.
    Exit(i32),
}

/// Why a workspace ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// A signal asked for it.
    Asked,
    /// The main service ended for good, with this code.
    MainOver(i32),
    /// The main service can never start, as this one is over.
    Doomed(Index),
}
