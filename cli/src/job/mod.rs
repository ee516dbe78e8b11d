//! A native Job without a cluster: what its controller and a kubelet would do, by local processes.

mod condition;
mod plan;
mod spec;

pub use condition::{Condition, ConditionType};
pub use plan::{Action, Event, Job, PodId};
pub use spec::{BACKOFF_BASE, BACKOFF_CAP, Restart, Spec};
