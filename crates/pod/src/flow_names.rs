//! The names of what the nodes of a JobFlow run.

use std::collections::BTreeSet;

use baton_api::flow::JobFlowSpec;
use baton_flow::InstanceId;

use crate::node_name;

/// Names the Jobs and Tasks of a flow, so that no two of them have one name: element 1 of `a` would
/// be called as the node `a-1` is, so where there is such a node it is `a--1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowNames {
    /// What another node's name is with a number behind: `a`, where there is a node `a-1` or `a-r2`.
    likenesses: BTreeSet<String>,
}

impl FlowNames {
    /// Those of this flow.
    pub fn new(spec: &JobFlowSpec) -> FlowNames {
        FlowNames {
            likenesses: spec.nodes().flat_map(|n| likenesses(&n.name)).collect(),
        }
    }

    /// The name of an attempt's Job or Task, where `flow` is the flow's own; empty where `spec` has no
    /// such node.
    pub fn of(&self, flow: &str, spec: &JobFlowSpec, id: InstanceId, attempt: u32) -> String {
        let Some(node) = spec.node(id.node) else {
            return String::new();
        };
        let index = node.for_each.as_ref().map(|_| id.index);
        if (index.is_none() && attempt <= 1) || !self.likenesses.contains(&node.name) {
            return node_name(flow, &node.name, index, attempt);
        }
        // No node's name ends with a dash.
        node_name(flow, &format!("{}-", node.name), index, attempt)
    }
}

fn likenesses(name: &str) -> impl Iterator<Item = String> {
    let number = |text: &str| {
        let text = text.strip_prefix('r').unwrap_or(text);
        text.starts_with(|c: char| c.is_ascii_digit())
    };
    let parts = name.match_indices('-');
    parts.filter_map(move |(at, _)| {
        let behind = name.get(at + 1..)?;
        number(behind).then(|| name.get(..at).map(str::to_owned))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_api::flow::{Flow, ForEach};

    #[test]
    fn elements_are_not_called_as_nodes_are() {
        let node = |name: &str, items: usize| Flow {
            name: name.to_owned(),
            for_each: (items > 0).then(|| ForEach {
                items: vec![String::new(); items],
                ..ForEach::default()
            }),
            ..Flow::default()
        };
        let spec = JobFlowSpec {
            flows: vec![node("a", 2), node("a-0", 0), node("b", 2), node("a-r2", 0)],
            ..JobFlowSpec::default()
        };
        let names = FlowNames::new(&spec);
        let name = |node, index, attempt| names.of("f", &spec, InstanceId { node, index }, attempt);
        assert_eq!(name(0, 1, 1), "f-a--1");
        assert_eq!(name(0, 1, 2), "f-a--1-r2");
        assert_eq!(name(1, 0, 1), "f-a-0");
        assert_eq!(name(2, 1, 3), "f-b-1-r3");
        assert_eq!(name(3, 0, 1), "f-a-r2");
        assert_eq!(name(4, 0, 1), "");
    }
}
