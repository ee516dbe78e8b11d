//! The node agent: CSI node plugin, step order, event spool, deliveries to the coordinator.
//!
//! - [`csi`] speaks with the kubelet: registration, publish, unpublish.
//! - [`volume`] makes and removes the pods' folders.
//! - [`turns`] keeps the order of the pods on this node, and tells what happens in them.

pub mod csi;
pub mod turns;
pub mod volume;
