//! Folders whose pods are gone from the cluster, and which the kubelet did not give back: one that was
//! started anew while this program was away has forgotten them.

use super::{Record, Target, VolumeError, Volumes, on_disk};

use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What became of a folder whose pod is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// It was removed, with everything that is mounted of it.
    Removed,
    /// It was removed before.
    Nothing,
    /// An entrypoint of the pod lives: nothing was touched.
    InUse,
}

impl Volumes {
    /// The UIDs of the pods that have a folder here, or had one when the machine was last up.
    ///
    /// # Errors
    /// Where the folder of the records cannot be read.
    pub async fn recorded(&self) -> Result<Vec<String>, VolumeError> {
        let inner = Arc::clone(&self.inner);
        on_disk(move || inner.records.uids()).await
    }

    /// Removes the folder of a pod that is gone for good, and what the kubelet mounted of it in the pod's
    /// containers; never while an entrypoint of the pod lives. What the kubelet does with it at the same time does
    /// no harm.
    ///
    /// # Errors
    /// Where the record cannot be used, the last events cannot be kept in time, or a mount does not go.
    pub async fn remove_left(&self, uid: &str) -> Result<Left, VolumeError> {
        let _call = self.inner.call(uid).lock().await;
        let Some(Record { publish, .. }) = self.inner.records.read(uid)? else {
            return Ok(Left::Nothing);
        };
        let (inner, target, total) = (
            Arc::clone(&self.inner),
            publish.target.clone(),
            publish.plan.total(),
        );
        let in_use =
            on_disk(move || Ok(baton_node::is_in_use(&inner.path(&target), total))).await?;
        if in_use {
            return Ok(Left::InUse);
        }
        self.last_words(uid).await?;
        let inner = Arc::clone(&self.inner);
        on_disk(move || {
            inner.unmount_sub_paths(&publish.target)?;
            inner.forget(&publish.target)
        })
        .await?;
        Ok(Left::Removed)
    }
}

impl super::Inner {
    /// Takes away the mounts of single folders of the volume, which the kubelet makes for containers:
    /// `pods/<UID>/volume-subpaths/<volume>/<container>/<number>`.
    fn unmount_sub_paths(&self, target: &Target) -> Result<(), VolumeError> {
        let all: PathBuf = ["pods", target.uid(), "volume-subpaths"].iter().collect();
        let ours = all.join(target.volume());
        if !self.kubelet.exists(&ours) {
            return Ok(());
        }
        for container in self.kubelet.list(&ours)? {
            let folder = ours.join(&container);
            for number in self.kubelet.list(&folder)? {
                self.kubelet.unmount_sub_path(&folder, &number)?;
            }
            self.kubelet.unmount(&ours, &container)?;
        }
        self.kubelet.unmount(&all, target.volume())?;
        // Other volumes have theirs beside it.
        if self.kubelet.list(&all)?.is_empty() {
            let pod = Path::new("pods").join(target.uid());
            self.kubelet.unmount(&pod, "volume-subpaths")?;
        }
        Ok(())
    }
}
