//! Objects of Baton's kinds as the API server has them, and what their metadata says.

use std::borrow::Cow;
use std::fmt::Debug;
use std::marker::PhantomData;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};

/// One of Baton's kinds.
pub trait Kind: Debug + Clone + Default + Send + Sync + 'static {
    /// Its name.
    const KIND: &'static str;
    /// The name of its resource.
    const PLURAL: &'static str;
}

/// An object of one of Baton's kinds, with its spec and status as they were written, where nothing else
/// is said: anything may be in them.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(bound = "Spec: Default + DeserializeOwned, Status: Default + DeserializeOwned")]
pub struct Object<K: Kind, Spec = Value, Status = Value> {
    /// Its name, namespace, UID and so on.
    pub metadata: ObjectMeta,
    /// Its spec.
    #[serde(default)]
    pub spec: Spec,
    /// Its status.
    #[serde(default)]
    pub status: Status,
    #[serde(skip)]
    kind: PhantomData<K>,
}

impl<K: Kind> Serialize for Object<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = Written {
            api_version: baton_api::flow::API_VERSION,
            kind: K::KIND,
            metadata: &self.metadata,
            spec: &self.spec,
            status: &self.status,
        };
        written.serialize(serializer)
    }
}

/// An object as the API server takes it: one that is made has to say its kind.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    api_version: &'static str,
    kind: &'static str,
    metadata: &'a ObjectMeta,
    spec: &'a Value,
    #[serde(skip_serializing_if = "Value::is_null")]
    status: &'a Value,
}

impl<K: Kind, Spec, Status> Resource for Object<K, Spec, Status> {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        K::KIND.into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "baton.dev".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1alpha1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        K::PLURAL.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl<K: Kind, Spec, Status> Object<K, Spec, Status> {
    /// An object of these parts.
    pub fn new(metadata: ObjectMeta, spec: Spec, status: Status) -> Self {
        Object {
            metadata,
            spec,
            status,
            kind: PhantomData,
        }
    }
}

impl<K: Kind> Object<K> {
    /// The object as a document of its kind, as it is reviewed: metadata that somebody writes, and the
    /// spec.
    pub fn document(&self) -> String {
        let meta = &self.metadata;
        json!({
            "apiVersion": baton_api::flow::API_VERSION,
            "kind": K::KIND,
            "metadata": { "name": meta.name, "namespace": meta.namespace, "labels": meta.labels },
            "spec": self.spec,
        })
        .to_string()
    }

    /// The status: what can be read of it. One that somebody else broke counts as none.
    pub fn read_status<S: DeserializeOwned + Default>(&self) -> S {
        match &self.status {
            Value::Null => S::default(),
            status => S::deserialize(status).unwrap_or_else(|e| {
                let name = self.metadata.name.as_deref().unwrap_or_default();
                tracing::warn!(kind = K::KIND, name, error = %e, "the status cannot be read and counts as none");
                S::default()
            }),
        }
    }
}

/// The UID of the object that controls this one, where that is one of Baton's.
pub fn controller(meta: &ObjectMeta) -> Option<&str> {
    let owners = meta.owner_references.as_deref().unwrap_or_default();
    let ours =
        |o: &&OwnerReference| o.controller == Some(true) && o.api_version.starts_with("baton.dev/");
    owners.iter().find(ours).map(|o| o.uid.as_str())
}

/// How an object is spoken of in calls: its kind, name, namespace, UID and version.
pub fn reference<T: Resource<DynamicType = ()>>(meta: &ObjectMeta) -> ObjectReference {
    ObjectReference {
        api_version: Some(T::api_version(&()).into_owned()),
        kind: Some(T::kind(&()).into_owned()),
        name: meta.name.clone(),
        namespace: meta.namespace.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        ..ObjectReference::default()
    }
}

/// As [`reference()`], of an object in a namespace of which no more is known than its name, UID and version.
pub fn reference_to<T: Resource<DynamicType = ()>>(
    (namespace, name): (&str, &str),
    uid: &str,
    version: &str,
) -> ObjectReference {
    reference::<T>(&ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(namespace.to_owned()),
        uid: Some(uid.to_owned()),
        resource_version: Some(version.to_owned()),
        ..ObjectMeta::default()
    })
}

/// Whether a version of an object is older than one that is known. Versions that are no numbers are as
/// new.
pub fn is_older(version: Option<&str>, known: &str) -> bool {
    let number = |text: &str| text.parse::<u64>().ok();
    match (version.and_then(number), number(known)) {
        (Some(version), Some(known)) => version < known,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_says_its_kind() {
        let read = json!({"metadata": {"name": "a"}, "spec": {"steps": []}});
        let task: crate::task::object::TaskObject = serde_json::from_value(read.clone()).unwrap();
        let flow: crate::flow::object::JobFlowObject = serde_json::from_value(read).unwrap();
        let of = |kind: &str| {
            json!({"apiVersion": "baton.dev/v1alpha1", "kind": kind,
                   "metadata": {"name": "a"}, "spec": {"steps": []}})
        };
        assert_eq!(serde_json::to_value(task).unwrap(), of("Task"));
        assert_eq!(serde_json::to_value(flow).unwrap(), of("JobFlow"));
    }
}
