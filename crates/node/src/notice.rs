//! What a caller is told, and what fails.

use std::io;
use std::path::PathBuf;

use baton_steps::PlanError;

/// What a pod has to tell, always after the order that goes with it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Something happened in the run of the plan.
    Run(baton_steps::Notice),
    /// The entrypoint of this step or sidecar, and all that it started, is to be killed now; its death
    /// is to be reported then.
    Kill {
        /// Its number.
        number: u32,
    },
    /// A file in a step's folder is not what it has to be. Each is told of once.
    Bad {
        /// The step or sidecar whose folder it is in.
        number: u32,
        /// The file's name.
        file: &'static str,
        /// What is wrong with it.
        cause: String,
    },
    /// Something on the node's side does not work; it is tried again. Told of once for each kind.
    Trouble {
        /// What was tried, on what, and why it failed.
        message: String,
    },
}

/// Why a pod's folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The plan is past its bounds.
    #[error("the plan of {} cannot be used: {source}", root.display())]
    Plan {
        /// The pod's folder.
        root: PathBuf,
        /// What is wrong with it.
        source: PlanError,
    },
    /// A file or folder cannot be made, read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The order file holds something that Baton never writes.
    #[error("{} holds no order", path.display())]
    Order {
        /// The order file.
        path: PathBuf,
    },
    /// The loop was told to stop before the run was over.
    #[error("told to stop before the task was over")]
    Stopped,
}

impl NodeError {
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
        source: impl Into<io::Error>,
    ) -> NodeError {
        NodeError::Io {
            action,
            path: path.into(),
            source: source.into(),
        }
    }
}
