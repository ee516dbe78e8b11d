//! Reading a source that is an archive: tar, plain or packed with gzip or zstd.
//!
//! An archive is read from front to back, and what it holds is kept in a [`Tree`] first. Only the
//! content of files is written while reading; folders, links and pipes are made from the tree
//! afterwards. So no member can be written through a link, whatever the archive says.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use tar::EntryType;

use super::at::{self, Xattr};
use super::error::Error;
use super::file::StreamDigest;
use super::manifest::Origin;
use super::scan::size as size_of;
use super::tree::{
    Attrs, Digest, Dir, Entry, Kind, MAX_ENTRIES, Time, Tree, is_path, join, shown, split,
};
use super::zstd;

/// Most bytes that the headers before one member may take: long names and attributes.
const MAX_HEADERS: u64 = 4 << 20;

/// A source that is an archive.
#[derive(Debug)]
pub struct Archive {
    /// The open file.
    pub file: OwnedFd,
    /// Its path, for messages.
    pub path: String,
}

/// What an archive holds.
#[derive(Debug, Default)]
pub struct Contents {
    /// Everything, with digests.
    pub tree: Tree,
    /// Extended attributes of folders, by path.
    pub folder_xattrs: BTreeMap<Vec<u8>, Vec<Xattr>>,
    /// Whether it says anything about its root.
    pub has_root: bool,
}

/// A file of an archive on its way to where it goes.
pub struct Member<'a> {
    /// Its path.
    pub path: &'a [u8],
    /// Its attributes.
    pub attrs: Attrs,
    /// Its extended attributes.
    pub xattrs: &'a [Xattr],
    /// Its size.
    pub size: u64,
    /// The archive knows it to have holes: zeros need no space.
    pub sparse: bool,
}

impl Archive {
    fn error(&self, cause: impl ToString) -> Error {
        Error::Archive {
            path: self.path.clone(),
            cause: cause.to_string(),
        }
    }

    /// What a later start compares.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn origin(&self) -> Result<Origin, Error> {
        let stat = rustix::fs::fstat(&self.file).map_err(|e| self.error(io::Error::from(e)))?;
        let mut content = StreamDigest::default();
        let mut reader = self.reader()?;
        loop {
            let piece = reader.fill_buf().map_err(|e| self.error(e))?;
            if piece.is_empty() {
                break;
            }
            content.add(piece);
            let n = piece.len();
            reader.consume(n);
        }
        Ok(Origin::Archive {
            size: size_of(&stat),
            mtime: at::mtime(&stat),
            digest: content.finish(),
        })
    }

    /// Whether this is, by size and time or by content, what a manifest names as its origin.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn is(&self, origin: &Origin) -> Result<bool, Error> {
        let Origin::Archive {
            size,
            mtime,
            digest,
        } = origin
        else {
            return Ok(false);
        };
        let stat = rustix::fs::fstat(&self.file).map_err(|e| self.error(io::Error::from(e)))?;
        if *size != size_of(&stat) {
            return Ok(false);
        }
        Ok(*mtime == at::mtime(&stat)
            || matches!(self.origin()?, Origin::Archive { digest: now, .. } if now == *digest))
    }

    /// The file from its start.
    fn reader(&self) -> Result<BufReader<File>, Error> {
        let file = self.file.as_fd().try_clone_to_owned();
        let file = file.map_err(|e| self.error(e))?;
        rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))
            .map_err(|e| self.error(io::Error::from(e)))?;
        Ok(BufReader::with_capacity(256 << 10, File::from(file)))
    }

    /// Reads all of the archive and gives each file's content to `sink`, which must read all of it
    /// or fail, and returns its digest. A member that comes twice counts as it comes last.
    ///
    /// # Errors
    /// Where the archive is broken or refused, or `sink` fails.
    pub fn read(
        &self,
        mut sink: impl FnMut(Member<'_>, &mut dyn Read) -> Result<Digest, Error>,
    ) -> Result<Contents, Error> {
        let mut packed = self.reader()?;
        let magic = packed.fill_buf().map_err(|e| self.error(e))?;
        let stream: Box<dyn Read> = match magic {
            [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(packed)),
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
                Box::new(zstd::Reader::new(packed))
            }
            bytes if bytes.get(257..262) == Some(b"ustar") || is_v7(bytes) => Box::new(packed),
            _ => return Err(self.error("not a tar, tar.gz or tar.zst file")),
        };
        let allowance = Rc::new(Cell::new(0));
        let mut tar = tar::Archive::new(Metered {
            inner: stream,
            left: Rc::clone(&allowance),
        });
        let mut members = tar.entries().map_err(|e| self.error(e))?;
        let mut found = Builder::new(self);
        loop {
            allowance.set(MAX_HEADERS);
            let Some(member) = members.next() else { break };
            let mut member = member.map_err(|e| self.error(e))?;
            allowance.set(u64::MAX);
            found.add(&mut member, &mut sink)?;
            io::copy(&mut member, &mut io::sink()).map_err(|e| self.error(e))?;
        }
        Ok(found.finish())
    }
}

