//! Changes of a JobFlow that runs: those that only add are taken, those that would rewrite history are
//! refused.
//!
//! The status holds a digest of every node from when the flow began, so whoever reads it knows what may
//! not change any more: of a node that waits all but its dependencies, of any other all. While the flow
//! is over, or before it begins, everything may change.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use baton_api::flow::{Flow, GlobalParams};
use baton_api::flow_status::{FlowNodeStatus, JobFlowStatus};
use baton_flow::{NodePhase, State};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::object::FlowSpec;

/// Digests of what a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digests {
    /// Without its dependencies.
    waiting: String,
    /// Of all of it.
    begun: String,
}

impl Digests {
    /// Of a node, and whether it is a `finally` node.
    pub fn of(node: &Flow, finally: bool) -> Digests {
        let mut value = json!({ "finally": finally, "node": node });
        let begun = digest(&value);
        if let Some(node) = value.get_mut("node").and_then(Value::as_object_mut) {
            node.remove("dependencies");
        }
        Digests {
            waiting: digest(&value),
            begun,
        }
    }

    fn for_state(&self, state: NodePhase) -> &String {
        match state {
            NodePhase::Waiting => &self.waiting,
            _ => &self.begun,
        }
    }
}

/// Digest of what every node is given.
pub fn params_digest(params: &GlobalParams) -> String {
    digest(&serde_json::to_value(params).unwrap_or_default())
}

/// Keys are in order: `serde_json` sorts them.
fn digest(value: &Value) -> String {
    let hash = Sha256::digest(value.to_string().as_bytes());
    hash.iter().take(8).fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Notes in the status of a flow that began what may not change any more.
pub fn seal(status: &mut JobFlowStatus, spec: &FlowSpec) {
    if status.started_at.is_none() {
        return;
    }
    status.params_digest.clone_from(&spec.params_digest);
    for (node, digests) in status.nodes.iter_mut().zip(&spec.digests) {
        let digest = digests.for_state(node.state);
        if node.digest != *digest {
            node.digest.clone_from(digest);
        }
    }
}

/// What of a spec would rewrite the history that a status tells: one sentence each. None where the spec
/// can be taken.
pub fn refused(status: &JobFlowStatus, spec: &FlowSpec) -> Vec<String> {
    let runs = status.started_at.is_some() && !status.phase.is_over();
    if !runs || status.nodes.is_empty() {
        return Vec::new();
    }
    let mut found = Vec::new();
    if status.params_digest != spec.params_digest {
        found.push("spec.globalParams cannot change once the flow began".to_owned());
    }
    for node in &status.nodes {
        found.extend(change(node, spec).map(|why| format!("flow {:?} {why}", node.name)));
    }
    let known: BTreeSet<&str> = status.nodes.iter().map(|n| n.name.as_str()).collect();
    let graph = &spec.graph;
    let ends = graph.nodes().iter().any(|n| {
        let status = status.node(&n.name);
        n.finally && status.is_some_and(|s| s.state != NodePhase::Waiting)
    });
    if ends {
        let nodes = graph.nodes().iter().filter(|n| !n.finally);
        for new in nodes.filter(|n| !known.contains(n.name.as_str())) {
            found.push(format!(
                "flow {:?} is new, and those of `finally` have begun",
                new.name
            ));
        }
    }
    found
}

fn change(node: &FlowNodeStatus, spec: &FlowSpec) -> Option<&'static str> {
    let Some(place) = spec.graph.place(&node.name) else {
        return Some("cannot be taken away once the flow began");
    };
    let same = spec
        .digests
        .get(place)
        .is_some_and(|d| *d.for_state(node.state) == node.digest);
    (!same).then_some(match node.state {
        NodePhase::Waiting => "waits: of it, dependencies alone can change once the flow began",
        NodePhase::Running => "runs and cannot change",
        _ => "is over and cannot change",
    })
}

