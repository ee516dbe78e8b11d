//! A template or one of its runs, as the API server has it; the run that is made of a template.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::marker::PhantomData;

use baton_api::flow::API_VERSION;
use baton_api::schedule::{ScheduleSpec, ScheduleStatus};
use baton_api::status::Condition;
use baton_pod::names::{OWN_PREFIX, label_value, pod_name};
use baton_protocol::Timestamp;
use baton_schedule::{RunState, Schedule, minutes};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::runtime::watcher::Config;
use kube::{Client, Resource};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::child::{self, Kind, Object};
use crate::watching::{Watches, api, spaces};

/// The label of a run that names its template: [`label_value`] of its name.
pub const SCHEDULE_LABEL: &str = "baton.dev/schedule";
/// The annotation of a run that holds the time that it was due at.
pub const DUE_ANNOTATION: &str = "baton.dev/due";
/// Annotations that are not a run's, by what they begin with: they speak of the template alone.
const OF_TEMPLATE: [&str; 2] = [OWN_PREFIX, "kubectl.kubernetes.io/"];

/// The kind Task.
#[derive(Debug, Clone, Default)]
pub struct TaskKind;

impl Kind for TaskKind {
    const KIND: &'static str = "Task";
    const PLURAL: &'static str = "tasks";
}

/// Whether a spec makes its object a template, which does not run itself.
pub fn is_template(spec: &Value) -> bool {
    spec.get("schedule").is_some_and(|s| !s.is_null())
}

/// What is wrong with a change of an object, both in JSON: one that runs cannot become a template of
/// runs, nor a template one that runs.
pub fn review_change(object: &str, before: &str) -> Vec<String> {
    #[derive(Deserialize)]
    struct Read {
        #[serde(default)]
        spec: ThinSpec,
    }
    let has_schedule = |json| {
        let read = serde_json::from_str(json);
        read.is_ok_and(|read: Read| !read.spec.schedule.is_null())
    };
    match (has_schedule(before), has_schedule(object)) {
        (false, true) => vec![
            "spec.schedule: it cannot be given a schedule once it is there; make another one"
                .to_owned(),
        ],
        (true, false) => vec![
            "spec.schedule: it cannot be taken away; schedule.suspend stops its runs from beginning"
                .to_owned(),
        ],
        _ => Vec::new(),
    }
}

/// An object without what nobody here reads.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(bound = "")]
pub(super) struct Thin<K: Kind> {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: ThinSpec,
    #[serde(default)]
    status: ThinStatus,
    #[serde(skip)]
    kind: PhantomData<K>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct ThinSpec {
    #[serde(default)]
    schedule: Value,
}

/// Anything may be in a status: what cannot be read must not break the watch.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ThinStatus {
    observed_generation: Value,
    phase: Value,
    reason: Value,
    message: Value,
    progress: Value,
    finished_at: Value,
    conditions: Value,
    schedule: Value,
}

impl<K: Kind> Resource for Thin<K> {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        K::KIND.into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "baton.dev".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1alpha1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        K::PLURAL.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl<K: Kind> Thin<K> {
    pub(super) fn of(whole: Object<K>) -> Thin<K> {
        Thin {
            metadata: whole.metadata,
            spec: ThinSpec {
                schedule: whole.spec.get("schedule").cloned().unwrap_or_default(),
            },
            status: serde_json::from_value(whole.status).unwrap_or_default(),
            kind: PhantomData,
        }
    }
}

/// What a watched object is.
#[derive(Debug)]
pub(super) enum Thing {
    /// It has a schedule.
    Template(Box<Template>),
    /// A template's run.
    Run(Run),
    /// Neither, or not any more: its UID.
    Other(String),
}

/// An object with a schedule.
#[derive(Debug, Clone)]
pub(super) struct Template {
    /// How it is spoken of in calls; with its version.
    pub(super) reference: ObjectReference,
    pub(super) uid: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) generation: Option<i64>,
    pub(super) created: Timestamp,
    pub(super) is_deleting: bool,
    /// What it asks for, or why that cannot be followed.
    pub(super) schedule: Result<Schedule, String>,
    pub(super) status: TemplateStatus,
}

/// The status of a template: what of the kind's own status is said of one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct TemplateStatus {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) observed_generation: Option<i64>,
    pub(super) phase: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) reason: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) progress: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) conditions: Vec<Condition>,
    pub(super) schedule: ScheduleStatus,
}

/// A run of a template.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) uid: String,
    pub(super) namespace: String,
    /// Its template's UID.
    pub(super) template: String,
    /// The phase in its status, for people.
    pub(super) phase: String,
    pub(super) finished_at: Option<Timestamp>,
    pub(super) version: String,
    pub(super) run: baton_schedule::Run,
}

impl Thing {
    /// Its UID.
    pub(super) fn uid(&self) -> &str {
        match self {
            Thing::Template(template) => &template.uid,
            Thing::Run(run) => &run.uid,
            Thing::Other(uid) => uid,
        }
    }

    fn read<K: Kind>(thin: Thin<K>) -> Thing {
        let uid = thin.metadata.uid.clone().unwrap_or_default();
        if !thin.spec.schedule.is_null() {
            return Thing::Template(Box::new(Template::read(&thin, uid)));
        }
        match Run::read(&thin.metadata, &thin.status) {
            Some(run) => Thing::Run(run),
            None => Thing::Other(uid),
        }
    }
}

