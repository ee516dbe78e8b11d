//! Whether a service's program is there, before anything is started.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::config::Service;
use super::error::{ConfigError, Mistake};
use crate::cli::{Suggestion, suggest};

/// Most names that are looked at for a suggestion.
const MAX_NAMES: usize = 20_000;

/// Looks for a service's program. What lies below one of `later` may come with a seed, and is not
/// looked for.
///
/// # Errors
/// Where it is missing, or not executable.
pub fn check(service: &Service, later: &[PathBuf]) -> Result<(), ConfigError> {
    let Some(program) = service.command.first() else {
        return Ok(());
    };
    let path = match service.env.iter().rev().find(|(name, _)| name == "PATH") {
        Some((_, path)) => path.clone(),
        None => std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/bin:/usr/bin")),
    };
    let folders: Vec<PathBuf> = match program.as_bytes().contains(&b'/') {
        true => vec![service.cwd.clone().unwrap_or_default()],
        false => std::env::split_paths(&path).collect(),
    };
    let mut places = folders.iter().map(|folder| folder.join(program));
    if places.clone().any(|place| is_executable(&place))
        || places.any(|place| later.iter().any(|folder| place.starts_with(folder)))
    {
        return Ok(());
    }
    let is_path = program.as_bytes().contains(&b'/');
    let there = is_path && folders.iter().any(|folder| folder.join(program).exists());
    let cause = match (there, is_path) {
        (true, _) => "cannot execute",
        (false, true) => "there is no file",
        (false, false) => "PATH has no program",
    };
    let meant = match is_path {
        true => Suggestion::NONE,
        false => similar(program, &folders),
    };
    let mistake = Mistake::Program {
        service: service.name.clone(),
        cause,
        program: program.clone(),
        meant,
    };
    Err(ConfigError::at(service.line, mistake))
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

fn similar(program: &OsStr, folders: &[PathBuf]) -> Suggestion {
    let names: Vec<String> = folders
        .iter()
        .filter_map(|folder| std::fs::read_dir(folder).ok())
        .flatten()
        .flatten()
        .take(MAX_NAMES)
        .filter_map(|entry| String::from_utf8(entry.file_name().into_vec()).ok())
        .collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    suggest(&program.to_string_lossy(), &names)
}
