//! Custom resource types: strict parsing, defaults, validation and rendering. No I/O, no clock.
//!
//! ```text
//! parse    text -> documents, each a Task or a Job, or everything that is wrong with them
//! render   Task + parameters -> Rendered: every parameter put in its place
//! plan     Rendered -> what the state machine of a step pod needs to know
//! invocations   Rendered -> the entrypoint's command line of every step
//! review   an object as a cluster has it -> Rendered, or every mistake as a sentence
//! ```

pub mod core;
#[cfg(feature = "schema")]
pub mod crd;
pub mod daemon;
pub mod daemon_status;
pub mod daemon_words;
pub mod diagnostic;
pub mod document;
pub mod expand;
pub mod flow;
pub mod flow_reference;
pub mod flow_run;
pub mod flow_status;
mod flow_words;
pub mod job;
pub mod params;
pub mod render;
pub mod schedule;
pub mod sinks;
pub mod status;
pub mod task;

mod decode;
mod invocations;
mod native;
mod reference;
mod report;
mod review;
mod tree;
mod validate;

pub use daemon::DaemonJob;
pub use diagnostic::{Diagnostic, FieldPath, Position};
pub use document::{Document, MAX_SOURCE_BYTES, Object, Source, parse};
pub use expand::{expand_env, for_kubelet};
pub use flow::{JobFlow, JobTemplate};
pub use invocations::{MAX_INLINE_SCRIPT, Places, environments, invocations, plan};
pub use job::Job;
pub use params::{ParamValue, parse_param};
pub use render::{Rendered, render};
pub use review::{review, review_object};
pub use task::Task;
pub use validate::is_quantity;
