//! What the agent and the coordinator have in common as daemons: logs, the count of their calls of the
//! API server, and the text of their metrics.

pub mod calls;
pub mod logs;
pub mod metrics;
