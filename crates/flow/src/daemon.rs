//! A Job on every node: which node's Job is to run when. Pure: no clock, no I/O.
//!
//! ```text
//! DaemonState    what is known of each node; the part of a status that has to survive
//! daemon_fold    DaemonState + what is seen of nodes and Jobs -> DaemonState. Persist it before acting
//! daemon_actions DaemonState -> what to make, stop and delete, each idempotent by its name
//! ```
//!
//! What each kind of node means:
//!
//! - One that is **cordoned**, or that the cluster itself taints for its condition (pressure, no
//!   network), is waited for; a Job that runs there goes on.
//! - One that is **not ready** is waited for as long as the rules say, and then failed
//!   (`NodeNotReady`); a Job there is deleted, as the cluster deletes pods there.
//! - One that is **gone**, or counts no more, is recorded as removed, which is no failure; a Job there
//!   is deleted. One of the same name that comes back is a new node.
//! - One that **joins** has a Job until the DaemonJob is over, where its completion policy says so.

mod act;
mod fold;
mod rules;
mod state;
#[cfg(test)]
mod tests;

pub use act::{DaemonAction, daemon_actions};
pub use fold::{Look, daemon_fold};
pub use rules::{Completion, DaemonRules, Hold, JobSeen, Member, Members, Parallel, Place};
pub use state::{DaemonNode, DaemonPhase, DaemonState, Forgotten};

/// Most nodes of one DaemonJob; those beyond do not join.
pub const MAX_DAEMON_NODES: usize = 5000;
/// Most nodes that are gone and still listed. What is known of older ones is counted alone.
pub const MAX_GONE: usize = 100;
