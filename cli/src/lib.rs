//! Runs ordered steps, with a cluster or without.
//!
//! `baton run` runs a manifest as local processes, by the same entrypoint with the same files as a
//! step pod has them: [`run`] does, [`show`] tells a person or a program, [`report`] writes a page. With a cluster, [`cluster`] applies Tasks
//! there, follows them, and shows them in the same way.

pub mod args;
pub mod cluster;
pub mod flow;
pub mod job;
pub mod report;
pub mod run;
pub mod show;
