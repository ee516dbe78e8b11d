//! The controller of Tasks.
//!
//! ```text
//! object      the Task as the API server has it
//! fold        facts about a run -> its status
//! plan        what is there and what should be -> the next thing to do
//! story       a status -> the events that its callbacks tell
//! cluster     nodes: which carry the agent's volume
//! controller  the loop: watches, agents' batches and time in, calls of the API server out
//! ```
//!
//! `fold`, `plan` and `story` are pure. A Task's status is the only memory that counts: a controller
//! that starts anywhere in the middle goes on from the status and from the pods that are there.

pub mod cluster;
pub mod fold;
pub mod memory;
pub mod object;
pub mod plan;
pub mod story;

mod batches;
mod calls;
mod controller;
mod present;
mod runs;
mod watches;

use std::future::Future;

use kube::Client;
use tokio::sync::mpsc;

use controller::Controller;

use crate::callbacks::{Progress, Story};
use crate::control::Control;
use crate::inbox::Batch;
use crate::metrics::Metrics;

/// What the controller is told at its start.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The namespaces whose Tasks are run; all where there is none.
    pub namespaces: Vec<String>,
    /// The image that brings the tools to pods on nodes without the agent.
    pub tools_image: String,
    /// Its pull policy; the cluster's default where nothing is said.
    pub tools_pull_policy: Option<String>,
    /// The user that containers run as of which neither the Task nor its pod template says anything;
    /// `None` for that of their images.
    pub user: Option<i64>,
    /// The name of this replica, for the Kubernetes Events that it writes.
    pub replica: String,
}

/// The ends of the channels that the controller works between.
#[derive(Debug)]
pub struct Wires<'a> {
    /// Agents' events.
    pub inbox: &'a mut mpsc::Receiver<Batch>,
    /// What callbacks are to tell. A full channel is tried again a second later.
    pub stories: mpsc::Sender<Story>,
    /// How far callbacks came.
    pub progress: &'a mut mpsc::Receiver<Progress>,
}

/// Why the controller ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// The channel of agents' events, or of callbacks' progress, was closed.
    #[error("the channel of {0} was closed")]
    Closed(&'static str),
}

/// Runs Tasks until `stop` resolves: to be called by the replica that leads alone, and to be stopped
/// before another may lead. Calls that are under way then are waited for, for a few seconds; batches
/// that are not durable are dropped, and so told again by their agents.
///
/// `synced` is called once, when every Task and pod has been read.
///
/// # Errors
/// Only where a channel was closed. What the API server refuses is tried again, and said in the
/// Task's status where it concerns one Task.
pub async fn run(
    client: Client,
    settings: Settings,
    wires: Wires<'_>,
    metrics: Metrics,
    synced: impl FnOnce() + Send,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), ControllerError> {
    let Wires {
        inbox,
        stories,
        progress,
    } = wires;
    let (lists, mut changes) = watches::watch(&client, &settings.namespaces).begin();
    let mut controller = Controller::new(client, settings, metrics, lists, stories);
    let mut synced = Some(synced);
    let mut stop = std::pin::pin!(stop);
    let ended = loop {
        controller.work();
        if controller.is_synced()
            && let Some(synced) = synced.take()
        {
            synced();
        }
        let has_room = controller.has_room();
        tokio::select! {
            () = &mut stop => break Ok(()),
            () = controller.turn(&mut changes) => {}
            batch = inbox.recv(), if has_room => match batch {
                Some(batch) => controller.batch(batch),
                None => break Err(ControllerError::Closed("agents' events")),
            },
            told = progress.recv() => match told {
                Some(told) => controller.progress(told),
                None => break Err(ControllerError::Closed("callbacks' progress")),
            },
        }
    };
    controller.last_words();
    controller.drain().await;
    ended
}
