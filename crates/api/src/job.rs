//! The native `Job` (batch/v1), as far as Baton gives it a meaning; the rest is kept as it is.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::core::{EnvVar, Metadata, Volume, VolumeMount};
use crate::diagnostic::Origin;
use crate::native::{container, pod_spec, with_native};

/// The `apiVersion` of a Job.
pub const API_VERSION: &str = "batch/v1";
/// Failed pods that a Job bears where it says nothing.
pub const DEFAULT_BACKOFF_LIMIT: u32 = 6;

/// Pods that run to their end.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Job {
    /// `batch/v1`.
    pub api_version: String,
    /// `Job`.
    pub kind: String,
    /// Its name, labels and so on.
    pub metadata: Metadata,
    /// What is to run.
    pub spec: JobSpec,
    /// What the controller says of it; not read here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Value>,
    /// The text it was read from.
    #[serde(skip)]
    pub origin: Origin,
}

with_native! {
    /// What a Job runs.
    pub struct JobSpec {
        /// Most pods at a time; 1 where nothing is said, 0 for none.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub parallelism: Option<u32>,
        /// Successful pods that complete the Job. None: the first success completes it, once no
        /// other pod runs.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub completions: Option<u32>,
        /// Failed pods (or restarts, with `OnFailure`) that the Job bears; see
        /// [`JobSpec::backoff_limit`].
        #[serde(rename = "backoffLimit", skip_serializing_if = "Option::is_none")]
        pub backoff_limit_given: Option<u32>,
        /// Longest life of the Job in seconds, retries included.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub active_deadline_seconds: Option<u64>,
        /// How long the finished Job is kept, in seconds.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub ttl_seconds_after_finished: Option<u32>,
        /// No pod may run for now.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        pub suspend: bool,
        /// Whether each completion has a number of its own.
        #[serde(skip_serializing_if = "CompletionMode::is_default")]
        pub completion_mode: CompletionMode,
        /// The pods.
        pub template: PodTemplate,
    }
    native {
        backoff_limit_per_index = "backoffLimitPerIndex",
        managed_by = "managedBy",
        manual_selector = "manualSelector",
        max_failed_indexes = "maxFailedIndexes",
        pod_failure_policy = "podFailurePolicy",
        pod_replacement_policy = "podReplacementPolicy",
        selector = "selector",
        success_policy = "successPolicy",
    }
}

impl JobSpec {
    /// Failed pods that the Job bears.
    pub fn backoff_limit(&self) -> u32 {
        self.backoff_limit_given.unwrap_or(DEFAULT_BACKOFF_LIMIT)
    }

    /// Most pods at a time.
    pub fn parallelism(&self) -> u32 {
        self.parallelism.unwrap_or(1)
    }
}

/// Whether each completion has a number of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum CompletionMode {
    /// All pods are alike.
    #[default]
    NonIndexed,
    /// Each pod has an index, 0 to completions-1, in `JOB_COMPLETION_INDEX`.
    Indexed,
}

impl CompletionMode {
    fn is_default(&self) -> bool {
        *self == CompletionMode::NonIndexed
    }
}

/// A Job's pods.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PodTemplate {
    /// Labels and annotations of the pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    /// What runs in them.
    pub spec: PodSpec,
}

pod_spec! {
    /// What runs in a Job's pod.
    pub struct PodSpec {
        /// The containers; at least one. The pod succeeds when all of them do.
        pub containers: Vec<Container>,
        /// Run one after the other, before the containers.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub init_containers: Vec<Container>,
        /// What happens when a container fails; has to be said.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub restart_policy: Option<RestartPolicy>,
        /// Folders that the containers share.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub volumes: Vec<Volume>,
        /// Longest life of one pod, in seconds.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub active_deadline_seconds: Option<u64>,
        /// Time between SIGTERM and SIGKILL, in seconds; 30 where nothing is said.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub termination_grace_period_seconds: Option<u64>,
    }
    native {}
}

/// What happens when a container of a Job fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum RestartPolicy {
    /// The pod fails, and another takes its place.
    Never,
    /// The container is started again in the same pod.
    OnFailure,
}

container! {
    /// A container of a Job's pod.
    pub struct Container {
        /// Its name, unique in the pod: a DNS-1123 label.
        pub name: String,
        /// Its image; without meaning where there is no cluster.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub image: Option<String>,
        /// The program; the image's own where nothing is said.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub command: Vec<String>,
        /// Its arguments.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub args: Vec<String>,
        /// Environment variables.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub env: Vec<EnvVar>,
        /// The folder it starts in.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub working_dir: Option<String>,
        /// The volumes that it sees.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub volume_mounts: Vec<VolumeMount>,
    }
}
