//! What a source holds: folders, files, links, and what is kept of each.

use std::cmp::Ordering;

/// Deepest nesting that is seeded, in folders: each level of a removal holds a descriptor open.
pub const MAX_DEPTH: usize = 200;
/// Longest path that is seeded, in bytes.
pub const MAX_PATH: usize = 4096;
/// Most entries of one seed: what is read is held in memory.
pub const MAX_ENTRIES: usize = 5_000_000;

/// A point in time as a file system keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Seconds since 1970, negative before.
    pub secs: i64,
    /// Nanoseconds, below 1,000,000,000.
    pub nanos: u32,
}

/// What an entry has beside its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attrs {
    /// Permission bits, with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last modification.
    pub mtime: Time,
}

/// A digest of a file's content (XXH3, 128 bits). It tells a changed file from an unchanged one; it
/// is no protection against an owner who forges his own files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest(pub u128);

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File {
        /// Bytes.
        size: u64,
        /// None where the kernel copied the file (then size and time stand for the content).
        digest: Option<Digest>,
        /// Another path of the source that is the same file: a hard link to it.
        same_as: Option<Vec<u8>>,
    },
    /// A symbolic link, kept as it is written.
    Symlink {
        /// What it points to; never followed.
        target: Vec<u8>,
    },
    /// A named pipe.
    Fifo,
}

/// Something in a folder that is no folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// One path component; need not be UTF-8.
    pub name: Vec<u8>,
    /// Its attributes.
    pub attrs: Attrs,
    /// What it is.
    pub kind: Kind,
    /// Only in a manifest: the source no longer has it, the volume may.
    pub gone: bool,
}

/// A folder and what it holds, its sub-folders left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dir {
    /// Path below the root; empty for the root itself.
    pub path: Vec<u8>,
    /// Its attributes.
    pub attrs: Attrs,
    /// Only in a manifest: the source no longer has it, the volume may.
    pub gone: bool,
    /// What it holds, by name.
    pub entries: Vec<Entry>,
}

/// A whole source: folders by path, so that each comes after its parent. The first is the root.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree {
    /// The folders.
    pub dirs: Vec<Dir>,
}

/// What a tree has at a path.
#[derive(Debug, Clone, Copy)]
pub enum Node<'a> {
    /// A folder.
    Dir(&'a Dir),
    /// Anything else.
    Entry(&'a Entry),
}

impl Tree {
    /// Brings folders and entries into the order that look-ups need.
    pub fn sort(&mut self) {
        self.dirs.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        for dir in &mut self.dirs {
            dir.entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        }
    }

    /// The folder at a path.
    pub fn dir(&self, path: &[u8]) -> Option<&Dir> {
        let at = self.dirs.binary_search_by(|d| d.path.as_slice().cmp(path));
        self.dirs.get(at.ok()?)
    }

    /// The entry at a path.
    pub fn entry(&self, path: &[u8]) -> Option<&Entry> {
        let (parent, name) = split(path);
        self.dir(parent)?.entry(name)
    }

    /// Whatever is at a path.
    pub fn node(&self, path: &[u8]) -> Option<Node<'_>> {
        match self.entry(path) {
            Some(entry) => Some(Node::Entry(entry)),
            None => self.dir(path).map(Node::Dir),
        }
    }

    /// Number of entries, folders included, the root left out.
    pub fn count(&self) -> u64 {
        let entries: usize = self.dirs.iter().map(|dir| dir.entries.len()).sum();
        (entries + self.dirs.len().saturating_sub(1)) as u64
    }

    /// Bytes of all files, hard links counted once.
    pub fn bytes(&self) -> u64 {
        self.dirs
            .iter()
            .flat_map(|dir| &dir.entries)
            .map(|entry| entry.own_bytes())
            .sum()
    }
}

impl Dir {
    /// The same folder without its entries.
    pub fn clone_empty(&self) -> Dir {
        Dir {
            path: self.path.clone(),
            attrs: self.attrs,
            gone: self.gone,
            entries: Vec::new(),
        }
    }

    /// The entry of a name.
    pub fn entry(&self, name: &[u8]) -> Option<&Entry> {
        let at = self
            .entries
            .binary_search_by(|e| -> Ordering { e.name.as_slice().cmp(name) });
        self.entries.get(at.ok()?)
    }
}

impl Entry {
    /// Bytes that copying this entry moves.
    pub fn own_bytes(&self) -> u64 {
        match self.kind {
            Kind::File {
                size,
                same_as: None,
                ..
            } => size,
            _ => 0,
        }
    }

    /// Whether two sources hold the same here. Digests count where both are known.
    pub fn same(&self, other: &Entry) -> bool {
        self.attrs == other.attrs
            && match (&self.kind, &other.kind) {
                (
                    Kind::File {
                        size,
                        digest,
                        same_as,
                    },
                    Kind::File {
                        size: size2,
                        digest: digest2,
                        same_as: same_as2,
                    },
                ) => {
                    size == size2
                        && same_as == same_as2
                        && (digest.is_none() || digest2.is_none() || digest == digest2)
                }
                (a, b) => a == b,
            }
    }
}

/// A path below a folder's path.
pub fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(dir.len() + 1 + name.len());
    path.extend_from_slice(dir);
    if !dir.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

/// A path's parent and last component.
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&b| b == b'/') {
        Some(slash) => (
            path.get(..slash).unwrap_or_default(),
            path.get(slash + 1..).unwrap_or_default(),
        ),
        None => (&[], path),
    }
}

/// Whether `name` is one plain path component.
pub fn is_component(name: &[u8]) -> bool {
    !name.is_empty()
        && name != b"."
        && name != b".."
        && name.len() <= 255
        && !name.iter().any(|&b| b == b'/' || b == 0)
}

/// Whether `path` is plain components only, and within the bounds; the root's empty path included.
pub fn is_path(path: &[u8]) -> bool {
    path.is_empty()
        || (path.len() <= MAX_PATH
            && path.split(|&b| b == b'/').all(is_component)
            && path.split(|&b| b == b'/').count() <= MAX_DEPTH)
}

/// A path for people: control characters and what is not UTF-8 are escaped.
pub fn shown(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len());
    for chunk in path.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() {
                text.extend(c.escape_default());
            } else {
                text.push(c);
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    if text.is_empty() {
        text.push('.');
    }
    text
}
