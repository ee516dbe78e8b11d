//! `Task`: ordered steps in one pod.

use baton_protocol::reference::Operator;
pub use baton_steps::MAX_STEPS;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::core::{EnvVar, Metadata, SecretKeyRef, Volume, VolumeMount};
use crate::diagnostic::Origin;
use crate::native::{container, pod_spec};
use crate::schedule::ScheduleSpec;

/// The `apiVersion` of a Task.
pub const API_VERSION: &str = "baton.dev/v1alpha1";

/// Most runs again of a whole Task, for each kind of its end.
pub const MAX_TASK_RETRIES: u32 = 100;

/// Ordered steps in one pod.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Task {
    /// `baton.dev/v1alpha1`.
    pub api_version: String,
    /// `Task`.
    pub kind: String,
    /// Its name, labels and so on.
    pub metadata: Metadata,
    /// What is to run.
    pub spec: TaskSpec,
    /// What the coordinator says of it; not read here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Value>,
    /// The text it was read from.
    #[serde(skip)]
    pub origin: Origin,
}

/// What a Task runs. Durations are texts such as `500ms`, `30s`, `5m` or `1h30m`, at most a year.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TaskSpec {
    /// Parameters: what a run may be given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub params: Vec<Param>,
    /// The steps, in their order; at least one.
    pub steps: Vec<Step>,
    /// Run beside the steps, from before the first until after the last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sidecars: Vec<Sidecar>,
    /// Steps that run after the others, in their order, whatever became of those.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub finally: Vec<Step>,
    /// Folders that steps share.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Volume>,
    /// Longest run of all steps together; `finally` steps come after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// Time between SIGTERM and SIGKILL of what has to stop; 10 s where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace_period: Option<String>,
    /// Who is told of the task's events.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub callbacks: Vec<Callback>,
    /// Parts of the pod that Baton does not make itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<PodTemplate>,
    /// The task is to stop: set on one that runs.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cancel: bool,
    /// How long a finished Task is kept, in seconds; for ever where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_seconds_after_finished: Option<u32>,
    /// How often a cluster runs the whole Task again, from its first step, in a new pod.
    #[serde(skip_serializing_if = "TaskRetries::is_none")]
    pub task_retries: TaskRetries,
    /// Runs of it begin by the clock, each as a Task of its own: this one is their template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleSpec>,
}

/// How often the whole Task is run again; never where nothing is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TaskRetries {
    /// After its pod was lost to the infrastructure: evicted, preempted, its node gone. At most 100.
    pub infrastructure: u32,
    /// After a step failed. At most 100.
    pub failure: u32,
}

impl TaskRetries {
    fn is_none(&self) -> bool {
        *self == TaskRetries::default()
    }
}

/// A parameter. One without a default has to be given.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Param {
    /// Its name: letters, digits, `_` and `-`, beginning with a letter or `_`.
    pub name: String,
    /// Its type; the default's where nothing is said, or else a string.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<ParamType>,
    /// Its value where none is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// The type of a [`Param`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ParamType {
    /// A text: `$(params.NAME)`.
    #[default]
    String,
    /// A list of texts: `$(params.NAME[*])` as an argument of its own, `$(params.NAME[0])`.
    Array,
    /// Texts by key: `$(params.NAME.KEY)`.
    Object,
}

container! {
    /// A step: one container of the pod, which runs when its turn comes.
    pub struct Step {
        /// Its name, unique among steps, `finally` steps and sidecars: a DNS-1123 label.
        pub name: String,
        /// The container's image; without meaning where there is no cluster.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub image: Option<String>,
        /// The program and its first arguments. Either this or a script.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub command: Vec<String>,
        /// Arguments of the command, or of the script.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub args: Vec<String>,
        /// A script, run by its `#!` line or by `/bin/sh -e`. Either this or a command. Parameters
        /// and results are not put into it: they reach it by `env` or `args`.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub script: Option<String>,
        /// Environment variables.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub env: Vec<EnvVar>,
        /// The folder it starts in.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub working_dir: Option<String>,
        /// Longest run of one attempt.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub timeout: Option<String>,
        /// What its failure means to the steps after it.
        #[serde(skip_serializing_if = "OnError::is_stop")]
        pub on_error: OnError,
        /// How often it is started again after a failure; at most 1000.
        #[serde(skip_serializing_if = "is_zero")]
        pub retries: u32,
        /// Delay before the first retry; it doubles with each. 1 s where nothing is said.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub retry_delay: Option<String>,
        /// Conditions: it runs where all of them hold, and is skipped otherwise.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub when: Vec<Condition>,
        /// The results that it writes to `$(results.NAME.path)`, for later steps.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub results: Vec<StepResult>,
        /// A file that its standard output goes to besides the log.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub stdout: Option<Capture>,
        /// A file that its standard error goes to besides the log.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub stderr: Option<Capture>,
        /// The volumes that it sees.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub volume_mounts: Vec<VolumeMount>,
    }
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// What a step's failure means to the steps after it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// They do not run.
    #[default]
    Stop,
    /// They run as if it had succeeded.
    Continue,
}

