//! The members of an archive, one by one: judged, and gathered into a [`Tree`].

use std::collections::BTreeMap;
use std::io::{self, Read};

use tar::EntryType;

use super::archive::{Archive, Contents, Member};
use super::at::Xattr;
use super::error::Error;
use super::tree::{
    Attrs, Digest, Dir, Entry, Kind, MAX_ENTRIES, Time, Tree, is_path, join, shown, split,
};

/// What the extended headers of a member add.
#[derive(Default)]
struct Extra {
    mtime: Option<Time>,
    xattrs: Vec<Xattr>,
}

pub(super) struct Builder<'a> {
    archive: &'a Archive,
    dirs: BTreeMap<Vec<u8>, Attrs>,
    entries: BTreeMap<Vec<u8>, (Attrs, Kind)>,
    folder_xattrs: BTreeMap<Vec<u8>, Vec<Xattr>>,
    has_root: bool,
}

impl<'a> Builder<'a> {
    pub(super) fn new(archive: &'a Archive) -> Builder<'a> {
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

    pub(super) fn add<R: Read>(
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

    pub(super) fn finish(mut self) -> Contents {
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
