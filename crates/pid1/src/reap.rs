//! Reaping: whatever child ends, ours or adopted.

use std::mem::MaybeUninit;
use std::time::Duration;

use nix::unistd::Pid;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It exited with this code.
    Exited(i32),
    /// This signal killed it.
    Killed(i32),
}

impl Ended {
    /// The exit code by a shell's reckoning: 128+n for signal n.
    pub const fn code(self) -> i32 {
        match self {
            Ended::Exited(code) => code,
            Ended::Killed(signal) => 128 + signal,
        }
    }
}

/// Resources of a process that ended and of those that it waited for itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time in user mode.
    pub user: Duration,
    /// CPU time in system mode.
    pub system: Duration,
    /// Largest resident set of any one of them, in bytes.
    pub peak_bytes: u64,
}

impl Usage {
    /// Adds what another process used.
    pub fn add(&mut self, other: Usage) {
        self.user += other.user;
        self.system += other.system;
        self.peak_bytes = self.peak_bytes.max(other.peak_bytes);
    }
}

/// What one look for ended children found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaped {
    /// This child ended.
    Ended {
        /// Which.
        pid: Pid,
        /// How.
        how: Ended,
        /// What it used.
        usage: Usage,
    },
    /// This child was stopped (SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU).
    Stopped(Pid),
    /// Children are left, and none has news.
    None,
    /// No child is left at all.
    NoChildren,
}

/// Looks for one child with news. To be called until it finds none: SIGCHLDs merge.
pub fn reap() -> Reaped {
    loop {
        let mut status = 0;
        let mut usage = MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: both places are ours and as large as they must be.
        let pid = unsafe {
            libc::wait4(
                -1,
                &mut status,
                libc::WNOHANG | libc::WUNTRACED,
                usage.as_mut_ptr(),
            )
        };
        let pid = match nix::Error::result(pid) {
            Ok(0) => return Reaped::None,
            Ok(pid) => Pid::from_raw(pid),
            Err(nix::Error::EINTR) => continue,
            Err(_) => return Reaped::NoChildren,
        };
        if libc::WIFSTOPPED(status) {
            return Reaped::Stopped(pid);
        }
        let how = if libc::WIFSIGNALED(status) {
            Ended::Killed(libc::WTERMSIG(status))
        } else {
            Ended::Exited(libc::WEXITSTATUS(status))
        };
        // SAFETY: zeroed before, filled by the kernel.
        let usage = usage_of(unsafe { usage.assume_init_ref() });
        return Reaped::Ended { pid, how, usage };
    }
}

fn usage_of(raw: &libc::rusage) -> Usage {
    let duration = |t: libc::timeval| {
        Duration::from_secs(t.tv_sec.try_into().unwrap_or(0))
            + Duration::from_micros(t.tv_usec.try_into().unwrap_or(0))
    };
    Usage {
        user: duration(raw.ru_utime),
        system: duration(raw.ru_stime),
        peak_bytes: u64::try_from(raw.ru_maxrss).unwrap_or(0) * 1024,
    }
}
