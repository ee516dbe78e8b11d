//! A step pod's folder on a node: watches its events, drives its steps, writes its order.
//!
//! The layout of the folder is [`baton_protocol::layout`]'s; what decides is [`baton_steps::Run`].
//! A [`Watcher`] serves any number of pods from one thread with one inotify instance; a [`Node`]
//! is one for a single pod, with a loop of its own and a [`Handle`] for other threads.
//!
//! # The hand-off
//! From the wake-up by inotify to the new order there is: one read of the step's final record, one
//! fold, one rename (the file that says "the next step's turn" lies ready). Everything else waits
//! until that is done: the journal, the event files, the notices.
//!
//! # Why inotify itself and not the `notify` crate
//! `notify` reads inotify on a thread of its own and hands events over a channel: a second wake-up of
//! a thread on the hand-off's path, where this loop needs one. It also hides the order of arming and
//! looking. Here each folder's watch is armed first and the folder is looked at afterwards, so that
//! nothing falls between. And it closes its inotify descriptor when it is dropped, which can block for 7 to
//! 20 ms; here it is closed with the watcher, and no watch is removed while a pod runs.
//!
//! # What is not trusted
//! Tenants write below `steps`. What is read there is opened without following a link and without
//! blocking, has to be a regular file, has a bound, and is parsed strictly. A bad file gives one
//! [`Notice::Bad`]; a bad final record counts as a failure of its own step.

mod clock;
mod journal;
mod node;
mod notice;
mod pod;
mod results;
mod root;
mod step;
mod untrusted;
mod watcher;

pub use node::{Deaths, Handle, Node};
pub use notice::{NodeError, Notice};
pub use results::{
    MAX_RESULTS, MAX_RESULTS_BYTES, ResultError, ResultValue, results, results_within,
};
pub use root::{Access, FACTS, prepare};
pub use step::is_in_use;
pub use watcher::{MAX_HAND_OFFS, POLL_INTERVAL, PodId, Watcher};

#[cfg(test)]
mod tests;
