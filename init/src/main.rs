//! `init`'s binary.
#![no_main]

baton_pid1::bare_main!(baton_init::main);
