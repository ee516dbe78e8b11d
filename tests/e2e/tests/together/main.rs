//! What Baton does on a cluster, each thing in a namespace of its own: these tests run beside one another.
//!
//! The few that change what others need wait until they have the cluster alone.

mod admission;
mod cli;
mod daemon_changes;
mod daemon_policies;
mod ends;
mod flow_changes;
mod flow_jobs;
mod flow_policies;
mod flow_results;
mod flows;
mod hostile;
mod runs;
mod schedules;
mod security;
mod seed;
mod steps;
