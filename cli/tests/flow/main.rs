//! `baton run` on JobFlows and DaemonJobs: the real binary, real processes.

// A test fails by panicking, in its helpers too.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod daemon;
mod harness;
mod input;
mod order;
mod shown;
#[path = "../common/signals.rs"]
mod signals;
mod stopping;
