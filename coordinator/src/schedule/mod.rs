//! The controller of schedules: what `spec.schedule` of a Task or JobFlow asks for.
//!
//! ```text
//! object      a template or one of its runs, as the API server has it
//! make        a template and a time -> the run that is made of it
//! review      which objects are templates, and that they stay what they are
//! present     what is known and planned -> the template's status
//! controller  the loop: watches and time in, calls of the API server out
//! entry       a template and its runs -> the next thing to do
//! calls       what is done about one template
//! ```
//!
//! What is due, and what becomes of it, is planned by [`baton_schedule`]. An object with a schedule is a
//! template: nothing of it runs. Each of its runs is an object of the same kind, which the controller of
//! that kind runs as any other. A template's status and the runs that are there are all the memory that
//! counts; a run's name follows from the time that it was due at, so whoever starts it twice makes one.

mod calls;
mod controller;
mod entry;
mod make;
mod object;
mod present;
mod review;
mod watches;

use std::future::Future;

use kube::Client;

pub use make::{DUE_ANNOTATION, SCHEDULE_LABEL};
pub use review::{is_template, review_change};

use crate::child::Kind;
use crate::control::{Control, Settings};
use crate::flow::object::JobFlowKind;
use crate::metrics::Metrics;
use crate::task::object::TaskKind;
use controller::Controller;

/// Follows the schedules of Tasks and JobFlows until `stop` resolves: to be called by the replica that
/// leads alone, and to be stopped before another may lead.
pub async fn run(
    client: Client,
    settings: &Settings,
    metrics: Metrics,
    stop: impl Future<Output = ()>,
) {
    let stop = futures::FutureExt::shared(stop);
    let tasks = follow::<TaskKind>(&client, settings, &metrics, stop.clone());
    let flows = follow::<JobFlowKind>(&client, settings, &metrics, stop);
    tokio::join!(tasks, flows);
}

/// Follows the schedules of one kind.
async fn follow<K: Kind>(
    client: &Client,
    settings: &Settings,
    metrics: &Metrics,
    stop: impl Future<Output = ()>,
) {
    let (lists, changes) = watches::watch::<K>(client, &settings.namespaces).begin();
    let mut controller = Controller::<K>::new(client.clone(), settings, metrics.clone(), lists);
    controller.run(changes, stop).await;
}
