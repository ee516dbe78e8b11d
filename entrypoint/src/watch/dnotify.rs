//! The kernel's older way to tell of a folder's changes: by a signal, and with no limit on how many
//! may ask. It serves where inotify is used up (128 instances a user by default, fewer than the steps
//! that may wait on one node), which else would have to be polled.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{nearest_folder, tells};

/// `F_SETSIG` of fcntl(2), which libc has not.
const F_SETSIG: libc::c_int = 10;
/// Changes of names and contents, told until the folder is closed.
const CHANGES: u32 = DN_MODIFY | DN_CREATE | DN_DELETE | DN_RENAME | DN_MULTISHOT;
const DN_MODIFY: u32 = 0x02;
const DN_CREATE: u32 = 0x04;
const DN_DELETE: u32 = 0x08;
const DN_RENAME: u32 = 0x10;
const DN_MULTISHOT: u32 = 0x8000_0000;

/// Folders whose changes come as SIGIO, which is blocked and read with the other signals.
#[derive(Debug, Default)]
pub(super) struct Folders(Vec<(FolderId, File)>);

type FolderId = (u64, u64);

impl Folders {
    /// Asks for the changes of the folders of `files`, and of what they link to. True where a folder
    /// was asked for that was not before.
    ///
    /// # Errors
    /// Where the kernel has no dnotify, or a file system does not tell.
    pub(super) fn arm(&mut self, files: &[PathBuf]) -> io::Result<bool> {
        let mut wanted = Vec::new();
        for file in files {
            wanted.push(open(nearest_folder(file))?);
            if file.is_symlink() {
                // What it leads to may be rewritten in a folder of its own.
                let target = file.canonicalize().ok();
                if let Some(folder) = target.as_deref().and_then(Path::parent) {
                    wanted.push(open(folder)?);
                }
            }
        }
        self.0
            .retain(|(known, _)| wanted.iter().any(|(id, _)| id == known));
        let mut news = false;
        for (id, folder) in wanted {
            if !self.0.iter().any(|(known, _)| *known == id) {
                ask(&folder)?;
                self.0.push((id, folder));
                news = true;
            }
        }
        Ok(news)
    }
}

fn open(folder: &Path) -> io::Result<(FolderId, File)> {
    if !tells(folder) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let folder = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECTORY)
        .open(folder)?;
    let meta = folder.metadata()?;
    Ok(((meta.dev(), meta.ino()), folder))
}

fn ask(folder: &File) -> io::Result<()> {
    // SAFETY: neither call touches memory.
    let asked = unsafe {
        libc::fcntl(folder.as_raw_fd(), F_SETSIG, libc::SIGIO) == 0
            && libc::fcntl(folder.as_raw_fd(), libc::F_NOTIFY, CHANGES) == 0
    };
    if asked {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
