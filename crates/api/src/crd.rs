//! The definitions of the custom resources, from the types themselves.
//!
//! A schema tells what a field may hold, its bounds and its alternatives, where the API server can check
//! them; names and references are the admission webhook's. Native parts of a pod, and the Jobs and Tasks in
//! a graph, have no schema here: with theirs, a definition is longer than what `kubectl apply` can take.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

use crate::daemon::DaemonJobSpec;
use crate::daemon_status::DaemonJobStatus;
use crate::flow::{JobFlowSpec, JobTemplateSpec};
use crate::flow_status::JobFlowStatus;
use crate::status::TaskStatus;
use crate::task::TaskSpec;

mod bounds;
mod graphs;
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

/// The definitions of all kinds, each with its name in small letters.
pub fn definitions(rules: Rules) -> Vec<(&'static str, Value)> {
    let kinds = [
        (TASK, task(rules)),
        (JOB_FLOW, job_flow(rules)),
        (JOB_TEMPLATE, job_template()),
        (DAEMON_JOB, daemon_job(rules)),
    ];
    let define = |(kind, parts): (Kind, Parts)| (kind.singular, definition(&kind, parts));
    kinds.map(define).into()
}

/// What a definition says of a kind besides its schema.
struct Kind {
    kind: &'static str,
    singular: &'static str,
    plural: &'static str,
    short: &'static str,
    description: &'static str,
    /// Name, path and type of what `kubectl get` shows beside the name.
    columns: &'static [(&'static str, &'static str, &'static str)],
}

const AGE: (&str, &str, &str) = ("Age", ".metadata.creationTimestamp", "date");

const TASK: Kind = Kind {
    kind: "Task",
    singular: "task",
    plural: "tasks",
    short: "btask",
    description: "Ordered steps in one pod.",
    columns: &[
        ("Status", ".status.phase", "string"),
        ("Steps", ".status.progress", "string"),
        ("Reason", ".status.reason", "string"),
        AGE,
        ("Duration", ".status.duration", "string"),
    ],
};

const JOB_FLOW: Kind = Kind {
    kind: "JobFlow",
    singular: "jobflow",
    plural: "jobflows",
    short: "jf",
    description: "A graph of Jobs and Tasks.",
    columns: &[
        ("Status", ".status.phase", "string"),
        ("Progress", ".status.progress", "string"),
        ("Reason", ".status.reason", "string"),
        AGE,
        ("Duration", ".status.duration", "string"),
    ],
};

const JOB_TEMPLATE: Kind = Kind {
    kind: "JobTemplate",
    singular: "jobtemplate",
    plural: "jobtemplates",
    short: "jt",
    description: "A Job's spec that JobFlows refer to.",
    columns: &[AGE],
};

const DAEMON_JOB: Kind = Kind {
    kind: "DaemonJob",
    singular: "daemonjob",
    plural: "daemonjobs",
    short: "dj",
    description: "A Job on every eligible node.",
    columns: &[
        ("Status", ".status.phase", "string"),
        ("Progress", ".status.progress", "string"),
        ("Reason", ".status.reason", "string"),
        AGE,
        ("Duration", ".status.duration", "string"),
    ],
};

/// The schemas of a kind's parts.
struct Parts {
    spec: Value,
    /// None where nobody writes one.
    status: Option<Value>,
}

fn task(rules: Rules) -> Parts {
    let mut spec = schema::<TaskSpec>();
    bounds::spec(&mut spec, rules);
    let mut status = schema::<TaskStatus>();
    bounds::status(&mut status);
    let status = Some(status);
    Parts { spec, status }
}

fn job_flow(rules: Rules) -> Parts {
    let mut spec = schema::<JobFlowSpec>();
    graphs::job_flow(&mut spec, rules);
    let mut status = schema::<JobFlowStatus>();
    bounds::status(&mut status);
    let status = Some(status);
    Parts { spec, status }
}

fn job_template() -> Parts {
    let mut spec = schema::<JobTemplateSpec>();
    graphs::job_template(&mut spec);
    Parts { spec, status: None }
}

fn daemon_job(rules: Rules) -> Parts {
    let mut spec = schema::<DaemonJobSpec>();
    graphs::daemon_job(&mut spec, rules);
    let mut status = schema::<DaemonJobStatus>();
    bounds::status(&mut status);
    let status = Some(status);
    Parts { spec, status }
}

fn definition(kind: &Kind, parts: Parts) -> Value {
    let columns: Vec<Value> = kind
        .columns
        .iter()
        .map(|(name, path, kind)| json!({"name": name, "jsonPath": path, "type": kind}))
        .collect();
    let mut properties = json!({
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object"},
        "spec": parts.spec,
    });
    let mut subresources = Map::new();
    if let Some(status) = parts.status {
        subresources.insert("status".to_owned(), json!({}));
        if let Value::Object(properties) = &mut properties {
            properties.insert("status".to_owned(), status);
        }
    }
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("{}.baton.dev", kind.plural),
            "labels": {"app.kubernetes.io/part-of": "baton"},
        },
        "spec": {
            "group": "baton.dev",
            "scope": "Namespaced",
            "names": {
                "kind": kind.kind,
                "listKind": format!("{}List", kind.kind),
                "plural": kind.plural,
                "singular": kind.singular,
                "shortNames": [kind.short],
                "categories": ["all", "baton"],
            },
            "versions": [{
                "name": "v1alpha1",
                "served": true,
                "storage": true,
                "subresources": subresources,
                "additionalPrinterColumns": columns,
                "schema": {"openAPIV3Schema": {
                    "description": kind.description,
                    "type": "object",
                    "required": ["spec"],
                    "properties": properties,
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
