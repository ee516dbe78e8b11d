//! Copying the command's output to a file as well.
//!
//! The console (our own stdout or stderr) is never made non-blocking, as others share it: at most
//! PIPE_BUF bytes are written when poll says that there is room, which then cannot block.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// POSIX's promise: a pipe that is writable takes this much at once.
const PIPE_BUF: usize = 4096;

/// Why output cannot be captured.
#[derive(Debug, thiserror::Error)]
#[error("cannot capture output in {}: {source}", path.display())]
pub(crate) struct TeeError {
    path: PathBuf,
    source: io::Error,
}

/// One stream on its way to the console and to a file.
#[derive(Debug)]
pub(crate) struct Tee {
    pipe: Option<File>,
    console: Option<RawFd>,
    file: Capture,
    pending: Vec<u8>,
    /// How much of `pending` the console has.
    written: usize,
}

#[derive(Debug)]
struct Capture {
    file: Option<File>,
    path: PathBuf,
    room: u64,
    limit: u64,
    trouble: Option<String>,
}

impl Tee {
    /// Opens the file, and gives the descriptor that the command is to write to. The file is begun
    /// anew where `again` is false.
    pub(crate) fn open(
        console: RawFd,
        path: &Path,
        limit: u64,
        again: bool,
    ) -> Result<(Tee, OwnedFd), TeeError> {
        let failed = |source| TeeError {
            path: path.to_owned(),
            source,
        };
        let mut open = OpenOptions::new();
        if again {
            open.append(true)
        } else {
            open.write(true).truncate(true)
        };
        // A FIFO that nobody reads is an error, not a wait that no signal ends.
        open.create(true).custom_flags(libc::O_NONBLOCK);
        let file = open.open(path).map_err(failed)?;
        let used = file.metadata().map_or(0, |meta| meta.len());
        let (pipe, command) = pipe().map_err(failed)?;
        let capture = Capture {
            file: Some(file),
            path: path.to_owned(),
            room: limit.saturating_sub(used),
            limit,
            trouble: None,
        };
        let tee = Tee {
            pipe: Some(pipe),
            console: Some(console),
            file: capture,
            pending: Vec::new(),
            written: 0,
        };
        Ok((tee, command))
    }

    /// What to poll for: room on the console while something is left to write, else more output.
    pub(crate) fn poll_fd(&self) -> Option<PollFd<'_>> {
        if self.is_behind() {
            // SAFETY: our own stdout or stderr, which nobody closes.
            let console = self
                .console
                .map(|fd| unsafe { BorrowedFd::borrow_raw(fd) })?;
            return Some(PollFd::new(console, PollFlags::POLLOUT));
        }
        Some(PollFd::new(self.pipe.as_ref()?.as_fd(), PollFlags::POLLIN))
    }

    /// Moves what can be moved now. False where nothing could be.
    pub(crate) fn pump(&mut self) -> bool {
        if self.is_behind() {
            self.write_on()
        } else {
            self.read_on()
        }
    }

    /// Whether the console has not got all that was read.
    pub(crate) fn is_behind(&self) -> bool {
        self.written < self.pending.len()
    }

    /// Gives the console up: somebody wants the end, and it does not take what is left.
    pub(crate) fn abandon(&mut self) {
        self.console = None;
        self.pending.clear();
        self.written = 0;
    }

    /// What went wrong with the file: a failure, or that it was cut.
    pub(crate) fn trouble(&self) -> Option<&str> {
        self.file.trouble.as_deref()
    }

    fn read_on(&mut self) -> bool {
        let Some(pipe) = &mut self.pipe else {
            return false;
        };
        self.pending.resize(16 * PIPE_BUF, 0);
        self.written = 0;
        let read = pipe.read(&mut self.pending);
        self.pending.truncate(*read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => self.pipe = None,
            Ok(_) => self.file.take(&self.pending),
            Err(e) => {
                if e.kind() != io::ErrorKind::WouldBlock {
                    self.pipe = None;
                }
                return false;
            }
        }
        if self.console.is_none() {
            self.pending.clear();
        }
        true
    }

    fn write_on(&mut self) -> bool {
        let rest = self.pending.get(self.written..).unwrap_or_default();
        let piece = rest.get(..PIPE_BUF).unwrap_or(rest);
        let Some(console) = self.console else {
            return false;
        };
        if !has_room(console) {
            return false;
        }
        // SAFETY: our own stdout or stderr; it is not closed when this File goes.
        let mut console = ManuallyDrop::new(unsafe { File::from_raw_fd(console) });
        match console.write(piece) {
            Ok(n) => self.written += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return false,
            // Nobody reads it any more. The file still gets everything.
            Err(_) => self.abandon(),
        }
        true
    }
}

impl Capture {
    fn take(&mut self, output: &[u8]) {
        let Some(file) = &mut self.file else { return };
        let room = usize::try_from(self.room).unwrap_or(usize::MAX);
        let piece = output.get(..room).unwrap_or(output);
        self.room -= piece.len() as u64;
        let mut written = file.write_all(piece);
        if piece.len() < output.len() {
            let note = format!("\n[baton: output cut here, at {} bytes]\n", self.limit);
            written = written.and_then(|()| file.write_all(note.as_bytes()));
            self.trouble = Some(format!(
                "{} was cut at {} bytes",
                self.path.display(),
                self.limit
            ));
            self.file = None;
        }
        if let Err(e) = written {
            self.trouble = Some(format!("cannot write to {}: {e}", self.path.display()));
            self.file = None;
        }
    }
}

/// Whether a write of PIPE_BUF bytes would not block. True also where it would fail at once.
fn has_room(console: RawFd) -> bool {
    // SAFETY: our own stdout or stderr, which nobody closes.
    let console = unsafe { BorrowedFd::borrow_raw(console) };
    let mut fds = [PollFd::new(console, PollFlags::POLLOUT)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

/// A pipe: our end, which does not block, and the command's. Both close on exec.
fn pipe() -> io::Result<(File, OwnedFd)> {
    let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    // SAFETY: sets a flag on our own end alone.
    let set = unsafe { libc::fcntl(read.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
    if set < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((read.into(), write))
}
