//! A template and a time -> the run that is made of it.

use std::collections::BTreeMap;

use baton_api::flow::API_VERSION;
use baton_pod::names::{OWN_PREFIX, label_value, pod_name};
use baton_protocol::Timestamp;
use baton_schedule::minutes;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde_json::Value;

use crate::child::{Kind, Object};

/// The label of a run that names its template: [`label_value`] of its name.
pub const SCHEDULE_LABEL: &str = "baton.dev/schedule";
/// The annotation of a run that holds the time that it was due at.
pub const DUE_ANNOTATION: &str = "baton.dev/due";
/// Annotations that are not a run's, by what they begin with: they speak of the template alone.
const OF_TEMPLATE: [&str; 2] = [OWN_PREFIX, "kubectl.kubernetes.io/"];

/// The name of the run of a template that was due at a time: `<template>-<minutes since 1970>`.
pub(super) fn run_name(template: &str, due: Timestamp) -> String {
    pod_name(template, u32::try_from(minutes(due)).unwrap_or_default())
}

/// The run of a template: the same, but for its schedule.
pub(super) fn run_of<K: Kind>(template: &Object<K>, due: Timestamp) -> Object<K> {
    let meta = &template.metadata;
    let name = meta.name.clone().unwrap_or_default();
    let mut labels = meta.labels.clone().unwrap_or_default();
    labels.insert(SCHEDULE_LABEL.to_owned(), label_value(&name));
    let inherited = meta.annotations.iter().flatten();
    let mut annotations: BTreeMap<_, _> = inherited
        .filter(|(key, _)| !OF_TEMPLATE.iter().any(|prefix| key.starts_with(prefix)))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    annotations.insert(DUE_ANNOTATION.to_owned(), due.to_string());
    let mut spec = template.spec.clone();
    if let Value::Object(fields) = &mut spec {
        fields.remove("schedule");
    }
    let mut run = Object::<K>::default();
    run.metadata = ObjectMeta {
        name: Some(run_name(&name, due)),
        namespace: meta.namespace.clone(),
        labels: Some(labels),
        annotations: Some(annotations),
        owner_references: Some(vec![OwnerReference {
            api_version: API_VERSION.to_owned(),
            kind: K::KIND.to_owned(),
            name,
            uid: meta.uid.clone().unwrap_or_default(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }]),
        ..ObjectMeta::default()
    };
    run.spec = spec;
    run
}

#[cfg(test)]
mod tests {
    use baton_schedule::RunState;
    use serde_json::json;

    use super::*;
    use crate::schedule::object::Run;
    use crate::task::object::TaskKind;

    fn at(minute: u64) -> Timestamp {
        Timestamp(std::time::UNIX_EPOCH + std::time::Duration::from_secs(minute * 60))
    }

    fn object(value: Value) -> Object<TaskKind> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_run_is_the_template_without_its_schedule() {
        let template = object(json!({
            "metadata": {
                "name": "nightly", "namespace": "n", "uid": "u", "generation": 3,
                "labels": {"team": "a", "kueue.x-k8s.io/queue-name": "q"},
                "annotations": {
                    "why": "because",
                    "baton.dev/rerun": "1",
                    "kubectl.kubernetes.io/last-applied-configuration": "{}",
                },
            },
            "spec": {"schedule": {"cron": "@daily"}, "steps": [{"name": "a"}]},
            "status": {"phase": "Scheduled"},
        }));
        let run = run_of(&template, at(29_000_000));
        assert_eq!(
            serde_json::to_value(&run).unwrap(),
            json!({
                "apiVersion": "baton.dev/v1alpha1", "kind": "Task",
                "metadata": {
                    "name": "nightly-29000000", "namespace": "n",
                    "labels": {
                        "team": "a", "kueue.x-k8s.io/queue-name": "q", "baton.dev/schedule": "nightly",
                    },
                    "annotations": {"why": "because", "baton.dev/due": "2025-02-19T21:20:00.000000Z"},
                    "ownerReferences": [{
                        "apiVersion": "baton.dev/v1alpha1", "kind": "Task", "name": "nightly",
                        "uid": "u", "controller": true, "blockOwnerDeletion": true,
                    }],
                },
                "spec": {"steps": [{"name": "a"}]},
            })
        );
        let there = Run::answered(&ObjectMeta {
            uid: Some("r".into()),
            ..run.metadata
        });
        let there = there.expect("it is a run");
        assert_eq!(
            (there.run.due, there.template.as_str()),
            (at(29_000_000), "u")
        );
        assert_eq!(there.run.state, RunState::Active);
    }

    #[test]
    fn the_name_of_a_run_fits_and_tells_its_time() {
        let name = run_name(&"n".repeat(200), at(29_000_000));
        assert!(name.len() <= 63 && name.ends_with("-29000000"), "{name}");
        assert_ne!(name, run_name(&"n".repeat(201), at(29_000_000)));
    }
}
