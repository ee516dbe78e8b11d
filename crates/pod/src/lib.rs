//! Task to pod, and pod status to events. No client, no I/O, no clock.
//!
//! ```text
//! build      Rendered -> the Pod that runs it
//! review     an object as the API server has it -> everything that keeps a cluster from running it
//! job        a Job's spec and what its owner gives every pod -> the native Job
//! task       a Task's spec and what its owner gives every pod -> the Task
//! facts      Pod -> what its status tells of each container and of the pod as a whole
//! ordering   a pod without the baton volume: its facts -> the order to write, the events to tell
//! ```

pub mod build;
pub mod facts;
pub mod job;
pub mod names;
pub mod ordering;
pub mod task;

mod flow_names;
mod plan;
mod review;

pub use build::{BuildError, Mistake, PodInputs, build};
pub use facts::{ContainerFacts, ContainerState, PodFacts, PodLoss, facts};
pub use flow_names::FlowNames;
pub use names::{joined_name, label_value, node_name, pod_name};
pub use ordering::{Ordered, Update};
pub use plan::{PlanSource, plan_of};
pub use review::{review, review_object};
