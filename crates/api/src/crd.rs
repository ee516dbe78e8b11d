//! The definitions of the custom resources, from the types themselves.
//!
//! A schema tells what a field may hold, its bounds and its alternatives, where the API server can check
//! them; names and references are the admission webhook's. Native parts of a pod have no schema here:
//! with theirs, a definition is longer than what `kubectl apply` can take.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

use crate::status::TaskStatus;
use crate::task::TaskSpec;

mod bounds;
mod structural;
mod yaml;

pub use yaml::to_yaml;

/// Whether the API server knows rules in the Common Expression Language: Kubernetes 1.25 and later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rules {
    /// It does: what fields exclude each other is checked by the API server itself.
    Checked,
    /// It does not, and `kubectl` refuses a definition with such rules.
    Unknown,
}

/// The definition of the Task.
pub fn task_crd(rules: Rules) -> Value {
    let mut spec = schema::<TaskSpec>();
    bounds::spec(&mut spec, rules);
    let mut status = schema::<TaskStatus>();
    bounds::status(&mut status);
    let column =
        |name: &str, path: &str, kind: &str| json!({"name": name, "jsonPath": path, "type": kind});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": "tasks.baton.dev",
            "labels": {"app.kubernetes.io/part-of": "baton"},
        },
        "spec": {
            "group": "baton.dev",
            "scope": "Namespaced",
            "names": {
                "kind": "Task",
                "listKind": "TaskList",
                "plural": "tasks",
                "singular": "task",
                "shortNames": ["btask"],
                "categories": ["all", "baton"],
            },
            "versions": [{
                "name": "v1alpha1",
                "served": true,
                "storage": true,
                "subresources": {"status": {}},
                "additionalPrinterColumns": [
                    column("Status", ".status.phase", "string"),
                    column("Steps", ".status.progress", "string"),
                    column("Reason", ".status.reason", "string"),
                    column("Age", ".metadata.creationTimestamp", "date"),
                    column("Duration", ".status.duration", "string"),
                ],
                "schema": {"openAPIV3Schema": {
                    "description": "Ordered steps in one pod.",
                    "type": "object",
                    "required": ["spec"],
                    "properties": {
                        "apiVersion": {"type": "string"},
                        "kind": {"type": "string"},
                        "metadata": {"type": "object"},
                        "spec": spec,
                        "status": status,
                    },
                }},
            }],
        },
    })
}

/// A type's schema, in the form that Kubernetes takes.
fn schema<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::openapi3().with(|s| {
        s.inline_subschemas = true;
        s.meta_schema = None;
    });
    let schema: Schema = settings.into_generator().into_root_schema_for::<T>();
    let mut schema = schema.to_value();
    structural::make(&mut schema);
    schema
}

/// The schema of a field of an object's schema, or of the items of a list's.
fn at<'a>(schema: &'a mut Value, path: &[&str]) -> Option<&'a mut Map<String, Value>> {
    let mut schema = schema;
    for name in path {
        schema = match *name {
            "[]" => schema.get_mut("items")?,
            name => schema.get_mut("properties")?.get_mut(name)?,
        };
    }
    schema.as_object_mut()
}
