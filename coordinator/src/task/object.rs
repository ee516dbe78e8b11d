//! The Task as the API server has it.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

use baton_api::Rendered;
use baton_api::status::TaskStatus;
use baton_pod::names::RERUN_ANNOTATION;
use k8s_openapi::NamespaceResourceScope;
use kube::api::ObjectMeta;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::child::Written;

/// A Task, with its spec and status as they were written: anything may be in them.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct TaskObject {
    /// Its name, namespace, UID and so on.
    pub metadata: ObjectMeta,
    /// Its spec.
    #[serde(default)]
    pub spec: Value,
    /// Its status.
    #[serde(default)]
    pub status: Value,
}

impl Serialize for TaskObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = Written {
            api_version: baton_api::task::API_VERSION,
            kind: "Task",
            metadata: &self.metadata,
            spec: &self.spec,
            status: &self.status,
        };
        written.serialize(serializer)
    }
}

impl kube::Resource for TaskObject {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Task".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "baton.dev".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1alpha1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "tasks".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

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
}

/// The status of a Task: what can be read of it. One that somebody else broke counts as none.
pub fn read_status(task: &TaskObject) -> TaskStatus {
    match &task.status {
        Value::Null => TaskStatus::default(),
        status => TaskStatus::deserialize(status).unwrap_or_else(|e| {
            let name = task.metadata.name.as_deref().unwrap_or_default();
            tracing::warn!(task = name, error = %e, "the status cannot be read and counts as none");
            TaskStatus::default()
        }),
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
