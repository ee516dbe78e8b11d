//! What is asked for, and what is seen.

use std::collections::BTreeMap;
use std::time::Duration;

use baton_protocol::Timestamp;

/// What a DaemonJob's author asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct DaemonRules {
    /// Most nodes at one time.
    pub parallel: Parallel,
    /// A node that fails stops the others.
    pub fail_fast: bool,
    /// When it is over.
    pub completion: Completion,
    /// Nothing new is let go.
    pub suspended: bool,
    /// It is to stop.
    pub cancelled: bool,
    /// Longest run of the whole.
    pub deadline: Option<Duration>,
    /// How long a node that is not ready is waited for.
    pub not_ready: Duration,
}

/// Most nodes at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parallel {
    /// Without bound.
    All,
    /// So many, at least 1.
    Number(usize),
    /// So many in a hundred of those that count, rounded up.
    Share(usize),
}

impl Parallel {
    /// Most of so many nodes: at least 1.
    pub fn of(self, nodes: usize) -> usize {
        match self {
            Parallel::All => nodes.max(1),
            Parallel::Number(most) => most.max(1),
            Parallel::Share(share) => nodes.saturating_mul(share).div_ceil(100).max(1),
        }
    }
}

/// When a DaemonJob is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completion {
    /// When every node that counts is over, those that joined included.
    AllNodes,
    /// When every node that counted at its start is over.
    InitialNodes,
    /// Never, but where it is stopped.
    Never,
}

/// The cluster's nodes by name: all that there are.
pub type Members = BTreeMap<String, Member>;

/// A node of the cluster, as a DaemonJob sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its UID.
    pub uid: String,
    /// Whether it counts.
    pub place: Place,
    /// Why nothing may start there for now.
    pub hold: Option<Hold>,
    /// Since when its kubelet is not heard of, where it is not.
    pub not_ready_since: Option<Timestamp>,
}

/// Whether a node counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It does.
    Eligible,
    /// It does not, as its taints keep new pods away. A Job there goes on.
    Closed,
    /// It does not, and a Job there has to end.
    Out,
}

/// Why nothing may start on a node for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// Somebody cordoned it.
    Cordoned,
    /// The cluster taints it for its condition: it is short of something, or has no network.
    Pressure,
}

impl Hold {
    /// The reason in one word.
    pub fn word(self) -> &'static str {
        match self {
            Hold::Cordoned => "Cordoned",
            Hold::Pressure => "Pressure",
        }
    }
}

/// What is seen of a node's Job of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobSeen {
    /// It cannot be told: it is being made, or the view is older than that.
    Unknown,
    /// For certain there is none.
    Absent,
    /// There is none, and its name belongs to something else.
    Taken,
    /// It is there and not over.
    Live,
    /// It succeeded.
    Succeeded,
    /// It failed, for this reason.
    Failed(String),
}

impl JobSeen {
    /// Whether it may still run.
    pub(super) fn may_run(&self) -> bool {
        matches!(self, JobSeen::Unknown | JobSeen::Live)
    }
}
