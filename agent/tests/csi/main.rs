//! The CSI node plugin by its sockets, with real mounts: each test in a mount namespace of its own.
//!
//! `cargo test -p baton-agent --test csi -- --include-ignored`, as root.

mod bench;
mod life;
mod wrong;
