//! Leader election by a `coordination.k8s.io/v1` Lease.
//!
//! [`decide`] is the pure half; this is the thin loop around it. A leader that cannot renew the lease
//! is told so by the clock, before anybody else could have taken it.

pub mod decide;

use std::future::Future;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::sync::watch;

use decide::{Decision, Elector, Record, Timing};

/// Which lease, and who wants it.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The lease's name.
    pub name: String,
    /// Who we are: unique among the replicas, such as the pod's name.
    pub identity: String,
    /// How the lease is kept.
    pub timing: Timing,
}

/// Stands for election until `stop` is ready, and then gives the lease up, so that another replica
/// takes over at once. `leading` says whether we lead; it becomes false in time for the work to be
/// stopped (see [`Timing::deadline`]). Errors of the API server are logged and tried again.
pub async fn run(
    leases: Api<Lease>,
    candidate: Candidate,
    leading: watch::Sender<bool>,
    stop: impl Future<Output = ()>,
) {
    let mut holder = Holder {
        elector: Elector::new(candidate.identity.clone(), candidate.timing),
        leases,
        candidate,
        known: None,
    };
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            () = holder.round(&leading) => {}
        }
    }
    holder.release().await;
    tell(&leading, false);
}

fn tell(leading: &watch::Sender<bool>, leads: bool) {
    leading.send_if_modified(|was| std::mem::replace(was, leads) != leads);
}

struct Holder {
    leases: Api<Lease>,
    candidate: Candidate,
    elector: Elector,
    /// The lease as we wrote it last, which saves reading it before it is renewed.
    known: Option<Lease>,
}

impl Holder {
    /// One attempt, and the time until the next.
    async fn round(&mut self, leading: &watch::Sender<bool>) {
        let timing = self.candidate.timing;
        let patience = Instant::now() + timing.deadline / 2;
        let limit = self.elector.leads_until().map_or(patience, |until| {
            if until > Instant::now() {
                until.min(patience)
            } else {
                patience
            }
        });
        match tokio::time::timeout_at(limit.into(), self.attempt()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                self.known = None;
                tracing::warn!(lease = self.candidate.name, error = %error, "the lease could not be renewed");
            }
            Err(_) => {
                self.known = None;
                tracing::warn!(
                    lease = self.candidate.name,
                    "the API server did not answer in time about the lease"
                );
            }
        }
        tell(leading, self.elector.leads(Instant::now()));
        let pause = timing.retry.mul_f64(0.9 + fastrand::f64() / 5.0);
        let next = Instant::now() + pause;
        match self.elector.leads_until() {
            Some(until) if until < next => {
                tokio::time::sleep_until(until.into()).await;
                tell(leading, self.elector.leads(Instant::now()));
                tokio::time::sleep_until(next.into()).await;
            }
            _ => tokio::time::sleep_until(next.into()).await,
        }
    }

    async fn attempt(&mut self) -> Result<(), kube::Error> {
        let lease = match self.known.take() {
            Some(lease) => Some(lease),
            None => self.leases.get_opt(&self.candidate.name).await?,
        };
        let now = Instant::now();
        let decision = self
            .elector
            .decide(lease.as_ref().map(record).as_ref(), now);
        if decision == Decision::Wait {
            self.elector.lost();
            return Ok(());
        }
        let identity = self.candidate.identity.clone();
        let written = self.written(lease, identity, self.candidate.timing.duration);
        let answer = self.write(&written).await;
        match answer {
            Ok(lease) => {
                if decision == Decision::Take {
                    tracing::info!(
                        lease = self.candidate.name,
                        identity = self.candidate.identity,
                        "leading"
                    );
                }
                self.elector.wrote(now);
                self.known = Some(lease);
                Ok(())
            }
            // Somebody was faster: the next round reads what it says now.
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    async fn write(&self, lease: &Lease) -> Result<Lease, kube::Error> {
        let params = PostParams::default();
        if lease.metadata.resource_version.is_some() {
            self.leases
                .replace(&self.candidate.name, &params, lease)
                .await
        } else {
            self.leases.create(&params, lease).await
        }
    }

    /// The lease as it is to be written, on top of what was read.
    fn written(&self, lease: Option<Lease>, holder: String, duration: Duration) -> Lease {
        let now = MicroTime(k8s_openapi::jiff::Timestamp::now());
        let mut lease = lease.unwrap_or_else(|| Lease {
            metadata: ObjectMeta {
                name: Some(self.candidate.name.clone()),
                ..ObjectMeta::default()
            },
            spec: None,
        });
        let mut spec = lease.spec.take().unwrap_or_default();
        if spec.holder_identity.as_ref() != Some(&holder) {
            spec.acquire_time = Some(now.clone());
            spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0).saturating_add(1));
        }
        let seconds = i32::try_from(duration.as_secs()).unwrap_or(i32::MAX).max(1);
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(holder),
            lease_duration_seconds: Some(seconds),
            renew_time: Some(now),
            ..spec
        });
        lease
    }

    async fn release(&mut self) {
        if !self.elector.leads(Instant::now()) {
            return;
        }
        self.elector.lost();
        let limit = self.candidate.timing.retry;
        let released = tokio::time::timeout(limit, async {
            let lease = self.leases.get_opt(&self.candidate.name).await?;
            let ours = lease
                .as_ref()
                .is_some_and(|l| record(l).holder == self.candidate.identity);
            if ours {
                let written = self.written(lease, String::new(), Duration::from_secs(1));
                self.write(&written).await?;
            }
            Ok::<_, kube::Error>(())
        });
        match released.await {
            Ok(Ok(())) => tracing::info!(lease = self.candidate.name, "gave up the lease"),
            Ok(Err(error)) => {
                tracing::warn!(lease = self.candidate.name, error = %error, "the lease could not be given up; it runs out by itself");
            }
            Err(_) => tracing::warn!(
                lease = self.candidate.name,
                "the lease could not be given up in time; it runs out by itself"
            ),
        }
    }
}

/// What a lease says, as far as it decides.
fn record(lease: &Lease) -> Record {
    let spec = lease.spec.clone().unwrap_or_default();
    // A lease without a duration, or with none above zero, is nobody's for long.
    let seconds = spec.lease_duration_seconds.unwrap_or(0).clamp(0, 3600);
    Record {
        holder: spec.holder_identity.unwrap_or_default(),
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
        duration: Duration::from_secs(u64::try_from(seconds).unwrap_or(0)),
    }
}
