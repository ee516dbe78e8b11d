//! Unpacking an archive, or a part of it, into the staging folder.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use rustix::fs::{self as rfs, Mode, SeekFrom};
use rustix::io::Errno;

use super::archive::{Archive, Contents, Member};
use super::at::{self, CREATE};
use super::error::Error;
use super::file::{BUFFER, StreamDigest, write_all};
use super::progress::Progress;
use super::stage::{Inherits, Stage};
use super::tree::{Attrs, Digest, Kind, Tree, join, split};

/// Reads an archive for what it holds, and writes nothing.
///
/// # Errors
/// Where it is broken or refused.
pub fn list(archive: &Archive, progress: &Progress) -> Result<Contents, Error> {
    let mut buffer = vec![0; BUFFER];
    archive.read(|member, reader| {
        progress.add_entries(1);
        pass(archive, &member, reader, &mut buffer, |piece| {
            progress.add_bytes(piece.len() as u64);
            Ok(())
        })
    })
}

/// Unpacks all of an archive.
///
/// # Errors
/// Where it is broken or refused, or the volume refuses.
pub fn whole(archive: &Archive, stage: &Stage, progress: &Progress) -> Result<Contents, Error> {
    let mut writer = Writer::new(archive, stage, progress);
    let contents = archive.read(|member, reader| {
        let attrs = member.attrs;
        writer.write(&member, member.path, attrs, reader)
    })?;
    writer.finish(&contents.tree, &contents)?;
    Ok(contents)
}

/// Unpacks those files of an archive that `tree`, a part of its contents, has.
///
/// # Errors
/// Where it is broken or refused, or the volume refuses.
pub fn part(
    archive: &Archive,
    contents: &Contents,
    tree: &Tree,
    stage: &Stage,
    progress: &Progress,
) -> Result<(), Error> {
    // A hard link's content comes with the first of its names, which may not be wanted itself.
    let mut wanted: BTreeMap<Vec<u8>, (Vec<u8>, Attrs)> = BTreeMap::new();
    for dir in &tree.dirs {
        for entry in &dir.entries {
            if let Kind::File { same_as: None, .. } = entry.kind {
                let path = join(&dir.path, &entry.name);
                let first = match contents.tree.entry(&path).map(|e| &e.kind) {
                    Some(Kind::File {
                        same_as: Some(first),
                        ..
                    }) => first.clone(),
                    _ => path.clone(),
                };
                wanted.insert(first, (path, entry.attrs));
            }
        }
    }
    let mut writer = Writer::new(archive, stage, progress);
    archive.read(|member, reader| match wanted.get(member.path) {
        Some((path, attrs)) => writer.write(&member, path, *attrs, reader),
        // What is not wanted is not looked at again; its digest is known.
        None => Ok(Digest(0)),
    })?;
    writer.finish(tree, contents)
}

struct Writer<'a> {
    archive: &'a Archive,
    stage: &'a Stage,
    progress: &'a Progress,
    buffer: Vec<u8>,
    /// The folder written to last, since members come folder by folder.
    folder: Option<(Vec<u8>, OwnedFd, Inherits)>,
}

