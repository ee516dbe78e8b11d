//! How a command is brought to its end: SIGTERM, time to clean up, SIGKILL. Pure.

use std::time::{Duration, Instant};

/// How long the kernel gets to end what SIGKILL hit (a process may hang in a system call).
const GIVE_UP: Duration = Duration::from_secs(5);

/// One global deadline for everything that a command left running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stop {
    grace: Duration,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    Terminating { kill_at: Instant },
    Killing { give_up_at: Instant },
    GaveUp,
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Nothing.
    Nothing,
    /// Send SIGTERM.
    Terminate,
    /// Send SIGKILL.
    Kill,
}

impl Stop {
    /// Nothing is to stop yet; once it is, `grace` lies between SIGTERM and SIGKILL.
    pub fn new(grace: Duration) -> Stop {
        Stop {
            grace,
            phase: Phase::Running,
        }
    }

    /// Somebody wants the end. The second time they want it now.
    pub fn request(&mut self, now: Instant) -> Act {
        match self.phase {
            Phase::Running if !self.grace.is_zero() => {
                // A grace that the clock cannot hold is as good as none that ends.
                let kill_at = now.checked_add(self.grace).unwrap_or(now + GIVE_UP);
                self.phase = Phase::Terminating { kill_at };
                Act::Terminate
            }
            Phase::Running | Phase::Terminating { .. } => {
                self.phase = Phase::Killing {
                    give_up_at: now + GIVE_UP,
                };
                Act::Kill
            }
            Phase::Killing { .. } | Phase::GaveUp => Act::Nothing,
        }
    }

    /// The command itself is over and others are left: they get the time that there is.
    pub fn leftovers(&mut self, now: Instant) -> Act {
        match self.phase {
            Phase::Running => self.request(now),
            // One may have been born while the others were killed.
            Phase::Killing { .. } => Act::Kill,
            Phase::Terminating { .. } | Phase::GaveUp => Act::Nothing,
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) -> Act {
        match self.phase {
            Phase::Terminating { kill_at } if now >= kill_at => self.request(now),
            Phase::Killing { give_up_at } if now >= give_up_at => {
                self.phase = Phase::GaveUp;
                Act::Nothing
            }
            _ => Act::Nothing,
        }
    }

    /// When [`tick`](Stop::tick) is due.
    pub fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Terminating { kill_at } => Some(kill_at),
            Phase::Killing { give_up_at } => Some(give_up_at),
            Phase::Running | Phase::GaveUp => None,
        }
    }

    /// Whether the end was asked for.
    pub fn is_requested(&self) -> bool {
        self.phase != Phase::Running
    }

    /// Whether not even SIGKILL helped in time.
    pub fn gave_up(&self) -> bool {
        self.phase == Phase::GaveUp
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn term_then_grace_then_kill() {
        let start = Instant::now();
        let mut stop = Stop::new(Duration::from_secs(10));
        assert_eq!(stop.deadline(), None);
        assert_eq!(stop.request(start), Act::Terminate);
        assert_eq!(stop.deadline(), Some(start + Duration::from_secs(10)));
        assert_eq!(stop.tick(start + Duration::from_secs(9)), Act::Nothing);
        assert_eq!(stop.leftovers(start), Act::Nothing, "the deadline is one");
        assert_eq!(stop.tick(start + Duration::from_secs(10)), Act::Kill);
        assert!(!stop.gave_up());
        assert_eq!(stop.tick(start + Duration::from_secs(15)), Act::Nothing);
        assert!(stop.gave_up());
    }

    #[test]
    fn the_second_request_skips_the_grace() {
        let start = Instant::now();
        let mut stop = Stop::new(Duration::from_secs(10));
        assert_eq!(stop.request(start), Act::Terminate);
        assert_eq!(stop.request(start), Act::Kill);
        assert_eq!(stop.request(start), Act::Nothing);
    }

    #[test]
    fn no_grace_kills_at_once() {
        assert_eq!(Stop::new(Duration::ZERO).request(Instant::now()), Act::Kill);
    }
}
