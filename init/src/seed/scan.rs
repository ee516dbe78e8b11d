//! Reading a source folder: once in full, and on later starts only as far as a comparison needs.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::fs::{self as rfs, FileType, Stat};

use super::at;
use super::error::{Error, Place};
use super::manifest::{Body, Line, parse_line};
use super::tree::{Attrs, Dir, Entry, Kind, MAX_DEPTH, MAX_ENTRIES, MAX_PATH, Tree, join, shown};

/// What a source folder holds.
#[derive(Debug, Default)]
pub struct Scan {
    /// What can be seeded.
    pub tree: Tree,
    /// Sockets: they mean nothing without the process behind them, and are left out.
    pub skipped: Vec<String>,
}

/// A file's identity: its device and inode.
pub type Identity = (u64, u64);

/// The identity that a stat gives.
pub fn identity(stat: &Stat) -> Identity {
    (stat.st_dev, stat.st_ino)
}

/// Reads a whole source folder. `forbidden` is the target: a source that contains it has no end.
///
/// # Errors
/// Where something cannot be read, or is never seeded (devices, names of ours, too deep).
pub fn scan(root: &OwnedFd, place: &Place, forbidden: Option<Identity>) -> Result<Scan, Error> {
    let mut found = Scan::default();
    let mut links: BTreeMap<Vec<u8>, Identity> = BTreeMap::new();
    let mut left = vec![Vec::new()];
    let mut count = 0_usize;
    while let Some(path) = left.pop() {
        let refused = |path: &[u8], cause| Error::Refused {
            path: place.at(path),
            cause,
        };
        let fd = at::open_dir(root, &path).map_err(place.err("open", &path))?;
        let stat = rfs::fstat(&fd).map_err(place.err("read", &path))?;
        if forbidden == Some(identity(&stat)) {
            return Err(refused(&path, "the target lies inside the source"));
        }
        if path.split(|&b| b == b'/').count() > MAX_DEPTH || path.len() > MAX_PATH {
            return Err(refused(&path, "folders are nested too deep"));
        }
        let mut dir = Dir {
            attrs: at::attrs(&stat),
            gone: false,
            entries: Vec::new(),
            path,
        };
        for name in at::names(&fd).map_err(place.err("list", &dir.path))? {
            count += 1;
            let path = join(&dir.path, &name);
            if count > MAX_ENTRIES {
                return Err(refused(&path, "more entries than a seed may have"));
            }
            if dir.path.is_empty() && name == super::STATE.as_bytes() {
                return Err(refused(&path, "a source may not hold a seed's own state"));
            }
            let stat = at::stat(&fd, &name).map_err(place.err("read", &path))?;
            let stat = stat.ok_or_else(|| Error::Changed(place.at(&path)))?;
            let kind = match at::file_type(&stat) {
                FileType::Directory => {
                    left.push(path);
                    continue;
                }
                FileType::RegularFile => {
                    if stat.st_nlink > 1 {
                        links.insert(path, identity(&stat));
                    }
                    Kind::File {
                        size: size(&stat),
                        digest: None,
                        same_as: None,
                    }
                }
                FileType::Symlink => Kind::Symlink {
                    target: read_link(&fd, &name).map_err(place.err("read the link", &path))?,
                },
                FileType::Fifo => Kind::Fifo,
                FileType::Socket => {
                    found.skipped.push(shown(&path));
                    continue;
                }
                _ => return Err(refused(&path, "a device cannot be seeded")),
            };
            dir.entries.push(Entry {
                name,
                attrs: at::attrs(&stat),
                kind,
                gone: false,
            });
        }
        found.tree.dirs.push(dir);
    }
    found.tree.sort();
    tie(&mut found.tree, &links);
    Ok(found)
}

