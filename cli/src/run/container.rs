//! What the kubelet and the container runtime do before a container's program starts, as far as it has
//! a meaning for a process of this machine: its environment, its folder, its mounts.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use baton_api::core::{EnvVar, VolumeMount};
use baton_api::{MAX_INLINE_SCRIPT, expand_env};
use baton_protocol::invocation::{Invocation, Probe, ScriptSource};
use baton_protocol::script::{self, ScriptError};

use super::folders::{FolderError, Folders};
use super::volumes::Mapping;

/// Why a container cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A folder of it.
    #[error("step {step}: {source}")]
    Folder {
        /// The step.
        step: String,
        /// What is wrong.
        source: FolderError,
    },
    /// Its working folder.
    #[error("step {step}: its working folder {} {cause}", path.display())]
    WorkingDir {
        /// The step.
        step: String,
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// A variable that a cluster would provide.
    #[error(
        "step {step}: the variable {name} comes from the cluster (valueFrom); here set it in the \
         environment, or give --env {name}=VALUE"
    )]
    ValueFrom {
        /// The step.
        step: String,
        /// The variable.
        name: String,
    },
    /// Its script.
    #[error("step {step}: {source}")]
    Script {
        /// The step.
        step: String,
        /// What is wrong.
        source: ScriptError,
    },
    /// Its script's file.
    #[error("step {step}: cannot write its script to {}: {source}", path.display())]
    ScriptFile {
        /// The step.
        step: String,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A NUL byte in what a process is to be given.
    #[error("step {step}: the variable {name} holds a NUL byte")]
    Nul {
        /// The step.
        step: String,
        /// The variable.
        name: String,
    },
}

/// What is the same for all containers of a run.
#[derive(Debug, Clone)]
pub struct Site<'a> {
    /// The scratch folder.
    pub scratch: &'a Path,
    /// The volumes' folders.
    pub folders: &'a Folders,
    /// Variables for every container, from the command line.
    pub env: &'a [(String, String)],
    /// The folder that a container starts in where it names none, or a relative one.
    pub base: &'a Path,
}

/// A container, as a Task or a Job has it.
#[derive(Debug, Clone, Copy)]
pub struct Container<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its environment, in order.
    pub env: &'a [EnvVar],
    /// The folder that it starts in.
    pub working_dir: Option<&'a str>,
    /// The volumes that it sees.
    pub mounts: &'a [VolumeMount],
}

/// A container that is ready to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// How its entrypoint is called.
    pub invocation: Invocation,
    /// What it finds in its environment, besides what we have ourselves.
    pub env: Vec<(String, OsString)>,
    /// Variables of ours that it does not get: the callbacks' secrets.
    pub hidden: Vec<String>,
    /// Where it starts.
    pub cwd: PathBuf,
}

/// Whether a container's variables are to be had, which can be told before anything is made.
///
/// # Errors
/// Where one is not.
pub fn check(container: Container<'_>, given: &[(String, String)]) -> Result<(), SetupError> {
    environment(container, given).map(drop)
}

/// Makes a container ready: mount paths in `invocation` and the environment become folders, `$(NAME)`
/// is replaced, and a script that is too long for an argument goes to a file.
///
/// # Errors
/// Where a folder, a variable or the script is not to be had.
pub fn setup(
    container: Container<'_>,
    invocation: Invocation,
    site: &Site<'_>,
) -> Result<Setup, SetupError> {
    let step = || container.name.to_owned();
    let values = environment(container, site.env)?;
    let lookup = |name: &str| values.get(name).map(String::as_str);
    let expand = |text: &str| expand_env(text, lookup);
    // What lies in the scratch folder stays as it is, also where somebody mounts on /tmp.
    let scratch = site.scratch.as_os_str().as_bytes();
    let mut pairs = vec![(scratch.to_vec(), scratch.to_vec())];
    for mount in container.mounts {
        let folder = site
            .folders
            .of_mount(mount, expand)
            .map_err(|source| SetupError::Folder {
                step: step(),
                source,
            })?;
        if let Some(folder) = folder {
            pairs.push((
                mount.mount_path.clone().into_bytes(),
                folder.into_os_string().into_vec(),
            ));
        }
    }
    let mapping = Mapping::new(pairs);
    let cwd = working_dir(container, &mapping, site)?;
    let invocation = rewrite(invocation, container.name, &mapping, expand, site.scratch)?;
    let declared = container.env.iter().map(|var| &var.name);
    let from_us = site.env.iter().map(|(name, _)| name);
    let mut env = BTreeMap::new();
    for name in from_us.chain(declared) {
        if let Some(value) = values.get(name) {
            let value = mapping.rewrite(value.as_bytes());
            if value.contains(&0) {
                return Err(SetupError::Nul {
                    step: step(),
                    name: name.clone(),
                });
            }
            env.insert(name.clone(), OsString::from_vec(value));
        }
    }
    Ok(Setup {
        hidden: Vec::new(),
        invocation,
        env: env.into_iter().collect(),
        cwd,
    })
}

