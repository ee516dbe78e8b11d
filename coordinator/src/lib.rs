//! The coordinator: custom resources to pods and Jobs, event intake, callbacks out.
//!
//! ```text
//! task       the controller of Tasks: Tasks and pods in, pods and statuses out
//! flow       the controller of JobFlows: graphs of Jobs and Tasks
//! daemon     the controller of DaemonJobs: nodes in, a Job on each
//! schedule   the controller of schedules: Tasks and JobFlows that begin by the clock
//! child      what controllers do with their own objects and the children they make
//! conditions conditions of statuses
//! trouble    calls that fail, and when they are tried again
//! clock      times
//! watching   watches of the API server as streams, and what their lists hold
//! control    what all controllers have in common: their loop, and what it owns
//! text       texts from outside, bounded
//! queue      what a controller is to look at, and when
//! inbox      agents' events on their way from the server to the controller
//! server     HTTPS for agents and the API server, plain HTTP for probes and metrics
//! callbacks  what follows from statuses, told to receivers
//! lease      who of several replicas leads
//! ```

pub mod callbacks;
pub mod child;
pub mod clock;
pub mod conditions;
pub mod config;
pub mod control;
pub mod daemon;
pub mod flow;
pub mod inbox;
pub mod lease;
pub mod metrics;
pub mod process;
mod queue;
pub mod review;
pub mod schedule;
pub mod server;
pub mod task;
pub mod text;
pub mod trouble;
mod watching;
