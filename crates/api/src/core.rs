//! What Task and Job share with every Kubernetes object: metadata, environment, volumes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::native::with_native;

with_native! {
    /// An object's metadata.
    pub struct Metadata {
        /// Unique in its namespace; a DNS-1123 subdomain.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub name: String,
        /// The beginning of a name that the API server completes.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub generate_name: Option<String>,
        /// The namespace.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub namespace: Option<String>,
        /// Labels.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        pub labels: BTreeMap<String, String>,
        /// Annotations.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        pub annotations: BTreeMap<String, String>,
    }
    native {
        creation_timestamp = "creationTimestamp",
        deletion_grace_period_seconds = "deletionGracePeriodSeconds",
        deletion_timestamp = "deletionTimestamp",
        finalizers = "finalizers",
        generation = "generation",
        managed_fields = "managedFields",
        owner_references = "ownerReferences",
        resource_version = "resourceVersion",
        self_link = "selfLink",
        uid = "uid",
    }
}

impl Metadata {
    /// The name to show: the name, or the beginning of the one to be made.
    pub fn display_name(&self) -> &str {
        match &self.generate_name {
            Some(prefix) if self.name.is_empty() => prefix.trim_end_matches('-'),
            _ => &self.name,
        }
    }
}

/// An environment variable of a container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct EnvVar {
    /// Its name: anything printable but `=`.
    pub name: String,
    /// Its value; `$(NAME)` is replaced by the value of a variable that stands before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Where its value comes from in a cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value_from: Option<EnvSource>,
}

/// Where the value of an [`EnvVar`] comes from: exactly one of these.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct EnvSource {
    /// A field of the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field_ref: Option<Value>,
    /// A resource of the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_field_ref: Option<Value>,
    /// A key of a ConfigMap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<Value>,
    /// A key of a Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<SecretKeyRef>,
    /// A key of a file in a volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_key_ref: Option<Value>,
}

/// A key of a Secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SecretKeyRef {
    /// The Secret's name.
    pub name: String,
    /// The key in it.
    pub key: String,
    /// The Secret or the key may be missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub optional: Option<bool>,
}

/// Where a volume is seen in a container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct VolumeMount {
    /// The volume's name.
    pub name: String,
    /// Where it is seen: an absolute path.
    pub mount_path: String,
    /// The folder of the volume that is seen there; a relative path without `..`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub_path: Option<String>,
    /// As [`sub_path`](VolumeMount::sub_path), with `$(NAME)` of the environment in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub_path_expr: Option<String>,
    /// Nothing may be written there.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
    /// Native `recursiveReadOnly`, as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recursive_read_only: Option<Value>,
    /// Native `mountPropagation`, as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mount_propagation: Option<Value>,
}

with_native! {
    /// A volume: a name, and exactly one source.
    pub struct Volume {
        /// The volume's name: a DNS-1123 label.
        pub name: String,
        /// An empty folder that lives as long as the pod.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub empty_dir: Option<EmptyDir>,
        /// A folder or file of the node.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub host_path: Option<HostPath>,
    }
    native {
        aws_elastic_block_store = "awsElasticBlockStore",
        azure_disk = "azureDisk",
        azure_file = "azureFile",
        cephfs = "cephfs",
        cinder = "cinder",
        config_map = "configMap",
        csi = "csi",
        downward_api = "downwardAPI",
        ephemeral = "ephemeral",
        fc = "fc",
        flex_volume = "flexVolume",
        flocker = "flocker",
        gce_persistent_disk = "gcePersistentDisk",
        git_repo = "gitRepo",
        glusterfs = "glusterfs",
        image = "image",
        iscsi = "iscsi",
        nfs = "nfs",
        persistent_volume_claim = "persistentVolumeClaim",
        photon_persistent_disk = "photonPersistentDisk",
        portworx_volume = "portworxVolume",
        projected = "projected",
        quobyte = "quobyte",
        rbd = "rbd",
        scale_io = "scaleIO",
        secret = "secret",
        storageos = "storageos",
        vsphere_volume = "vsphereVolume",
    }
}

/// An empty folder.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct EmptyDir {
    /// What it is made of: nothing for the node's disk, or `Memory`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub medium: Option<String>,
    /// The most that it holds, as a quantity: a text such as `1Gi`, or a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_limit: Option<Value>,
}

/// A folder or file of the node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HostPath {
    /// Where it is: an absolute path without `..`.
    pub path: String,
    /// What has to be there.
    #[serde(rename = "type", skip_serializing_if = "HostPathType::is_any")]
    pub kind: HostPathType,
}

/// What a [`HostPath`] has to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum HostPathType {
    /// Anything; nothing is checked.
    #[default]
    #[serde(rename = "")]
    Any,
    /// A folder; made where there is nothing.
    DirectoryOrCreate,
    /// A folder.
    Directory,
    /// A file; made where there is nothing.
    FileOrCreate,
    /// A file.
    File,
    /// A Unix socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

impl HostPathType {
    fn is_any(&self) -> bool {
        *self == HostPathType::Any
    }
}
