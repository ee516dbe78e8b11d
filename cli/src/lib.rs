//! Runs ordered steps, with a cluster or without.
//!
//! `baton run` runs a manifest as local processes, by the same entrypoint with the same files as a
//! step pod has them: [`run`] does, [`show`] tells a person or a program, [`report`] writes a page.

pub mod args;
pub mod job;
pub mod report;
pub mod run;
pub mod show;
