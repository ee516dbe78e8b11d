//! The coordinator: custom resources to pods and Jobs, event intake, callbacks out.

pub mod callbacks;
pub mod inbox;
