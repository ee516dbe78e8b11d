//! What the controller watches, as one stream.

use baton_pod::names::DAEMON_LABEL;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Node, NodeSpec, NodeStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::Api;
use kube::runtime::watcher::Config;

use super::jobs::JobView;
use super::object::DaemonObject;
use crate::watching::{Watches, api, spaces};

/// The kinds that are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Watched {
    DaemonJobs,
    Jobs,
    Nodes,
}

/// An object of a watched kind.
#[derive(Debug)]
pub(super) enum Thing {
    Daemon(Box<DaemonObject>),
    /// `None` for a Job that is nothing to us.
    Job(Option<Box<JobView>>),
    Node(Box<Node>),
}

/// Watches DaemonJobs and their Jobs in the given namespaces (all where there is none), and the nodes.
pub(super) fn watch(client: &Client, namespaces: &[String]) -> Watches<Watched, Thing> {
    let mut all = Watches::none();
    for namespace in spaces(namespaces) {
        let space = namespace.as_deref();
        let daemon = |object| Thing::Daemon(Box::new(object));
        let daemons = api(client, space);
        all.add(
            (Watched::DaemonJobs, space),
            daemons,
            Config::default(),
            daemon,
        );
        let job = |job: Job| Thing::Job(JobView::read(&job).map(Box::new));
        let ours = Config::default().labels(DAEMON_LABEL);
        all.add((Watched::Jobs, space), api(client, space), ours, job);
    }
    let node = |node| Thing::Node(Box::new(trimmed(node)));
    let nodes = Api::all(client.clone());
    all.add((Watched::Nodes, None), nodes, Config::default(), node);
    all
}

/// A node with what decides whether it counts alone: it changes with that, not with each heartbeat.
fn trimmed(node: Node) -> Node {
    let meta = node.metadata;
    let status = node.status.unwrap_or_default();
    let mut conditions = status.conditions.unwrap_or_default();
    conditions.retain(|c| c.type_ == "Ready");
    for condition in &mut conditions {
        condition.last_heartbeat_time = None;
        condition.message = None;
        condition.reason = None;
    }
    let spec = node.spec.unwrap_or_default();
    Node {
        metadata: ObjectMeta {
            name: meta.name,
            uid: meta.uid,
            labels: meta.labels,
            creation_timestamp: meta.creation_timestamp,
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec {
            taints: spec.taints,
            unschedulable: spec.unschedulable,
            ..NodeSpec::default()
        }),
        status: Some(NodeStatus {
            conditions: Some(conditions),
            ..NodeStatus::default()
        }),
    }
}
