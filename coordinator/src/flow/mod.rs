//! The controller of JobFlows.
//!
//! ```text
//! object      JobFlows and JobTemplates as the API server has them
//! change      changes of a flow that runs: which are taken
//! children    its Jobs and Tasks, as far as they are looked at
//! make        an attempt of a node -> the Job or Task that runs it
//! story       a status -> the events that its callbacks tell
//! plan        what is there and what should be -> what to do next
//! controller  the loop: watches and time in, calls of the API server out
//! ```
//!
//! All but the loop are pure. What a flow's status says is the only memory that counts: a Job is made
//! once it is written that it is to be, and what depends on its end is let go once that is written. So
//! a controller that starts anywhere in the middle goes on from there, and what is recorded as over
//! never runs again, whatever became of its Job.

pub mod change;
pub mod children;
pub mod make;
pub mod memory;
pub mod object;
pub mod plan;
pub mod story;

mod calls;
mod controller;
mod present;
mod watches;

use std::future::Future;

use kube::Client;
use tokio::sync::mpsc;

use controller::Controller;

use crate::callbacks::{Progress, Story};
use crate::control::{Control, Settings};
use crate::metrics::Metrics;

/// The ends of the channels that the controller works between.
#[derive(Debug)]
pub struct Wires<'a> {
    /// What callbacks are to tell. A full channel is tried again a second later.
    pub stories: mpsc::Sender<Story>,
    /// How far callbacks came; those of other kinds are of no concern here.
    pub progress: &'a mut mpsc::Receiver<Progress>,
}

/// The channel of callbacks' progress was closed before the controller was told to end.
#[derive(Debug, thiserror::Error)]
#[error("the channel of callbacks' progress was closed")]
pub struct Closed;

/// Runs JobFlows until `stop` resolves: to be called by the replica that leads alone, and to be stopped
/// before another may lead. Calls that are under way then are waited for, for a few seconds.
///
/// # Errors
/// Only where a channel was closed.
pub async fn run(
    client: Client,
    settings: &Settings,
    wires: Wires<'_>,
    metrics: Metrics,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), Closed> {
    let Wires { stories, progress } = wires;
    let (lists, mut changes) = watches::watch(&client, &settings.namespaces).begin();
    let mut controller = Controller::new(client, settings, metrics, lists, stories);
    let mut stop = std::pin::pin!(stop);
    let ended = loop {
        controller.work();
        tokio::select! {
            () = &mut stop => break Ok(()),
            () = controller.turn(&mut changes) => {}
            told = progress.recv() => match told {
                Some(told) => controller.progress(told),
                None => break Err(Closed),
            },
        }
    };
    controller.last_words();
    controller.drain().await;
    ended
}
