//! The agent's side to the API server: a watch of this node's pods, and writes of their annotations.
//!
//! [`pods`] folds what the watch tells, [`coalesce`] decides when what is written; here they meet the
//! API server. Nothing on a hand-off's path waits for any of it: with the API server down, the pods with
//! the volume go on, and what is to be written is written once it is back.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::future::Future;
use std::time::{Duration, Instant, SystemTime};

use baton_pod::names::MANAGED_LABEL;
use baton_protocol::layout::ORDER_ANNOTATION;
use baton_protocol::{Order, Timestamp};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event};
use kube::{Client, ResourceExt};
use tokio::task::JoinSet;

use crate::turns::Turns;

mod ca;
pub mod coalesce;
pub mod pods;
mod view;

pub use ca::{CA_KEY, CA_MAP, CaMap};
pub use view::ClusterView;

use coalesce::{Annotations, Coalescer, When, Write, Written};
use pods::{Command, Happened, Pods};

/// Pods of one page when all are listed: they are decoded at once.
const PAGE: u32 = 25;
/// Most writes that are under way at once.
const MAX_WRITES: usize = 4;
/// Longest that one write may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest that writes are waited for at the end.
const LAST_WRITES: Duration = Duration::from_millis(1500);

/// Watches and writes until `stop` is done.
pub async fn run(
    client: Client,
    node: &str,
    turns: Turns,
    view: ClusterView,
    stop: impl Future<Output = ()>,
) {
    let mut cluster = Cluster {
        client: client.clone(),
        turns,
        view,
        pods: Pods::default(),
        writes: Coalescer::default(),
        orders: HashMap::new(),
        under_way: JoinSet::new(),
    };
    let mut changes = cluster.turns.changes();
    let config = watcher::Config::default()
        .fields(&format!("spec.nodeName={node}"))
        .labels(&format!("{MANAGED_LABEL}=true"))
        .page_size(PAGE);
    let events = watcher::watcher(Api::<Pod>::all(client), config)
        .backoff(Patient::default())
        .into_stream();
    let (mut events, mut stop) = (std::pin::pin!(events), std::pin::pin!(stop));
    cluster.follow();
    loop {
        let wake = cluster.wake_at();
        tokio::select! {
            () = &mut stop => {
                // What does not get there in time is written by the next life of this program.
                let _ = tokio::time::timeout(LAST_WRITES, cluster.write_the_rest()).await;
                return;
            }
            event = events.next() => match event {
                Some(event) => cluster.on_event(event),
                None => return,
            },
            changed = changes.changed() => match changed {
                Ok(()) => cluster.follow(),
                // The turns ended: the agent does.
                Err(_) => return,
            },
            Some(done) = cluster.under_way.join_next() => cluster.on_written(done),
            () = sleep_until(wake) => cluster.tick(),
        }
        cluster.start_writes();
    }
}

struct Cluster {
    client: Client,
    turns: Turns,
    view: ClusterView,
    pods: Pods,
    writes: Coalescer,
    /// The orders of the pods with the volume as they were followed last, and whether they are the last.
    orders: HashMap<String, (Order, bool)>,
    under_way: JoinSet<(Write, Written)>,
}

impl Cluster {
    fn on_event(&mut self, event: Result<Event<Pod>, watcher::Error>) {
        let now = now();
        match event {
            // Nothing was heard yet.
            Ok(Event::Init) => return self.pods.list(),
            Ok(Event::InitApply(pod) | Event::Apply(pod)) => self.see(pod, now),
            Ok(Event::InitDone) => {
                for (uid, happened) in self.pods.list_is_complete(now) {
                    self.take(happened);
                    self.forget(&uid);
                }
                let mut seen = self.view.lock();
                seen.synced = true;
                seen.departures.send_replace(());
            }
            Ok(Event::Delete(pod)) => {
                let uid = pod.uid().unwrap_or_default();
                let happened = self.pods.gone(&uid, now);
                self.take(happened);
                self.forget(&uid);
            }
            Err(e) => {
                let cause = explain(&e);
                let before = self.view.lock().error.replace(cause.clone());
                if before.is_none() {
                    tracing::warn!(error = %cause, "this node's pods cannot be watched; trying again");
                }
                return;
            }
        }
        if self.view.lock().error.take().is_some() {
            tracing::info!("this node's pods are watched again");
        }
        self.show();
    }

    fn see(&mut self, pod: Pod, now: Timestamp) {
        let Some(uid) = pod.uid() else {
            return;
        };
        self.writes.saw(&uid, pod.annotations());
        self.view.lock().pods.insert(uid.clone());
        let happened = self.pods.see(pod, now);
        self.take(happened);
        if self.turns.pod(&uid).is_some() {
            self.command(&uid);
        }
    }

    fn forget(&mut self, uid: &str) {
        self.writes.forget(uid);
        let mut seen = self.view.lock();
        seen.pods.remove(uid);
        seen.departures.send_replace(());
    }

