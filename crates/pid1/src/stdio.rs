//! The standard descriptors that we were given.

use std::os::fd::AsRawFd;

/// Occupies 0, 1 and 2 where they are closed, so that no file of ours gets such a number and then
/// our messages. The command gets them closed, as we did.
pub fn reserve() {
    let mut fds = [0, 1, 2].map(|fd| libc::pollfd {
        fd,
        events: 0,
        revents: 0,
    });
    // SAFETY: the array is as long as said.
    if unsafe { libc::poll(fds.as_mut_ptr(), 3, 0) } <= 0 {
        return;
    }
    for _ in fds.iter().filter(|fd| fd.revents & libc::POLLNVAL != 0) {
        // The kernel gives the lowest free number. An event counter needs no path, and takes no text.
        // SAFETY: touches no memory.
        unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    }
}

/// Our terminal, where we are its foreground process group and so may hand it over.
pub fn foreground_terminal() -> Option<i32> {
    let stdin = std::io::stdin();
    let group = nix::unistd::tcgetpgrp(&stdin).ok()?;
    (group == nix::unistd::getpgrp()).then(|| stdin.as_raw_fd())
}