/// Makes the first path of each hard-linked file the file, and the others links to it.
fn tie(tree: &mut Tree, links: &BTreeMap<Vec<u8>, Identity>) {
    let mut first: BTreeMap<Identity, Vec<u8>> = BTreeMap::new();
    for dir in tree.dirs.iter_mut().filter(|_| !links.is_empty()) {
        for entry in &mut dir.entries {
            let path = join(&dir.path, &entry.name);
            if let (Kind::File { same_as, .. }, Some(id)) = (&mut entry.kind, links.get(&path)) {
                match first.get(id) {
                    Some(primary) => *same_as = Some(primary.clone()),
                    None => {
                        first.insert(*id, path);
                    }
                }
            }
        }
    }
}

/// A stat's size.
pub fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or_default()
}

/// What a symbolic link holds.
///
/// # Errors
/// Where it cannot be read.
pub fn read_link(dir: impl AsFd, name: &[u8]) -> Result<Vec<u8>, rustix::io::Errno> {
    Ok(rfs::readlinkat(dir, name, Vec::new())?.into_bytes())
}

/// Whether a source folder still holds exactly what a manifest's body records: one stat for each
/// entry, and none for names that came or went, since those change their folder's time. What is
/// compared is kind, size, time, mode, owner and, for links, the target.
///
/// Anything that cannot be compared counts as changed: the full reading that follows will say why.
pub fn unchanged(root: &OwnedFd, body: Body<'_>, threads: usize) -> bool {
    let blocks = blocks(body.text);
    let next = AtomicUsize::new(0);
    let same = AtomicBool::new(true);
    let work = || {
        while same.load(Ordering::Relaxed) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            match blocks.get(at) {
                Some(block) if !block_unchanged(root, block) => {
                    same.store(false, Ordering::Relaxed);
                }
                Some(_) => {}
                None => break,
            }
        }
    };
    // A thread costs more than a hundred comparisons.
    let threads = threads.min(body.text.len() / 16_384);
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    same.into_inner()
}

/// Splits a body at its folder lines.
fn blocks(text: &[u8]) -> Vec<&[u8]> {
    let mut blocks = Vec::new();
    let mut start = 0;
    let mut end = 0;
    for line in text.split_inclusive(|&b| b == b'\n') {
        if matches!(line.first(), Some(b'D' | b'd' | b'R')) && end > start {
            blocks.extend(text.get(start..end));
            start = end;
        }
        end += line.len();
    }
    blocks.extend(text.get(start..end).filter(|block| !block.is_empty()));
    blocks
}

fn block_unchanged(root: &OwnedFd, block: &[u8]) -> bool {
    let mut folder = None;
    for line in block.split(|&b| b == b'\n').filter(|line| !line.is_empty()) {
        match parse_line(line) {
            Ok(Line::Remove(_)) => {}
            Ok(Line::Dir(dir)) if dir.gone => return true,
            Ok(Line::Dir(dir)) => {
                let Ok(fd) = at::open_dir(root, &dir.path) else {
                    return false;
                };
                if !rfs::fstat(&fd).is_ok_and(|stat| at::attrs(&stat) == dir.attrs) {
                    return false;
                }
                folder = Some(fd);
            }
            Ok(Line::Entry(entry)) if entry.gone => {}
            Ok(Line::Entry(entry)) => match &folder {
                Some(fd) if entry_unchanged(fd, &entry) => {}
                _ => return false,
            },
            Err(_) => return false,
        }
    }
    true
}

fn entry_unchanged(dir: &OwnedFd, entry: &Entry) -> bool {
    let Ok(Some(stat)) = at::stat(dir, &entry.name) else {
        return false;
    };
    let same: Attrs = at::attrs(&stat);
    same == entry.attrs
        && match (&entry.kind, at::file_type(&stat)) {
            (Kind::File { size: recorded, .. }, FileType::RegularFile) => *recorded == size(&stat),
            (Kind::Symlink { target }, FileType::Symlink) => {
                read_link(dir, &entry.name).is_ok_and(|found| found == *target)
            }
            (Kind::Fifo, FileType::Fifo) => true,
            _ => false,
        }
}
