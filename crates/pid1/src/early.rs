//! Blocking every signal at a static program's first instruction.
//!
//! To a PID 1 the kernel drops a signal that is neither blocked nor handled. Before `main` the C
//! library starts up, for up to a millisecond in a virtual machine; a SIGTERM in that time would be
//! lost. So a static binary may start at [`early_start!`](crate::early_start)'s few instructions
//! instead, which block every signal, keep the mask that we were given, and go on to `_start`.

use std::ffi::{CStr, OsStr, OsString, c_char, c_int};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicU64, Ordering};

/// No kernel gives this mask: SIGKILL and SIGSTOP are never blocked.
const NOT_CAPTURED: u64 = u64::MAX;

/// The signal mask at the first instruction, written there.
#[doc(hidden)]
#[unsafe(no_mangle)]
pub static BATON_EARLY_MASK: AtomicU64 = AtomicU64::new(NOT_CAPTURED);

/// The signal mask that we were given, where the early start has kept it.
pub(crate) fn captured_mask() -> Option<u64> {
    Some(BATON_EARLY_MASK.load(Ordering::Relaxed)).filter(|mask| *mask != NOT_CAPTURED)
}

/// Defines `baton_start`, to be the entry point of a static binary (`-Wl,-e,baton_start`).
#[macro_export]
#[cfg(target_arch = "x86_64")]
macro_rules! early_start {
    () => {
        ::std::arch::global_asm!(
            ".globl baton_start",
            "baton_start:",
            "mov eax, 14",                       // rt_sigprocmask(
            "xor edi, edi",                      //   SIG_BLOCK,
            "lea rsi, [rip + 2f]",               //   every signal,
            "lea rdx, [rip + BATON_EARLY_MASK]", //   the mask before,
            "mov r10d, 8",                       //   8 bytes)
            "syscall",
            "xor edx, edx", // what the kernel passes to a static program's _start
            "jmp _start",
            ".balign 8",
            "2: .quad -1",
        );
    };
}

/// Defines the `main` of a binary that has no Rust runtime below it (`#![no_main]`): the runtime would
/// change SIGPIPE's disposition before we could see what it was. `$run` takes the arguments, the
/// program's name left out, and gives the exit code.
///
/// A build script sets `early_start` where the binary is static, and then the early start is in it.
#[macro_export]
macro_rules! bare_main {
    ($run:expr) => {
        #[cfg(early_start)]
        $crate::early_start!();

        /// Called by the C library.
        ///
        /// # Safety
        /// `argv` has to hold `argc` strings that live as long as the process, as the kernel lays
        /// them out.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn main(
            argc: ::std::ffi::c_int,
            argv: *const *const ::std::ffi::c_char,
        ) -> ::std::ffi::c_int {
            // SAFETY: as the caller promises.
            let args = unsafe { $crate::early::arguments(argc, argv) };
            $run(args)
        }
    };
}

/// The arguments that `main` got, the program's name left out.
///
/// # Safety
/// `argv` has to hold `argc` strings that live as long as the process.
pub unsafe fn arguments(argc: c_int, argv: *const *const c_char) -> Vec<OsString> {
    let count = usize::try_from(argc).unwrap_or(0);
    (1..count)
        .map(|i| {
            // SAFETY: as the caller promises.
            let arg = unsafe { CStr::from_ptr(*argv.add(i)) };
            OsStr::from_bytes(arg.to_bytes()).to_owned()
        })
        .collect()
}