/// What of a spec keeps a flow that is over from running again with what succeeded kept.
pub fn kept_differs(status: &JobFlowStatus, spec: &FlowSpec, again: &State) -> Vec<String> {
    let kept = spec.graph.nodes().iter().zip(&again.nodes).enumerate();
    kept.filter(|(_, (_, state))| state.phase == NodePhase::Succeeded)
        .filter_map(|(place, (node, state))| {
            let known = status.node(&node.name)?;
            let digests = spec.digests.get(place)?;
            let same = *digests.for_state(state.phase) == known.digest;
            (!same).then(|| {
                format!(
                    "flow {:?} succeeded and has changed since; a re-run of all runs it too",
                    node.name
                )
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_protocol::Timestamp;

    fn spec(value: Value) -> FlowSpec {
        FlowSpec::new(serde_json::from_value(value).unwrap()).unwrap()
    }

    fn flows(b: Value) -> Value {
        let job = json!({"template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}});
        let mut b = b;
        b["jobTemplate"] = job.clone();
        b["name"] = json!("b");
        json!({"flows": [{"name": "a", "jobTemplate": job}, b]})
    }

    #[test]
    fn history_is_not_rewritten() {
        let old = spec(flows(json!({"dependencies": ["a"]})));
        let mut status = JobFlowStatus::default();
        let mut state = State::new(2);
        state.started_at = Some(Timestamp(std::time::SystemTime::UNIX_EPOCH));
        state.nodes[0].phase = NodePhase::Running;
        status.set_state(&old.graph, &state, &|_, _| String::new());
        status.phase = baton_api::flow_status::JobFlowPhase::Running;
        seal(&mut status, &old);
        assert_eq!(refused(&status, &old), Vec::<String>::new());

        let more = |edit: fn(&mut Value)| {
            let mut value = flows(json!({"dependencies": ["a"]}));
            edit(&mut value);
            refused(&status, &spec(value))
        };
        // Added nodes, dependencies of those that wait, and what is about the flow as a whole.
        let taken = more(|v| {
            let mut c = v["flows"][0].clone();
            c["name"] = json!("c");
            v["flows"].as_array_mut().unwrap().push(c);
            v["flows"][1]["dependencies"] = json!(["a", "c"]);
            v["suspend"] = json!(true);
            v["maxParallel"] = json!(1);
        });
        assert_eq!(taken, Vec::<String>::new());
        assert_eq!(
            more(|v| v["flows"][0]["retries"] = json!(1)),
            ["flow \"a\" runs and cannot change"]
        );
        assert_eq!(
            more(|v| v["flows"][1]["retries"] = json!(1)),
            ["flow \"b\" waits: of it, dependencies alone can change once the flow began"]
        );
        assert_eq!(
            more(|v| {
                v["flows"].as_array_mut().unwrap().pop();
                v["globalParams"] = json!({"nodeName": "n"});
            }),
            [
                "spec.globalParams cannot change once the flow began",
                "flow \"b\" cannot be taken away once the flow began"
            ]
        );
    }

    /// Flows that run across an upgrade have what an older Baton wrote: a field that is new is to be left
    /// out where it has its default.
    #[test]
    fn digests_stay_as_they_are() {
        let job = json!({"template": {"spec": {"containers": [{
            "name": "c", "image": "i", "command": ["a"], "env": [{"name": "A", "value": "b"}],
        }]}}});
        let spec = spec(json!({
            "flows": [
                {"name": "least", "jobTemplateRef": "t"},
                {"name": "job", "jobTemplate": job, "retries": 1, "dependencies": ["least"],
                 "forEach": {"items": ["x"]}, "when": [{"input": "a", "operator": "in", "values": ["a"]}]},
                {"name": "task", "params": [{"name": "p", "value": "v"}], "taskTemplate": {
                    "params": [{"name": "p"}],
                    "steps": [{"name": "s", "image": "i", "script": "x", "results": [{"name": "r"}]}],
                }},
            ],
            "globalParams": {"env": [{"name": "A", "value": "b"}]},
        }));
        let begun = spec.digests.iter().map(|d| d.begun.as_str());
        let all: Vec<_> = begun.chain([spec.params_digest.as_str()]).collect();
        assert_eq!(
            all,
            [
                "8aa8584f4a229466",
                "1515e8e4b603df0d",
                "73ef24e94a264e9f",
                "d00b95f5109b5a72"
            ]
        );
    }
}
