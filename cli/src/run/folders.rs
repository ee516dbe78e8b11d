//! The folders of a run: its scratch folder, and one for each volume.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Component, Path, PathBuf};

use baton_api::core::{HostPath, HostPathType, Volume, VolumeMount};

/// Why a folder cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The scratch folder.
    #[error("cannot make a scratch folder below {}: {source}", below.display())]
    Scratch {
        /// Where.
        below: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A folder or file in it.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A `hostPath` is not what it has to be.
    #[error("volume {volume}: hostPath {} is not there, or is no {wanted}", path.display())]
    HostPath {
        /// The volume.
        volume: String,
        /// The path.
        path: PathBuf,
        /// What its `type` asks for.
        wanted: &'static str,
    },
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FolderError {
    let path = path.to_owned();
    move |source| FolderError::Io {
        action,
        path,
        source,
    }
}

/// A run's scratch folder: removed in the end, unless it is to be kept.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    kept: bool,
}

impl Scratch {
    /// Makes a scratch folder in the place for temporary files (`TMPDIR`).
    ///
    /// # Errors
    /// Where no folder can be made there.
    pub fn new(kept: bool) -> Result<Scratch, FolderError> {
        let below = std::env::temp_dir();
        let made = fs::canonicalize(&below)
            .and_then(|below| {
                // Results, output and volumes are the user's alone.
                use std::os::unix::fs::PermissionsExt;
                let private = fs::Permissions::from_mode(0o700);
                tempfile::Builder::new()
                    .prefix("baton-")
                    .permissions(private)
                    .tempdir_in(below)
            })
            .map_err(|source| FolderError::Scratch { below, source })?;
        Ok(Scratch {
            path: made.keep(),
            kept,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The baton volume.
    pub fn root(&self) -> PathBuf {
        self.path.join("baton")
    }

    /// Removes it, unless it is to be kept.
    ///
    /// # Errors
    /// Where something in it cannot be removed.
    pub fn remove(mut self) -> Result<(), FolderError> {
        match std::mem::replace(&mut self.kept, true) {
            true => Ok(()),
            false => remove(&self.path).map_err(io_error("remove", &self.path)),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.kept {
            let _ = remove(&self.path);
        }
    }
}

/// Removes a tree, also one in which a step has left folders that may not be written.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            open_up(path);
            fs::remove_dir_all(path)
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

fn open_up(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let _ = fs::set_permissions(folder, fs::Permissions::from_mode(0o700));
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries {
        // The type of the entry itself: links are not followed.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

/// Which folder stands for which volume.
#[derive(Debug, Clone, Default)]
pub struct Folders(BTreeMap<String, PathBuf>);

impl Folders {
    /// Makes a folder below `scratch` for each volume, and checks each `hostPath`. A volume that has
    /// no meaning here is an empty folder.
    ///
    /// # Errors
    /// Where a folder cannot be made, or a `hostPath` is not what its type says.
    pub fn make(volumes: &[Volume], scratch: &Path) -> Result<Folders, FolderError> {
        let below = scratch.join("volumes");
        let mut folders = BTreeMap::new();
        for volume in volumes {
            let place = below.join(&volume.name);
            let folder = match &volume.host_path {
                Some(host) => {
                    let path = host_path(&volume.name, host)?;
                    if is_plain(&path) {
                        path
                    } else {
                        // What stands for a mount path goes into scripts, where nobody quotes it.
                        fs::create_dir_all(&below).map_err(io_error("make the folder", &below))?;
                        std::os::unix::fs::symlink(&path, &place)
                            .map_err(io_error("make the link", &place))?;
                        place
                    }
                }
                None => {
                    fs::create_dir_all(&place).map_err(io_error("make the folder", &place))?;
                    place
                }
            };
            folders.insert(volume.name.clone(), folder);
        }
        Ok(Folders(folders))
    }

    /// Each volume's name and folder.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Path)> {
        self.0
            .iter()
            .map(|(name, path)| (name.as_str(), path.as_path()))
    }

    /// The folder that a mount shows: the volume's, or one in it.
    ///
    /// # Errors
    /// Where the folder in it cannot be made.
    pub fn of_mount(
        &self,
        mount: &VolumeMount,
        expand: impl Fn(&str) -> String,
    ) -> Result<Option<PathBuf>, FolderError> {
        let Some(volume) = self.0.get(&mount.name) else {
            return Ok(None);
        };
        let expanded = mount.sub_path_expr.as_deref().map(expand);
        let sub = expanded.as_deref().or(mount.sub_path.as_deref());
        let Some(sub) = sub.filter(|s| !s.is_empty()) else {
            return Ok(Some(volume.clone()));
        };
        // Expanded or not, it never leaves the volume.
        let plain = Path::new(sub)
            .components()
            .filter(|c| matches!(c, Component::Normal(_)));
        let folder = volume.join(plain.collect::<PathBuf>());
        if !folder.exists() {
            fs::create_dir_all(&folder).map_err(io_error("make the folder", &folder))?;
        }
        Ok(Some(folder))
    }
}

/// Whether a shell reads the path as one word that means itself.
fn is_plain(path: &Path) -> bool {
    path.to_str().is_some_and(|path| {
        path.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"/._-+@:,".contains(&b))
    })
}

fn host_path(volume: &str, host: &HostPath) -> Result<PathBuf, FolderError> {
    let path = PathBuf::from(&host.path);
    match host.kind {
        HostPathType::DirectoryOrCreate if !path.exists() => {
            fs::create_dir_all(&path).map_err(io_error("make the folder", &path))?;
        }
        HostPathType::FileOrCreate if !path.exists() => {
            // As the kubelet does it: the file, not the folders above it.
            fs::File::create_new(&path).map_err(io_error("make the file", &path))?;
        }
        _ => {}
    }
    let kind = fs::metadata(&path).ok().map(|found| found.file_type());
    let is = |check: fn(&fs::FileType) -> bool| kind.as_ref().is_some_and(check);
    let (fits, wanted) = match host.kind {
        HostPathType::Any => (kind.is_some(), "file or folder"),
        HostPathType::Directory | HostPathType::DirectoryOrCreate => {
            (is(fs::FileType::is_dir), "folder")
        }
        HostPathType::File | HostPathType::FileOrCreate => (is(fs::FileType::is_file), "file"),
        HostPathType::Socket => (is(fs::FileType::is_socket), "socket"),
        HostPathType::CharDevice => (is(fs::FileType::is_char_device), "character device"),
        HostPathType::BlockDevice => (is(fs::FileType::is_block_device), "block device"),
    };
    if fits {
        Ok(path)
    } else {
        Err(FolderError::HostPath {
            volume: volume.to_owned(),
            path,
            wanted,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(name: &str, host: Option<(&Path, HostPathType)>) -> Volume {
        Volume {
            name: name.to_owned(),
            host_path: host.map(|(path, kind)| HostPath {
                path: path.to_str().unwrap().to_owned(),
                kind,
            }),
            ..Volume::default()
        }
    }

    #[test]
    fn a_scratch_folder_goes_with_all_that_is_in_it() {
        let scratch = Scratch::new(false).unwrap();
        let path = scratch.path().to_owned();
        let locked = path.join("a/b");
        fs::create_dir_all(&locked).unwrap();
        fs::write(locked.join("f"), "x").unwrap();
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&locked, fs::Permissions::from_mode(0o500)).unwrap();
        scratch.remove().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn volumes_are_folders() {
        let scratch = tempfile::tempdir().unwrap();
        let host = tempfile::tempdir().unwrap();
        let (made, spaced) = (host.path().join("made"), host.path().join("a b"));
        fs::create_dir(&spaced).unwrap();
        let volumes = [
            volume("empty", None),
            volume("made", Some((&made, HostPathType::DirectoryOrCreate))),
            volume("spaced", Some((&spaced, HostPathType::Directory))),
        ];
        let folders = Folders::make(&volumes, scratch.path()).unwrap();
        let found: BTreeMap<_, _> = folders.iter().collect();
        assert!(found["empty"].is_dir() && found["empty"].starts_with(scratch.path()));
        assert_eq!(found["made"], made);
        assert!(made.is_dir());
        // A path that a shell would split is reached by a link.
        assert_eq!(
            fs::canonicalize(found["spaced"]).unwrap(),
            fs::canonicalize(&spaced).unwrap()
        );
        assert!(found["spaced"].starts_with(scratch.path()));

        let mount = VolumeMount {
            name: "empty".to_owned(),
            sub_path_expr: Some("$(N)/../c".to_owned()),
            ..VolumeMount::default()
        };
        let folder = folders
            .of_mount(&mount, |t| t.replace("$(N)", ".."))
            .unwrap()
            .unwrap();
        assert_eq!(folder, found["empty"].join("c"));
        assert!(folder.is_dir());
    }

    #[test]
    fn a_host_path_has_to_be_what_it_says() {
        let scratch = tempfile::tempdir().unwrap();
        for (path, kind, fits) in [
            ("/dev/null", HostPathType::CharDevice, true),
            ("/dev/null", HostPathType::File, false),
            ("/", HostPathType::Directory, true),
            ("/", HostPathType::Socket, false),
            ("/no/such/thing", HostPathType::Any, false),
            ("/no/such/thing", HostPathType::FileOrCreate, false),
        ] {
            let made = Folders::make(
                &[volume("v", Some((Path::new(path), kind)))],
                scratch.path(),
            );
            assert_eq!(made.is_ok(), fits, "{path} {kind:?}: {made:?}");
        }
    }
}
