//! From a Job's pod template to what its containers start with.

use std::path::{Path, PathBuf};
use std::time::Duration;

use baton_api::core::EnvVar;
use baton_api::job::{Container, PodSpec};
use baton_protocol::Invocation;
use serde_json::Value;

use super::plan::PodId;
use super::pod::Shape;
use super::spec::Spec;
use crate::run::container::{self, Setup, SetupError, Site};

/// The variable that holds a pod's completion index.
const INDEX_ENV: &str = "JOB_COMPLETION_INDEX";
/// The annotation that holds it in a cluster, which manifests refer to.
const INDEX_ANNOTATION: &str = "metadata.annotations['batch.kubernetes.io/job-completion-index']";
/// Time between SIGTERM and SIGKILL where the manifest says nothing.
const DEFAULT_GRACE_SECS: u64 = 30;

/// A pod's name and index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) name: String,
    pub(super) index: Option<u32>,
}

impl Identity {
    /// Native names end in five random letters; these end in the pod's number.
    pub(super) fn new(job: &str, id: PodId, index: Option<u32>) -> Identity {
        let name = match index {
            Some(index) => format!("{job}-{index}-{}", id.0),
            None => format!("{job}-{}", id.0),
        };
        Identity { name, index }
    }
}

/// The containers of a pod, init containers first.
pub(super) fn containers(pod: &PodSpec) -> impl Iterator<Item = &Container> {
    pod.init_containers.iter().chain(&pod.containers)
}

/// What decides about each pod.
pub(super) fn shape(pod: &PodSpec, spec: &Spec) -> Shape {
    Shape {
        init: pod.init_containers.len(),
        main: pod.containers.len(),
        restart: spec.restart,
        deadline: pod.active_deadline_seconds.map(Duration::from_secs),
        backoff_base: spec.backoff_base,
    }
}

/// What a container starts with, its facts going to `step_dir`.
pub(super) fn setup(
    pod: &PodSpec,
    container: &Container,
    identity: &Identity,
    step_dir: PathBuf,
    site: &Site<'_>,
) -> Result<Setup, SetupError> {
    let words = container.command.iter().chain(&container.args);
    let grace = pod
        .termination_grace_period_seconds
        .unwrap_or(DEFAULT_GRACE_SECS);
    let invocation = Invocation {
        step: Some(container.name.clone()),
        step_dir: Some(step_dir),
        grace: Duration::from_secs(grace),
        command: words.map(Into::into).collect(),
        ..Invocation::default()
    };
    let container = container::Container {
        name: &container.name,
        env: &environment(container, identity),
        working_dir: container.working_dir.as_deref(),
        mounts: &container.volume_mounts,
    };
    container::setup(container, invocation, site)
}

/// A container's environment, with the completion index and what it asks for of the pod's own.
fn environment(container: &Container, identity: &Identity) -> Vec<EnvVar> {
    let index = identity.index.map(|n| n.to_string());
    let mut env = container.env.clone();
    for var in &mut env {
        let field = var
            .value_from
            .as_ref()
            .and_then(|from| from.field_ref.as_ref());
        let path = field
            .and_then(|f| f.get("fieldPath"))
            .and_then(Value::as_str);
        let value = match path {
            Some("metadata.name") => Some(identity.name.clone()),
            Some(INDEX_ANNOTATION) => index.clone(),
            _ => None,
        };
        if value.is_some() {
            (var.value, var.value_from) = (value, None);
        }
    }
    if let Some(index) = index
        && !env.iter().any(|var| var.name == INDEX_ENV)
    {
        env.push(EnvVar {
            name: INDEX_ENV.to_owned(),
            value: Some(index),
            value_from: None,
        });
    }
    env
}

/// Where the facts of one start of a container go.
pub(super) fn step_dir(pod_dir: &Path, container: usize, attempt: usize) -> PathBuf {
    pod_dir.join("steps").join(format!("{container}-{attempt}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(env: &[EnvVar], name: &str) -> Option<String> {
        let var = env.iter().find(|var| var.name == name)?;
        var.value.clone()
    }

    #[test]
    fn an_indexed_pod_knows_its_index_and_its_name() {
        let field = |path: &str| serde_json::json!({"fieldRef": {"fieldPath": path}});
        let container: Container = serde_json::from_value(serde_json::json!({
            "name": "c",
            "env": [
                {"name": "POD", "valueFrom": field("metadata.name")},
                {"name": "SHARD", "valueFrom": field(INDEX_ANNOTATION)},
                {"name": "NODE", "valueFrom": field("spec.nodeName")},
            ],
        }))
        .unwrap();
        let indexed = environment(&container, &Identity::new("render", PodId(9), Some(4)));
        assert_eq!(value(&indexed, "POD").as_deref(), Some("render-4-9"));
        assert_eq!(value(&indexed, "SHARD").as_deref(), Some("4"));
        assert_eq!(value(&indexed, INDEX_ENV).as_deref(), Some("4"));
        // What only a cluster knows is left for the set-up to name.
        assert!(
            indexed
                .iter()
                .any(|v| v.name == "NODE" && v.value_from.is_some())
        );
        let plain = environment(&container, &Identity::new("render", PodId(9), None));
        assert_eq!(value(&plain, "POD").as_deref(), Some("render-9"));
        assert_eq!(value(&plain, INDEX_ENV), None);
    }
}
