//! Placing a script where its interpreter can read it.

use std::ffi::{CStr, OsString};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use baton_protocol::invocation::{Invocation, ScriptSource};
use baton_protocol::layout;
use baton_protocol::script::{MAX_ENCODED_BYTES, ScriptError, decode, interpreter};

/// Why a script cannot be run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrepareError {
    /// The file that holds it cannot be read.
    #[error("cannot read the script's file {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// It cannot be unpacked.
    #[error("{0}")]
    Unpack(#[from] ScriptError),
    /// There is no place for it.
    #[error("cannot place the script: {0}")]
    Place(#[source] io::Error),
}

/// The command to run, and what keeps its script alive.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) argv: Vec<OsString>,
    /// A script in memory, which the command inherits.
    _memory: Option<OwnedFd>,
}

/// Unpacks the script, if there is one, and makes the command line.
pub(crate) fn prepare(call: &Invocation) -> Result<Prepared, PrepareError> {
    match &call.script {
        None => Ok(Prepared {
            argv: call.command.clone(),
            _memory: None,
        }),
        Some(ScriptSource::Inline(packed)) => run_script(call, &decode(packed.as_bytes())?),
        Some(ScriptSource::File(path)) => {
            let script = decode(&read_packed(path)?)?;
            if call.command.is_empty() {
                run_script(call, &script)
            } else {
                for_command(call, path, &script)
            }
        }
    }
}

/// The script is the command; our command's words are its arguments.
fn run_script(call: &Invocation, script: &[u8]) -> Result<Prepared, PrepareError> {
    let (place, memory) = place(call, script).map_err(PrepareError::Place)?;
    let mut argv: Vec<_> = interpreter(script)
        .into_iter()
        .map(OsString::from_vec)
        .collect();
    argv.push(place);
    argv.extend_from_slice(&call.command);
    Ok(Prepared {
        argv,
        _memory: memory,
    })
}

/// The script is for a command that names its file: unpacked in place, as the original design has it.
/// Where the file cannot be written, the command gets another name for the unpacked text.
fn for_command(call: &Invocation, path: &Path, script: &[u8]) -> Result<Prepared, PrepareError> {
    let rewritten = OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(path)
        .and_then(|mut file| {
            file.set_permissions(Permissions::from_mode(0o600))?;
            file.write_all(script)
        });
    if rewritten.is_ok() {
        return Ok(Prepared {
            argv: call.command.clone(),
            _memory: None,
        });
    }
    let (place, memory) = place(call, script).map_err(PrepareError::Place)?;
    let renamed = |word: &OsString| {
        if word == path {
            place.clone()
        } else {
            word.clone()
        }
    };
    Ok(Prepared {
        argv: call.command.iter().map(renamed).collect(),
        _memory: memory,
    })
}

/// Puts the script into the step's folder, or into memory where that cannot be written. Neither has
/// to be executable: the interpreter only reads it.
fn place(call: &Invocation, script: &[u8]) -> io::Result<(OsString, Option<OwnedFd>)> {
    if let Some(folder) = &call.step_dir {
        let path = folder.join(layout::SCRIPT);
        let _ = fs::remove_file(&path); // of an earlier start of this container
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(script));
        if written.is_ok() {
            return Ok((path.into_os_string(), None));
        }
    }
    let memory = in_memory(c"script", script)?;
    let name = format!("/proc/self/fd/{}", memory.as_raw_fd());
    Ok((name.into(), Some(memory)))
}

/// A file in memory that the command inherits.
fn in_memory(name: &CStr, content: &[u8]) -> io::Result<OwnedFd> {
    // SAFETY: the name is NUL-terminated; no flag: the descriptor has to survive exec.
    let fd = unsafe { libc::memfd_create(name.as_ptr(), 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given us this descriptor.
    let mut file = unsafe { File::from_raw_fd(fd) };
    file.write_all(content)?;
    Ok(file.into())
}

fn read_packed(path: &Path) -> Result<Vec<u8>, PrepareError> {
    let failed = |source| PrepareError::Read {
        path: path.to_owned(),
        source,
    };
    // A FIFO is empty rather than a wait that no signal ends.
    let mut open = OpenOptions::new();
    let file = open
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .map_err(failed)?;
    let mut packed = Vec::new();
    file.take(MAX_ENCODED_BYTES as u64 + 1)
        .read_to_end(&mut packed)
        .map_err(failed)?;
    Ok(packed)
}
