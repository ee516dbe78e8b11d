//! Moving what was staged into place.
//!
//! Everything here can be done again after it was interrupted anywhere: what has been removed or
//! moved is no longer found and no longer staged.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{self as rfs, AtFlags, FileType, Mode, RenameFlags};
use rustix::io::Errno;

use super::at;
use super::error::{Error, Place};
use super::manifest::Manifest;
use super::plan::{Step, Verb};
use super::tree::{Node, Tree, join, split};
use super::volume::{Scratch, Volume};

/// Brings a target folder to what `next` says.
pub struct Commit<'a> {
    /// The target folder.
    pub target: &'a OwnedFd,
    /// Its place.
    pub place: &'a Place,
    /// What is being committed.
    pub next: &'a Manifest,
    /// What was seeded before.
    pub old: Option<&'a Tree>,
}

impl Commit<'_> {
    /// Removes, moves and sets modes. Gives what it left to the user after all, because he changed
    /// it since the plan was made.
    ///
    /// # Errors
    /// Where the volume refuses; nothing is undone then, the next start goes on from here.
    pub fn apply(&self, stage: Option<&OwnedFd>) -> Result<Vec<Step>, Error> {
        let scratch = Scratch::default();
        let volume = Volume::new(self.target, &scratch);
        for path in &self.next.remove {
            self.remove(&volume, path)?;
        }
        let mut kept = Vec::new();
        let mut xattrs = Vec::new();
        if let Some(stage) = stage {
            xattrs = at::xattrs(stage).map_err(self.place.err("read", b""))?;
            self.merge(&volume, stage, self.target, &[], &mut kept)?;
        }
        self.set_modes()?;
        if self.next.own_root
            && let Some(root) = self.next.tree.dir(&[])
        {
            match at::dress(self.target, &root.attrs, &xattrs) {
                // Somebody else's folder that we may write to.
                Err(Errno::PERM | Errno::ACCESS) => {}
                other => other.map_err(self.place.err("set the attributes of", b""))?,
            }
        }
        Ok(kept)
    }

    fn remove(&self, volume: &Volume<'_>, path: &[u8]) -> Result<(), Error> {
        let (parent, name) = split(path);
        // Whatever is not as we left it on the way is not ours to remove.
        let Ok(dir) = at::open_dir(self.target, parent) else {
            return Ok(());
        };
        let Ok(Some(stat)) = at::stat(&dir, name) else {
            return Ok(());
        };
        let flags = match (
            self.old.and_then(|old| old.node(path)),
            at::file_type(&stat),
        ) {
            (Some(Node::Dir(_)), FileType::Directory) => AtFlags::REMOVEDIR,
            (Some(Node::Entry(recorded)), kind)
                if kind != FileType::Directory && volume.untouched(&dir, &stat, recorded) =>
            {
                AtFlags::empty()
            }
            _ => return Ok(()),
        };
        match loosened(&[dir.as_fd()], || rfs::unlinkat(&dir, name, flags)) {
            Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
            Err(e) => Err(self.place.err("remove", path)(e)),
        }
    }

    /// Moves what is in `from` to `to`, folder by folder where the volume has them already.
    fn merge(
        &self,
        volume: &Volume<'_>,
        from: &OwnedFd,
        to: &OwnedFd,
        path: &[u8],
        kept: &mut Vec<Step>,
    ) -> Result<(), Error> {
        let mut names = at::names(from).map_err(self.place.err("list the staged", path))?;
        names.sort_unstable();
        for name in names {
            let path = join(path, &name);
            let failed = || self.place.err("put in place", &path);
            let staged = at::stat(from, &name).map_err(failed())?;
            let is_dir = staged.is_some_and(|s| at::file_type(&s) == FileType::Directory);
            match at::stat(to, &name).map_err(failed())? {
                None => {
                    self.move_in(from, to, &name, is_dir).map_err(failed())?;
                    continue;
                }
                Some(there) if is_dir && at::file_type(&there) == FileType::Directory => {
                    let inner_from = at::open_own(from, &name).map_err(failed())?;
                    let inner_to = at::open_dir(to, &name).map_err(failed())?;
                    self.merge(volume, &inner_from, &inner_to, &path, kept)?;
                }
                Some(there) if !is_dir => {
                    let recorded = self.old.and_then(|old| old.entry(&path));
                    if recorded.is_some_and(|r| volume.untouched(to, &there, r)) {
                        loosened(&[from.as_fd(), to.as_fd()], || {
                            rfs::renameat(from, name.as_slice(), to, name.as_slice())
                        })
                        .map_err(failed())?;
                    } else {
                        kept.push(Step {
                            verb: Verb::Changed,
                            path: path.clone(),
                        });
                    }
                }
                Some(_) => kept.push(Step {
                    verb: Verb::Changed,
                    path: path.clone(),
                }),
            }
            // An emptied folder, or what the user has something else in place of.
            at::remove_all(from, &name).map_err(failed())?;
        }
        Ok(())
    }

    /// Moves to a name that was free.
    fn move_in(
        &self,
        from: &OwnedFd,
        to: &OwnedFd,
        name: &[u8],
        is_dir: bool,
    ) -> Result<(), Errno> {
        let rename = || match rfs::renameat_with(from, name, to, name, RenameFlags::NOREPLACE) {
            // File systems without this flag; the name was free a moment ago.
            Err(Errno::INVAL | Errno::NOSYS) => rfs::renameat(from, name, to, name),
            other => other,
        };
        // Moving a folder changes its `..`, which a read-only one forbids its owner.
        let inner = match is_dir {
            true => Some(at::open_dir(from, name)?),
            false => None,
        };
        let mut folders = vec![from.as_fd(), to.as_fd()];
        folders.extend(inner.iter().map(AsFd::as_fd));
        loosened(&folders, rename)
    }

    /// Gives folders that the volume had before the source's new mode, where nobody else changed
    /// it, and read-only folders their mode where we were interrupted while they had another.
    fn set_modes(&self) -> Result<(), Error> {
        for dir in self
            .next
            .tree
            .dirs
            .iter()
            .filter(|d| !d.gone && !d.path.is_empty())
        {
            let new = dir.attrs.mode;
            let old = self.old.and_then(|old| old.dir(&dir.path));
            let old = old.map_or(new, |dir| dir.attrs.mode);
            if old == new && new & 0o700 == 0o700 {
                continue;
            }
            // A folder that the user deleted, or put something else in place of.
            let Ok(fd) = at::open_dir(self.target, &dir.path) else {
                continue;
            };
            let failed = || self.place.err("set the mode of", &dir.path);
            let mode = rfs::fstat(&fd).map_err(failed())?.st_mode & 0o7777;
            if mode != new && (mode == old || mode == old | 0o700 || mode == new | 0o700) {
                match rfs::fchmod(&fd, at::mode(new)) {
                    Err(Errno::PERM) => {}
                    other => other.map_err(failed())?,
                }
            }
        }
        Ok(())
    }
}

/// Does `change`, and where the folders' own modes forbid it to their owner, once more with the
/// modes loosened meanwhile.
fn loosened(
    folders: &[rustix::fd::BorrowedFd<'_>],
    change: impl Fn() -> Result<(), Errno>,
) -> Result<(), Errno> {
    match change() {
        Err(Errno::ACCESS) => {}
        other => return other,
    }
    let mut before = Vec::new();
    for fd in folders {
        let mode = rfs::fstat(fd)?.st_mode & 0o7777;
        if mode & 0o700 != 0o700 {
            rfs::fchmod(fd, Mode::from_raw_mode(mode | 0o700))?;
            before.push((fd, mode));
        }
    }
    let done = change();
    for (fd, mode) in before {
        rfs::fchmod(fd, Mode::from_raw_mode(mode))?;
    }
    done
}
