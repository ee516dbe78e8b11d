//! The marker: what was seeded, as text that one can read.
//!
//! ```text
//! baton-seed 1
//! version 2024.1
//! source folder
//! D 755 0 0 1700000000.000000000 plug-ins
//! F 644 0 0 1700000000.123456789 12 1f...(32 digits) settings.json
//! F 644 0 0 1700000000.123456789 12 - copy.json plug-ins/first-name
//! L 777 0 0 1700000000.000000000 bin /usr/bin
//! P 600 0 0 1700000000.000000000 pipe
//! R old/file
//! end 7
//! ```
//! A `D` line opens a folder (the root's path is `.`); the lines after it are its entries. Lower case
//! letters mark what the source no longer has. Bytes up to the space, `%` and DEL are written `%XX`,
//! so a line is split at spaces whatever the names are; other bytes stand as they are. `R` lines are
//! what the last upgrade had to remove. The last line counts the others: a file cut short is no
//! manifest. Nothing in it depends on when or where the seed ran, so two runs give the same bytes.
//!
//! The file is on the user's volume, so reading it is strict and bounded.

use super::tree::{
    Attrs, Digest, Dir, Entry, Kind, MAX_ENTRIES, Time, Tree, is_component, is_path,
};

mod write;

/// Largest manifest that is read, in bytes.
pub const MAX_BYTES: u64 = 512 << 20;

const MAGIC: &[u8] = b"baton-seed 1";
const OWN_ROOT: &[u8] = b"root source\n";

/// Where a seed came from, as far as a later start can compare it cheaply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A folder: its entries are compared one by one.
    Folder,
    /// An archive file.
    Archive {
        /// Its size in bytes.
        size: u64,
        /// Its last modification.
        mtime: Time,
        /// The digest of the packed file.
        digest: Digest,
    },
}

/// What a seed left behind, or is about to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The version that was named, if one was.
    pub version: Option<Vec<u8>>,
    /// Where it came from.
    pub origin: Origin,
    /// The root folder takes the source's attributes too.
    pub own_root: bool,
    /// What the source held.
    pub tree: Tree,
    /// What the upgrade removes, deepest first.
    pub remove: Vec<Vec<u8>>,
}

/// Why a file is no manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {cause}")]
pub struct Damaged {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub cause: &'static str,
}

/// One line of a manifest's body.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// A folder opens.
    Dir(Dir),
    /// An entry of the folder that is open.
    Entry(Entry),
    /// A path that the upgrade removes.
    Remove(Vec<u8>),
}

/// The first lines of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The version that was named, if one was.
    pub version: Option<Vec<u8>>,
    /// Where it came from.
    pub origin: Origin,
    /// The root folder takes the source's attributes too.
    pub own_root: bool,
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// Where the bytes are not exactly what [`encode`](Manifest::encode) writes: cut short, out of
    /// order, with paths that lead elsewhere.
    pub fn parse(bytes: &[u8]) -> Result<Manifest, Damaged> {
        let (header, body) = Header::parse(bytes)?;
        let mut tree = Tree::default();
        let mut remove = Vec::new();
        let mut count = 0;
        for (line, text) in body.iter() {
            let damaged = |cause| Damaged { line, cause };
            count += 1;
            if count > MAX_ENTRIES {
                return Err(damaged("too many entries"));
            }
            match parse_line(text).map_err(damaged)? {
                Line::Remove(path) => remove.push(path),
                _ if !remove.is_empty() => return Err(damaged("an entry after the removals")),
                Line::Dir(dir) => {
                    match tree.dirs.last() {
                        None if !dir.path.is_empty() => {
                            return Err(damaged("the first folder is not the root"));
                        }
                        Some(last) if last.path >= dir.path => {
                            return Err(damaged("folders out of order"));
                        }
                        _ => {}
                    }
                    tree.dirs.push(dir);
                }
                Line::Entry(entry) => {
                    let dir = tree
                        .dirs
                        .last_mut()
                        .ok_or(damaged("an entry without folder"))?;
                    if dir.entries.last().is_some_and(|e| e.name >= entry.name) {
                        return Err(damaged("entries out of order"));
                    }
                    dir.entries.push(entry);
                }
            }
        }
        if tree.dirs.is_empty() {
            return Err(Damaged {
                line: body.first_line,
                cause: "no root folder",
            });
        }
        Ok(Manifest {
            version: header.version,
            origin: header.origin,
            own_root: header.own_root,
            tree,
            remove,
        })
    }
}

