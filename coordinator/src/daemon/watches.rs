//! What the controller watches, as one stream.

use baton_pod::names::DAEMON_LABEL;
use futures::stream::SelectAll;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Node, NodeSpec, NodeStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::Api;
use kube::runtime::watcher::Config;

use super::jobs::JobView;
use super::object::DaemonObject;
use crate::watching::{Changes, api, changes, spaces};

/// One watch: a kind, and the namespace it is limited to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Scope {
    pub(super) kind: Watched,
    pub(super) namespace: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
/// Gives the watches, and their stream; it never ends.
pub(super) fn watch(
    client: &Client,
    namespaces: &[String],
) -> (Vec<Scope>, SelectAll<Changes<Scope, Thing>>) {
    let mut scopes = Vec::new();
    let mut all = SelectAll::new();
    for namespace in spaces(namespaces) {
        let scope = |kind| Scope {
            kind,
            namespace: namespace.clone(),
        };
        let daemons: Api<DaemonObject> = api(client, namespace.as_deref());
        let jobs: Api<Job> = api(client, namespace.as_deref());
        let (of_daemons, of_jobs) = (scope(Watched::DaemonJobs), scope(Watched::Jobs));
        let daemon = |object| Thing::Daemon(Box::new(object));
        let job = |job: Job| Thing::Job(JobView::read(&job).map(Box::new));
        all.push(changes(
            daemons,
            Config::default(),
            of_daemons.clone(),
            daemon,
        ));
        all.push(changes(
            jobs,
            Config::default().labels(DAEMON_LABEL),
            of_jobs.clone(),
            job,
        ));
        scopes.extend([of_daemons, of_jobs]);
    }
    let of_nodes = Scope {
        kind: Watched::Nodes,
        namespace: None,
    };
    let nodes: Api<Node> = Api::all(client.clone());
    let node = |node| Thing::Node(Box::new(trimmed(node)));
    all.push(changes(nodes, Config::default(), of_nodes.clone(), node));
    scopes.push(of_nodes);
    (scopes, all)
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
