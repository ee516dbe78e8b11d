//! Taking every signal, by a descriptor.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};

use crate::{OsError, early, failed};

/// The signal state that we were given, which the command has to get unchanged.
#[derive(Debug, Clone, Copy)]
pub struct Inherited {
    pub(crate) mask: libc::sigset_t,
    /// SIGPIPE's and SIGCHLD's dispositions: the two that a parent may have to change for itself.
    pub(crate) pipe: libc::sighandler_t,
    pub(crate) child: libc::sighandler_t,
}

/// Who ran before `main`, and so what is left of the dispositions that we were given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// Nothing but the C library: all dispositions are as they were given.
    Bare,
    /// Rust's own start-up, which ignores SIGPIPE: what it was is no longer known, and taken to be
    /// the default.
    Rust,
}

impl Inherited {
    /// Blocks every signal and tells what was there before. To be called before anything else.
    ///
    /// # Errors
    /// Where the kernel refuses what it never refuses.
    pub fn capture(runtime: Runtime) -> Result<Inherited, OsError> {
        let mut before = SigSet::empty();
        sigprocmask(
            SigmaskHow::SIG_SETMASK,
            Some(&SigSet::all()),
            Some(&mut before),
        )
        .map_err(failed("block signals"))?;
        let mask = early::captured_mask().map_or(*before.as_ref(), from_bits);
        let pipe = match runtime {
            Runtime::Bare => disposition(libc::SIGPIPE)?,
            Runtime::Rust => libc::SIG_DFL,
        };
        let child = disposition(libc::SIGCHLD)?;
        if child != libc::SIG_DFL {
            // Where SIGCHLD is ignored the kernel reaps for us, and the command's status is lost.
            set_disposition(libc::SIGCHLD, libc::SIG_DFL)?;
        }
        Ok(Inherited { mask, pipe, child })
    }
}

/// A signal that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Its number, real-time signals included.
    pub signal: i32,
    /// It is a SIGPIPE that our own write caused, and means nothing to the command.
    pub own_pipe: bool,
}

/// The descriptor from which blocked signals are read. Never blocks, and closes on exec.
#[derive(Debug)]
pub struct Signals {
    fd: OwnedFd,
}

impl Signals {
    /// Opens the descriptor for every signal.
    ///
    /// # Errors
    /// Where descriptors are used up.
    pub fn open() -> Result<Signals, OsError> {
        let all = SigSet::all();
        // SAFETY: the set is initialised, and -1 asks for a new descriptor.
        let fd =
            unsafe { libc::signalfd(-1, all.as_ref(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        let fd = nix::Error::result(fd).map_err(failed("open a signal descriptor"))?;
        // SAFETY: the kernel has just given us this descriptor, and nobody else has it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Signals { fd })
    }

    /// Takes the next signal, if one is there.
    pub fn take(&mut self) -> Option<Received> {
        let mut info = MaybeUninit::<libc::signalfd_siginfo>::uninit();
        let size = size_of::<libc::signalfd_siginfo>();
        loop {
            // SAFETY: the buffer is as large as said.
            let read = unsafe { libc::read(self.fd.as_raw_fd(), info.as_mut_ptr().cast(), size) };
            match nix::Error::result(read) {
                Ok(n) if n as usize == size => break,
                Err(nix::Error::EINTR) => {}
                _ => return None,
            }
        }
        // SAFETY: the kernel filled it whole.
        let info = unsafe { info.assume_init() };
        let signal = i32::try_from(info.ssi_signo).ok()?;
        let own_pipe = signal == libc::SIGPIPE && info.ssi_pid == std::process::id();
        Some(Received { signal, own_pipe })
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The name of a signal, for a message.
pub fn name(signal: i32) -> String {
    match nix::sys::signal::Signal::try_from(signal) {
        Ok(known) => known.as_str().to_owned(),
        Err(_) => format!("signal {signal}"),
    }
}

fn from_bits(bits: u64) -> libc::sigset_t {
    let mut set = SigSet::empty();
    for signal in 1..=64 {
        if bits & (1 << (signal - 1)) != 0 {
            // SAFETY: the set is initialised, and the number is in range.
            unsafe { libc::sigaddset(std::ptr::from_mut(&mut set).cast(), signal) };
        }
    }
    *set.as_ref()
}

fn disposition(signal: i32) -> Result<libc::sighandler_t, OsError> {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: no new action is given, and there is room for the present one.
    let got = unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) };
    nix::Error::result(got).map_err(failed("read a signal's disposition"))?;
    // SAFETY: initialised, by the kernel and by zeroes before.
    Ok(unsafe { action.assume_init() }.sa_sigaction)
}

/// Sets a disposition to SIG_DFL or SIG_IGN. Safe between fork and exec.
pub(crate) fn set_disposition(signal: i32, to: libc::sighandler_t) -> Result<(), OsError> {
    // SAFETY: all zeroes is a valid sigaction, and the disposition is no function.
    let set = unsafe {
        let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
        action.sa_sigaction = to;
        libc::sigaction(signal, &action, std::ptr::null_mut())
    };
    nix::Error::result(set)
        .map(drop)
        .map_err(failed("set a signal's disposition"))
}
