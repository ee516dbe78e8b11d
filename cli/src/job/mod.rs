//! A native Job without a cluster: what its controller and a kubelet would do, by local processes.
//!
//! [`plan`] and [`pod`] decide and know no clock and no process; [`run()`] is the loop around them.

mod condition;
mod describe;
mod drive;
mod facts_file;
mod notes;
pub mod plan;
pub mod pod;
mod run;
mod screen;
mod setup;
mod spec;
mod story;

pub use condition::{Condition, ConditionType};
pub use describe::{facts, json, rows};
pub use notes::notes;
pub use run::{JobError, check, run};
pub use screen::conclusion;
pub use spec::{BACKOFF_BASE, BACKOFF_CAP, Restart, Spec};
pub use story::{Attempt, ContainerStory, JobStory, PodPhase, PodStory};
