//! DaemonJobs on two nodes: which nodes have a Job, what a failure means to the others, nodes that
//! join, go, are cordoned, and what fails amid a run. No node ever has two Jobs that run.
//!
//! Those that take the cluster alone touch its nodes, or its parts.

// Only tests call what is here.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used
)]

mod changes;
mod daemons;
mod faults;
mod nodes;
mod policies;
#[path = "../faults/system.rs"]
#[allow(dead_code)] // what only other tests call
mod system;
