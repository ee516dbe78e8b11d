//! `JobFlow` and `JobTemplate`: a graph of Jobs and Tasks.

use std::collections::BTreeMap;

use baton_flow::On;
use baton_protocol::reference::Operator;
use serde::de::Deserializer;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use crate::core::{EnvVar, Metadata};
use crate::diagnostic::Origin;
use crate::job::JobSpec;
use crate::schedule::ScheduleSpec;
use crate::task::{Callback, TaskSpec};

/// The `apiVersion` of JobFlow, JobTemplate and DaemonJob.
pub const API_VERSION: &str = "baton.dev/v1alpha1";
/// Most elements of a `forEach`.
pub const MAX_ITEMS: usize = 1000;
/// Most retries of a node.
pub const MAX_FLOW_RETRIES: u32 = 100;

/// A graph of Jobs and Tasks.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct JobFlow {
    /// `baton.dev/v1alpha1`.
    pub api_version: String,
    /// `JobFlow`.
    pub kind: String,
    /// Its name, labels and so on.
    pub metadata: Metadata,
    /// What is to run.
    pub spec: JobFlowSpec,
    /// What the coordinator says of it; not read here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Value>,
    /// The text it was read from.
    #[serde(skip)]
    pub origin: Origin,
}

/// What a JobFlow runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct JobFlowSpec {
    /// What every Job and its pods are given.
    #[serde(skip_serializing_if = "GlobalParams::is_empty")]
    pub global_params: GlobalParams,
    /// The nodes of the graph; at least one.
    pub flows: Vec<Flow>,
    /// Nodes that run after all others, whatever became of those.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub finally: Vec<Flow>,
    /// Most Jobs and Tasks at one time; without bound where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_parallel: Option<u32>,
    /// What a node's failure means to those that do not depend on it.
    #[serde(skip_serializing_if = "FailurePolicy::is_continue")]
    pub failure_policy: FailurePolicy,
    /// Longest run of the whole flow, in seconds; `finally` nodes come after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_deadline_seconds: Option<u64>,
    /// Nothing new is started.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
    /// The flow is to stop: set on one that runs.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cancel: bool,
    /// How long a finished flow is kept, in seconds; for ever where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_seconds_after_finished: Option<u32>,
    /// What becomes of the Jobs and Tasks of a finished flow.
    #[serde(skip_serializing_if = "RetainPolicy::is_keep")]
    pub retain_policy: RetainPolicy,
    /// Who is told of the flow's events.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub callbacks: Vec<Callback>,
    /// Runs of it begin by the clock, each as a JobFlow of its own: this one is their template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleSpec>,
}

/// What every Job and its pods are given. What a template itself sets wins.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct GlobalParams {
    /// The node that all pods run on: a constraint for the scheduler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// Environment variables of every container and init container.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar>,
    /// Annotations of every Job and pod.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Labels of every Job and pod.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl GlobalParams {
    pub(crate) fn is_empty(&self) -> bool {
        *self == GlobalParams::default()
    }
}

/// A node of the graph: exactly one of a Job template, a reference to one, and a Task template.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Flow {
    /// Its name, unique in the flow: a DNS-1123 label.
    pub name: String,
    /// The nodes that have to be over before it starts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<Value>"))]
    pub dependencies: Vec<Dependency>,
    /// A native JobSpec.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<Value>"))]
    pub job_template: Option<Box<JobSpec>>,
    /// The name of a JobTemplate in the same namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_template_ref: Option<String>,
    /// What a Task runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<Value>"))]
    pub task_template: Option<Box<TaskSpec>>,
    /// Values for the Task's parameters; results of earlier nodes can be in them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub params: Vec<FlowParam>,
    /// Conditions: it runs where all of them hold, and is skipped otherwise.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub when: Vec<FlowCondition>,
    /// How often it is tried again after a failure; at most 100.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: u32,
    /// It runs once for each element of a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub for_each: Option<ForEach>,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// A dependency: a node's name, or a name with a condition.
