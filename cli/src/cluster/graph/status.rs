//! The status of a JobFlow or DaemonJob, and the parts that it tells of.

use baton_api::daemon_status::DaemonJobStatus;
use baton_api::flow_status::JobFlowStatus;
use serde_json::Value;

use super::super::describe::status;
use super::super::error::ClusterError;
use super::super::kind::Kind;
use super::super::object::Object;
use super::telling::{Part, of_daemon, of_flow};

/// A status of either kind.
#[derive(Debug)]
pub(crate) enum Status {
    /// Of a JobFlow.
    Flow(Box<JobFlowStatus>),
    /// Of a DaemonJob.
    Daemon(Box<DaemonJobStatus>),
}

impl Status {
    /// Reads it.
    pub(crate) fn of(object: &Object) -> Result<Status, ClusterError> {
        Ok(match object.kind() {
            Kind::DaemonJob => Status::Daemon(Box::new(status(object)?)),
            Kind::JobFlow | Kind::Task => Status::Flow(Box::new(status(object)?)),
        })
    }

    pub(super) fn parts(&self) -> Vec<Part> {
        match self {
            Status::Flow(status) => of_flow(status),
            Status::Daemon(status) => of_daemon(status),
        }
    }
}

/// The nodes of a JobFlow that run Tasks, by name.
pub(super) fn task_nodes(spec: &Value) -> Vec<String> {
    let lists = ["flows", "finally"].into_iter();
    let nodes = lists
        .filter_map(|list| spec.get(list)?.as_array())
        .flatten();
    let tasks = nodes.filter(|n| n.get("taskTemplate").is_some_and(|t| !t.is_null()));
    let names = tasks.filter_map(|n| Some(n.get("name")?.as_str()?.to_owned()));
    names.collect()
}

/// Whether a part is the one of this name, or an element of it.
pub(super) fn is_of(label: &str, name: &str) -> bool {
    let rest = label.strip_prefix(name);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('['))
}
