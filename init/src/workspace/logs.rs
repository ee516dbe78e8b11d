//! Services' output on its way to the log: whole lines, each with its service's name.
//!
//! Our own stdout and stderr are shared with others and stay blocking: at most PIPE_BUF bytes are
//! written when poll says that there is room, which then cannot block. Where nobody takes the log,
//! services wait for room in their pipes, as they would without us; the supervisor never waits.

use std::fs::File;
use std::io::{self, Read, Write};
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::pipe::{PipeFlags, pipe_with};

/// POSIX's promise: a pipe that is writable takes this much at once.
const PIPE_BUF: usize = 4096;
/// A longer line is broken, in bytes.
const MAX_LINE: usize = 16 << 10;
/// No more is read while this much waits to be written, in bytes.
const FULL: usize = 64 << 10;
/// Our own messages are dropped beyond this, in bytes.
const MAX_PENDING: usize = 1 << 20;

/// Cuts a stream into lines with a name before each.
#[derive(Debug)]
struct Lines {
    prefix: Vec<u8>,
    partial: Vec<u8>,
}

impl Lines {
    fn new(name: &str) -> Lines {
        Lines {
            prefix: format!("{name} | ").into_bytes(),
            partial: Vec::new(),
        }
    }

    fn feed(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        for part in piece.split_inclusive(|b| *b == b'\n') {
            for chunk in part.chunks(MAX_LINE) {
                if self.partial.len() + chunk.len() > MAX_LINE {
                    self.finish(out);
                }
                self.partial.extend_from_slice(chunk);
            }
            if part.ends_with(b"\n") {
                self.finish(out);
            }
        }
    }

    /// Gives the last line, which has no newline, one.
    fn finish(&mut self, out: &mut Vec<u8>) {
        if self.partial.is_empty() {
            return;
        }
        out.extend_from_slice(&self.prefix);
        out.append(&mut self.partial);
        if !out.ends_with(b"\n") {
            out.push(b'\n');
        }
    }
}

/// One stream of a service.
#[derive(Debug)]
pub(super) struct Output {
    pipe: File,
    lines: Lines,
}

impl Output {
    /// A stream of the service, and the end that it writes to.
    pub(super) fn open(name: &str) -> io::Result<(Output, OwnedFd)> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&read, true)?;
        let output = Output {
            pipe: read.into(),
            lines: Lines::new(name),
        };
        Ok((output, write))
    }

    /// Moves what is there. False once nobody can write to it any more.
    pub(super) fn pump(&mut self, console: &mut Console) -> bool {
        let mut piece = [0; 16 << 10];
        while !console.is_full() {
            match self.pipe.read(&mut piece) {
                Ok(0) => {
                    self.lines.finish(&mut console.pending);
                    return false;
                }
                Ok(n) => {
                    let piece = piece.get(..n).unwrap_or_default();
                    self.lines.feed(piece, &mut console.pending);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return e.kind() == io::ErrorKind::WouldBlock,
            }
        }
        true
    }

    /// The service is over and what it left behind is not waited for: writes the last line.
    pub(super) fn finish(&mut self, console: &mut Console) {
        self.pump(console);
        self.lines.finish(&mut console.pending);
    }

    pub(super) fn poll_fd(&self) -> PollFd<'_> {
        PollFd::new(self.pipe.as_fd(), PollFlags::POLLIN)
    }
}

/// Our own stdout or stderr.
#[derive(Debug)]
pub(super) struct Console {
    fd: Option<RawFd>,
    pending: Vec<u8>,
}

impl Console {
    pub(super) fn new(fd: RawFd) -> Console {
        Console {
            fd: Some(fd),
            pending: Vec::new(),
        }
    }

    /// A line of our own.
    pub(super) fn say(&mut self, message: &str) {
        if self.pending.len() < MAX_PENDING {
            let _ = writeln!(self.pending, "init: {message}");
        }
        self.flush();
    }

    pub(super) fn is_full(&self) -> bool {
        self.pending.len() >= FULL
    }

    /// Writes what can be written now. True where something is left.
    pub(super) fn flush(&mut self) -> bool {
        let mut written = 0;
        while written < self.pending.len() {
            let Some(fd) = self.fd else {
                written = self.pending.len();
                break;
            };
            let rest = self.pending.get(written..).unwrap_or_default();
            if !has_room(fd) {
                break;
            }
            // SAFETY: our own stdout or stderr; it is not closed when this File goes.
            let mut file = ManuallyDrop::new(unsafe { File::from_raw_fd(fd) });
            match file.write(rest.get(..PIPE_BUF).unwrap_or(rest)) {
                Ok(n) => written += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                // Nobody reads it any more.
                Err(_) => self.fd = None,
            }
        }
        self.pending.drain(..written);
        !self.pending.is_empty()
    }

    pub(super) fn poll_fd(&self) -> Option<PollFd<'_>> {
        let fd = self.fd.filter(|_| !self.pending.is_empty())?;
        // SAFETY: our own stdout or stderr, which nobody closes.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        Some(PollFd::new(fd, PollFlags::POLLOUT))
    }
}

/// Whether a write of PIPE_BUF bytes would not block. True also where it would fail at once.
fn has_room(fd: RawFd) -> bool {
    // SAFETY: our own stdout or stderr, which nobody closes.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    let mut fds = [PollFd::new(fd, PollFlags::POLLOUT)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(pieces: &[&[u8]]) -> String {
        let (mut lines, mut out) = (Lines::new("ide"), Vec::new());
        for piece in pieces {
            lines.feed(piece, &mut out);
        }
        lines.finish(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_line_has_the_name_and_a_newline() {
        assert_eq!(
            cut(&[b"a\n\nb", b"c\nend"]),
            "ide | a\nide | \nide | bc\nide | end\n"
        );
        assert_eq!(cut(&[]), "");
    }

    #[test]
    fn a_line_without_end_is_broken() {
        let long = vec![b'x'; 3 * MAX_LINE + 1];
        let lines = cut(&[&long]);
        assert_eq!(lines.lines().count(), 4);
        assert_eq!(lines.matches('x').count(), long.len());
    }

    proptest! {
        #[test]
        fn nothing_is_lost(pieces in proptest::collection::vec("[ab\n]{0,30}", 0..20)) {
            let bytes: Vec<_> = pieces.iter().map(|piece| piece.as_bytes()).collect();
            let whole = pieces.concat();
            let bare: String = cut(&bytes).lines().map(|line| format!("{}\n", line.strip_prefix("ide | ").unwrap())).collect();
            let expected = if whole.is_empty() || whole.ends_with('\n') { whole } else { whole + "\n" };
            prop_assert_eq!(bare, expected);
        }
    }
}
