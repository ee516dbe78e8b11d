//! The staging folder: what is there is ours alone until it is moved into place.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{self as rfs, AtFlags, FileType, Mode};
use rustix::io::Errno;

use super::at::{self, Xattr};
use super::error::{Error, Place};
use super::tree::{Attrs, Dir, Entry, Kind, Tree, join, split};

/// A staging folder.
#[derive(Debug)]
pub struct Stage {
    /// The open folder.
    pub fd: OwnedFd,
    /// Its place.
    pub place: Place,
    /// It may hold what an earlier run staged.
    pub resume: bool,
}

impl Stage {
    /// Makes a tree's folders, for now with a mode that lets us write to them, and removes what an
    /// earlier run staged and the tree does not have.
    ///
    /// # Errors
    /// Where the volume refuses.
    pub fn make_folders(&self, tree: &Tree) -> Result<(), Error> {
        for dir in &tree.dirs {
            if !dir.path.is_empty() {
                let (parent, name) = split(&dir.path);
                let fd = self.open(parent)?;
                match rfs::mkdirat(&fd, name, Mode::RWXU) {
                    Err(Errno::EXIST) if self.resume => self.reuse_folder(&fd, name, &dir.path)?,
                    made => made.map_err(self.place.err("make the folder", &dir.path))?,
                }
            }
            if self.resume {
                self.remove_strangers(tree, dir)?;
            }
        }
        Ok(())
    }

    /// Makes a folder of an earlier run writable; what is no folder makes place for one.
    fn reuse_folder(&self, parent: &OwnedFd, name: &[u8], path: &[u8]) -> Result<(), Error> {
        let failed = || self.place.err("make the folder", path);
        let opened = match at::stat(parent, name).map_err(failed())? {
            Some(stat) if at::file_type(&stat) == FileType::Directory => at::open_own(parent, name),
            _ => {
                at::remove_all(parent, name).map_err(failed())?;
                rfs::mkdirat(parent, name, Mode::RWXU).map_err(failed())?;
                return Ok(());
            }
        };
        opened.map(|_| ()).map_err(failed())
    }

    /// Removes what an earlier run staged and the source no longer has.
    fn remove_strangers(&self, tree: &Tree, dir: &Dir) -> Result<(), Error> {
        let fd = self.open(&dir.path)?;
        let found = at::names(&fd).map_err(self.place.err("list", &dir.path))?;
        for name in found {
            let path = join(&dir.path, &name);
            if dir.entry(&name).is_none() && tree.dir(&path).is_none() {
                at::remove_all(&fd, &name).map_err(self.place.err("remove", &path))?;
            }
        }
        Ok(())
    }

    /// Makes the hard links, now that there is something to link to.
    ///
    /// # Errors
    /// Where the volume refuses.
    pub fn link(&self, tree: &Tree) -> Result<(), Error> {
        for dir in &tree.dirs {
            for entry in &dir.entries {
                let Kind::File {
                    same_as: Some(first),
                    ..
                } = &entry.kind
                else {
                    continue;
                };
                let path = join(&dir.path, &entry.name);
                let failed = || self.place.err("link", &path);
                let (parent, name) = split(first);
                let from = self.open(parent)?;
                let to = self.open(&dir.path)?;
                if self.resume {
                    at::remove_all(&to, &entry.name).map_err(self.place.err("remove", &path))?;
                }
                rfs::linkat(&from, name, &to, entry.name.as_slice(), AtFlags::empty())
                    .map_err(failed())?;
            }
        }
        Ok(())
    }

    /// Makes a link or a pipe.
    ///
    /// # Errors
    /// Where the volume refuses.
    pub fn make_special(
        &self,
        dir: &OwnedFd,
        path: &[u8],
        entry: &Entry,
        inherits: Inherits,
    ) -> Result<(), Error> {
        let name = entry.name.as_slice();
        match &entry.kind {
            Kind::File { .. } => return Ok(()),
            Kind::Symlink { target } => {
                self.make_way(dir, name, path)?;
                rfs::symlinkat(target.as_slice(), dir, name)
                    .map_err(self.place.err("make the link", path))?;
            }
            Kind::Fifo => {
                self.make_way(dir, name, path)?;
                let mode = at::mode(entry.attrs.mode);
                rfs::mknodat(dir, name, FileType::Fifo, mode, 0)
                    .map_err(self.place.err("make the pipe", path))?;
            }
        }
        dress_unopened(dir, name, entry, inherits)
            .map_err(self.place.err("set the attributes of", path))
    }

