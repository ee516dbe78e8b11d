//! The entrypoint's binary.
#![no_main]

use baton_pid1::signals::Runtime;

baton_pid1::bare_main!(|args| baton_entrypoint::main(args, Runtime::Bare));