#[derive(Debug, Clone, PartialEq)]
pub struct Dependency {
    /// The node's name.
    pub name: String,
    /// What of that node lets this one start.
    pub condition: On,
    /// What was written, where that is neither.
    pub(crate) malformed: Option<String>,
}

impl Dependency {
    /// A dependency on the success of the node of this name.
    pub fn on(name: impl Into<String>) -> Dependency {
        Dependency {
            name: name.into(),
            condition: On::Complete,
            malformed: None,
        }
    }
}

impl<'de> Deserialize<'de> for Dependency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(read_dependency(&Value::deserialize(deserializer)?))
    }
}

fn read_dependency(value: &Value) -> Dependency {
    let malformed = |why: String| Dependency {
        malformed: Some(why),
        ..Dependency::on("")
    };
    let fields = match value {
        Value::String(name) => return Dependency::on(name),
        Value::Object(fields) => fields,
        other => {
            let shown = crate::diagnostic::excerpt(&other.to_string());
            return malformed(format!(
                "expected a name, or an object with name and condition, found {shown}"
            ));
        }
    };
    if let Some(key) = fields
        .keys()
        .find(|k| !matches!(k.as_str(), "name" | "condition"))
    {
        let shown = crate::diagnostic::excerpt(key);
        return malformed(format!(
            "unknown field {shown:?}; it has name and condition"
        ));
    }
    let Some(Value::String(name)) = fields.get("name") else {
        return malformed("has to have a name".to_owned());
    };
    let condition = match fields.get("condition") {
        None | Some(Value::Null) => Some(On::Complete),
        Some(condition) => On::deserialize(condition).ok(),
    };
    match condition {
        Some(condition) => Dependency {
            condition,
            ..Dependency::on(name)
        },
        None => malformed("its condition has to be Complete, Failed or Finished".to_owned()),
    }
}

impl Serialize for Dependency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.condition == On::Complete {
            return self.name.serialize(serializer);
        }
        let fields = serde_json::json!({"name": self.name, "condition": self.condition});
        fields.serialize(serializer)
    }
}

/// A value for a parameter of a Task.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct FlowParam {
    /// The parameter's name.
    pub name: String,
    /// Its value: a text, a list of texts, or texts by key.
    pub value: Value,
}

/// A condition of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct FlowCondition {
    /// The text that is looked for.
    pub input: String,
    /// How; has to be said.
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub operator: Option<Operator>,
    /// The texts among which it is looked for.
    pub values: Vec<String>,
}

/// A list whose elements a node runs once for each: exactly one of `items` and `from`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ForEach {
    /// The elements; at most [`MAX_ITEMS`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<String>,
    /// A result that holds them: a JSON array of texts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Most at one time; without bound where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_parallel: Option<u32>,
}

/// What a node's failure means to those that do not depend on it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum FailurePolicy {
    /// They go on.
    #[default]
    Continue,
    /// They are stopped gracefully, and none is started.
    FailFast,
}

impl FailurePolicy {
    pub(crate) fn is_continue(&self) -> bool {
        *self == FailurePolicy::Continue
    }
}

/// What becomes of the Jobs and Tasks of a finished flow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum RetainPolicy {
    /// They stay as long as the flow does.
    #[default]
    Keep,
    /// They are deleted where the flow succeeded.
    DeleteOnSuccess,
}

impl RetainPolicy {
    fn is_keep(&self) -> bool {
        *self == RetainPolicy::Keep
    }
}

/// A Job's spec that JobFlows refer to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct JobTemplate {
    /// `baton.dev/v1alpha1`.
    pub api_version: String,
    /// `JobTemplate`.
    pub kind: String,
    /// Its name, labels and so on.
    pub metadata: Metadata,
    /// What it holds.
    pub spec: JobTemplateSpec,
    /// The text it was read from.
    #[serde(skip)]
    pub origin: Origin,
}

/// What a JobTemplate holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct JobTemplateSpec {
    /// A native JobSpec.
    #[cfg_attr(feature = "schema", schemars(with = "Value"))]
    pub job_template: JobSpec,
}
