//! Leader election against a real API server.
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

use std::time::{Duration, Instant};

use baton_coordinator::lease::decide::Timing;
use baton_coordinator::lease::{Candidate, run};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, DeleteParams, PostParams};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

/// Longer than a busy machine may stand still.
const TIMING: Timing = Timing {
    duration: Duration::from_secs(12),
    deadline: Duration::from_secs(10),
    retry: Duration::from_millis(500),
};

struct Replica {
    leading: watch::Receiver<bool>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

fn replica(leases: &Api<Lease>, name: &str, identity: &str) -> Replica {
    let (tell, leading) = watch::channel(false);
    let (stop, stopped) = oneshot::channel::<()>();
    let candidate = Candidate {
        name: name.to_owned(),
        identity: identity.to_owned(),
        timing: TIMING,
    };
    let task = tokio::spawn(run(leases.clone(), candidate, tell, async {
        let _ = stopped.await;
    }));
    Replica {
        leading,
        stop: Some(stop),
        task,
    }
}

async fn leads(replica: &mut Replica, want: bool) -> Duration {
    let begun = Instant::now();
    let wait = replica.leading.wait_for(|leads| *leads == want);
    tokio::time::timeout(TIMING.duration * 10, wait)
        .await
        .expect("in time")
        .expect("the replica runs");
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster"]
async fn one_leads_and_the_other_follows_on() {
    let client = kube::Client::try_default().await.unwrap();
    let leases: Api<Lease> = Api::namespaced(client, "default");
    let name = format!("baton-test-{}", std::process::id());

    let mut one = replica(&leases, &name, "one");
    leads(&mut one, true).await;
    let mut two = replica(&leases, &name, "two");
    // Two looks on for longer than a lease lasts, and does not take what is renewed.
    let early = two.leading.wait_for(|leads| *leads);
    assert!(
        tokio::time::timeout(TIMING.duration + TIMING.retry * 4, early)
            .await
            .is_err()
    );
    assert!(*one.leading.borrow());

    // A replica that ends in order is followed before its lease would have run out.
    one.stop.take().unwrap().send(()).unwrap();
    one.task.await.unwrap();
    let took = leads(&mut two, true).await;
    assert!(took < TIMING.duration, "{took:?}");

    // One that vanishes is followed once its lease ran out, and no sooner.
    let begun = Instant::now();
    let mut three = replica(&leases, &name, "three");
    two.task.abort();
    leads(&mut three, true).await;
    let took = begun.elapsed();
    assert!(took > TIMING.duration / 2, "{took:?}");
    let lease = leases.get(&name).await.unwrap().spec.unwrap();
    assert_eq!(lease.holder_identity.as_deref(), Some("three"));
    assert!(lease.lease_transitions >= Some(3), "{lease:?}");

    // A leader whose lease was taken by force stops leading.
    loop {
        let mut lease = leases.get(&name).await.unwrap();
        lease.spec.as_mut().unwrap().holder_identity = Some("somebody".to_owned());
        match leases.replace(&name, &PostParams::default(), &lease).await {
            Ok(_) => break,
            Err(kube::Error::Api(status)) if status.is_conflict() => {}
            Err(error) => panic!("{error}"),
        }
    }
    leads(&mut three, false).await;
    three.task.abort();
    leases
        .delete(&name, &DeleteParams::default())
        .await
        .unwrap();
}
