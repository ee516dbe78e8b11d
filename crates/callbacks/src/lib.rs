//! Lifecycle callbacks: what happens to a run, told to somebody else's HTTP server.
//!
//! An [`Event`] is a CloudEvents 1.0 envelope around what happened; a [`Sink`] says who is told, in
//! which form and of what; each request is signed as a Standard Webhook. Delivery is at least once
//! and in order: an event is not sent before the one before it was accepted or given up, and each
//! carries an id by which a receiver drops repeats.
//!
//! What is pure stands apart from what does I/O:
//! * [`event`]: events and their stable ids; [`message`]: the request that an event becomes;
//! * [`sign`]: secrets and signatures; [`retry`]: what to do about an answer; [`backlog`]: a bounded
//!   queue that never loses the last word;
//! * [`lane`]: the loop that sends one sink's queue, for programs that run tokio;
//! * [`sender`]: the same on a thread of its own, for programs that do not.

pub mod backlog;
pub mod event;
pub mod lane;
pub mod message;
pub mod retry;
pub mod sender;
pub mod sign;

pub use event::{Event, FlowEnd, Happening, Kind, NodeEnd, Source, TaskEnd, TaskOutcome};
pub use lane::{Client, ClientError, DeliveryReport, GaveUp, Lane, Refused};
pub use message::{Format, Sink, SinkError};
pub use retry::{Decision, Policy, Reply};
pub use sender::{Sender, StartError};
pub use sign::{Secret, SecretError};