/// A header of the oldest format has no magic, but a checksum.
fn is_v7(block: &[u8]) -> bool {
    let Some(block) = block.get(..512) else {
        return false;
    };
    let said = block.get(148..156).unwrap_or_default();
    let said = std::str::from_utf8(said).unwrap_or_default();
    let said = u32::from_str_radix(said.trim_matches([' ', '\0']), 8);
    let sum = block.iter().enumerate().map(|(i, &b)| match i {
        148..156 => u32::from(b' '),
        _ => u32::from(b),
    });
    said == Ok(sum.sum())
}

/// Stops a reader after so many bytes.
struct Metered<R> {
    inner: R,
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left.get();
        if left == 0 && !buffer.is_empty() {
            return Err(io::Error::other("the headers of a member are too long"));
        }
        let most = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let n = self
            .inner
            .read(buffer.get_mut(..most).unwrap_or_default())?;
        if left != u64::MAX {
            self.left.set(left - n as u64);
        }
        Ok(n)
    }
}

/// What the extended headers of a member add.
#[derive(Default)]
struct Extra {
    mtime: Option<Time>,
    xattrs: Vec<Xattr>,
}

struct Builder<'a> {
    archive: &'a Archive,
    dirs: BTreeMap<Vec<u8>, Attrs>,
    entries: BTreeMap<Vec<u8>, (Attrs, Kind)>,
    folder_xattrs: BTreeMap<Vec<u8>, Vec<Xattr>>,
    has_root: bool,
}

