//! The tools that every pod's folder shows at `bin`: this program's own `entrypoint` and `init`, in a
//! tmpfs that is read-only as a file system. However it is mounted, nobody can write in it: a mount
//! that is read-only by itself would not stay so in a container that has a read-only mount of the
//! folder around it, nor on the other side of a shared mount.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::mounts::{Found, Kubelet};
use super::{DRIVER, VolumeError};

/// What is in the folder of the tools.
const TOOLS: [&str; 2] = ["entrypoint", "init"];
/// Folders of tools begin so; the digest of their content follows.
const PREFIX: &str = "tools-";

/// The plugin's folder, relative to the kubelet's.
pub(super) fn plugin_dir() -> PathBuf {
    Path::new("plugins").join(DRIVER)
}

/// Puts the tools of `source` into a folder of their own below the kubelet's, where they are not there
/// yet, and removes those of other versions: pods that use them keep them. Gives the folder's path,
/// relative to the kubelet's.
pub(super) fn install(kubelet: &Kubelet, source: &Path) -> Result<PathBuf, VolumeError> {
    let mut contents = Vec::new();
    let mut digest = Sha256::new();
    for tool in TOOLS {
        let path = source.join(tool);
        let content = fs::read(&path).map_err(|e| VolumeError::io("read the tool", path, e))?;
        digest.update(content.len().to_le_bytes());
        digest.update(&content);
        contents.push((tool, content));
    }
    let digest = digest.finalize();
    let short: String = digest.iter().take(8).map(|b| format!("{b:02x}")).collect();
    let (plugin, name) = (plugin_dir(), format!("{PREFIX}{short}"));
    let folder = plugin.join(&name);
    if !matches!(
        kubelet.find(&plugin, &name)?,
        Found::Tmpfs {
            read_only: true,
            ..
        }
    ) {
        // What is there was not finished.
        kubelet.unmount(&plugin, &name)?;
        kubelet.make_dir(&plugin, &name, 0o755)?;
        let bytes: usize = contents.iter().map(|(_, content)| content.len()).sum();
        let size = bytes + (1 << 20);
        kubelet.mount_tmpfs(&folder, &format!("size={size},nr_inodes=16,mode=0755"))?;
        for (tool, content) in &contents {
            let path = kubelet.path(&folder).join(tool);
            write(&path, content).map_err(|e| VolumeError::io("write the tool", path, e))?;
        }
        kubelet.freeze_tmpfs(&folder)?;
    }
    for other in kubelet.list(&plugin)? {
        if other.starts_with(PREFIX) && other != name {
            tracing::info!("removing the tools {other}: this version has others");
            kubelet.unmount(&plugin, &other)?;
        }
    }
    Ok(folder)
}

fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o755)
        .open(path)?;
    // The umask may take from the mode.
    file.set_permissions(Permissions::from_mode(0o755))?;
    file.write_all(content)
}
