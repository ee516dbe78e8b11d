//! Which nodes count for a DaemonJob.
//!
//! A node counts where the DaemonJob does not exclude it, the template's node name, node selector and
//! required affinity admit it, and the template tolerates its taints. Nothing is tolerated that the
//! template does not: what the cluster itself taints a node with for its condition makes the node wait,
//! and every other taint keeps it from counting. As with a DaemonSet, a new `NoSchedule` taint lets go
//! on what runs, and a `NoExecute` taint, or labels that no longer match, end it.

use std::collections::{BTreeMap, BTreeSet};

use baton_flow::daemon::{Hold, Member, Place};
use baton_protocol::Timestamp;
use k8s_openapi::api::core::v1::{Node, PodSpec, Taint, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::task::cluster::admits;

/// The taint of a node that somebody cordoned.
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// The taints of a node whose kubelet is not heard of: its condition tells, and since when.
const NOT_READY: [&str; 2] = [
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/unreachable",
];
/// What begins the taints that the cluster itself sets by a node's condition.
const CONDITIONS: [&str; 2] = ["node.kubernetes.io/", "node.cloudprovider.kubernetes.io/"];

/// How a node stands to a DaemonJob with this pod template.
pub fn member(node: &Node, pod: &PodSpec, excluded: &BTreeSet<String>) -> Member {
    let meta = &node.metadata;
    let name = meta.name.as_deref().unwrap_or_default();
    let none = BTreeMap::new();
    let labels = meta.labels.as_ref().unwrap_or(&none);
    let spec = node.spec.as_ref();
    let tolerations = pod.tolerations.as_deref().unwrap_or_default();
    let taints = spec.and_then(|s| s.taints.as_deref()).unwrap_or_default();
    let untolerated = || {
        let keeps_away = |t: &&Taint| {
            matches!(t.effect.as_str(), "NoSchedule" | "NoExecute")
                && !NOT_READY.contains(&t.key.as_str())
                && !tolerations.iter().any(|known| tolerates(known, t))
        };
        taints.iter().filter(keeps_away)
    };
    let is_condition = |t: &&Taint| CONDITIONS.iter().any(|c| t.key.starts_with(c));
    let place = if excluded.contains(name) || !admits(pod, name, labels) {
        Place::Out
    } else {
        let others = untolerated().filter(|t| !is_condition(t));
        let worst = others.map(|t| match t.effect.as_str() {
            "NoExecute" => Place::Out,
            _ => Place::Closed,
        });
        match worst.collect::<Vec<_>>().as_slice() {
            [] => Place::Eligible,
            some if some.contains(&Place::Out) => Place::Out,
            _ => Place::Closed,
        }
    };
    let mut holds = untolerated().filter(is_condition).map(|t| t.key.as_str());
    // The taint follows the field a moment later.
    let cordon = Taint {
        key: UNSCHEDULABLE.to_owned(),
        effect: "NoSchedule".to_owned(),
        ..Taint::default()
    };
    let is_cordoned = spec.is_some_and(|s| s.unschedulable == Some(true))
        && !tolerations.iter().any(|known| tolerates(known, &cordon));
    let hold = match holds.find(|key| *key != UNSCHEDULABLE) {
        _ if is_cordoned => Some(Hold::Cordoned),
        Some(_) => Some(Hold::Pressure),
        None => None,
    };
    Member {
        uid: meta.uid.clone().unwrap_or_default(),
        place,
        hold,
        not_ready_since: not_ready_since(node),
    }
}

fn not_ready_since(node: &Node) -> Option<Timestamp> {
    let status = node.status.as_ref();
    let conditions = status.and_then(|s| s.conditions.as_deref());
    let ready = conditions.and_then(|all| all.iter().find(|c| c.type_ == "Ready"));
    if ready.is_some_and(|c| c.status == "True") {
        return None;
    }
    let since = ready.and_then(|c| c.last_transition_time.as_ref());
    let since = since.or(node.metadata.creation_timestamp.as_ref());
    Some(since.map_or(Timestamp(std::time::SystemTime::UNIX_EPOCH), timestamp))
}

fn timestamp(Time(at): &Time) -> Timestamp {
    Timestamp((*at).into())
}

/// As the scheduler has it.
fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or_default();
    let key = toleration.key.as_deref().unwrap_or_default();
    if !(effect.is_empty() || effect == taint.effect) {
        return false;
    }
    match toleration.operator.as_deref().unwrap_or("Equal") {
        "Exists" => key.is_empty() || key == taint.key,
        "Equal" | "" => {
            key == taint.key
                && toleration.value.as_deref().unwrap_or_default()
                    == taint.value.as_deref().unwrap_or_default()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn node(spec: Value, ready: &str) -> Node {
        let node = json!({
            "metadata": {"name": "n", "uid": "u", "labels": {"disk": "ssd"}},
            "spec": spec,
            "status": {"conditions": [
                {"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:00Z"},
            ]},
        });
        serde_json::from_value(node).unwrap()
    }

    fn place(spec: Value, pod: Value) -> (Place, Option<Hold>) {
        let mut template = json!({"containers": []});
        for (key, value) in pod.as_object().unwrap() {
            template[key] = value.clone();
        }
        let pod: PodSpec = serde_json::from_value(template).unwrap();
        let member = member(&node(spec, "True"), &pod, &BTreeSet::from(["x".to_owned()]));
        (member.place, member.hold)
    }

    fn tainted(key: &str, effect: &str) -> Value {
        json!({"taints": [{"key": key, "effect": effect, "value": "v"}]})
    }

    #[test]
    fn what_the_template_selects_counts() {
        let eligible = (Place::Eligible, None);
        let out = (Place::Out, None);
        assert_eq!(place(json!({}), json!({})), eligible);
        let selects = |disk: &str| json!({"nodeSelector": {"disk": disk}});
        assert_eq!(place(json!({}), selects("ssd")), eligible);
        assert_eq!(place(json!({}), selects("hdd")), out);
        assert_eq!(place(json!({}), json!({"nodeName": "other"})), out);
        let affinity = |operator: &str| {
            json!({"affinity": {"nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "disk", "operator": operator}]},
                ]},
            }}})
        };
        assert_eq!(place(json!({}), affinity("Exists")), eligible);
        assert_eq!(place(json!({}), affinity("DoesNotExist")), out);
        let pod: PodSpec = serde_json::from_value(json!({"containers": []})).unwrap();
        let excluded = BTreeSet::from(["n".to_owned()]);
        assert_eq!(
            member(&node(json!({}), "True"), &pod, &excluded).place,
            Place::Out
        );
    }

    #[test]
    fn a_taint_counts_as_its_effect_and_its_author_have_it() {
        assert_eq!(
            place(tainted("gpu", "NoSchedule"), json!({})),
            (Place::Closed, None)
        );
        assert_eq!(
            place(tainted("gpu", "NoExecute"), json!({})),
            (Place::Out, None)
        );
        assert_eq!(
            place(tainted("gpu", "PreferNoSchedule"), json!({})),
            (Place::Eligible, None)
        );
        for tolerations in [
            json!([{"operator": "Exists"}]),
            json!([{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}]),
            json!([{"key": "gpu", "value": "v"}]),
        ] {
            let pod = json!({"tolerations": tolerations});
            assert_eq!(
                place(tainted("gpu", "NoSchedule"), pod),
                (Place::Eligible, None)
            );
        }
        for tolerations in [
            json!([{"key": "gpu", "operator": "Exists", "effect": "NoExecute"}]),
            json!([{"key": "gpu", "value": "w"}]),
            json!([{"key": "cpu", "operator": "Exists"}]),
        ] {
            let pod = json!({"tolerations": tolerations});
            assert_eq!(
                place(tainted("gpu", "NoSchedule"), pod),
                (Place::Closed, None)
            );
        }
        let pressure = tainted("node.kubernetes.io/disk-pressure", "NoSchedule");
        assert_eq!(
            place(pressure, json!({})),
            (Place::Eligible, Some(Hold::Pressure))
        );
    }

    #[test]
    fn a_cordoned_node_waits_unless_that_is_tolerated() {
        for spec in [json!({"unschedulable": true}), {
            let mut spec = tainted(UNSCHEDULABLE, "NoSchedule");
            spec["unschedulable"] = json!(true);
            spec
        }] {
            let waits = (Place::Eligible, Some(Hold::Cordoned));
            assert_eq!(place(spec.clone(), json!({})), waits);
            let pod = json!({"tolerations": [{"key": UNSCHEDULABLE, "operator": "Exists"}]});
            assert_eq!(place(spec, pod), (Place::Eligible, None));
        }
    }

    #[test]
    fn a_node_is_not_ready_since_its_condition_says_so() {
        let pod: PodSpec = serde_json::from_value(json!({"containers": []})).unwrap();
        let since = |ready: &str| {
            let node = node(tainted("node.kubernetes.io/not-ready", "NoExecute"), ready);
            let member = member(&node, &pod, &BTreeSet::new());
            assert_eq!((member.place, member.hold), (Place::Eligible, None));
            member.not_ready_since.map(|at| at.to_string())
        };
        assert_eq!(since("True"), None);
        let at = Some("2026-01-01T00:00:00.000000Z".to_owned());
        assert_eq!(since("Unknown"), at);
        assert_eq!(since("False"), at);
    }
}