impl Setup {
    /// The command that starts it: this program as its own entrypoint, or the one that
    /// `BATON_ENTRYPOINT` names.
    pub fn command(&self, out: std::io::PipeWriter) -> std::io::Result<Command> {
        use std::os::unix::process::CommandExt;
        let program = std::env::var_os("BATON_ENTRYPOINT").filter(|p| !p.is_empty());
        let mut command = match program {
            Some(program) => Command::new(program),
            // Not the path that it was started by, which may lead elsewhere by now.
            None => Command::new("/proc/self/exe"),
        };
        // One pipe for both streams: their lines stay in order.
        let err = out.try_clone()?;
        command.arg0("entrypoint").args(self.invocation.to_args());
        for name in &self.hidden {
            command.env_remove(name);
        }
        command
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.cwd)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err);
        Ok(command)
    }
}

/// The variables by name: those from the command line, then the container's own, each with those
/// before it expanded.
fn environment(
    container: Container<'_>,
    given: &[(String, String)],
) -> Result<BTreeMap<String, String>, SetupError> {
    let mut values: BTreeMap<String, String> = given.iter().cloned().collect();
    for var in container.env {
        let value = match (&var.value, &var.value_from) {
            (Some(value), _) => expand_env(value, |name| values.get(name).map(String::as_str)),
            (None, None) => String::new(),
            (None, Some(source)) => {
                let optional = source
                    .secret_key_ref
                    .as_ref()
                    .is_some_and(|key| key.optional == Some(true));
                let ours = values.get(&var.name).cloned();
                match ours.or_else(|| std::env::var(&var.name).ok()) {
                    Some(value) => value,
                    None if optional => continue,
                    None => {
                        return Err(SetupError::ValueFrom {
                            step: container.name.to_owned(),
                            name: var.name.clone(),
                        });
                    }
                }
            }
        };
        values.insert(var.name.clone(), value);
    }
    Ok(values)
}

fn working_dir(
    container: Container<'_>,
    mapping: &Mapping,
    site: &Site<'_>,
) -> Result<PathBuf, SetupError> {
    let Some(given) = container.working_dir.filter(|d| !d.is_empty()) else {
        return Ok(site.base.to_owned());
    };
    let mapped = OsString::from_vec(mapping.rewrite(given.as_bytes()));
    let path = site.base.join(mapped);
    let failed = |cause: String| SetupError::WorkingDir {
        step: container.name.to_owned(),
        path: path.clone(),
        cause,
    };
    // A container runtime makes the folder; here that is done only where it is ours to do.
    if path.starts_with(site.scratch) && !path.exists() {
        fs::create_dir_all(&path).map_err(|e| failed(format!("cannot be made: {e}")))?;
    }
    match fs::metadata(&path) {
        Ok(found) if found.is_dir() => Ok(path),
        Ok(_) => Err(failed("is not a folder".to_owned())),
        Err(e) => Err(failed(format!("cannot be used: {e}"))),
    }
}

fn rewrite(
    mut call: Invocation,
    step: &str,
    mapping: &Mapping,
    expand: impl Fn(&str) -> String,
    scratch: &Path,
) -> Result<Invocation, SetupError> {
    let mapped = |text: &[u8]| OsString::from_vec(mapping.rewrite(text));
    for word in &mut call.command {
        let expanded = match word.to_str() {
            Some(text) => expand(text).into(),
            None => word.clone(),
        };
        *word = mapped(expanded.as_bytes());
    }
    for file in [&mut call.out, &mut call.err].into_iter().flatten() {
        *file = mapped(file.as_os_str().as_bytes()).into();
    }
    if let Some(Probe::Command(words)) = &mut call.ready {
        for word in words {
            *word = String::from_utf8_lossy(&mapping.rewrite(word.as_bytes())).into_owned();
        }
    }
    if let Some(ScriptSource::Inline(packed)) = &call.script {
        let failed = |source| SetupError::Script {
            step: step.to_owned(),
            source,
        };
        let text = script::decode(packed.as_bytes()).map_err(failed)?;
        let packed = script::encode(&mapping.rewrite(&text));
        call.script = Some(if packed.len() > MAX_INLINE_SCRIPT {
            let path = scratch.join(format!("script-{step}"));
            fs::write(&path, packed).map_err(|source| SetupError::ScriptFile {
                step: step.to_owned(),
                path: path.clone(),
                source,
            })?;
            ScriptSource::File(path)
        } else {
            ScriptSource::Inline(packed)
        });
    }
    Ok(call)
}

#[cfg(test)]
mod tests;