    /// Follows the orders of the pods with the volume.
    fn follow(&mut self) {
        let clock = Instant::now();
        let views = self.turns.pods();
        for view in &views {
            let uid = &view.pod.uid;
            self.command(uid);
            let known = self.orders.get(uid).copied();
            let is_last = view.outcome.is_some() || view.order == Order::Turn(view.plan.finished());
            let is_new = known.is_none() && view.order == Order::HOLD && !is_last;
            if known == Some((view.order, is_last)) || is_new {
                continue;
            }
            self.orders.insert(uid.clone(), (view.order, is_last));
            let annotations = [(ORDER_ANNOTATION.to_owned(), view.order.to_string())];
            let when = match is_last {
                true => When::Now,
                false => When::Soon,
            };
            self.writes.want(clock, &view.pod, annotations.into(), when);
        }
        if self.orders.len() > views.len() {
            let here: HashSet<_> = views.iter().map(|v| &v.pod.uid).collect();
            self.orders.retain(|uid, _| here.contains(uid));
            let pods = &self.pods;
            self.writes
                .retain(|uid| here.contains(&uid.to_owned()) || pods.contains(uid));
        }
    }

    /// Passes on what the keeper of a volume's order is to know.
    fn command(&mut self, uid: &str) {
        for command in self.pods.commands(uid) {
            match command {
                Command::Cancel => self.turns.cancel(uid),
                Command::Died(number, how) => self.turns.died(uid, number, how),
            }
        }
    }

    fn take(&mut self, happened: Happened) {
        for told in happened.told {
            self.turns.tell(told);
        }
        if let Some((pod, annotations)) = happened.patch {
            self.writes
                .want(Instant::now(), &pod, annotations, When::Now);
        }
    }

    fn tick(&mut self) {
        for happened in self.pods.tick(now()) {
            self.take(happened);
        }
        self.show();
    }

    fn show(&self) {
        let annotated = self.pods.annotated();
        self.view.lock().annotated = annotated;
    }

    fn start_writes(&mut self) {
        // What the pods have already is known once all were listed: an agent that was started anew writes no
        // annotation a second time.
        if !self.view.is_synced() {
            return;
        }
        while self.under_way.len() < MAX_WRITES
            && let Some(write) = self.writes.next(Instant::now())
        {
            self.under_way.spawn(perform(self.client.clone(), write));
        }
    }

    async fn write_the_rest(&mut self) {
        self.writes.hurry(Instant::now());
        self.start_writes();
        while let Some(done) = self.under_way.join_next().await {
            self.on_written(done);
            self.start_writes();
        }
    }

    fn on_written(&mut self, done: Result<(Write, Written), tokio::task::JoinError>) {
        match done {
            Ok((write, written)) => self.writes.done(Instant::now(), &write.pod.uid, written),
            Err(e) => tracing::error!(error = %e, "a write of annotations broke off"),
        }
    }

    fn wake_at(&self) -> Option<Instant> {
        let write = match self.under_way.len() < MAX_WRITES && self.view.is_synced() {
            true => self.writes.wake_at(Instant::now()),
            false => None,
        };
        let tick = self
            .pods
            .wake_at()
            .map(|at| Instant::now() + at.since(now()));
        write.into_iter().chain(tick).min()
    }
}

async fn perform(client: Client, write: Write) -> (Write, Written) {
    let written = match tokio::time::timeout(PATIENCE, patch(client, &write)).await {
        Ok(Ok(())) => Written::Done,
        // It is gone; or another of that name; or the API server will never take this.
        Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409 | 422) => {
            if status.code == 422 {
                tracing::warn!(pod = %write.pod, error = %status.message, "its annotations are refused");
            }
            Written::Gone
        }
        Ok(Err(e)) => {
            tracing::debug!(pod = %write.pod, error = %explain(&e), "writing its annotations failed");
            Written::Failed {
                jitter: fastrand::f64(),
            }
        }
        Err(_) => Written::Failed {
            jitter: fastrand::f64(),
        },
    };
    (write, written)
}

async fn patch(client: Client, write: &Write) -> Result<(), kube::Error> {
    let pods: Api<kube::core::PartialObjectMeta<Pod>> =
        Api::namespaced(client, &write.pod.namespace);
    let patch = merge_patch(&write.pod.uid, &write.annotations);
    pods.patch(
        &write.pod.name,
        &PatchParams::default(),
        &Patch::Merge(patch),
    )
    .await
    .map(|_| ())
}

/// The UID makes it this pod's alone: another pod of the name answers with a conflict.
fn merge_patch(uid: &str, annotations: &Annotations) -> serde_json::Value {
    serde_json::json!({ "metadata": { "uid": uid, "annotations": annotations } })
}

/// Waits until then; for ever where there is no such time.
pub(crate) async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

fn now() -> Timestamp {
    Timestamp(SystemTime::now())
}

/// An error with all its causes, in one line, without those that repeat what was said.
pub fn explain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text.chars().take(400).collect()
}

/// Time between attempts to watch: from a quarter of a second to ten, spread.
#[derive(Debug, Default)]
struct Patient {
    failures: u32,
}

impl Iterator for Patient {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let most = Duration::from_millis(250 << self.failures.min(6)).min(Duration::from_secs(10));
        self.failures = self.failures.saturating_add(1);
        Some(most.mul_f64(0.5 + fastrand::f64() / 2.0))
    }
}

impl Backoff for Patient {
    fn reset(&mut self) {
        self.failures = 0;
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").finish_non_exhaustive()
    }
}
