//! `baton run`, driven as its users do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod callbacks;
mod cancel;
mod examples;
mod harness;
mod input;
mod output;
#[path = "../common/signals.rs"]
mod signals;
mod steps;
mod volumes;
