//! What the kubelet asks for on a pod's behalf, checked. Pure.

use std::collections::HashMap;
use std::path::Path;

use baton_events::PodRef;
use baton_steps::Plan;

use super::{Target, VolumeError};

pub use baton_pod::names::PLAN_ATTRIBUTE as PLAN;
/// What the kubelet adds of its own begins so.
const KUBELETS: &str = "csi.storage.k8s.io/";
/// Longest id of a volume, in bytes. The kubelet's have 68.
const MAX_VOLUME_ID: usize = 128;

/// What the kubelet asks for, as it came.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The volume's id.
    pub volume_id: String,
    /// Where it is to be mounted.
    pub target_path: String,
    /// It is to be a file system, not a block device.
    pub is_mount: bool,
    /// `csi.readOnly`.
    pub read_only: bool,
    /// `csi.nodePublishSecretRef` is there.
    pub has_secrets: bool,
    /// `csi.volumeAttributes`, and what the kubelet says of the pod.
    pub attributes: HashMap<String, String>,
}

/// A pod's volume that may be made.
#[derive(Debug, Clone, PartialEq)]
pub struct Publish {
    /// The volume's id.
    pub volume_id: String,
    /// Whose it is: from the kubelet alone.
    pub pod: PodRef,
    /// Where it is.
    pub target: Target,
    /// What the pod runs.
    pub plan: Plan,
}

impl Publish {
    /// Checks a request. Each mistake has a sentence that helps the pod's author.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn check(kubelet_dir: &Path, request: Request) -> Result<Publish, VolumeError> {
        let refused = |why: String| Err(VolumeError::Refused(why));
        let Request {
            volume_id,
            target_path,
            attributes,
            ..
        } = request;
        if volume_id.is_empty() || volume_id.len() > MAX_VOLUME_ID {
            return refused(format!(
                "the volume's id has to have 1 to {MAX_VOLUME_ID} bytes, and has {}",
                volume_id.len()
            ));
        }
        let target = Target::parse(kubelet_dir, &target_path)?;
        if !request.is_mount {
            return refused("a baton volume is a folder, and no block device".to_owned());
        }
        if request.read_only {
            return refused(
                "csi.readOnly has to be false: the steps write in their own folders of the volume. \
                 Set readOnly on the containers' mounts of its root instead"
                    .to_owned(),
            );
        }
        if request.has_secrets {
            return refused("a baton volume takes no nodePublishSecretRef".to_owned());
        }
        let mut unknown: Vec<_> = attributes
            .keys()
            .filter(|key| *key != PLAN && !key.starts_with(KUBELETS))
            .collect();
        unknown.sort();
        if let Some(key) = unknown.first() {
            return refused(format!(
                "the volume attribute {:?} is not known; a baton volume takes {PLAN:?} alone",
                short(key)
            ));
        }
        let kubelets = |key: &str| attributes.get(&format!("{KUBELETS}{key}"));
        if kubelets("ephemeral").map(String::as_str) != Some("true") {
            return refused(
                "a baton volume is an ephemeral inline volume of a pod, and no PersistentVolume"
                    .to_owned(),
            );
        }
        let said = |key: &'static str, most: usize| match kubelets(key) {
            Some(value) if is_dns(value, most) => Ok(value.clone()),
            Some(value) => Err(VolumeError::Refused(format!(
                "the kubelet gives {:?} as {key}, which cannot be one",
                short(value)
            ))),
            None => Err(VolumeError::Refused(format!(
                "the kubelet does not give the pod's {key}: the CSIDriver object {:?} needs \
                 podInfoOnMount: true",
                super::DRIVER
            ))),
        };
        let pod = PodRef {
            namespace: said("pod.namespace", 63)?,
            name: said("pod.name", 253)?,
            uid: kubelets("pod.uid").cloned().unwrap_or_default(),
        };
        if pod.uid != target.uid() {
            return refused(format!(
                "the target path is that of pod {}, and the kubelet gives the pod's UID as {:?}",
                target.uid(),
                short(&pod.uid)
            ));
        }
        let Some(plan) = attributes.get(PLAN) else {
            return refused(format!(
                "the volume attribute {PLAN:?} is missing: what the pod runs, as JSON"
            ));
        };
        let plan = match Plan::from_json(plan) {
            Ok(plan) => plan,
            Err(e) => {
                return refused(format!("the volume attribute {PLAN:?} cannot be used: {e}"));
            }
        };
        Ok(Publish {
            volume_id,
            pod,
            target,
            plan,
        })
    }
}

