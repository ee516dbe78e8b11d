//! The formats that Baton's parts exchange, and nothing else: no I/O, no clock.
//!
//! One module per format. Everything that is read from a step's folder is untrusted (it was written
//! by a tenant's container), so each parser is strict and each format has a bound.

pub mod event;
pub mod exit;
pub mod invocation;
pub mod layout;
pub mod order;
pub mod record;
pub mod reference;
pub mod script;
pub mod text;
pub mod time;

pub use event::StepEvent;
pub use invocation::Invocation;
pub use order::Order;
pub use record::{Reason, Record};
pub use time::Timestamp;
