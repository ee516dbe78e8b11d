//! JobFlows amid what goes wrong: parts that fail, Jobs and specs that change under way, nodes that
//! fail, flows that are stopped. No node's Job is made twice, and each flow ends.
//!
//! Those that break parts need a cluster of `tests/cluster/cluster`.

// Only tests call what is here.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used
)]

mod changes;
mod controller;
mod flows;
mod jobs;
mod policies;
mod results;
#[path = "../faults/system.rs"]
#[allow(dead_code)] // what only other tests call
mod system;
