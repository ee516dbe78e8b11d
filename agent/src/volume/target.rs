//! The path that the kubelet asks to mount at. Pure.

use std::path::{Path, PathBuf};

use super::VolumeError;

/// Longest UID of a pod, in bytes. Kubernetes' have 36, and 32 for pods from files.
const MAX_UID: usize = 64;

/// The place of a pod's volume, below the kubelet's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    uid: String,
    volume: String,
}

impl Target {
    /// Reads the path `<kubelet_dir>/pods/<UID>/volumes/kubernetes.io~csi/<volume>/mount`, and no other.
    ///
    /// # Errors
    /// Where it is none of these.
    pub fn parse(kubelet_dir: &Path, path: &str) -> Result<Target, VolumeError> {
        let refused = |why: &str| {
            let path: String = path.chars().take(256).collect();
            VolumeError::Refused(format!(
                "the target path {path:?} cannot be used: {why}; the agent serves pods' volumes below \
                 {} (its --kubelet-dir)",
                kubelet_dir.display()
            ))
        };
        let root = kubelet_dir.to_str().unwrap_or_default();
        let below = path
            .strip_prefix(root.trim_end_matches('/'))
            .and_then(|rest| rest.strip_prefix('/'))
            .ok_or_else(|| refused("it is not below the kubelet's folder"))?;
        // By text, not by Path::components, which overlooks `//` and `/./`.
        let parts: Vec<_> = below.split('/').collect();
        let ["pods", uid, "volumes", "kubernetes.io~csi", volume, "mount"] = parts[..] else {
            return Err(refused("it is not that of a CSI volume of a pod"));
        };
        if !is_plain(uid) || uid.len() > MAX_UID {
            return Err(refused("it holds no pod's UID"));
        }
        // The name of a volume in a pod, which is a DNS label.
        if !is_plain(volume) || volume.len() > 253 {
            return Err(refused("it holds no volume's name"));
        }
        Ok(Target {
            uid: uid.to_owned(),
            volume: volume.to_owned(),
        })
    }

    /// The pod's UID.
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// The folder that holds the mount point, relative to the kubelet's.
    pub(super) fn folder(&self) -> PathBuf {
        let Target { uid, volume } = self;
        format!("pods/{uid}/volumes/kubernetes.io~csi/{volume}").into()
    }

    /// The mount point, relative to the kubelet's folder.
    pub(super) fn mount(&self) -> PathBuf {
        self.folder().join("mount")
    }

    /// The name of the volume in its pod.
    pub(super) fn volume(&self) -> &str {
        &self.volume
    }

    /// A target that a record holds.
    pub(super) fn of(uid: &str, volume: &str) -> Option<Target> {
        let plain = is_plain(uid) && uid.len() <= MAX_UID && is_plain(volume);
        plain.then(|| Target {
            uid: uid.to_owned(),
            volume: volume.to_owned(),
        })
    }
}

/// One path component that leads nowhere else.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "6f1c3c1a-7b0e-4c55-9b54-0123456789ab";

    #[test]
    fn a_kubelets_path_is_read() {
        let root = Path::new("/var/lib/kubelet");
        let path = format!("/var/lib/kubelet/pods/{UID}/volumes/kubernetes.io~csi/baton/mount");
        let target = Target::parse(root, &path).unwrap();
        assert_eq!((target.uid(), target.volume()), (UID, "baton"));
        assert_eq!(root.join(target.mount()), Path::new(&path));
        assert_eq!(
            Target::parse(Path::new("/var/lib/kubelet/"), &path).unwrap(),
            target
        );
    }

    #[test]
    fn no_other_path_is_used() {
        let root = Path::new("/var/lib/kubelet");
        for path in [
            "",
            "/",
            "/var/lib/kubelet",
            "/etc",
            "/var/lib/kubelet-other/pods/u/volumes/kubernetes.io~csi/b/mount",
            "pods/u/volumes/kubernetes.io~csi/b/mount",
            "/var/lib/kubelet/../kubelet/pods/u/volumes/kubernetes.io~csi/b/mount",
            "/var/lib/kubelet/pods/../volumes/kubernetes.io~csi/b/mount",
            "/var/lib/kubelet/pods/./volumes/kubernetes.io~csi/b/mount",
            "/var/lib/kubelet/pods/u/volumes/kubernetes.io~csi/../mount",
            "/var/lib/kubelet/pods/u/volumes/kubernetes.io~csi/b/mount/",
            "/var/lib/kubelet/pods/u/volumes/kubernetes.io~csi/b/mount/..",
            "/var/lib/kubelet//pods/u/volumes/kubernetes.io~csi/b/mount",
            "/var/lib/kubelet/pods/u/volumes/kubernetes.io~csi//mount",
            "/var/lib/kubelet/pods/u/volumes/kubernetes.io~empty-dir/b/mount",
            "/var/lib/kubelet/pods/u/volumes/kubernetes.io~csi/b\0/mount",
            "/var/lib/kubelet/pods/u x/volumes/kubernetes.io~csi/b/mount",
            "/var/lib/kubelet/pods/.u/volumes/kubernetes.io~csi/b/mount",
        ] {
            assert!(Target::parse(root, path).is_err(), "{path:?}");
        }
        let long = format!(
            "/var/lib/kubelet/pods/{}/volumes/kubernetes.io~csi/b/mount",
            "u".repeat(65)
        );
        assert!(Target::parse(root, &long).is_err());
        let endless = "/x".repeat(100_000);
        let message = Target::parse(root, &endless).unwrap_err().to_string();
        assert!(message.len() < 600, "{}", message.len());
    }
}