    /// Removes what an earlier run left at a name.
    ///
    /// # Errors
    /// Where the volume refuses.
    pub fn make_way(&self, dir: &OwnedFd, name: &[u8], path: &[u8]) -> Result<(), Error> {
        match self.resume {
            true => at::remove_all(dir, name).map_err(self.place.err("remove", path)),
            false => Ok(()),
        }
    }

    /// Gives folders their attributes, inner ones first: making an entry changes a folder's time.
    /// The root only takes the extended attributes, and keeps them for the target.
    ///
    /// # Errors
    /// Where the volume refuses, or `xattrs` fails.
    pub fn dress_folders(
        &self,
        tree: &Tree,
        xattrs: impl Fn(&Dir) -> Result<Vec<Xattr>, Error>,
    ) -> Result<(), Error> {
        for dir in tree.dirs.iter().rev() {
            let fd = self.open(&dir.path)?;
            let xattrs = xattrs(dir)?;
            match dir.path.is_empty() {
                true => at::set_xattrs(&fd, &xattrs),
                false => at::dress(&fd, &dir.attrs, &xattrs),
            }
            .map_err(self.place.err("set the attributes of", &dir.path))?;
        }
        Ok(())
    }

    /// Opens a folder of the stage.
    ///
    /// # Errors
    /// Where it is missing, or none.
    pub fn open(&self, path: &[u8]) -> Result<OwnedFd, Error> {
        at::open_dir(&self.fd, path).map_err(self.place.err("open", path))
    }
}

/// Owner and group of what we make in a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inherits {
    uid: u32,
    gid: u32,
}

impl Inherits {
    /// What a new file in this folder gets: the folder's group where it is setgid, else ours.
    ///
    /// # Errors
    /// Where the folder cannot be looked at.
    pub fn below(dir: impl AsFd) -> Result<Inherits, Errno> {
        let stat = rfs::fstat(dir)?;
        Ok(Inherits {
            uid: rustix::process::geteuid().as_raw(),
            gid: match stat.st_mode & 0o2000 {
                0 => rustix::process::getegid().as_raw(),
                _ => stat.st_gid,
            },
        })
    }

    /// Whether that is what `attrs` ask for.
    pub fn suits(self, attrs: &Attrs) -> bool {
        (self.uid, self.gid) == (attrs.uid, attrs.gid)
    }
}

/// Gives a link or pipe of ours its owner, mode and time.
fn dress_unopened(
    dir: impl AsFd,
    name: &[u8],
    entry: &Entry,
    inherits: Inherits,
) -> Result<(), Errno> {
    let dir = dir.as_fd();
    let attrs = &entry.attrs;
    if !inherits.suits(attrs) {
        at::own(
            |uid, gid| rfs::chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW),
            attrs,
        )?;
    }
    if entry.kind == Kind::Fifo {
        rfs::chmodat(dir, name, at::mode(attrs.mode), AtFlags::empty())?;
    }
    rfs::utimensat(
        dir,
        name,
        &at::times(attrs.mtime),
        AtFlags::SYMLINK_NOFOLLOW,
    )
}

/// The parts of `source` at `wanted` paths, with the folders that lead there, as a tree to stage.
/// Hard links stay together as far as they are wanted together.
pub fn part(source: &Tree, wanted: &BTreeSet<Vec<u8>>) -> Tree {
    let mut firsts: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let mut tree = Tree::default();
    for dir in &source.dirs {
        let mut kept = dir.clone_empty();
        for entry in &dir.entries {
            let path = join(&dir.path, &entry.name);
            if !wanted.contains(&path) {
                continue;
            }
            let mut entry = entry.clone();
            if let Kind::File { same_as, .. } = &mut entry.kind {
                let group = same_as.clone().unwrap_or_else(|| path.clone());
                match firsts.get(&group) {
                    Some(first) => *same_as = Some(first.clone()),
                    None => {
                        *same_as = None;
                        firsts.insert(group, path);
                    }
                }
            }
            kept.entries.push(entry);
        }
        tree.dirs.push(kept);
    }
    // Folders that lead nowhere are left out, unless they are wanted themselves.
    let mut needed: BTreeSet<Vec<u8>> = BTreeSet::from([Vec::new()]);
    for dir in &tree.dirs {
        if !dir.entries.is_empty() || wanted.contains(&dir.path) {
            let mut path = dir.path.as_slice();
            while !path.is_empty() && needed.insert(path.to_vec()) {
                path = split(path).0;
            }
        }
    }
    tree.dirs.retain(|dir| needed.contains(&dir.path));
    tree
}