/// A manifest's lines between its header and its end.
#[derive(Debug, Clone, Copy)]
pub struct Body<'a> {
    /// The number of its first line.
    pub first_line: usize,
    /// Whole lines.
    pub text: &'a [u8],
}

impl<'a> Body<'a> {
    /// The lines with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &'a [u8])> + use<'a> {
        let first = self.first_line;
        lines(self.text)
            .enumerate()
            .map(move |(i, l)| (first + i, l))
    }
}

impl Header {
    /// Reads the first lines of a manifest. Gives where the body begins, and the lines before it.
    ///
    /// # Errors
    /// Where the bytes do not begin as a manifest does.
    pub fn head(bytes: &[u8]) -> Result<(Header, usize, usize), Damaged> {
        let damaged = |line, cause| Damaged { line, cause };
        let mut at = 0;
        let mut next = || -> Option<&[u8]> {
            let rest = bytes.get(at..)?;
            let end = rest.iter().position(|&b| b == b'\n')?;
            at += end + 1;
            rest.get(..end)
        };
        if next() != Some(MAGIC) {
            return Err(damaged(1, "not a seed's manifest of this format"));
        }
        let mut lines = 2;
        let mut version = None;
        let mut line = next().ok_or(damaged(2, "cut short"))?;
        if let Some(text) = line.strip_prefix(b"version ") {
            version = Some(unescaped(text).ok_or(damaged(2, "a bad version"))?);
            line = next().ok_or(damaged(3, "cut short"))?;
            lines += 1;
        }
        let origin = parse_origin(line).ok_or(damaged(lines, "a bad source"))?;
        let rest = bytes.get(at..).unwrap_or_default();
        let own_root = rest.starts_with(OWN_ROOT);
        if own_root {
            at += OWN_ROOT.len();
            lines += 1;
        }
        let header = Header {
            version,
            origin,
            own_root,
        };
        Ok((header, at, lines))
    }

    /// The number of lines before the last one, which says it. None where these bytes do not end as
    /// a manifest does.
    pub fn tail(bytes: &[u8]) -> Option<u64> {
        let line = bytes.strip_suffix(b"\n")?.rsplit(|&b| b == b'\n').next()?;
        number_of(line.strip_prefix(b"end ")?)
    }

    /// Reads the header and checks the end; what is between is not looked at.
    ///
    /// # Errors
    /// Where the bytes do not begin, or do not end, as a manifest does.
    pub fn parse(bytes: &[u8]) -> Result<(Header, Body<'_>), Damaged> {
        let (header, start, lines) = Header::head(bytes)?;
        let damaged = |cause| Damaged {
            line: lines + 1,
            cause,
        };
        let counted = Header::tail(bytes).ok_or(damaged("cut short"))?;
        let last = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let last = last.iter().rposition(|&b| b == b'\n').map_or(0, |n| n + 1);
        if bytes.get(..last).map(count_lines) != Some(counted) {
            return Err(damaged("lines are missing"));
        }
        let body = Body {
            first_line: lines + 1,
            text: bytes.get(start..last).ok_or(damaged("cut short"))?,
        };
        Ok((header, body))
    }
}

