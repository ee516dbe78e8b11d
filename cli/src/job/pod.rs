//! What the kubelet would do with one pod of a Job, as a state machine: no clock, no processes.
//!
//! Init containers run one after the other, then all containers together. With `Never` a failed
//! container stays failed, the others run to their ends, and the pod fails. With `OnFailure` it is
//! started again in place: at once the first time, then 10 s, 20 s, 40 s and so on up to 5 minutes
//! after each end, until it succeeds.

use std::time::Duration;

use super::spec::{BACKOFF_BASE, Restart};

/// The longest time between a container's end and its next start.
pub const RESTART_CAP: Duration = Duration::from_secs(300);

/// What decides about a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// How many init containers there are.
    pub init: usize,
    /// How many containers there are.
    pub main: usize,
    /// What a failed container means.
    pub restart: Restart,
    /// The pod's own `activeDeadlineSeconds`.
    pub deadline: Option<Duration>,
    /// The delay before the second restart: [`BACKOFF_BASE`], but for tests.
    pub backoff_base: Duration,
}

impl Default for Shape {
    fn default() -> Self {
        Shape {
            init: 0,
            main: 1,
            restart: Restart::Never,
            deadline: None,
            backoff_base: BACKOFF_BASE,
        }
    }
}

/// What happened. Containers are counted from 0, init containers first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Time passed; also what starts the pod.
    Tick,
    /// A container is over.
    Ended {
        /// Which.
        container: usize,
        /// Whether it succeeded.
        success: bool,
    },
    /// The pod is deleted.
    Stop,
}

/// What is to be done, or told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Start a container.
    Start(usize),
    /// Stop a container, gracefully. Its end is awaited.
    Stop(usize),
    /// All containers run, for the first time.
    Ready,
    /// A container is to be started again. It is told before it is done: at the next event, unless
    /// that is [`Event::Stop`].
    Restarting(usize),
    /// Nothing of the pod runs any more, and nothing will.
    Over {
        /// Whether every container succeeded.
        success: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Running {
        since: Duration,
    },
    Resting {
        until: Duration,
    },
    /// Its restart was told.
    Due,
    Over {
        success: bool,
    },
}

#[derive(Debug, Clone, Copy)]
struct Container {
    state: State,
    /// Failures since it last ran for long.
    failures: u32,
}

/// A pod as it stands.
#[derive(Debug, Clone)]
pub struct Pod {
    shape: Shape,
    containers: Vec<Container>,
    started_at: Option<Duration>,
    stopping: bool,
    late: bool,
    ready: bool,
    over: bool,
}

impl Pod {
    /// A pod that waits for its first [`Event::Tick`].
    pub fn new(shape: Shape) -> Pod {
        let container = Container {
            state: State::Waiting,
            failures: 0,
        };
        Pod {
            shape,
            containers: vec![container; shape.init + shape.main],
            started_at: None,
            stopping: false,
            late: false,
            ready: false,
            over: false,
        }
    }

    /// Takes in what happened at `now`, the time since any fixed origin, and says what is to be done.
    /// Events about containers that do not run mean nothing, as does any event after
    /// [`Effect::Over`].
    pub fn apply(&mut self, now: Duration, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.over {
            return effects;
        }
        match event {
            Event::Tick => {}
            Event::Ended { container, success } => self.note_end(now, container, success),
            Event::Stop => self.stop(&mut effects),
        }
        let started_at = *self.started_at.get_or_insert(now);
        let late = |longest| now.saturating_sub(started_at) >= longest;
        if !self.stopping && self.shape.deadline.is_some_and(late) {
            self.late = true;
            self.stop(&mut effects);
        }
        if !self.stopping {
            self.start(now, &mut effects);
        }
        self.conclude(&mut effects);
        effects
    }

    /// The next time at which an [`Event::Tick`] changes something.
    pub fn next_wake(&self) -> Option<Duration> {
        if self.stopping || self.over {
            return None;
        }
        let rests = self.containers.iter().filter_map(|c| match c.state {
            State::Resting { until } => Some(until),
            State::Due => Some(Duration::ZERO),
            _ => None,
        });
        let deadline = self.shape.deadline.zip(self.started_at);
        rests
            .chain(deadline.map(|(longest, since)| since.saturating_add(longest)))
            .min()
    }

    /// Whether the pod is to stop before its containers are over.
    pub fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// Whether it stops because its own time is up.
    pub fn is_late(&self) -> bool {
        self.late
    }

    fn note_end(&mut self, now: Duration, container: usize, success: bool) {
        let shape = self.shape;
        let stopping = self.stopping;
        let Some(container) = self.containers.get_mut(container) else {
            return;
        };
        let State::Running { since } = container.state else {
            return;
        };
        container.state = match success || stopping || shape.restart == Restart::Never {
            true => State::Over { success },
            false => {
                if now.saturating_sub(since) >= RESTART_CAP * 2 {
                    container.failures = 0;
                }
                container.failures = container.failures.saturating_add(1);
                let delay = restart_delay(container.failures, shape.backoff_base);
                State::Resting {
                    until: now.saturating_add(delay),
                }
            }
        };
    }

    fn stop(&mut self, effects: &mut Vec<Effect>) {
        if std::mem::replace(&mut self.stopping, true) {
            return;
        }
        for (i, container) in self.containers.iter_mut().enumerate() {
            match container.state {
                State::Running { .. } => effects.push(Effect::Stop(i)),
                State::Over { .. } => {}
                _ => container.state = State::Over { success: false },
            }
        }
    }

    /// Starts what may start: the first init container that has not succeeded, or else all
    /// containers; and tells of restarts whose time has come.
    fn start(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        let initialised = self
            .containers
            .iter()
            .take(self.shape.init)
            .take_while(|c| c.state == State::Over { success: true })
            .count();
        let eligible = match initialised == self.shape.init {
            true => initialised..self.containers.len(),
            false => initialised..initialised + 1,
        };
        let running = State::Running { since: now };
        for (i, container) in self.containers.iter_mut().enumerate() {
            if !eligible.contains(&i) {
                continue;
            }
            match container.state {
                State::Waiting | State::Due => {
                    container.state = running;
                    effects.push(Effect::Start(i));
                }
                State::Resting { until } if until <= now => {
                    container.state = State::Due;
                    effects.push(Effect::Restarting(i));
                }
                _ => {}
            }
        }
        if initialised == self.shape.init && !std::mem::replace(&mut self.ready, true) {
            effects.push(Effect::Ready);
        }
    }

    fn conclude(&mut self, effects: &mut Vec<Effect>) {
        let states = || self.containers.iter().map(|c| c.state);
        if states().any(|s| matches!(s, State::Running { .. })) {
            return;
        }
        let failed_init = states()
            .take(self.shape.init)
            .any(|s| s == State::Over { success: false });
        let all_over = states().all(|s| matches!(s, State::Over { .. }));
        if failed_init || all_over {
            let success = !self.stopping && states().all(|s| s == State::Over { success: true });
            self.over = true;
            effects.push(Effect::Over { success });
        }
    }
}

/// The time between the end that was failure number `failures` (from 1) and the next start.
fn restart_delay(failures: u32, base: Duration) -> Duration {
    match failures.checked_sub(2) {
        None => Duration::ZERO,
        Some(doublings) => {
            let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
            base.saturating_mul(factor).min(RESTART_CAP)
        }
    }
}

#[cfg(test)]
mod tests;
