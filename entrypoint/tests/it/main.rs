//! The real entrypoint, driven as a container runtime would.
//!
//! `BATON_ENTRYPOINT` names another binary to test (the static one); tests that need namespaces or
//! mounts are ignored unless asked for, as they need root: `cargo test -- --include-ignored`.

#![allow(clippy::unwrap_used)] // the helpers beside the tests are tests too

mod exit;
mod output;
mod pid1;
mod record;
mod retry;
mod script;
mod signals;
mod support;
mod tty;
mod wait;
