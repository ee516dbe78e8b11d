//! An object as the API server has it.

use std::borrow::Cow;

use kube::core::{DynamicResourceScope, ObjectMeta};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::kind::Kind;

/// The annotation whose new value begins a new run.
pub const RERUN: &str = "baton.dev/rerun";
/// Who changes what this program changes.
pub const FIELD_MANAGER: &str = "baton";

/// An object that Baton runs. Spec and status are JSON, so that one which a newer version wrote can
/// still be listed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Object {
    /// `baton.dev/v1alpha1`.
    #[serde(default = "api_version")]
    pub api_version: String,
    /// `Task`, `JobFlow` or `DaemonJob`.
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

impl Object {
    /// Its kind; that of a Task where it says none that is known.
    pub fn kind(&self) -> Kind {
        let known = Kind::ALL.into_iter().find(|kind| kind.name() == self.kind);
        known.unwrap_or(Kind::Task)
    }

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

    /// The status of its kind; that of an object which nobody has taken up yet is empty.
    ///
    /// # Errors
    /// Where it is of a form that this version does not know.
    pub fn status<S: DeserializeOwned + Default>(&self) -> Result<S, serde_json::Error> {
        match &self.status {
            Some(status) => S::deserialize(status),
            None => Ok(S::default()),
        }
    }

    /// It was asked to stop.
    pub fn is_cancelled(&self) -> bool {
        self.spec.get("cancel") == Some(&Value::Bool(true))
    }
}

impl kube::Resource for Object {
    type DynamicType = Kind;
    type Scope = DynamicResourceScope;

    fn kind(kind: &Kind) -> Cow<'_, str> {
        kind.name().into()
    }

    fn group(_: &Kind) -> Cow<'_, str> {
        "baton.dev".into()
    }

    fn version(_: &Kind) -> Cow<'_, str> {
        "v1alpha1".into()
    }

    fn plural(kind: &Kind) -> Cow<'_, str> {
        kind.plural().into()
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
        for kind in Kind::ALL {
            assert_eq!(Object::api_version(&kind), baton_api::task::API_VERSION);
        }
    }
}