impl<'a> Builder<'a> {
    fn new(archive: &'a Archive) -> Builder<'a> {
        Builder {
            archive,
            dirs: BTreeMap::new(),
            entries: BTreeMap::new(),
            folder_xattrs: BTreeMap::new(),
            has_root: false,
        }
    }

    fn refused(&self, raw: &[u8], cause: &'static str) -> Error {
        Error::Refused {
            path: format!("{}, member {}", self.archive.path, shown(raw)),
            cause,
        }
    }

    fn add<R: Read>(
        &mut self,
        member: &mut tar::Entry<'_, R>,
        sink: &mut impl FnMut(Member<'_>, &mut dyn Read) -> Result<Digest, Error>,
    ) -> Result<(), Error> {
        let kind = member.header().entry_type();
        if kind == EntryType::XGlobalHeader {
            return Ok(());
        }
        if self.dirs.len() + self.entries.len() > MAX_ENTRIES {
            return Err(self.archive.error("more entries than a seed may have"));
        }
        let raw = member.path_bytes().into_owned();
        let path = self.plain(&raw)?;
        let extra = self.extra(member, &raw)?;
        let attrs = self.attrs(member, &extra)?;
        if kind == EntryType::Directory || (kind.is_file() && raw.ends_with(b"/")) {
            return self.add_dir(&raw, path, attrs, extra.xattrs);
        }
        if path.is_empty() {
            return Err(self.refused(&raw, "the root can only be a folder"));
        }
        self.make_parents(&raw, &path, attrs)?;
        if self.dirs.contains_key(&path) {
            return Err(self.refused(&raw, "takes the place of a folder"));
        }
        let replaced = self.entries.contains_key(&path);
        let linked = |(_, kind): &(Attrs, Kind)| matches!(kind, Kind::File { same_as: Some(first), .. } if *first == path);
        if replaced && self.entries.values().any(linked) {
            return Err(self.refused(&raw, "comes twice, and has hard links"));
        }
        let kind = match kind {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let size = member.size();
                let file = Member {
                    path: &path,
                    attrs,
                    xattrs: &extra.xattrs,
                    size,
                    sparse: kind == EntryType::GNUSparse,
                };
                let digest = sink(file, member)?;
                Kind::File {
                    size,
                    digest: Some(digest),
                    same_as: None,
                }
            }
            EntryType::Link => {
                let target = self.link_name(member, &raw)?;
                let target = self.plain(&target)?;
                let Some((
                    first_attrs,
                    Kind::File {
                        size,
                        digest,
                        same_as,
                    },
                )) = self.entries.get(&target)
                else {
                    return Err(self.refused(&raw, "a hard link to no file of the archive"));
                };
                let first = same_as.clone().unwrap_or_else(|| target.clone());
                if first == path {
                    return Ok(());
                }
                let kind = Kind::File {
                    size: *size,
                    digest: *digest,
                    same_as: Some(first),
                };
                // Links to one file have one file's attributes.
                let attrs = *first_attrs;
                self.entries.insert(path, (attrs, kind));
                return Ok(());
            }
            EntryType::Symlink => Kind::Symlink {
                target: self.link_name(member, &raw)?,
            },
            EntryType::Fifo => Kind::Fifo,
            EntryType::Block | EntryType::Char => {
                return Err(self.refused(&raw, "a device cannot be seeded"));
            }
            _ => return Err(self.refused(&raw, "an unknown kind of member")),
        };
        self.entries.insert(path, (attrs, kind));
        Ok(())
    }

    fn add_dir(
        &mut self,
        raw: &[u8],
        path: Vec<u8>,
        attrs: Attrs,
        xattrs: Vec<Xattr>,
    ) -> Result<(), Error> {
        self.make_parents(raw, &path, attrs)?;
        if self.entries.contains_key(&path) {
            return Err(self.refused(raw, "a folder takes the place of a file or link"));
        }
        self.has_root |= path.is_empty();
        self.folder_xattrs.insert(path.clone(), xattrs);
        self.dirs.insert(path, attrs);
        Ok(())
    }

    /// Folders that the archive leaves out get the owner and time of what is in them.
    fn make_parents(&mut self, raw: &[u8], path: &[u8], attrs: Attrs) -> Result<(), Error> {
        let mut parent = split(path).0;
        loop {
            if self.entries.contains_key(parent) {
                return Err(self.refused(raw, "lies below a file or link of the archive"));
            }
            if self.dirs.contains_key(parent) {
                return Ok(());
            }
            let implied = Attrs {
                mode: 0o755,
                ..attrs
            };
            self.dirs.insert(parent.to_vec(), implied);
            if parent.is_empty() {
                return Ok(());
            }
            parent = split(parent).0;
        }
    }

    /// A member's name as a path below the root.
    fn plain(&self, raw: &[u8]) -> Result<Vec<u8>, Error> {
        if raw.first() == Some(&b'/') {
            return Err(self.refused(raw, "an absolute path"));
        }
        let mut path = Vec::new();
        for name in raw.split(|&b| b == b'/') {
            match name {
                b"" | b"." => {}
                b".." => return Err(self.refused(raw, "a path with `..`")),
                name => path = join(&path, name),
            }
        }
        if !is_path(&path) {
            return Err(self.refused(raw, "a path that is too long, too deep or malformed"));
        }
        let first = path.split(|&b| b == b'/').next();
        if first == Some(super::STATE.as_bytes()) {
            return Err(self.refused(raw, "a source may not hold a seed's own state"));
        }
        Ok(path)
    }

    fn link_name<R: Read>(&self, member: &tar::Entry<'_, R>, raw: &[u8]) -> Result<Vec<u8>, Error> {
        match member.link_name_bytes() {
            Some(name) if !name.is_empty() && name.len() < 4096 && !name.contains(&0) => {
                Ok(name.into_owned())
            }
            _ => Err(self.refused(raw, "a link to nowhere")),
        }
    }

    fn attrs<R: Read>(&self, member: &tar::Entry<'_, R>, extra: &Extra) -> Result<Attrs, Error> {
        let header = member.header();
        let number = |value: io::Result<u64>| {
            let value = value.map_err(|e| self.archive.error(e))?;
            u32::try_from(value).map_err(|_| self.archive.error("an owner beyond 32 bits"))
        };
        Ok(Attrs {
            mode: header.mode().map_err(|e| self.archive.error(e))? & 0o7777,
            uid: number(header.uid())?,
            gid: number(header.gid())?,
            mtime: match extra.mtime {
                Some(time) => time,
                None => Time {
                    secs: header
                        .mtime()
                        .map_err(|e| self.archive.error(e))?
                        .cast_signed(),
                    nanos: 0,
                },
            },
        })
    }

    fn extra<R: Read>(&self, member: &mut tar::Entry<'_, R>, raw: &[u8]) -> Result<Extra, Error> {
        let mut extra = Extra::default();
        let Some(records) = member.pax_extensions().map_err(|e| self.archive.error(e))? else {
            return Ok(extra);
        };
        for record in records {
            // The tar crate takes a line break in a value for the end of its record.
            let record = record.map_err(|_| {
                let cause = "a name or attribute with a line break, in a form that is not read; \
                             pack with tar --format=gnu";
                self.refused(raw, cause)
            })?;
            let value = record.value_bytes();
            let text = || std::str::from_utf8(value).ok();
            match record.key_bytes() {
                b"mtime" => extra.mtime = text().and_then(decimal_time),
                key if key.starts_with(b"GNU.sparse.") => {
                    return Err(self.refused(
                        raw,
                        "a sparse file in a form that is not read; pack with tar --format=gnu",
                    ));
                }
                key => {
                    let name = key.strip_prefix(b"SCHILY.xattr.");
                    if let Some(name) = name.filter(|n| *n != b"security.selinux") {
                        extra.xattrs.push((name.to_vec(), value.to_vec()));
                    }
                }
            }
        }
        Ok(extra)
    }

    fn finish(mut self) -> Contents {
        let none = Attrs {
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: Time { secs: 0, nanos: 0 },
        };
        self.dirs.entry(Vec::new()).or_insert(none);
        let mut dirs: BTreeMap<Vec<u8>, Dir> = BTreeMap::new();
        for (path, attrs) in self.dirs {
            let dir = Dir {
                path: path.clone(),
                attrs,
                gone: false,
                entries: Vec::new(),
            };
            dirs.insert(path, dir);
        }
        for (path, (attrs, kind)) in self.entries {
            let (parent, name) = split(&path);
            if let Some(dir) = dirs.get_mut(parent) {
                dir.entries.push(Entry {
                    name: name.to_vec(),
                    attrs,
                    kind,
                    gone: false,
                });
            }
        }
        let mut tree = Tree {
            dirs: dirs.into_values().collect(),
        };
        tree.sort();
        Contents {
            tree,
            folder_xattrs: self.folder_xattrs,
            has_root: self.has_root,
        }
    }
}

/// A time as PAX writes it: decimal seconds.
fn decimal_time(text: &str) -> Option<Time> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let secs: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction
        .chars()
        .chain("000000000".chars())
        .take(9)
        .collect();
    let nanos: u32 = digits.parse().ok()?;
    // The fraction of a time before 1970 counts backwards.
    match whole.starts_with('-') && nanos > 0 {
        true => Some(Time {
            secs: secs - 1,
            nanos: 1_000_000_000 - nanos,
        }),
        false => Some(Time { secs, nanos }),
    }
}
