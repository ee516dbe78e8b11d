//! The coordinator: custom resources to pods and Jobs, event intake, callbacks out.
//!
//! ```text
//! task       the controller: Tasks and pods in, pods and statuses out
//! inbox      agents' events on their way from the server to the controller
//! server     HTTPS for agents and the API server, plain HTTP for probes and metrics
//! callbacks  what follows from statuses, told to receivers
//! lease      who of several replicas leads
//! ```

pub mod callbacks;
pub mod config;
pub mod inbox;
pub mod lease;
pub mod metrics;
pub mod process;
pub mod server;
pub mod task;
