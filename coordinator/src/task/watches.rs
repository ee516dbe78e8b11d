//! What the controller watches, as one stream.

use std::sync::Arc;

use futures::stream::SelectAll;
use k8s_openapi::api::core::v1::{Container, Node, Pod};
use k8s_openapi::api::storage::v1::CSINode;
use kube::api::Api;
use kube::runtime::watcher::Config;
use kube::{Client, ResourceExt};

use super::object::TaskObject;
use crate::watching::{self, api, changes};

/// The label of the pods that are watched.
const MANAGED: &str = "baton.dev/managed=true";
/// Longest argument of a container that is kept, in bytes: enough for an option's name.
const MAX_WORD: usize = 64;

/// One watch: a kind, and the namespace it is limited to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Scope {
    pub(super) kind: Kind,
    pub(super) namespace: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    Task,
    Pod,
    Node,
    Drivers,
}

/// An object of a watched kind.
#[derive(Debug)]
pub(super) enum Thing {
    Task(Box<TaskObject>),
    Pod(Arc<Pod>),
    Node(Box<Node>),
    Drivers(Box<CSINode>),
}

/// What a watch tells.
pub(super) type Change = watching::Change<Thing>;

type Changes = watching::Changes<Scope, Thing>;

/// Watches Tasks and their pods in the given namespaces (all where there is none), and the nodes.
/// Gives the watches, and their stream; it never ends.
pub(super) fn watch(client: &Client, namespaces: &[String]) -> (Vec<Scope>, SelectAll<Changes>) {
    let mut scopes = Vec::new();
    let mut all = SelectAll::new();
    let mut add = |scope: &Scope, changes: Changes| {
        scopes.push(scope.clone());
        all.push(changes);
    };
    for namespace in watching::spaces(namespaces) {
        let scope = |kind| Scope {
            kind,
            namespace: namespace.clone(),
        };
        let tasks: Api<TaskObject> = api(client, namespace.as_deref());
        let pods: Api<Pod> = api(client, namespace.as_deref());
        let (of_tasks, of_pods) = (scope(Kind::Task), scope(Kind::Pod));
        add(
            &of_tasks,
            changes(tasks, Config::default(), of_tasks.clone(), |mut task| {
                task.metadata.managed_fields = None;
                Thing::Task(Box::new(task))
            }),
        );
        let managed = Config::default().labels(MANAGED);
        add(
            &of_pods,
            changes(pods, managed, of_pods.clone(), |pod| {
                Thing::Pod(trimmed(pod))
            }),
        );
    }
    let scope = |kind| Scope {
        kind,
        namespace: None,
    };
    let (of_nodes, of_drivers) = (scope(Kind::Node), scope(Kind::Drivers));
    let nodes: Api<Node> = Api::all(client.clone());
    let drivers: Api<CSINode> = Api::all(client.clone());
    let put_node = |node| Thing::Node(Box::new(node));
    let put_drivers = |node| Thing::Drivers(Box::new(node));
    add(
        &of_nodes,
        changes(nodes, Config::default(), of_nodes.clone(), put_node),
    );
    add(
        &of_drivers,
        changes(drivers, Config::default(), of_drivers.clone(), put_drivers),
    );
    (scopes, all)
}

/// A pod without what nobody here reads: scripts and environments of hundreds of pods are megabytes.
pub(super) fn trimmed(mut pod: Pod) -> Arc<Pod> {
    pod.managed_fields_mut().clear();
    if let Some(spec) = &mut pod.spec {
        spec.init_containers
            .iter_mut()
            .flatten()
            .chain(&mut spec.containers)
            .for_each(trim);
    }
    Arc::new(pod)
}

fn trim(container: &mut Container) {
    for words in [&mut container.command, &mut container.args] {
        let Some(words) = words else { continue };
        if let Some(end) = words.iter().position(|word| word == "--") {
            words.truncate(end + 1);
        }
        for word in words.iter_mut().filter(|w| w.len() > MAX_WORD) {
            let end = (0..=MAX_WORD).rev().find(|i| word.is_char_boundary(*i));
            word.truncate(end.unwrap_or(0));
            word.shrink_to_fit();
        }
    }
    container.env = None;
    container.volume_mounts = None;
    container.resources = None;
    container.security_context = None;
}