/// Reads one line of a body.
///
/// # Errors
/// Says what is wrong with it.
pub fn parse_line(line: &[u8]) -> Result<Line, &'static str> {
    let mut fields = line.split(|&b| b == b' ');
    let mut next = || fields.next().ok_or("a field is missing");
    let (letter, gone) = match next()? {
        [letter] => (letter.to_ascii_uppercase(), letter.is_ascii_lowercase()),
        _ => return Err("an unknown kind of line"),
    };
    if letter == b'R' {
        let path = unescaped(next()?).filter(|p| is_path(p) && !p.is_empty());
        let path = path.ok_or("a bad path")?;
        return match fields.next() {
            None => Ok(Line::Remove(path)),
            Some(_) => Err("too many fields"),
        };
    }
    let attrs = Attrs {
        mode: octal(next()?).ok_or("a bad mode")?,
        uid: number_of(next()?).ok_or("a bad owner")?,
        gid: number_of(next()?).ok_or("a bad group")?,
        mtime: parse_time(next()?).ok_or("a bad time")?,
    };
    if letter == b'D' {
        let path = match next()? {
            b"." => Vec::new(),
            text => unescaped(text).filter(|p| is_path(p)).ok_or("a bad path")?,
        };
        return match fields.next() {
            None => Ok(Line::Dir(Dir {
                path,
                attrs,
                gone,
                entries: Vec::new(),
            })),
            Some(_) => Err("too many fields"),
        };
    }
    let (size, digest) = match letter {
        b'F' => {
            let size = number_of(next()?).ok_or("a bad size")?;
            let digest = match next()? {
                b"-" => None,
                text => Some(Digest(hex(text).ok_or("a bad digest")?)),
            };
            (size, digest)
        }
        _ => (0, None),
    };
    let name = unescaped(next()?).filter(|n| is_component(n));
    let name = name.ok_or("a bad name")?;
    let kind = match letter {
        b'F' => Kind::File {
            size,
            digest,
            same_as: match fields.next() {
                None => None,
                Some(text) => Some(
                    unescaped(text)
                        .filter(|p| is_path(p) && !p.is_empty())
                        .ok_or("a bad hard link")?,
                ),
            },
        },
        b'L' => Kind::Symlink {
            target: fields.next().and_then(unescaped).ok_or("a bad link")?,
        },
        b'P' => Kind::Fifo,
        _ => return Err("an unknown kind of line"),
    };
    match fields.next() {
        None => Ok(Line::Entry(Entry {
            name,
            attrs,
            kind,
            gone,
        })),
        Some(_) => Err("too many fields"),
    }
}

fn parse_origin(line: &[u8]) -> Option<Origin> {
    match line.strip_prefix(b"source ")? {
        b"folder" => Some(Origin::Folder),
        other => {
            let mut fields = other.strip_prefix(b"archive ")?.split(|&b| b == b' ');
            let origin = Origin::Archive {
                size: number_of(fields.next()?)?,
                mtime: parse_time(fields.next()?)?,
                digest: Digest(hex(fields.next()?)?),
            };
            fields.next().is_none().then_some(origin)
        }
    }
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|&b| b == b'\n')
        .map(|line| line.strip_suffix(b"\n").unwrap_or(line))
}

fn count_lines(text: &[u8]) -> u64 {
    // Without a branch per byte: this runs over the whole file on every start.
    text.chunks(255)
        .map(|chunk| u64::from(chunk.iter().map(|&b| u8::from(b == b'\n')).sum::<u8>()))
        .sum()
}

fn number_of<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    // `from_str` takes a leading plus sign, which is never written.
    if text.first() == Some(&b'+') {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn octal(text: &[u8]) -> Option<u32> {
    let plain =
        !text.is_empty() && text.len() <= 4 && text.iter().all(|b| (b'0'..b'8').contains(b));
    plain.then(|| text.iter().fold(0, |n, &b| n * 8 + u32::from(b - b'0')))
}

fn hex(text: &[u8]) -> Option<u128> {
    if text.len() != 32 {
        return None;
    }
    text.iter()
        .try_fold(0_u128, |n, &b| Some(n << 4 | u128::from(hex_digit(b)?)))
}

fn hex_digit(b: u8) -> Option<u8> {
    match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        _ => None,
    }
}

fn parse_time(text: &[u8]) -> Option<Time> {
    let dot = text.iter().position(|&b| b == b'.')?;
    let nanos = text.get(dot + 1..)?;
    let digits = nanos.len() == 9 && nanos.iter().all(u8::is_ascii_digit);
    Some(Time {
        secs: number_of(text.get(..dot)?)?,
        nanos: digits.then(|| number_of(nanos))??,
    })
}

fn unescaped(text: &[u8]) -> Option<Vec<u8>> {
    if text.is_empty() {
        return None;
    }
    if !text.contains(&b'%') {
        return Some(text.to_vec());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(&b) = bytes.next() {
        match b {
            b'%' => {
                let high = hex_digit(*bytes.next()?)?;
                out.push(high << 4 | hex_digit(*bytes.next()?)?);
            }
            plain => out.push(plain),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests;
