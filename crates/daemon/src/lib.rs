//! What the agent and the coordinator have in common as daemons: logs, and the count of their calls of
//! the API server.

pub mod calls;
pub mod logs;
