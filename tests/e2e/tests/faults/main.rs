//! What happens when parts of the cluster and of Baton itself fail: nothing is lost, stuck or run
//! twice. Each test has the cluster for itself.
//!
//! They need a cluster of `tests/cluster/cluster`, whose parts they can stop, and `curl`.

// Only tests call what is here.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used
)]

mod agent;
mod batch;
mod callbacks;
mod daemon;
mod flood;
mod server;
mod system;
