//! Nodes: which are there, and which carry the agent's volume.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use baton_pod::names::DRIVER;
use k8s_openapi::api::core::v1::{Node, NodeSelectorRequirement, NodeSelectorTerm, PodSpec};
use k8s_openapi::api::storage::v1::CSINode;

type Labels = BTreeMap<String, String>;

/// What is known of the cluster's nodes.
#[derive(Debug, Clone, Default)]
pub struct Cluster {
    nodes: HashMap<String, NodeView>,
    drivers: BTreeSet<String>,
    /// When each node got its driver last, as a number among all such times.
    arrivals: HashMap<String, u64>,
}

#[derive(Debug, Clone)]
struct NodeView {
    labels: Labels,
    ready: bool,
    schedulable: bool,
}

impl Cluster {
    /// Takes a node as it is now.
    pub fn put_node(&mut self, node: &Node) {
        let Some(name) = &node.metadata.name else {
            return;
        };
        let conditions = node.status.as_ref().and_then(|s| s.conditions.as_ref());
        let ready = |c: &k8s_openapi::api::core::v1::NodeCondition| {
            c.type_ == "Ready" && c.status == "True"
        };
        let cordoned = node.spec.as_ref().and_then(|s| s.unschedulable);
        let view = NodeView {
            labels: node.metadata.labels.clone().unwrap_or_default(),
            ready: conditions.is_some_and(|c| c.iter().any(ready)),
            schedulable: cordoned != Some(true),
        };
        self.nodes.insert(name.clone(), view);
    }

    /// Takes what a node's kubelet says of its CSI drivers.
    pub fn put_drivers(&mut self, node: &CSINode) {
        let Some(name) = &node.metadata.name else {
            return;
        };
        if node.spec.drivers.iter().any(|d| d.name == DRIVER) {
            if self.drivers.insert(name.clone()) {
                let last = self.arrivals.values().max().copied().unwrap_or(0);
                self.arrivals.insert(name.clone(), last.saturating_add(1));
            }
        } else {
            self.drivers.remove(name);
        }
    }

    /// Forgets a node that is gone.
    pub fn drop_node(&mut self, name: &str) {
        self.nodes.remove(name);
    }

    /// Forgets the drivers of a node that is gone.
    pub fn drop_drivers(&mut self, name: &str) {
        self.drivers.remove(name);
    }

    /// Forgets every node and its drivers but these: what a new list says.
    pub fn keep_nodes(&mut self, names: &BTreeSet<String>) {
        self.nodes.retain(|name, _| names.contains(name));
    }

    /// Forgets the drivers of every node but these.
    pub fn keep_drivers(&mut self, names: &BTreeSet<String>) {
        self.drivers.retain(|name| names.contains(name));
    }

    /// Whether a node is there and its kubelet is heard of.
    pub fn is_alive(&self, node: &str) -> bool {
        self.nodes.get(node).is_some_and(|n| n.ready)
    }

    /// Whether a node carries the agent's volume.
    pub fn has_driver(&self, node: &str) -> bool {
        self.drivers.contains(node)
    }

    /// A number that is another one each time that a node got the agent's volume; 0 if it never did.
    pub fn arrivals(&self, node: &str) -> u64 {
        self.arrivals.get(node).copied().unwrap_or(0)
    }

    /// Whether a pod may land on a node that carries the agent's volume: one that is ready and
    /// schedulable, and that the pod's node name, selector and required affinity admit. Taints and
    /// room are the scheduler's.
    pub fn may_carry(&self, pod: &PodSpec) -> bool {
        self.nodes.iter().any(|(name, node)| {
            self.drivers.contains(name)
                && node.ready
                && node.schedulable
                && admits(pod, name, &node.labels)
        })
    }
}

/// Whether a pod's node name, selector and required affinity admit a node of these labels.
pub(crate) fn admits(pod: &PodSpec, name: &str, labels: &Labels) -> bool {
    if let Some(wanted) = &pod.node_name {
        return wanted == name;
    }
    let selected = pod.node_selector.iter().flatten();
    if !selected.into_iter().all(|(k, v)| labels.get(k) == Some(v)) {
        return false;
    }
    let required = pod
        .affinity
        .as_ref()
        .and_then(|a| a.node_affinity.as_ref())
        .and_then(|a| {
            a.required_during_scheduling_ignored_during_execution
                .as_ref()
        });
    required.is_none_or(|r| {
        r.node_selector_terms
            .iter()
            .any(|t| matches(t, name, labels))
    })
}

/// Whether a term admits a node: one without requirements admits none, as the scheduler has it.
fn matches(term: &NodeSelectorTerm, name: &str, labels: &Labels) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let field = |r: &NodeSelectorRequirement| {
        let value = (r.key == "metadata.name").then_some(name);
        holds(r, value)
    };
    let label = |r: &NodeSelectorRequirement| holds(r, labels.get(&r.key).map(String::as_str));
    !(expressions.is_empty() && fields.is_empty())
        && expressions.iter().all(label)
        && fields.iter().all(field)
}

fn holds(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let is_among = || value.is_some_and(|v| values.iter().any(|w| w == v));
    let number = |text: &str| text.parse::<i64>().ok();
    let compare = || {
        let bound = values.first().and_then(|v| number(v));
        Some(value.and_then(number)?.cmp(&bound?))
    };
    match requirement.operator.as_str() {
        "In" => is_among(),
        "NotIn" => !is_among(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compare().is_some_and(|o| o.is_gt()),
        "Lt" => compare().is_some_and(|o| o.is_lt()),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
