//! What the agent and the coordinator have in common as daemons: logs, the count of their calls of the
//! API server, the text of their metrics, and the server that gives it.

pub mod calls;
pub mod logs;
pub mod metrics;
pub mod serve;
