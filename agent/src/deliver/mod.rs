//! The way of told events to the coordinator: kept on disk, sent in batches, one at a time, until it
//! says that it has them.
//!
//! The end of a task is sent as soon as it is there and nothing else is on its way; everything else
//! waits a moment for what comes with it (`gather`). So the order is kept, for each pod and for all. What is sent twice, because the
//! answer was lost or this program started anew, the coordinator knows by the events' ids.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use baton_events::{Told, write_batch};
use baton_protocol::Timestamp;
use serde::{Deserialize, Serialize};

mod client;
mod gather;
mod pace;
mod queue;

pub use client::{CaSource, Client, PATIENCE, Target, TargetError, coordinator_url};
pub use pace::{Next, Pace, Refused, Reply};
pub use queue::{Batch, Depth, Queue};

use crate::metrics::{DeliveryOutcome, EventOutcome, Metrics};

/// Time between attempts to read a spool that cannot be read.
const SPOOL_PAUSE: Duration = Duration::from_secs(5);

/// How the coordinator was found last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "camelCase")]
pub enum Reach {
    /// Nothing was sent yet.
    #[default]
    Unknown,
    /// It has what was sent.
    Reached {
        /// When it took the last batch.
        at: Timestamp,
    },
    /// It does not take what is sent.
    Lost {
        /// Since when.
        since: Timestamp,
        /// Why, by the last attempt.
        error: String,
    },
}

/// What the rest of the agent sees of this.
#[derive(Debug, Clone, Default)]
pub struct DeliveryView {
    reach: Arc<Mutex<Reach>>,
}

impl DeliveryView {
    /// How the coordinator was found last.
    pub fn reach(&self) -> Reach {
        self.lock().clone()
    }

    fn reached(&self) {
        let at = Timestamp(SystemTime::now());
        let mut reach = self.lock();
        if let Reach::Lost { since, .. } = &*reach {
            let lost_for = at.since(*since);
            tracing::info!(?lost_for, "the coordinator takes events again");
        }
        *reach = Reach::Reached { at };
    }

    fn lost(&self, why: &str) {
        let mut reach = self.lock();
        let since = match &*reach {
            Reach::Lost { since, .. } => *since,
            Reach::Unknown | Reach::Reached { .. } => {
                tracing::warn!(error = %why, "the coordinator does not take events; they are kept and tried again");
                Timestamp(SystemTime::now())
            }
        };
        *reach = Reach::Lost {
            since,
            error: why.to_owned(),
        };
    }

    fn lock(&self) -> MutexGuard<'_, Reach> {
        self.reach.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Delivers what is in the queue, until `stop` is done. What is on its way then is sent again by the
/// next life of this program.
pub async fn run(
    target: Target,
    node: &str,
    queue: &Queue,
    view: &DeliveryView,
    metrics: &Metrics,
    stop: impl Future<Output = ()>,
) {
    let mut delivery = Delivery {
        source: format!("/baton/nodes/{node}"),
        client: Client::new(target),
        pace: Pace::default(),
        queue,
        view,
        metrics,
    };
    tokio::select! {
        () = stop => {}
        () = delivery.run() => {}
    }
}

struct Delivery<'a> {
    source: String,
    client: Client,
    pace: Pace,
    queue: &'a Queue,
    view: &'a DeliveryView,
    metrics: &'a Metrics,
}

impl Delivery<'_> {
    async fn run(&mut self) {
        loop {
            let batch = match self.queue.next(self.pace.limit()).await {
                Ok(batch) => batch,
                Err(e) => {
                    tracing::error!(error = %e, "the spool cannot be read");
                    tokio::time::sleep(SPOOL_PAUSE).await;
                    self.queue.again();
                    continue;
                }
            };
            let delivered = batch.events.is_empty() || self.send(&batch.events).await;
            match batch.position {
                Some(position) if delivered => self.queue.ack(position).await,
                _ => self.queue.again(),
            }
        }
    }

    /// Makes one attempt, and waits as long as is to be waited after it. Tells whether the events need
    /// not be sent again.
    async fn send(&mut self, events: &[Told]) -> bool {
        let body = write_batch(&self.source, events);
        let reply = self.client.post(body).await;
        let answered = matches!(reply, Reply::Answer { .. });
        let next = self.pace.next(events.len(), reply, fastrand::f64());
        self.count(&next, answered, events.len());
        match next {
            Next::Done(refused) => {
                for Refused { id, why } in &refused {
                    tracing::warn!(id, why, "the coordinator refused an event");
                }
                self.view.reached();
                true
            }
            Next::Drop(why) => {
                let id = events.first().map(Told::id).unwrap_or_default();
                tracing::error!(
                    id,
                    why,
                    "the coordinator cannot read an event; it is dropped"
                );
                true
            }
            Next::Split => false,
            Next::OtherReplica(delay) => {
                self.client.start_anew();
                tokio::time::sleep(delay).await;
                false
            }
            Next::Again {
                delay,
                why,
                untrusted,
            } => {
                tracing::debug!(?delay, error = %why, "a delivery failed");
                self.view.lost(&why);
                if untrusted {
                    self.client.start_anew();
                }
                tokio::time::sleep(delay).await;
                false
            }
        }
    }

    fn count(&self, next: &Next, answered: bool, events: usize) {
        let events = events as u64;
        let outcome = match next {
            Next::Done(refused) => {
                let refused = (refused.len() as u64).min(events);
                self.metrics.count_events(EventOutcome::Refused, refused);
                let delivered = events - refused;
                self.metrics
                    .count_events(EventOutcome::Delivered, delivered);
                DeliveryOutcome::Accepted
            }
            Next::Drop(_) => {
                self.metrics.count_events(EventOutcome::Refused, events);
                DeliveryOutcome::Refused
            }
            Next::Split => DeliveryOutcome::Refused,
            Next::OtherReplica(_) => DeliveryOutcome::Deferred,
            Next::Again { .. } if answered => DeliveryOutcome::Failed,
            Next::Again { .. } => DeliveryOutcome::Unreachable,
        };
        self.metrics.count_delivery(outcome);
    }
}
