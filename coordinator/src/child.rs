//! What controllers do with their own objects and the children they make: each call names the UID of
//! what it is about, so that it cannot hit another object of the same name.
//!
//! ```text
//! object  objects of Baton's kinds as the API server has them, and what their metadata says
//! calls   making, patching and deleting; calls that fail
//! status  a status is written: what differs from the one that is durable
//! notes   Kubernetes Events
//! ```

mod calls;
mod notes;
mod object;
mod status;

pub use calls::{Create, Failure, create, delete, delete_with_pods, is_gone, patch, patiently};
pub use notes::{Note, emit, recorder};
pub use object::{Kind, Object, controller, is_older, reference, reference_to};
pub use status::{Write, difference, write_status};

/// The field manager of everything that is written.
pub const MANAGER: &str = "baton-coordinator";
