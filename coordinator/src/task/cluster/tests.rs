use super::*;
use serde_json::{Value, json};

fn cluster() -> Cluster {
    let mut cluster = Cluster::default();
    let node = |name: &str, ready: &str, cordoned: bool| -> Node {
        serde_json::from_value(json!({
            "metadata": { "name": name, "labels": { "kubernetes.io/hostname": name, "size": "8" } },
            "spec": { "unschedulable": cordoned },
            "status": { "conditions": [{ "type": "Ready", "status": ready }] },
        }))
        .unwrap()
    };
    let drivers = |name: &str, driver: &str| -> CSINode {
        serde_json::from_value(json!({
            "metadata": { "name": name },
            "spec": { "drivers": [{ "name": driver, "nodeID": name }] },
        }))
        .unwrap()
    };
    for (name, ready, cordoned, driver) in [
        ("a", "True", false, DRIVER),
        ("b", "True", false, "other"),
        ("c", "False", false, DRIVER),
        ("d", "True", true, DRIVER),
    ] {
        cluster.put_node(&node(name, ready, cordoned));
        cluster.put_drivers(&drivers(name, driver));
    }
    cluster
}

fn pod(spec: Value) -> PodSpec {
    let mut spec = spec;
    spec["containers"] = json!([]);
    serde_json::from_value(spec).unwrap()
}

fn wanting(operator: &str, key: &str, values: &[&str]) -> PodSpec {
    let term =
        json!({ "matchExpressions": [{ "key": key, "operator": operator, "values": values }] });
    let required = json!({ "nodeSelectorTerms": [term] });
    pod(json!({ "affinity": { "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": required
    } } }))
}

#[test]
fn only_a_node_that_the_pod_may_land_on_counts() {
    let cluster = cluster();
    assert!(cluster.may_carry(&pod(json!({}))));
    for (spec, carried) in [
        (json!({ "nodeName": "a" }), true),
        (json!({ "nodeName": "b" }), false),
        (
            json!({ "nodeSelector": { "kubernetes.io/hostname": "a" } }),
            true,
        ),
        // Without the driver, not ready, not schedulable.
        (
            json!({ "nodeSelector": { "kubernetes.io/hostname": "b" } }),
            false,
        ),
        (
            json!({ "nodeSelector": { "kubernetes.io/hostname": "c" } }),
            false,
        ),
        (
            json!({ "nodeSelector": { "kubernetes.io/hostname": "d" } }),
            false,
        ),
    ] {
        assert_eq!(cluster.may_carry(&pod(spec.clone())), carried, "{spec}");
    }
    let host = "kubernetes.io/hostname";
    for (operator, key, values, carried) in [
        ("In", host, &["a", "b"][..], true),
        ("In", host, &["b"], false),
        ("NotIn", host, &["a"], false),
        ("NotIn", "zone", &["x"], true),
        ("Exists", "zone", &[], false),
        ("DoesNotExist", "zone", &[], true),
        ("Gt", "size", &["7"], true),
        ("Lt", "size", &["8"], false),
        ("Near", "size", &["8"], false),
    ] {
        let spec = wanting(operator, key, values);
        assert_eq!(
            cluster.may_carry(&spec),
            carried,
            "{operator} {key} {values:?}"
        );
    }
}

#[test]
fn nodes_that_are_gone_count_no_more() {
    let mut cluster = cluster();
    assert!(cluster.is_alive("a") && cluster.has_driver("a"));
    assert!(!cluster.is_alive("c") && !cluster.is_alive("z"));
    cluster.drop_drivers("a");
    assert!(!cluster.may_carry(&pod(json!({}))));
    cluster.keep_nodes(&["b".to_owned()].into());
    assert!(!cluster.is_alive("a") && cluster.is_alive("b"));
}
