//! Pods' folders that nobody gives back: the pod was deleted by force, and its kubelet, started anew while
//! this program was away, does not know it any more.
//!
//! The watch of this node's pods says which pods are absent; [`absent`] counts for how long. Before a folder
//! goes, the API server is asked for all pods of the node once more, by a list that is complete and none of
//! whose labels matter: what cannot be asked for is not gone.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};

use crate::cluster::{self, ClusterView};
use crate::volume::{Left, Volumes};

mod absent;

use absent::Absent;

/// Pods of one page of the list.
const PAGE: u32 = 250;
/// Longest that one page may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The annotation in which the API server's copy of a pod from a file names the UID that the kubelet uses for it.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// Removes the folders of pods that have been gone for `patience`, until `stop` is done. What fails is tried
/// again after the same time.
pub async fn run(
    client: Client,
    node: &str,
    volumes: Volumes,
    view: ClusterView,
    patience: Duration,
    stop: impl Future<Output = ()>,
) {
    let mut absent = Absent::new(patience);
    let mut changes = view.departures();
    let mut stop = std::pin::pin!(stop);
    loop {
        look(&client, node, &volumes, &view, &mut absent).await;
        tokio::select! {
            () = &mut stop => return,
            changed = changes.changed() => if changed.is_err() {
                return;
            },
            () = cluster::sleep_until(absent.wake_at()) => {}
        }
    }
}

/// Removes what is due now.
async fn look(
    client: &Client,
    node: &str,
    volumes: &Volumes,
    view: &ClusterView,
    absent: &mut Absent,
) {
    let recorded = match volumes.recorded().await {
        Ok(recorded) => recorded,
        Err(e) => {
            tracing::warn!("cannot look for folders of pods that are gone: {e}");
            Vec::new()
        }
    };
    absent.look(&view.absent(recorded), Instant::now());
    let due = absent.due(Instant::now());
    if due.is_empty() {
        return;
    }
    let there = match pods_of(client, node).await {
        Ok(there) => there,
        Err(e) => {
            tracing::warn!(error = %e, "cannot ask whether pods are gone; trying again later");
            due.iter().for_each(|uid| absent.again(uid, Instant::now()));
            return;
        }
    };
    for uid in due {
        match there.contains(&uid) {
            true => absent.again(&uid, Instant::now()),
            false => remove(volumes, &uid, absent).await,
        }
    }
}

async fn remove(volumes: &Volumes, uid: &str, absent: &mut Absent) {
    match volumes.remove_left(uid).await {
        Ok(Left::Removed) => {
            tracing::info!(
                pod.uid = uid,
                "removed the folder of a pod that is gone, which the kubelet had not given back"
            );
            absent.forget(uid);
        }
        Ok(Left::Nothing) => absent.forget(uid),
        Ok(Left::InUse) => {
            tracing::warn!(
                pod.uid = uid,
                "the pod is gone from the cluster, and its containers run: its folder stays"
            );
            absent.again(uid, Instant::now());
        }
        Err(e) => {
            tracing::warn!(
                pod.uid = uid,
                "cannot remove the folder of a pod that is gone: {e}"
            );
            absent.again(uid, Instant::now());
        }
    }
}

/// The UIDs of all pods of the node, as the kubelet has them.
async fn pods_of(client: &Client, node: &str) -> Result<BTreeSet<String>, String> {
    let pods = Api::<Pod>::all(client.clone());
    let mut params = ListParams::default()
        .fields(&format!("spec.nodeName={node}"))
        .limit(PAGE);
    let mut uids = BTreeSet::new();
    loop {
        let page = tokio::time::timeout(PATIENCE, pods.list_metadata(&params))
            .await
            .map_err(|_| "the API server did not answer in time".to_owned())?
            .map_err(|e| cluster::explain(&e))?;
        for pod in &page.items {
            uids.extend(pod.uid());
            uids.extend(pod.annotations().get(MIRROR).cloned());
        }
        match page.metadata.continue_ {
            Some(next) if !next.is_empty() => params = params.continue_token(&next),
            _ => return Ok(uids),
        }
    }
}
