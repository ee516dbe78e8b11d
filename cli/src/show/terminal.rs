//! Standard output and standard error, in the order in which things are said.
//!
//! What the steps print goes to standard output, as `kubectl logs` has it; what Baton itself says goes
//! to standard error. On a terminal a status line stands below both.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::libc;

use super::style::Palette;
use crate::args::Color;

/// Which stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// The steps' output.
    Steps,
    /// Baton's own words.
    Baton,
}

/// Both streams, as one writer sees them; see [`Terminal::share`].
pub struct Terminal {
    /// How what the steps print is coloured and cleaned.
    pub steps: Palette,
    /// How Baton's own words are coloured.
    pub baton: Palette,
    /// The steps' output goes to a terminal.
    pub steps_on_tty: bool,
    live: bool,
    pending: (To, Vec<u8>),
    streams: Arc<Mutex<Streams>>,
}

/// The streams themselves.
struct Streams {
    steps_on_stdout: bool,
    status: String,
    status_shown: bool,
    stdout_closed: bool,
}

/// What is written at once at least, where much is to be written, in bytes.
const BLOCK: usize = 64 << 10;

impl Terminal {
    /// The process's own streams. The steps' output goes to standard error where standard output is
    /// meant for something else.
    pub fn new(color: Color, steps_on_stdout: bool) -> Terminal {
        let (out, err) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        let plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty())
            || std::env::var_os("TERM").is_some_and(|v| v == "dumb");
        let coloured = |tty: bool| match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => tty && !plain,
        };
        let steps_on_tty = if steps_on_stdout { out } else { err };
        let dumb = std::env::var_os("TERM").is_some_and(|v| v == "dumb");
        Terminal {
            steps: Palette(coloured(steps_on_tty)),
            baton: Palette(coloured(err)),
            steps_on_tty,
            // With only one of both on the terminal, who knows who else writes to it (`| grep`).
            live: steps_on_tty && err && !dumb,
            pending: (To::Steps, Vec::new()),
            streams: Arc::new(Mutex::new(Streams {
                steps_on_stdout,
                status: String::new(),
                status_shown: false,
                stdout_closed: false,
            })),
        }
    }

    /// Another writer on the same streams, for another thread. What is put by one and flushed stands
    /// together; the status line is that of the first writer.
    pub fn share(&self) -> Terminal {
        Terminal {
            steps: self.steps,
            baton: self.baton,
            steps_on_tty: self.steps_on_tty,
            live: false,
            pending: (To::Steps, Vec::new()),
            streams: Arc::clone(&self.streams),
        }
    }

    /// Whether there is a status line.
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// Writes, now or with the next flush.
    pub fn put(&mut self, to: To, bytes: &[u8]) {
        if self.pending.0 != to || self.pending.1.len() > BLOCK {
            self.write_pending();
            self.pending.0 = to;
        }
        self.pending.1.extend_from_slice(bytes);
    }

    /// Sets the status line, which shows with the next flush.
    pub fn set_status(&mut self, status: String) {
        if self.live {
            self.streams().set_status(status);
        }
    }

    /// Writes everything out, the status line last.
    pub fn flush(&mut self) {
        self.write_pending();
        self.streams().show_status();
    }

    /// The columns of a line; many where there is no terminal.
    pub fn columns(&self) -> usize {
        columns(&io::stderr()).unwrap_or(200)
    }

    fn write_pending(&mut self) {
        let bytes = std::mem::take(&mut self.pending.1);
        if !bytes.is_empty() {
            self.streams().write(self.pending.0, &bytes);
        }
    }

    fn streams(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.set_status(String::new());
        self.write_pending();
    }
}

impl Streams {
    fn set_status(&mut self, status: String) {
        if status != self.status {
            self.clear_status();
            self.status = status;
        }
    }

    fn show_status(&mut self) {
        if !self.status_shown && !self.status.is_empty() {
            let _ = write_all(io::stderr(), self.status.as_bytes());
            self.status_shown = true;
        }
    }

    fn clear_status(&mut self) {
        if std::mem::take(&mut self.status_shown) {
            let _ = write_all(io::stderr(), b"\r\x1b[K");
        }
    }

    fn write(&mut self, to: To, bytes: &[u8]) {
        self.clear_status();
        match to {
            To::Steps if self.steps_on_stdout => {
                // `baton run x | head`: the steps go on, and what they print goes nowhere.
                if !self.stdout_closed
                    && let Err(e) = write_all(io::stdout(), bytes)
                {
                    self.stdout_closed = true;
                    if e.kind() != io::ErrorKind::BrokenPipe {
                        let said = format!("baton: the steps' output is lost from here on: {e}\n");
                        let _ = write_all(io::stderr(), said.as_bytes());
                    }
                }
            }
            To::Steps | To::Baton => {
                let _ = write_all(io::stderr(), bytes);
            }
        }
    }
}

/// Writes and flushes. Nothing can be done about a standard error that takes nothing any more.
fn write_all(mut stream: impl Write, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).and_then(|()| stream.flush())
}

mod ioctl {
    #![allow(missing_docs)] // the macro's function cannot have any
    nix::ioctl_read_bad!(window_size, nix::libc::TIOCGWINSZ, nix::libc::winsize);
}

fn columns(stream: &impl AsFd) -> Option<usize> {
    use std::os::fd::AsRawFd;
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the descriptor is open, and the kernel fills `size`, which outlives the call.
    unsafe { ioctl::window_size(stream.as_fd().as_raw_fd(), &mut size) }.ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}
