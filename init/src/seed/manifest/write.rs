//! Writing a manifest.

use std::fmt::Write as _;

use super::super::tree::{Attrs, Entry, Kind, Time};
use super::{MAGIC, Manifest, Origin};

impl Manifest {
    /// Writes the manifest.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Out::default();
        out.text(std::str::from_utf8(MAGIC).unwrap_or_default());
        out.end();
        if let Some(version) = &self.version {
            out.text("version ");
            out.escaped(version);
            out.end();
        }
        match &self.origin {
            Origin::Folder => out.text("source folder"),
            Origin::Archive {
                size,
                mtime,
                digest,
            } => {
                out.text("source archive ");
                let _ = write!(out, "{size} {} {:032x}", Stamp(*mtime), digest.0);
            }
        }
        out.end();
        if self.own_root {
            out.text("root source");
            out.end();
        }
        for dir in &self.tree.dirs {
            out.letter('D', dir.gone);
            out.attrs(&dir.attrs);
            let path: &[u8] = if dir.path.is_empty() { b"." } else { &dir.path };
            out.escaped(path);
            out.end();
            for entry in &dir.entries {
                out.entry(entry);
                out.end();
            }
        }
        for path in &self.remove {
            out.text("R ");
            out.escaped(path);
            out.end();
        }
        let lines = out.lines;
        let _ = write!(out, "end {lines}");
        out.end();
        out.bytes
    }
}

struct Stamp(Time);

impl std::fmt::Display for Stamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:09}", self.0.secs, self.0.nanos)
    }
}

/// The text in the making.
#[derive(Default)]
struct Out {
    bytes: Vec<u8>,
    lines: u64,
}

impl std::fmt::Write for Out {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.text(text);
        Ok(())
    }
}

impl Out {
    fn text(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
    }

    fn escaped(&mut self, bytes: &[u8]) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        for &b in bytes {
            if b <= b' ' || b == b'%' || b == 0x7f {
                let digit = |n: u8| DIGITS.get(usize::from(n)).copied().unwrap_or(b'0');
                self.bytes.extend([b'%', digit(b >> 4), digit(b & 15)]);
            } else {
                self.bytes.push(b);
            }
        }
    }

    fn end(&mut self) {
        self.bytes.push(b'\n');
        self.lines += 1;
    }

    fn letter(&mut self, letter: char, gone: bool) {
        let letter = if gone {
            letter.to_ascii_lowercase()
        } else {
            letter
        };
        let _ = write!(self, "{letter} ");
    }

    fn attrs(&mut self, attrs: &Attrs) {
        let Attrs {
            mode,
            uid,
            gid,
            mtime,
        } = attrs;
        let _ = write!(self, "{mode:o} {uid} {gid} {} ", Stamp(*mtime));
    }

    fn entry(&mut self, entry: &Entry) {
        let letter = match entry.kind {
            Kind::File { .. } => 'F',
            Kind::Symlink { .. } => 'L',
            Kind::Fifo => 'P',
        };
        self.letter(letter, entry.gone);
        self.attrs(&entry.attrs);
        if let Kind::File { size, digest, .. } = &entry.kind {
            let _ = write!(self, "{size} ");
            match digest {
                Some(digest) => {
                    let _ = write!(self, "{:032x} ", digest.0);
                }
                None => self.text("- "),
            }
        }
        self.escaped(&entry.name);
        let more = match &entry.kind {
            Kind::File { same_as, .. } => same_as.as_ref(),
            Kind::Symlink { target } => Some(target),
            Kind::Fifo => None,
        };
        if let Some(more) = more {
            self.text(" ");
            self.escaped(more);
        }
    }
}
