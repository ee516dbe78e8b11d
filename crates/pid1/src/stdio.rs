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
        // The kernel gives the lowest free number to a pipe's reading end. It needs no path; to read
        // from it is at its end, and to write to it is the error that it is to a closed one.
        let mut ends = [0; 2];
        // SAFETY: there is room for two numbers.
        if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } == 0 {
            // SAFETY: the writing end is ours alone, and nobody has its number.
            unsafe { libc::close(ends[1]) };
        }
    }
}

/// Our terminal, where we are its foreground process group and so may hand it over.
pub fn foreground_terminal() -> Option<i32> {
    let stdin = std::io::stdin();
    let group = nix::unistd::tcgetpgrp(&stdin).ok()?;
    (group == nix::unistd::getpgrp()).then(|| stdin.as_raw_fd())
}
