//! Graphs of Jobs and Tasks: their checks, and what is to run when. Pure: no clock, no I/O.
//!
//! ```text
//! Graph    nodes and what they depend on, checked once: no cycle, nothing unknown
//! State    what is known of each node; the part of a status that has to survive
//! fold     State + what is seen of the Jobs -> State. Persist it before acting on it
//! actions  State -> what to start and what to stop, each idempotent by its name
//! ```
//!
//! A node starts only by a state that was persisted, and whoever acts twice by the same state makes
//! the same Jobs by the same names. So a controller that dies between any two of its writes goes on
//! where the state says, and what is recorded as finished never runs again, whatever became of its
//! Job.

mod act;
pub mod daemon;
mod fold;
mod graph;
mod state;
#[cfg(test)]
mod tests;

pub use act::{Action, actions};
pub use fold::{Begin, Rules, Seen, fold};
pub use graph::{Graph, GraphError, MAX_EDGES, MAX_NODES, Need, Node, On};
pub use state::{
    Attempt, Cause, FlowPhase, Instance, InstanceId, NodePhase, NodeState, SkipReason, State,
    StopReason,
};
