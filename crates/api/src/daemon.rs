//! `DaemonJob`: a Job on every node.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::core::Metadata;
use crate::diagnostic::Origin;
use crate::flow::{FailurePolicy, GlobalParams};
use crate::job::PodTemplate;

/// How long a node that is not ready is waited for where nothing is said, in seconds: as long as the
/// cluster itself leaves pods on such a node.
pub const DEFAULT_NOT_READY_SECONDS: u32 = 300;

/// A Job on every eligible node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DaemonJob {
    /// `baton.dev/v1alpha1`.
    pub api_version: String,
    /// `DaemonJob`.
    pub kind: String,
    /// Its name, labels and so on.
    pub metadata: Metadata,
    /// What is to run.
    pub spec: DaemonJobSpec,
    /// What the coordinator says of it; not read here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Value>,
    /// The text it was read from.
    #[serde(skip)]
    pub origin: Origin,
}

/// What a DaemonJob runs, and where.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DaemonJobSpec {
    /// What every Job and its pods are given.
    #[serde(skip_serializing_if = "GlobalParams::is_empty")]
    pub global_params: GlobalParams,
    /// Names of nodes that have no Job, with commas between them.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub exclude_node_list: String,
    /// The pods. Where they may run (`nodeSelector`, affinity, tolerations) says which nodes count.
    #[cfg_attr(feature = "schema", schemars(with = "Value"))]
    pub template: PodTemplate,
    /// Most nodes at one time: a number, or a share of all such as `25%`; all where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallelism: Option<Value>,
    /// What a node's failure means to the others.
    #[serde(skip_serializing_if = "FailurePolicy::is_continue")]
    pub failure_policy: FailurePolicy,
    /// When the DaemonJob is over.
    #[serde(skip_serializing_if = "CompletionPolicy::is_default")]
    pub completion_policy: CompletionPolicy,
    /// Failed pods that each node's Job bears; the Job's own default where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff_limit: Option<u32>,
    /// Longest run of the whole, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_deadline_seconds: Option<u64>,
    /// How long a finished DaemonJob is kept, in seconds; for ever where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_seconds_after_finished: Option<u32>,
    /// How long a node that is not ready is waited for, in seconds, before it counts as failed;
    /// 300 where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_ready_seconds: Option<u32>,
    /// Nothing new is started.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
    /// It is to stop: set on one that runs.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cancel: bool,
}

/// When a DaemonJob is over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum CompletionPolicy {
    /// When every node that counted at its start or joined amid the run is over.
    #[default]
    AllNodes,
    /// When every node that counted at its start is over: those that join amid the run have no Job.
    InitialNodes,
    /// Never: a node that joins has its Job, whenever that is.
    Never,
}

impl CompletionPolicy {
    fn is_default(&self) -> bool {
        *self == CompletionPolicy::AllNodes
    }
}

impl DaemonJob {
    /// The nodes that have no Job.
    pub fn excluded(&self) -> impl Iterator<Item = &str> {
        let names = self.spec.exclude_node_list.split(',');
        names.map(str::trim).filter(|name| !name.is_empty())
    }

    /// Most nodes at one time, of so many: at least 1.
    ///
    /// # Errors
    /// Where `parallelism` is neither a whole number from 1 nor a share from `1%` to `100%`.
    pub fn parallelism(&self, nodes: usize) -> Result<usize, String> {
        let Some(given) = &self.spec.parallelism else {
            return Ok(nodes.max(1));
        };
        let number = given.as_u64().and_then(|n| usize::try_from(n).ok());
        let share = given.as_str().and_then(|text| text.strip_suffix('%'));
        let share = share.and_then(|text| text.parse::<usize>().ok());
        match (number, share) {
            (Some(n), _) if n > 0 => Ok(n),
            (_, Some(share @ 1..=100)) => Ok((nodes * share).div_ceil(100).max(1)),
            _ => Err(format!(
                "expected a number from 1 or a share such as 25%, found {}",
                crate::diagnostic::excerpt(&given.to_string())
            )),
        }
    }
}