impl Template {
    fn read<K: Kind>(thin: &Thin<K>, uid: String) -> Template {
        let meta = &thin.metadata;
        let schedule = match ScheduleSpec::deserialize(&thin.spec.schedule) {
            Ok(spec) => spec.read().map_err(|e| e.to_string()),
            Err(e) => Err(format!("spec.schedule: {e}")),
        };
        let status = serde_json::to_value(&thin.status).unwrap_or_default();
        Template {
            reference: child::reference::<Thin<K>>(meta),
            uid,
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            generation: meta.generation,
            created: created(meta),
            is_deleting: meta.deletion_timestamp.is_some(),
            schedule,
            status: read(status).unwrap_or_default(),
        }
    }

    /// Its version for the API server.
    pub(super) fn version(&self) -> &str {
        self.reference
            .resource_version
            .as_deref()
            .unwrap_or_default()
    }

    /// Takes the answer to a call.
    pub(super) fn answered<K: Kind>(thin: Thin<K>) -> Option<Template> {
        match Thing::read(thin) {
            Thing::Template(template) => Some(*template),
            _ => None,
        }
    }
}

impl Run {
    fn read(meta: &ObjectMeta, status: &ThinStatus) -> Option<Run> {
        let labels = meta.labels.as_ref()?;
        labels.get(SCHEDULE_LABEL)?;
        let due = meta
            .annotations
            .as_ref()
            .and_then(|a| a.get(DUE_ANNOTATION));
        let due = due.and_then(|text| read(Value::from(text.as_str())));
        let phase = status.phase.as_str().unwrap_or_default();
        Some(Run {
            uid: meta.uid.clone()?,
            namespace: meta.namespace.clone().unwrap_or_default(),
            template: child::controller(meta)?.to_owned(),
            phase: phase.to_owned(),
            finished_at: read(status.finished_at.clone()),
            version: meta.resource_version.clone().unwrap_or_default(),
            run: baton_schedule::Run {
                name: meta.name.clone().unwrap_or_default(),
                due: due.unwrap_or_else(|| created(meta)),
                state: match phase {
                    "Succeeded" => RunState::Succeeded,
                    "Failed" | "Cancelled" | "TimedOut" => RunState::Failed,
                    _ => RunState::Active,
                },
                is_going: meta.deletion_timestamp.is_some(),
            },
        })
    }

    /// Takes the answer to a call.
    pub(super) fn answered(meta: &ObjectMeta) -> Option<Run> {
        Run::read(meta, &ThinStatus::default())
    }
}

/// What can be read of a value.
fn read<T: serde::de::DeserializeOwned>(mut value: Value) -> Option<T> {
    if let Value::Object(fields) = &mut value {
        fields.retain(|_, value| !value.is_null());
    }
    serde_json::from_value(value).ok()
}

fn created(meta: &ObjectMeta) -> Timestamp {
    let at = meta.creation_timestamp.as_ref();
    Timestamp(at.map_or(std::time::UNIX_EPOCH, |at| at.0.into()))
}

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

/// Watches the objects of a kind in the given namespaces; in all where there is none.
pub(super) fn watch<K: Kind>(client: &Client, namespaces: &[String]) -> Watches<(), Thing> {
    let mut all = Watches::none();
    for namespace in spaces(namespaces) {
        let space = namespace.as_deref();
        let objects = api::<Thin<K>>(client, space);
        all.add(((), space), objects, Config::default(), Thing::read);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
        let there = Run::read(
            &ObjectMeta {
                uid: Some("r".into()),
                ..run.metadata
            },
            &ThinStatus::default(),
        );
        let there = there.expect("it is a run");
        assert_eq!(
            (there.run.due, there.template.as_str()),
            (at(29_000_000), "u")
        );
        assert_eq!(there.run.state, RunState::Active);
    }

    #[test]
    fn a_schedule_stays_and_changes() {
        let (with, other) = (
            r#"{"spec":{"schedule":{"cron":"a"}}}"#,
            r#"{"spec":{"schedule":{}}}"#,
        );
        let without = r#"{"spec":{"schedule":null,"steps":[]}}"#;
        assert!(review_change(with, other).is_empty() && review_change(without, "{}").is_empty());
        assert!(review_change(with, without)[0].starts_with("spec.schedule: "));
        assert!(review_change(without, with)[0].contains("taken away"));
    }

    #[test]
    fn the_name_of_a_run_fits_and_tells_its_time() {
        let name = run_name(&"n".repeat(200), at(29_000_000));
        assert!(name.len() <= 63 && name.ends_with("-29000000"), "{name}");
        assert_ne!(name, run_name(&"n".repeat(201), at(29_000_000)));
    }

    #[test]
    fn what_cannot_be_read_breaks_nothing() {
        let thin = |value| serde_json::from_value::<Thin<TaskKind>>(value).unwrap();
        let broken = thin(json!({
            "metadata": {"name": "x", "uid": "u"},
            "spec": {"schedule": {"cron": 5}, "steps": "no list"},
            "status": {"phase": 7, "schedule": {"lastScheduleTime": "yesterday"}, "conditions": "x"},
        }));
        let Thing::Template(template) = Thing::read(broken) else {
            panic!("it has a schedule");
        };
        assert!(
            template
                .schedule
                .unwrap_err()
                .starts_with("spec.schedule: ")
        );
        assert_eq!(template.status, TemplateStatus::default());
        let plain =
            thin(json!({"metadata": {"name": "x", "uid": "u"}, "spec": {"schedule": null}}));
        assert!(matches!(Thing::read(plain), Thing::Other(uid) if uid == "u"));
        // The label alone makes no run: somebody has to own it.
        let labelled = thin(json!({
            "metadata": {"name": "x", "uid": "u", "labels": {"baton.dev/schedule": "y"}},
        }));
        assert!(matches!(Thing::read(labelled), Thing::Other(_)));
        assert!(is_template(&json!({"schedule": {}})) && !is_template(&json!({"schedule": null})));
    }
}
