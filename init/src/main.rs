//! `init`: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    baton_init::main(std::env::args_os().skip(1))
}
