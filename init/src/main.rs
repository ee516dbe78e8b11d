//! `init`'s binary. It has no Rust runtime below `main`, which would change SIGPIPE's disposition
//! before we could see what it was.
#![no_main]

use std::ffi::{CStr, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

#[cfg(early_start)]
baton_pid1::early_start!();

/// Called by the C library.
///
/// # Safety
/// `argv` has to hold `argc` strings that live as long as the process, as the kernel lays them out.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn main(argc: libc::c_int, argv: *const *const libc::c_char) -> libc::c_int {
    let count = usize::try_from(argc).unwrap_or(0);
    let args: Vec<OsString> = (1..count)
        .map(|i| {
            // SAFETY: the kernel passes `argc` strings that live as long as the process.
            let arg = unsafe { CStr::from_ptr(*argv.add(i)) };
            OsStr::from_bytes(arg.to_bytes()).to_owned()
        })
        .collect();
    baton_init::main(args)
}
