//! Finding out when a service is ready. Nothing here blocks.

use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, connect, send, socket_with};
use rustix::pipe::{PipeFlags, pipe_with};

use super::config::Ready;

/// Between two looks; each takes half as long again as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// How long one look may take.
const LOOK: Duration = Duration::from_secs(5);
/// As much of a reply as its status takes: `HTTP/1.1 200`.
const STATUS: usize = 12;

/// A probe that goes on until it succeeds once.
#[derive(Debug)]
pub(super) enum Probe {
    /// Asks the service.
    Ask(Ask),
    /// Waits for the service's newline.
    Hear(File),
}

/// Asking a port again and again.
#[derive(Debug)]
pub(super) struct Ask {
    port: u16,
    /// What is sent once a connection is there; none where that is enough.
    request: Option<String>,
    pause: Duration,
    next: Instant,
    look: Option<Look>,
}

/// One connection.
#[derive(Debug)]
struct Look {
    socket: OwnedFd,
    address: IpAddr,
    asked: bool,
    reply: Vec<u8>,
    end: Instant,
}

/// How a look stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Pending,
    Yes,
    No,
}

impl Probe {
    /// A probe, and the descriptor that the service is to get, where it is to tell by itself.
    pub(super) fn new(ready: &Ready, now: Instant) -> io::Result<(Probe, Option<OwnedFd>)> {
        let request = match ready {
            Ready::Http { path, port } => Some(format!(
                "GET {path} HTTP/1.0\r\nHost: localhost:{port}\r\nUser-Agent: baton-init\r\nAccept: */*\r\n\r\n"
            )),
            _ => None,
        };
        match ready {
            Ready::Port(port) | Ready::Http { port, .. } => {
                let ask = Ask {
                    port: *port,
                    request,
                    pause: FIRST_PAUSE,
                    next: now,
                    look: None,
                };
                Ok((Probe::Ask(ask), None))
            }
            Ready::Fd(_) => {
                let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
                rustix::io::ioctl_fionbio(&read, true)?;
                Ok((Probe::Hear(read.into()), Some(write)))
            }
        }
    }

    /// When [`tick`](Probe::tick) is due, whatever comes in.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Probe::Ask(ask) => Some(ask.look.as_ref().map_or(ask.next, |look| look.end)),
            Probe::Hear(_) => None,
        }
    }

    pub(super) fn poll_fd(&self) -> Option<PollFd<'_>> {
        match self {
            Probe::Ask(ask) => {
                let look = ask.look.as_ref()?;
                let flags = if look.asked {
                    PollFlags::POLLIN
                } else {
                    PollFlags::POLLOUT
                };
                Some(PollFd::new(look.socket.as_fd(), flags))
            }
            Probe::Hear(pipe) => Some(PollFd::new(pipe.as_fd(), PollFlags::POLLIN)),
        }
    }

    /// Goes on. `Some(true)` once the service is ready, `Some(false)` once it will never say so.
    pub(super) fn tick(&mut self, now: Instant) -> Option<bool> {
        match self {
            Probe::Ask(ask) => ask.tick(now).then_some(true),
            Probe::Hear(pipe) => {
                let mut piece = [0; 256];
                match pipe.read(&mut piece) {
                    Ok(0) => Some(false),
                    Ok(n) => piece.iter().take(n).any(|b| *b == b'\n').then_some(true),
                    Err(_) => None,
                }
            }
        }
    }
}

impl Ask {
    fn tick(&mut self, now: Instant) -> bool {
        if self.look.is_none() && now >= self.next {
            self.look = Look::begin(Ipv4Addr::LOCALHOST.into(), self.port, now);
            if self.look.is_none() {
                self.put_off(now);
            }
        }
        while let Some(look) = &mut self.look {
            match look.tick(self.request.as_deref(), now) {
                Answer::Yes => return true,
                Answer::Pending if now < look.end => return false,
                Answer::No if look.address.is_ipv4() => {
                    self.look = Look::begin(Ipv6Addr::LOCALHOST.into(), self.port, now);
                    if self.look.is_none() {
                        self.put_off(now);
                    }
                }
                Answer::Pending | Answer::No => {
                    self.look = None;
                    self.put_off(now);
                }
            }
        }
        false
    }

    fn put_off(&mut self, now: Instant) {
        self.next = now + self.pause;
        self.pause = (self.pause * 3 / 2).min(LONGEST_PAUSE);
    }
}

impl Look {
    fn begin(address: IpAddr, port: u16, now: Instant) -> Option<Look> {
        let family = match address {
            IpAddr::V4(_) => AddressFamily::INET,
            IpAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(family, SocketType::STREAM, flags, None).ok()?;
        match connect(&socket, &SocketAddr::new(address, port)) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            // Told as a look that failed, so that the other address is tried.
            Err(_) if address.is_ipv4() => {}
            Err(_) => return None,
        }
        Some(Look {
            socket,
            address,
            asked: false,
            reply: Vec::new(),
            end: now + LOOK,
        })
    }

    fn tick(&mut self, request: Option<&str>, now: Instant) -> Answer {
        if !self.asked {
            let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLOUT)];
            if poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready == 0) {
                return Answer::Pending;
            }
            if rustix::net::getpeername(&self.socket).is_err() {
                return Answer::No;
            }
            let Some(request) = request else {
                return Answer::Yes;
            };
            match send(&self.socket, request.as_bytes(), SendFlags::NOSIGNAL) {
                Ok(n) if n == request.len() => self.asked = true,
                _ => return Answer::No,
            }
        }
        let mut piece = [0; STATUS];
        while self.reply.len() < STATUS {
            match rustix::io::read(&self.socket, &mut piece) {
                Ok(0) => return Answer::No,
                Ok(n) => self.reply.extend(piece.iter().take(n)),
                Err(Errno::AGAIN | Errno::INTR) if now < self.end => return Answer::Pending,
                Err(_) => return Answer::No,
            }
        }
        match is_good(&self.reply) {
            true => Answer::Yes,
            false => Answer::No,
        }
    }
}

/// Whether a reply begins like one of HTTP/1 with 2xx or 3xx.
fn is_good(reply: &[u8]) -> bool {
    let [version @ .., b' ', hundreds, tens, ones] = reply.get(..STATUS).unwrap_or_default() else {
        return false;
    };
    matches!(version, b"HTTP/1.0" | b"HTTP/1.1")
        && matches!(hundreds, b'2' | b'3')
        && tens.is_ascii_digit()
        && ones.is_ascii_digit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_strictly() {
        for good in ["HTTP/1.1 200 OK", "HTTP/1.0 302", "HTTP/1.1 204"] {
            assert!(is_good(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            "HTTP/1.1 404",
            "HTTP/1.1 500",
            "HTTP/1.1 2x0",
            "HTTP/2.0 200",
            "SSH-2.0-Open",
            "HTTP/1.1 20",
        ] {
            assert!(!is_good(bad.as_bytes()), "{bad}");
        }
    }
}
