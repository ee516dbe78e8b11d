//! A template or one of its runs, as the API server has it.

use baton_api::schedule::{ScheduleSpec, ScheduleStatus};
use baton_api::status::Condition;
use baton_protocol::Timestamp;
use baton_schedule::{RunState, Schedule};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::make::{DUE_ANNOTATION, SCHEDULE_LABEL};
use crate::child::{self, Kind, Object};

/// An object without what nobody here reads.
pub(super) type Thin<K> = Object<K, ThinSpec, ThinStatus>;

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct ThinSpec {
    #[serde(default)]
    schedule: Value,
}

/// Anything may be in a status: what cannot be read must not break the watch.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ThinStatus {
    observed_generation: Value,
    phase: Value,
    reason: Value,
    message: Value,
    progress: Value,
    finished_at: Value,
    conditions: Value,
    schedule: Value,
}

impl<K: Kind> Thin<K> {
    pub(super) fn of(whole: Object<K>) -> Thin<K> {
        let schedule = whole.spec.get("schedule").cloned().unwrap_or_default();
        let status = serde_json::from_value(whole.status).unwrap_or_default();
        Object::new(whole.metadata, ThinSpec { schedule }, status)
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

    /// Reads an object.
    pub(super) fn read<K: Kind>(thin: Thin<K>) -> Thing {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::task::object::TaskKind;

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
    }
}