impl<'a> Writer<'a> {
    fn new(archive: &'a Archive, stage: &'a Stage, progress: &'a Progress) -> Writer<'a> {
        Writer {
            archive,
            stage,
            progress,
            buffer: vec![0; BUFFER],
            folder: None,
        }
    }

    fn write(
        &mut self,
        member: &Member<'_>,
        path: &[u8],
        attrs: Attrs,
        reader: &mut dyn Read,
    ) -> Result<Digest, Error> {
        let (parent, name) = split(path);
        self.enter(parent)?;
        let Some((_, dir, inherits)) = &self.folder else {
            return Err(self.stage.place.err("open", parent)(Errno::NOENT));
        };
        let failed = |attempt| self.stage.place.err::<Errno>(attempt, path);
        // A member that comes again replaces what came before.
        at::remove_all(dir, name).map_err(failed("remove"))?;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = rfs::openat(dir, name, CREATE, mode).map_err(failed("write"))?;
        let mut end_is_hole = false;
        let digest = pass(self.archive, member, reader, &mut self.buffer, |piece| {
            self.progress.add_bytes(piece.len() as u64);
            end_is_hole = member.sparse && piece.iter().all(|&b| b == 0);
            let done = match end_is_hole {
                true => rfs::seek(&file, SeekFrom::Current(piece.len() as i64)).map(|_| ()),
                false => write_all(&file, piece),
            };
            done.map_err(failed("write"))
        })?;
        if end_is_hole {
            rfs::ftruncate(&file, member.size).map_err(failed("write"))?;
        }
        let dressed =
            match member.xattrs.is_empty() && attrs.mode & 0o7000 == 0 && inherits.suits(&attrs) {
                true => rfs::fchmod(&file, at::mode(attrs.mode))
                    .and_then(|()| rfs::futimens(&file, &at::times(attrs.mtime))),
                false => at::dress(&file, &attrs, member.xattrs),
            };
        dressed.map_err(failed("set the attributes of"))?;
        self.progress.add_entries(1);
        Ok(digest)
    }

    /// Opens a folder of the stage, and makes it where it is not there yet.
    fn enter(&mut self, path: &[u8]) -> Result<(), Error> {
        if self.folder.as_ref().is_some_and(|(open, ..)| open == path) {
            return Ok(());
        }
        let failed = || self.stage.place.err("make the folder", path);
        let mut dir = at::open_dir(&self.stage.fd, b"").map_err(failed())?;
        for name in path.split(|&b| b == b'/').filter(|name| !name.is_empty()) {
            match rfs::mkdirat(&dir, name, Mode::RWXU) {
                Err(Errno::EXIST) => {}
                other => other.map_err(failed())?,
            }
            dir = at::open_dir(&dir, name).map_err(failed())?;
        }
        let inherits = Inherits::below(&dir).map_err(failed())?;
        self.folder = Some((path.to_vec(), dir, inherits));
        Ok(())
    }

    /// Makes all that is no file, from the tree.
    fn finish(&mut self, tree: &Tree, contents: &Contents) -> Result<(), Error> {
        // Folders that files brought with them are there, and links may have to make way.
        let stage = Stage {
            fd: self.stage.open(b"")?,
            place: self.stage.place.clone(),
            resume: true,
        };
        stage.make_folders(tree)?;
        for dir in &tree.dirs {
            let fd = stage.open(&dir.path)?;
            let inherits = Inherits::below(&fd).map_err(self.stage.place.err("read", &dir.path))?;
            for entry in &dir.entries {
                stage.make_special(&fd, &join(&dir.path, &entry.name), entry, inherits)?;
            }
        }
        stage.link(tree)?;
        stage.dress_folders(tree, |dir| {
            let xattrs = contents.folder_xattrs.get(&dir.path);
            Ok(xattrs.cloned().unwrap_or_default())
        })
    }
}

/// Reads all of a member piece by piece, and digests it.
fn pass(
    archive: &Archive,
    member: &Member<'_>,
    reader: &mut dyn Read,
    buffer: &mut [u8],
    mut each: impl FnMut(&[u8]) -> Result<(), Error>,
) -> Result<Digest, Error> {
    let mut content = StreamDigest::default();
    let mut left = member.size;
    while left > 0 {
        let want = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let piece = buffer.get_mut(..want).unwrap_or_default();
        reader.read_exact(piece).map_err(|e| Error::Archive {
            path: archive.path.clone(),
            cause: match e.kind() {
                io::ErrorKind::UnexpectedEof => "cut short".to_owned(),
                _ => e.to_string(),
            },
        })?;
        content.add(piece);
        left -= want as u64;
        each(piece)?;
    }
    Ok(content.finish())
}
