//! The controller of DaemonJobs.
//!
//! ```text
//! object      the DaemonJob as the API server has it
//! fit         which nodes count for it
//! jobs        the Jobs of DaemonJobs that are there
//! plan        what is there and what should be -> the status, and what to do by it
//! present     what a status says to people
//! controller  the loop: watches and time in, calls of the API server out
//! ```
//!
//! What is to run when is [`baton_flow::daemon`]'s. A DaemonJob's status is the only memory that
//! counts: a node's Job is made only by a status that is durable, and what is recorded there as
//! finished does not run again.

mod calls;
mod controller;
pub mod fit;
pub mod jobs;
pub mod object;
mod plan;
mod present;
mod watches;

use std::future::Future;

use kube::Client;

use controller::Controller;

use crate::control::{Control, Settings};
use crate::metrics::Metrics;

/// Runs DaemonJobs until `stop` resolves: to be called by the replica that leads alone, and to be
/// stopped before another may lead. Calls that are under way then are waited for, for a few seconds.
///
/// What the API server refuses is tried again, and said in the DaemonJob's status.
pub async fn run(
    client: Client,
    settings: &Settings,
    metrics: Metrics,
    stop: impl Future<Output = ()> + Send,
) {
    let (lists, changes) = watches::watch(&client, &settings.namespaces).begin();
    let mut controller = Controller::new(client, settings, metrics, lists);
    controller.run(changes, stop).await;
}
