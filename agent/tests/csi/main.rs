//! The CSI node plugin by its sockets, with real mounts: each test in a mount namespace of its own.
//!
//! `cargo test -p baton-agent --test csi -- --include-ignored`, as root.

#![allow(
    clippy::unwrap_used, // the helpers beside the tests are tests too
    clippy::panic,
    clippy::indexing_slicing
)]

mod bench;
mod left;
mod life;
mod wrong;
