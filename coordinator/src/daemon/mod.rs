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
use std::time::Duration;

use futures::StreamExt;
use kube::Client;
use tokio::task::JoinError;

use calls::Done;
use controller::{CallOf, Controller};

use crate::clock::now;
use crate::metrics::Metrics;

/// How long calls that are under way at the end are waited for.
const DRAIN: Duration = Duration::from_secs(3);

/// What the controller is told at its start.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The namespaces whose DaemonJobs are run; all where there is none.
    pub namespaces: Vec<String>,
    /// The name of this replica, for the Kubernetes Events that it writes.
    pub replica: String,
}

/// Runs DaemonJobs until `stop` resolves: to be called by the replica that leads alone, and to be
/// stopped before another may lead. Calls that are under way then are waited for, for a few seconds.
///
/// What the API server refuses is tried again, and said in the DaemonJob's status.
pub async fn run(
    client: Client,
    settings: Settings,
    metrics: Metrics,
    stop: impl Future<Output = ()> + Send,
) {
    let (scopes, mut changes) = watches::watch(&client, &settings.namespaces);
    let mut controller = Controller::new(client, settings, metrics, scopes);
    let mut stop = std::pin::pin!(stop);
    loop {
        controller.work();
        let due = controller.due().map(|at| at.since(now()));
        tokio::select! {
            () = &mut stop => break,
            Some((scope, change)) = changes.next() => controller.change(scope, change),
            Some(called) = controller.calls.join_next() => finished(&mut controller, called),
            () = tokio::time::sleep(due.unwrap_or_default()), if due.is_some() => controller.tick(),
        }
    }
    let drain = async { while controller.calls.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, drain).await.is_err() {
        tracing::warn!("calls of the API server were under way at the end, and were given up");
    }
}

fn finished(controller: &mut Controller, called: Result<(CallOf, Done), JoinError>) {
    match called {
        Ok((of, done)) => controller.done(of, done),
        Err(e) => tracing::error!(error = %e, "a call of the API server broke off"),
    }
}
