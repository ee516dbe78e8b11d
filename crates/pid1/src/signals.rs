//! Taking every signal, by a descriptor.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::{OsError, early, failed};

/// A set of signals as the kernel has it: bit n-1 is signal n. The C library's own sets leave out the
/// two real-time signals that it keeps for itself, which we would then neither block nor take.
pub(crate) type Mask = u64;

const ALL: Mask = Mask::MAX;

/// The signal state that we were given, which the command has to get unchanged.
#[derive(Debug, Clone, Copy)]
pub struct Inherited {
    pub(crate) mask: Mask,
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
        let before = set_mask(ALL).map_err(failed("block signals"))?;
        let mask = early::captured_mask().unwrap_or(before);
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

    /// Unblocks what was not blocked before, for a program of ours that starts no command. SIGPIPE is
    /// ignored, as Rust programs do: a closed output is an error and no death.
    ///
    /// # Errors
    /// Where the kernel refuses what it never refuses.
    pub fn release(&self) -> Result<(), OsError> {
        set_disposition(libc::SIGPIPE, libc::SIG_IGN)?;
        set_mask(self.mask)
            .map(drop)
            .map_err(failed("unblock signals"))
    }
}

/// The descriptor from which blocked signals are read. Never blocks, and closes on exec.
#[derive(Debug)]
pub struct Signals {
    fd: OwnedFd,
    folder_changed: bool,
}

impl Signals {
    /// Opens the descriptor for every signal.
    ///
    /// # Errors
    /// Where descriptors are used up.
    pub fn open() -> Result<Signals, OsError> {
        let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
        let size = size_of::<Mask>();
        // SAFETY: the set is as large as said, and -1 asks for a new descriptor.
        let fd = unsafe { libc::syscall(libc::SYS_signalfd4, -1, &ALL, size, flags) };
        let fd = nix::Error::result(fd).map_err(failed("open a signal descriptor"))? as i32;
        // SAFETY: the kernel has just given us this descriptor, and nobody else has it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Signals {
            fd,
            folder_changed: false,
        })
    }

    /// Takes the number of the next signal, if one is there; real-time signals included.
    ///
    /// What we caused ourselves means nothing to the command and is left out: SIGPIPE by writing to a
    /// closed pipe, and SIGIO by asking the kernel for a folder's changes.
    pub fn take(&mut self) -> Option<i32> {
        loop {
            let info = self.read()?;
            let by_kernel = info.ssi_code > 0;
            match i32::try_from(info.ssi_signo).ok()? {
                libc::SIGPIPE if info.ssi_pid == std::process::id() => {}
                libc::SIGIO if by_kernel => self.folder_changed = true,
                signal => return Some(signal),
            }
        }
    }

    /// Whether a folder changed whose changes were asked for (`F_NOTIFY`), among the signals taken
    /// since the last call.
    pub fn take_folder_change(&mut self) -> bool {
        std::mem::take(&mut self.folder_changed)
    }

    fn read(&self) -> Option<libc::signalfd_siginfo> {
        let mut info = MaybeUninit::<libc::signalfd_siginfo>::uninit();
        let size = size_of::<libc::signalfd_siginfo>();
        loop {
            // SAFETY: the buffer is as large as said.
            let read = unsafe { libc::read(self.fd.as_raw_fd(), info.as_mut_ptr().cast(), size) };
            match nix::Error::result(read) {
                // SAFETY: the kernel filled it whole.
                Ok(n) if n as usize == size => return Some(unsafe { info.assume_init() }),
                Err(nix::Error::EINTR) => {}
                _ => return None,
            }
        }
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

/// Sets our mask and gives the one before. Safe between fork and exec.
pub(crate) fn set_mask(mask: Mask) -> Result<Mask, nix::Error> {
    let mut before: Mask = 0;
    // SAFETY: both sets are as large as said.
    let set = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &mask,
            &mut before,
            size_of::<Mask>(),
        )
    };
    nix::Error::result(set).map(|_| before)
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
