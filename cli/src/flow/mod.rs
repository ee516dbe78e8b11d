//! Graphs of Jobs and Tasks without a cluster, and how graphs are shown.

pub mod draw;
pub mod layout;
