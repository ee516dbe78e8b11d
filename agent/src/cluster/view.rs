//! What the rest of the agent sees of the cluster.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::turns::PodView;

/// What the rest of the agent sees of this.
#[derive(Debug, Clone, Default)]
pub struct ClusterView {
    shared: Arc<Mutex<Seen>>,
}

#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) annotated: Vec<PodView>,
    pub(super) error: Option<String>,
    pub(super) synced: bool,
    /// The UIDs of all pods that are watched.
    pub(super) pods: HashSet<String>,
    /// Changes when one of them is gone.
    pub(super) departures: watch::Sender<()>,
}

impl ClusterView {
    /// The pods whose annotation is their order, as they stand.
    pub fn annotated(&self) -> Vec<PodView> {
        self.lock().annotated.clone()
    }

    /// Why the API server cannot be watched, while that is so.
    pub fn error(&self) -> Option<String> {
        self.lock().error.clone()
    }

    /// Whether this node's pods were listed once.
    pub fn is_synced(&self) -> bool {
        self.lock().synced
    }

    /// Those of the pods with these UIDs that the watch does not show; none as long as nothing was listed.
    pub fn absent(&self, uids: Vec<String>) -> BTreeSet<String> {
        let seen = self.lock();
        let unseen = |uid: &String| seen.synced && !seen.pods.contains(uid);
        uids.into_iter().filter(unseen).collect()
    }

    /// Changes whenever pods may have gone.
    pub fn departures(&self) -> watch::Receiver<()> {
        self.lock().departures.subscribe()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Seen> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
