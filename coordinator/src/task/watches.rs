//! What the controller watches, as one stream.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Node, Pod};
use k8s_openapi::api::storage::v1::CSINode;
use kube::api::Api;
use kube::runtime::watcher::Config;
use kube::{Client, ResourceExt};

use super::object::TaskObject;
use crate::watching::{Watches, api, spaces};

/// The label of the pods that are watched.
const MANAGED: &str = "baton.dev/managed=true";
/// Longest argument of a container that is kept, in bytes: enough for an option's name.
const MAX_WORD: usize = 64;

/// The kinds that are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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

/// Watches Tasks and their pods in the given namespaces (all where there is none), and the nodes.
pub(super) fn watch(client: &Client, namespaces: &[String]) -> Watches<Kind, Thing> {
    let mut all = Watches::none();
    for namespace in spaces(namespaces) {
        let space = namespace.as_deref();
        let task = |mut task: TaskObject| {
            task.metadata.managed_fields = None;
            Thing::Task(Box::new(task))
        };
        let managed = Config::default().labels(MANAGED);
        let pod = |pod| Thing::Pod(trimmed(pod));
        let tasks = api(client, space);
        all.add((Kind::Task, space), tasks, Config::default(), task);
        all.add((Kind::Pod, space), api(client, space), managed, pod);
    }
    let node = |node| Thing::Node(Box::new(node));
    let drivers = |node| Thing::Drivers(Box::new(node));
    let nodes: Api<Node> = Api::all(client.clone());
    let csi_nodes: Api<CSINode> = Api::all(client.clone());
    all.add((Kind::Node, None), nodes, Config::default(), node);
    all.add((Kind::Drivers, None), csi_nodes, Config::default(), drivers);
    all
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