/// A DNS label or subdomain.
fn is_dns(name: &str, most: usize) -> bool {
    let is_edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = name.as_bytes();
    name.len() <= most
        && is_edge(bytes.first())
        && is_edge(bytes.last())
        && bytes
            .iter()
            .all(|b| is_edge(Some(b)) || matches!(b, b'-' | b'.'))
}

fn short(text: &str) -> String {
    text.chars().take(63).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request {
        let plan = Plan::of_steps(["a", "b"]).to_json();
        let attributes = [
            ("csi.storage.k8s.io/pod.name", "pod-1"),
            ("csi.storage.k8s.io/pod.namespace", "ns"),
            ("csi.storage.k8s.io/pod.uid", "u-1"),
            ("csi.storage.k8s.io/serviceAccount.name", "default"),
            ("csi.storage.k8s.io/ephemeral", "true"),
            ("plan", &plan),
        ];
        Request {
            volume_id: "csi-0123".into(),
            target_path: "/k/pods/u-1/volumes/kubernetes.io~csi/baton/mount".into(),
            is_mount: true,
            attributes: attributes
                .into_iter()
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .collect(),
            ..Request::default()
        }
    }

    fn check(request: Request) -> Result<Publish, String> {
        Publish::check(Path::new("/k"), request).map_err(|e| e.to_string())
    }

    #[test]
    fn what_a_kubelet_sends_is_taken() {
        let publish = check(request()).unwrap();
        assert_eq!(publish.pod.to_string(), "ns/pod-1");
        assert_eq!(publish.plan, Plan::of_steps(["a", "b"]));
    }

    #[test]
    fn each_mistake_has_its_sentence() {
        let with = |key: &str, value: &str| {
            let mut request = request();
            request.attributes.insert(key.into(), value.into());
            check(request).unwrap_err()
        };
        let without = |key: &str| {
            let mut request = request();
            request.attributes.remove(key);
            check(request).unwrap_err()
        };
        let cases = [
            (
                with("order", "3"),
                "the volume attribute \"order\" is not known; a baton volume takes \"plan\" alone",
            ),
            (
                with("csi.storage.k8s.io/ephemeral", "false"),
                "a baton volume is an ephemeral inline volume of a pod, and no PersistentVolume",
            ),
            (
                with("csi.storage.k8s.io/pod.uid", "u-2"),
                "the target path is that of pod u-1, and the kubelet gives the pod's UID as \"u-2\"",
            ),
            (
                with("csi.storage.k8s.io/pod.name", "../x"),
                "the kubelet gives \"../x\" as pod.name, which cannot be one",
            ),
            (
                without("csi.storage.k8s.io/pod.name"),
                "the kubelet does not give the pod's pod.name: the CSIDriver object \
                 \"csi.baton.dev\" needs podInfoOnMount: true",
            ),
            (
                without("plan"),
                "the volume attribute \"plan\" is missing: what the pod runs, as JSON",
            ),
            (
                with("plan", r#"{"version":1,"steps":[],"graceMs":1}"#),
                "the volume attribute \"plan\" cannot be used: the plan has no steps",
            ),
        ];
        for (is, wanted) in cases {
            assert_eq!(is, wanted);
        }
        let plan = "x".repeat(baton_steps::MAX_PLAN_BYTES + 1);
        assert!(with("plan", &plan).contains("bytes long"));
        assert!(with("plan", "{\u{0}").contains("malformed"));
        assert!(with(&"x".repeat(1 << 20), "").len() < 300);
        let mut read_only = request();
        read_only.read_only = true;
        assert!(check(read_only).unwrap_err().contains("csi.readOnly"));
        let mut block = request();
        block.is_mount = false;
        assert!(check(block).unwrap_err().contains("block device"));
        let mut secrets = request();
        secrets.has_secrets = true;
        assert!(check(secrets).is_err());
        let mut id = request();
        id.volume_id = "x".repeat(129);
        assert!(check(id).is_err());
    }
}
