//! The node agent: CSI node plugin, step order, event spool, deliveries to the coordinator.
//!
//! - [`csi`] speaks with the kubelet: registration, publish, unpublish.
//! - [`volume`] makes and removes the pods' folders.
//! - [`turns`] keeps the order of the pods on this node, and tells what happens in them.
//! - [`deliver`] keeps what is told on the disk until the coordinator has it.
//! - [`cluster`] watches this node's pods, writes their annotations, and orders those without the volume.
//! - [`leftovers`] removes the folders of pods that are gone and that the kubelet has forgotten.
//! - [`status`], [`server`], [`metrics`], `baton_daemon::logs` tell people and machines how it goes; [`config`] is the
//!   command line.

pub mod cluster;
pub mod config;
pub mod csi;
pub mod deliver;
pub mod leftovers;
pub mod metrics;
pub mod server;
pub mod status;
pub mod turns;
pub mod volume;
