//! Finding out when a sidecar is ready.

use std::ffi::OsString;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use baton_pid1::{Command, Ended, Inherited, tree};
use baton_protocol::invocation::Probe;
use nix::unistd::Pid;

/// Between two looks; each takes half as long again as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// How long one look may take.
const LOOK: Duration = Duration::from_secs(5);

/// A probe that goes on until it succeeds once.
#[derive(Debug)]
pub(crate) struct Readiness<'a> {
    probe: &'a Probe,
    pause: Duration,
    next: Instant,
    running: Option<(Pid, Instant)>,
}

impl<'a> Readiness<'a> {
    pub(crate) fn new(probe: &'a Probe, now: Instant) -> Readiness<'a> {
        Readiness {
            probe,
            pause: FIRST_PAUSE,
            next: now,
            running: None,
        }
    }

    /// When [`tick`](Readiness::tick) is due.
    pub(crate) fn deadline(&self) -> Instant {
        self.running.map_or(self.next, |(_, end)| end)
    }

    /// Looks, if it is time. True once the sidecar is ready.
    pub(crate) fn tick(&mut self, inherited: &Inherited, now: Instant) -> bool {
        if now < self.deadline() {
            return false;
        }
        if let Some((pid, _)) = self.running {
            tree::send_group(pid, libc::SIGKILL); // it is reaped, and counts as a failed look
            self.running = Some((pid, now + LOOK));
            return false;
        }
        match self.probe {
            Probe::Port(port) => {
                if accepts(*port, FIRST_PAUSE) {
                    return true;
                }
                self.put_off(now);
            }
            Probe::Command(words) => match start(words, inherited) {
                Some(pid) => self.running = Some((pid, now + LOOK)),
                None => self.put_off(now),
            },
        }
        false
    }

    /// A child was reaped. True once the sidecar is ready.
    pub(crate) fn reaped(&mut self, pid: Pid, how: Ended, now: Instant) -> bool {
        if self.running.is_none_or(|(running, _)| running != pid) {
            return false;
        }
        self.running = None;
        self.put_off(now);
        how == Ended::Exited(0)
    }

    fn put_off(&mut self, now: Instant) {
        self.next = now + self.pause;
        self.pause = (self.pause * 3 / 2).min(LONGEST_PAUSE);
    }
}

/// Whether something accepts connections on this port of the loopback address, v4 or v6, each within
/// so long.
pub(crate) fn accepts(port: u16, within: Duration) -> bool {
    let open = |ip| TcpStream::connect_timeout(&SocketAddr::new(ip, port), within).is_ok();
    open(Ipv4Addr::LOCALHOST.into()) || open(Ipv6Addr::LOCALHOST.into())
}

/// Starts a probe's command. Its output would only hide the sidecar's own.
fn start(words: &[String], inherited: &Inherited) -> Option<Pid> {
    let mut command = Command::new(words.iter().map(OsString::from).collect());
    let null: OwnedFd = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/null")
        .ok()?
        .into();
    (command.stdout, command.stderr) = (Some(null.as_raw_fd()), Some(null.as_raw_fd()));
    command.spawn(inherited).ok()
}
