//! The state machine of a step pod. Pure: no clock, no I/O.
//!
//! A [`Run`] folds facts ([`Event`]) into the order of a pod and tells what is to be done
//! ([`Effect`]). It decides by the facts it holds, not by the order in which they came: an event that
//! is repeated does nothing, and one that comes early waits for its turn.
//!
//! Steps have the numbers 1 to n, `finally` steps n+1 to K, sidecars K+1 and up. The order goes
//! - from 0 to 1 once the pod may begin and every awaited sidecar is ready,
//! - up by one with each final record that lets the next step start, and to K+1 after the last,
//! - to `-1` where a step fails or its container can never start, the task is cancelled or its time
//!   is up,
//! - from there, or at once where a step failed, to n+1 where there are `finally` steps: these run one
//!   by one whatever came before.
//!
//! It never returns to a number, so that no step can start twice.

mod effect;
mod event;
#[cfg(test)]
mod model;
mod outcome;
mod plan;
mod run;

pub use effect::{Effect, Notice};
pub use event::{Death, Event, StopReason};
pub use outcome::{CANCELLED_EXIT_CODE, Cause, NotRun, Outcome, Phase, StepState};
pub use plan::{DEFAULT_GRACE, Kind, MAX_PLAN_BYTES, MAX_STEPS, Plan, PlanError, Sidecar, Step};
pub use run::{KILL_MARGIN, Run, StepView};
