//! The pods' folders on this node: checked, made, found again after a restart, and removed.
//!
//! A folder is a tmpfs of its own, mounted at the path that the kubelet asks for: bounded in bytes and
//! files, gone with its unmounting, and there as long as the machine runs, whatever becomes of this
//! program. Beside it, on the host's disk, stands a record of the pod's identity and plan
//! ([`records`]): what tenants write in their folders never says who they are, and a pod whose folder
//! was lost, as when the machine was started anew, does not begin again.

use std::path::PathBuf;

mod attributes;
mod mounts;
mod pods;
mod records;
mod target;
mod tools;

pub use attributes::{PLAN, Publish, Request};
pub use pods::{Left, Volumes};
pub use target::Target;

pub use baton_pod::names::DRIVER;

/// Where things are, and how large a pod's folder may grow.
#[derive(Debug, Clone)]
pub struct Options {
    /// The kubelet's root folder, by the path that the kubelet itself uses for it.
    pub kubelet_dir: PathBuf,
    /// The agent's folder on the host's disk.
    pub state_dir: PathBuf,
    /// The folder of this program's own `entrypoint` and `init`.
    pub tools_dir: PathBuf,
    /// Most bytes of a pod's folder.
    pub volume_bytes: u64,
    /// Most files and folders that a pod may make in its folder, besides ours.
    pub volume_files: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            kubelet_dir: "/var/lib/kubelet".into(),
            state_dir: "/var/lib/baton".into(),
            tools_dir: "/bin".into(),
            volume_bytes: 64 << 20,
            volume_files: 16 << 10,
        }
    }
}

/// Why a folder is not made or not removed. It shows in `kubectl describe pod`.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// What is asked for cannot be given, now or later.
    #[error("{0}")]
    Refused(String),
    /// A file, folder or mount cannot be made, read or removed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The pod's order cannot be kept.
    #[error("{0}")]
    Node(#[from] baton_node::NodeError),
    /// It takes too long, or the agent is being stopped; it is to be tried again.
    #[error("{0}")]
    NotNow(String),
}

impl VolumeError {
    fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
        source: impl Into<std::io::Error>,
    ) -> VolumeError {
        VolumeError::Io {
            action,
            path: path.into(),
            source: source.into(),
        }
    }
}
