//! What happens when parts of the cluster and of Baton itself fail, come and go: nothing is lost, stuck or run
//! twice. Each test has the cluster for itself.
//!
//! They need a cluster of `tests/cluster/cluster`, whose parts they can stop, and `curl`.

mod agent;
mod batch;
mod callbacks;
mod daemon;
mod daemon_controller;
mod daemon_nodes;
mod flood;
mod flow_controller;
mod nodes;
mod server;
