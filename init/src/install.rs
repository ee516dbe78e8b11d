//! `init install`: copies the tools to where a pod's containers find them.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The tools, by file name. `init` goes last: whoever waits for it finds the other one there.
const TOOLS: [&str; 2] = ["entrypoint", "init"];
/// What a file in the making is called: a dot, the tool's name, this, and a number.
const DRAFT: &str = ".installing-";
/// A draft of this age was left by an installation that was killed.
const STALE: Duration = Duration::from_secs(600);

/// Where from and where to.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder for the tools; made where it is missing.
    pub to: PathBuf,
    /// The folder that they are in; where this `init` is, if it is not named.
    pub from: Option<PathBuf>,
}

/// What came of one tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// It is there now.
    Placed,
    /// It was there already, byte for byte.
    Same,
}

/// Why the tools could not be placed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {attempt} {}: {cause}", path.display())]
pub struct Error {
    attempt: &'static str,
    path: PathBuf,
    cause: io::Error,
}

fn failed(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |cause| Error {
        attempt,
        path,
        cause,
    }
}

/// Places the tools. Each appears by one rename, whole and executable by anybody; one that is the
/// same already is left alone.
///
/// # Errors
/// Where a tool is missing, or the folder cannot be written to. What was there before is still there.
pub fn run(options: &Options) -> Result<Vec<(&'static str, Done)>, Error> {
    let this = PathBuf::from("/proc/self/exe");
    let from = match &options.from {
        Some(from) => from.clone(),
        None => fs::read_link(&this)
            .map_err(failed("find this program through", &this))?
            .parent()
            .map(Path::to_owned)
            .unwrap_or_default(),
    };
    // All of them are opened before the first is placed.
    let mut sources = Vec::new();
    for tool in TOOLS {
        // This program is there, whatever its file is called.
        let path = match (tool, &options.from) {
            ("init", None) => this.clone(),
            _ => from.join(tool),
        };
        let file = File::open(&path).map_err(failed("open the tool", &path))?;
        if !file.metadata().is_ok_and(|m| m.is_file()) {
            let cause = io::Error::other("not a regular file");
            return Err(failed("open the tool", &path)(cause));
        }
        sources.push((tool, path, file));
    }
    fs::create_dir_all(&options.to).map_err(failed("make the folder", &options.to))?;
    remove_stale(&options.to);
    sources
        .into_iter()
        .map(|(tool, path, file)| Ok((tool, place(tool, &path, file, &options.to)?)))
        .collect()
}

fn place(tool: &'static str, from: &Path, mut file: File, to: &Path) -> Result<Done, Error> {
    let mut content = Vec::new();
    file.read_to_end(&mut content)
        .map_err(failed("read the tool", from))?;
    let target = to.join(tool);
    if is_placed(&target, &content) {
        return Ok(Done::Same);
    }
    let draft = to.join(format!(".{tool}{DRAFT}{}", unique()));
    let placed = write_draft(&draft, &content)
        .and_then(|()| fs::rename(&draft, &target).map_err(failed("place the tool as", &target)));
    if placed.is_err() {
        let _ = fs::remove_file(&draft);
    }
    placed.map(|()| Done::Placed)
}

fn write_draft(draft: &Path, content: &[u8]) -> Result<(), Error> {
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o700)
        .open(draft)
        .map_err(failed("make", draft))?;
    file.write_all(content)
        // Whatever the umask is.
        .and_then(|()| file.set_permissions(Permissions::from_mode(0o755)))
        // A rename that survives a power failure must not outlive what it names.
        .and_then(|()| file.sync_all())
        .map_err(failed("write", draft))
}

/// Whether a tool is there already, and anybody may run it.
fn is_placed(target: &Path, content: &[u8]) -> bool {
    let meta = fs::symlink_metadata(target);
    let alike = meta.is_ok_and(|m| {
        m.is_file() && m.len() == content.len() as u64 && m.permissions().mode() & 0o555 == 0o555
    });
    alike && fs::read(target).is_ok_and(|there| there == content)
}

/// Removes the drafts of installations that were killed.
fn remove_stale(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let ours = TOOLS.iter().any(|tool| {
            let name = name.to_string_lossy();
            name.starts_with(&format!(".{tool}{DRAFT}"))
        });
        let age = entry.metadata().and_then(|m| m.modified());
        let old = age.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > STALE));
        if ours && old {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// What no other installation calls its drafts, in this container or another one.
fn unique() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/uuid");
    match id {
        Ok(id) => id.trim().to_owned(),
        Err(_) => format!("{}-{:?}", std::process::id(), std::time::Instant::now()),
    }
}
