//! A Task as the API server has it.

use std::borrow::Cow;

use baton_api::status::TaskStatus;
use kube::core::{NamespaceResourceScope, ObjectMeta};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The annotation whose new value begins a new run.
pub const RERUN: &str = "baton.dev/rerun";
/// Who changes what this program changes.
pub const FIELD_MANAGER: &str = "baton";

/// A Task. Spec and status are JSON, so that one which a newer version wrote can still be listed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    /// `baton.dev/v1alpha1`.
    #[serde(default = "api_version")]
    pub api_version: String,
    /// `Task`.
    #[serde(default = "kind")]
    pub kind: String,
    /// Its name and so on.
    pub metadata: ObjectMeta,
    /// What it runs.
    #[serde(default)]
    pub spec: Value,
    /// How it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Value>,
}

fn api_version() -> String {
    baton_api::task::API_VERSION.to_owned()
}

fn kind() -> String {
    "Task".to_owned()
}

impl Task {
    /// Its name.
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// The generation of its spec.
    pub fn generation(&self) -> i64 {
        self.metadata.generation.unwrap_or_default()
    }

    /// Its status; that of a Task which nobody has taken up yet is empty.
    ///
    /// # Errors
    /// Where it is of a form that this version does not know.
    pub fn status(&self) -> Result<TaskStatus, serde_json::Error> {
        match &self.status {
            Some(status) => TaskStatus::deserialize(status),
            None => Ok(TaskStatus::default()),
        }
    }

    /// It was asked to stop.
    pub fn is_cancelled(&self) -> bool {
        self.spec.get("cancel") == Some(&Value::Bool(true))
    }
}

impl kube::Resource for Task {
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

#[cfg(test)]
mod tests {
    use super::*;
    use kube::Resource;

    #[test]
    fn the_group_is_that_of_the_manifests() {
        assert_eq!(Task::api_version(&()), baton_api::task::API_VERSION);
    }
}