impl OnError {
    fn is_stop(&self) -> bool {
        *self == OnError::Stop
    }
}

/// A condition of a step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Condition {
    /// The text that is looked for.
    pub input: String,
    /// How; has to be said.
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub operator: Option<Operator>,
    /// The texts among which it is looked for.
    pub values: Vec<String>,
}

/// A result that a step writes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct StepResult {
    /// Its name; see [`is_name`](baton_protocol::layout::is_name).
    pub name: String,
    /// What it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// Where output is captured.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Capture {
    /// The file's path in the container.
    pub path: String,
}

container! {
    /// A container that runs beside the steps.
    pub struct Sidecar {
        /// Its name, unique among steps, `finally` steps and sidecars: a DNS-1123 label.
        pub name: String,
        /// The container's image; without meaning where there is no cluster.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub image: Option<String>,
        /// The program and its first arguments. Either this or a script.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub command: Vec<String>,
        /// Arguments of the command, or of the script.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub args: Vec<String>,
        /// A script; see [`Step::script`].
        #[serde(skip_serializing_if = "Option::is_none")]
        pub script: Option<String>,
        /// Environment variables.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub env: Vec<EnvVar>,
        /// The folder it starts in.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub working_dir: Option<String>,
        /// How it shows that it is ready; the first step waits for that.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub readiness: Option<Readiness>,
        /// The volumes that it sees.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub volume_mounts: Vec<VolumeMount>,
    }
}

/// How a sidecar shows that it is ready: exactly one of these.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Readiness {
    /// It accepts connections on this port of the loopback address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// This command ends with 0.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
}

/// Someone who is told of the task's events.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Callback {
    /// Where: an `http` or `https` URL.
    pub url: String,
    /// In which form.
    #[serde(skip_serializing_if = "CallbackFormat::is_default")]
    pub format: CallbackFormat,
    /// Of which events; of all where nothing is said.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<CallbackEvent>,
    /// The key that signs what is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
}

impl Callback {
    /// Whether the receiver wants to be told of `event`.
    pub fn wants(&self, event: CallbackEvent) -> bool {
        self.events.is_empty() || self.events.contains(&event)
    }
}

/// The form of a callback.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum CallbackFormat {
    /// A POST of a CloudEvent, signed as Standard Webhooks.
    #[default]
    CloudEvents,
    /// The classic form: a GET with the event in the query.
    Get,
}

impl CallbackFormat {
    fn is_default(&self) -> bool {
        *self == CallbackFormat::CloudEvents
    }
}

/// What a callback can tell of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum CallbackEvent {
    /// The first step may start.
    #[serde(rename = "task.started")]
    TaskStarted,
    /// The task is over.
    #[serde(rename = "task.finished")]
    TaskFinished,
    /// A step's command runs.
    #[serde(rename = "step.started")]
    StepStarted,
    /// A step is over.
    #[serde(rename = "step.finished")]
    StepFinished,
    /// A step's attempt failed, and another follows.
    #[serde(rename = "step.retrying")]
    StepRetrying,
    /// A flow's first node was let go.
    #[serde(rename = "flow.started")]
    FlowStarted,
    /// A flow is over.
    #[serde(rename = "flow.finished")]
    FlowFinished,
    /// A node of a flow was let go.
    #[serde(rename = "node.started")]
    NodeStarted,
    /// A node of a flow is over, or was skipped.
    #[serde(rename = "node.finished")]
    NodeFinished,
}

/// A key to sign with: exactly one of these.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Secret {
    /// The key itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Where a cluster keeps it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value_from: Option<SecretSource>,
    /// The name of the environment variable that holds it where there is no cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
}

/// Where a cluster keeps a key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SecretSource {
    /// A key of a Secret.
    pub secret_key_ref: SecretKeyRef,
}

/// Parts of the pod that Baton does not make itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PodTemplate {
    /// Labels and annotations of the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    /// Native fields of the pod's spec.
    pub spec: PodTemplateSpec,
}

pod_spec! {
    /// The fields of a native PodSpec that a Task leaves to its author. Containers, volumes, the
    /// restart policy and deadlines are the Task's own.
    pub struct PodTemplateSpec {}
    native {}
}
