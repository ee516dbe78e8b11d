//! Callbacks out: what follows from Tasks' statuses, told to their receivers.
//!
//! The controller owns the status and derives from it the list of events of a run, in one order that
//! only grows. This part sends what was not settled yet and tells the controller how far it came,
//! which goes into the status again. So a restart goes on where the status says.

pub mod guard;

mod engine;
mod lane;
mod runs;
mod secrets;
mod target;

pub use engine::{Settings, run};

use baton_api::status::CallbackStatus;
use baton_api::task::Callback;
use baton_callbacks::Event;

/// What the receivers of one run of a Task are to be told. Handed over anew whenever it changed.
#[derive(Debug, Clone)]
pub struct Story {
    /// The Task's UID.
    pub task: String,
    /// The Task's namespace, which Secret references are read in.
    pub namespace: String,
    /// The Task's name.
    pub name: String,
    /// Which run of the Task.
    pub run: u32,
    /// The Task's own receivers; those of the whole cluster are known here.
    pub sinks: Vec<Callback>,
    /// Every event of the run so far, in their order.
    pub events: Vec<Event>,
    /// Where the status says to go on, by receiver (see [`CallbackStatus::sink`]).
    pub known: Vec<CallbackStatus>,
}

/// How far the callbacks of a run came.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// The Task's UID.
    pub task: String,
    /// Which run of the Task.
    pub run: u32,
    /// The state of every receiver.
    pub callbacks: Vec<CallbackStatus>,
}
