//! The Task as the API server has it.

use std::fmt::Write as _;
use std::sync::Arc;

use baton_api::Rendered;
use baton_pod::names::RERUN_ANNOTATION;
use k8s_openapi::api::core::v1::ObjectReference;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::child::{Kind, Object, reference_to};

/// The kind Task.
#[derive(Debug, Clone, Default)]
pub struct TaskKind;

impl Kind for TaskKind {
    const KIND: &'static str = "Task";
    const PLURAL: &'static str = "tasks";
}

/// A Task, with its spec and status as they were written: anything may be in them.
pub type TaskObject = Object<TaskKind>;

/// What the controller needs to know of a Task's metadata and spec.
#[derive(Debug, Clone)]
pub struct TaskView {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The generation of its spec.
    pub generation: Option<i64>,
    /// Its version for the API server.
    pub resource_version: String,
    /// It is being deleted.
    pub is_deleting: bool,
    /// The re-run that is asked for; empty where none is.
    pub rerun: String,
    /// Digest of what is to be run.
    pub digest: String,
    /// It is to stop.
    pub cancel: bool,
    /// What is to be run, or everything that is wrong with it.
    pub spec: Result<Arc<Rendered>, String>,
}

/// The fields of a spec that do not change what is run.
const NOT_RUN: [&str; 4] = [
    "cancel",
    "ttlSecondsAfterFinished",
    "callbacks",
    "taskRetries",
];

impl TaskView {
    /// Reads a Task; `known` is what was read of it before, whose spec is taken over where the
    /// generation is the same.
    pub fn read(task: &TaskObject, known: Option<&TaskView>) -> TaskView {
        let meta = &task.metadata;
        let uid = meta.uid.clone().unwrap_or_default();
        let known = known
            .filter(|k| k.uid == uid && k.generation.is_some() && k.generation == meta.generation);
        let spec = match known {
            Some(known) => known.spec.clone(),
            None => review(task),
        };
        let digest = match known {
            Some(known) => known.digest.clone(),
            None => digest(&task.spec),
        };
        let annotations = meta.annotations.as_ref();
        TaskView {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            uid,
            generation: meta.generation,
            resource_version: meta.resource_version.clone().unwrap_or_default(),
            is_deleting: meta.deletion_timestamp.is_some(),
            rerun: annotations
                .and_then(|a| a.get(RERUN_ANNOTATION))
                .cloned()
                .unwrap_or_default(),
            digest,
            cancel: task.spec.get("cancel") == Some(&Value::Bool(true)),
            spec,
        }
    }

    /// How it is spoken of in calls.
    pub fn reference(&self) -> ObjectReference {
        let place = (self.namespace.as_str(), self.name.as_str());
        reference_to::<TaskObject>(place, &self.uid, &self.resource_version)
    }
}

/// The Task as one that can be run, or all that is wrong with it: one mistake a line.
fn review(task: &TaskObject) -> Result<Arc<Rendered>, String> {
    let meta = &task.metadata;
    let document = json!({
        "apiVersion": baton_api::task::API_VERSION,
        "kind": "Task",
        "metadata": { "name": meta.name, "namespace": meta.namespace },
        "spec": task.spec,
    });
    match baton_api::review(&document.to_string()) {
        Ok(rendered) => Ok(Arc::new(rendered)),
        Err(mistakes) => Err(mistakes.join("\n")),
    }
}

/// A digest of what a spec has run: the same however its fields are ordered.
fn digest(spec: &Value) -> String {
    let mut spec = spec.clone();
    if let Value::Object(fields) = &mut spec {
        fields.retain(|name, _| !NOT_RUN.contains(&name.as_str()));
    }
    let mut hash = Sha256::new();
    hash_value(&spec, &mut hash);
    hash.finalize()
        .iter()
        .take(16)
        .fold(String::new(), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

fn hash_value(value: &Value, hash: &mut Sha256) {
    match value {
        Value::Object(fields) => hash_fields(fields, hash),
        Value::Array(elements) => {
            hash.update(b"[");
            for element in elements {
                hash_value(element, hash);
                hash.update(b",");
            }
            hash.update(b"]");
        }
        scalar => hash.update(scalar.to_string().as_bytes()),
    }
}

fn hash_fields(fields: &Map<String, Value>, hash: &mut Sha256) {
    let mut names: Vec<_> = fields.iter().collect();
    names.sort_by_key(|(name, _)| *name);
    hash.update(b"{");
    for (name, value) in names {
        hash.update(Value::String(name.clone()).to_string().as_bytes());
        hash.update(b":");
        hash_value(value, hash);
        hash.update(b",");
    }
    hash.update(b"}");
}
