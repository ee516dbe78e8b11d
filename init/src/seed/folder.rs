//! Copying a source folder, or a part of it, into the staging folder.
//!
//! A file's time is set last of all, so a staged file that has the source's size and time is whole:
//! that is how an interrupted copy is resumed without copying everything again.

use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicBool;

use rustix::fs::{self as rfs, FileType, Mode};
use rustix::io::Errno;

use super::at::{self, CREATE, READ};
use super::error::{Error, Place};
use super::file::{Copied, Copier};
use super::progress::Progress;
use super::scan::size as size_of;
use super::stage::{Inherits, Stage};
use super::tree::{Digest, Dir, Entry, Kind, Tree, join};
use super::work;

/// Entries that one job copies.
const BATCH: usize = 64;
/// A file of this size is a job of its own, and such jobs come first.
const OWN_JOB: u64 = 4 << 20;

/// A copy from a source folder to a staging folder.
#[derive(Debug, Clone, Copy)]
pub struct Staging<'a> {
    /// The source folder.
    pub source: &'a OwnedFd,
    /// Its place.
    pub source_place: &'a Place,
    /// Where to.
    pub stage: &'a Stage,
    /// Most threads.
    pub threads: usize,
    /// Where to count.
    pub progress: &'a Progress,
}

/// The digest of the entry at an index of a folder at an index.
pub type Digests = Vec<(usize, usize, Digest)>;

struct Job {
    dir: usize,
    from: usize,
    to: usize,
    size: u64,
}

impl Staging<'_> {
    /// Copies everything that `tree` names. Gives the digests that it did not know.
    ///
    /// # Errors
    /// Where anything cannot be read or written, or changes meanwhile.
    pub fn copy(&self, tree: &Tree) -> Result<Digests, Error> {
        self.stage.make_folders(tree)?;
        let jobs = jobs(tree);
        let devices = (
            rfs::fstat(self.source).map(|s| s.st_dev),
            rfs::fstat(&self.stage.fd).map(|s| s.st_dev),
        );
        let one_device = AtomicBool::new(devices.0.is_ok() && devices.0 == devices.1);
        let clones = AtomicBool::new(true);
        let digests = work::each(
            jobs.len(),
            self.threads,
            self.progress,
            || Copier::new(self.progress, &one_device, &clones),
            |copier, index| match jobs.get(index) {
                Some(job) => self.run(tree, job, copier),
                None => Ok(Vec::new()),
            },
        )?;
        self.stage.link(tree)?;
        self.stage.dress_folders(tree, |dir| {
            let failed = || self.source_place.err("read", &dir.path);
            let source = at::open_dir(self.source, &dir.path).map_err(failed())?;
            at::xattrs(&source).map_err(failed())
        })?;
        Ok(digests.into_iter().flatten().collect())
    }

    /// Digests the files of `tree` that `wanted` names by folder and entry.
    ///
    /// # Errors
    /// Where one cannot be read, or changes meanwhile.
    pub fn digest(
        source: &OwnedFd,
        place: &Place,
        tree: &Tree,
        wanted: &[(usize, usize)],
        threads: usize,
        progress: &Progress,
    ) -> Result<Digests, Error> {
        let never = AtomicBool::new(false);
        work::each(
            wanted.len(),
            threads,
            progress,
            || Copier::new(progress, &never, &never),
            |copier, index| {
                let at = wanted.get(index).copied().unwrap_or_default();
                let dir = tree.dirs.get(at.0);
                let entry = dir.and_then(|dir| Some((dir, dir.entries.get(at.1)?)));
                let Some((dir, entry)) = entry else {
                    return Ok(None);
                };
                let Kind::File { size, .. } = entry.kind else {
                    return Ok(None);
                };
                let path = join(&dir.path, &entry.name);
                let failed = || place.err("read", &path);
                let folder = at::open_dir(source, &dir.path).map_err(failed())?;
                let file = rfs::openat(&folder, entry.name.as_slice(), READ, Mode::empty())
                    .map_err(failed())?;
                match copier.digest(&file, size).map_err(failed())? {
                    Some(digest) => Ok(Some((at.0, at.1, digest))),
                    None => Err(Error::Changed(place.at(&path))),
                }
            },
        )
        .map(|digests| digests.into_iter().flatten().collect())
    }

    fn run(&self, tree: &Tree, job: &Job, copier: &mut Copier<'_>) -> Result<Digests, Error> {
        let Some(dir) = tree.dirs.get(job.dir) else {
            return Ok(Vec::new());
        };
        let source = at::open_dir(self.source, &dir.path)
            .map_err(self.source_place.err("open", &dir.path))?;
        let stage = self.stage.open(&dir.path)?;
        let inherits = Inherits::below(&stage).map_err(self.stage.place.err("read", &dir.path))?;
        let mut digests = Vec::new();
        let entries = dir.entries.get(job.from..job.to).unwrap_or_default();
        for (index, entry) in (job.from..).zip(entries) {
            let item = Item {
                staging: self,
                dir,
                entry,
                source: &source,
                stage: &stage,
                inherits,
            };
            let digest = item.copy(copier)?;
            digests.extend(digest.map(|digest| (job.dir, index, digest)));
            self.progress.add_entries(1);
        }
        Ok(digests)
    }
}

/// One entry on its way.
struct Item<'a> {
    staging: &'a Staging<'a>,
    dir: &'a Dir,
    entry: &'a Entry,
    source: &'a OwnedFd,
    stage: &'a OwnedFd,
    inherits: Inherits,
}

impl Item<'_> {
    fn path(&self) -> Vec<u8> {
        join(&self.dir.path, &self.entry.name)
    }

    fn copy(&self, copier: &mut Copier<'_>) -> Result<Option<Digest>, Error> {
        match &self.entry.kind {
            Kind::File {
                same_as: Some(_), ..
            } => Ok(None),
            Kind::File { size, digest, .. } => self.copy_file(copier, *size, digest.is_none()),
            Kind::Symlink { .. } | Kind::Fifo => {
                let (path, staging) = (self.path(), self.staging);
                staging
                    .stage
                    .make_special(self.stage, &path, self.entry, self.inherits)
                    .map(|()| None)
            }
        }
    }

    fn copy_file(
        &self,
        copier: &mut Copier<'_>,
        size: u64,
        hash: bool,
    ) -> Result<Option<Digest>, Error> {
        let (entry, place) = (self.entry, self.staging.source_place);
        let name = entry.name.as_slice();
        if self.staging.stage.resume
            && let Some(digest) = self.resumed(copier, size, hash)?
        {
            self.staging.progress.add_bytes(size);
            return Ok(digest);
        }
        let source = rfs::openat(self.source, name, READ, Mode::empty())
            .map_err(place.err("open", &self.path()))?;
        let xattrs = at::xattrs(&source).map_err(place.err("read", &self.path()))?;
        let attrs = &entry.attrs;
        let plain = xattrs.is_empty() && attrs.mode & 0o7000 == 0 && self.inherits.suits(attrs);
        let mode = match plain {
            true => at::mode(attrs.mode),
            false => Mode::RUSR | Mode::WUSR,
        };
        self.staging
            .stage
            .make_way(self.stage, name, &self.path())?;
        let target = rfs::openat(self.stage, name, CREATE, mode).map_err(self.failed("write"))?;
        let digest = match copier
            .copy(&source, &target, size, hash)
            .map_err(self.failed("write"))?
        {
            Copied::Whole(digest) => digest,
            Copied::Short => return Err(Error::Changed(place.at(&self.path()))),
        };
        match plain {
            true => rfs::futimens(&target, &at::times(attrs.mtime)),
            false => at::dress(&target, attrs, &xattrs),
        }
        .map_err(self.failed("set the attributes of"))?;
        Ok(digest)
    }

    /// The digest of what an earlier run staged here, where that is whole.
    fn resumed(
        &self,
        copier: &mut Copier<'_>,
        size: u64,
        hash: bool,
    ) -> Result<Option<Option<Digest>>, Error> {
        let stat = at::stat(self.stage, &self.entry.name).map_err(self.failed("read"))?;
        let whole = stat.is_some_and(|stat| {
            at::file_type(&stat) == FileType::RegularFile
                && size_of(&stat) == size
                && at::mtime(&stat) == self.entry.attrs.mtime
                && stat.st_mode & 0o7777 == self.entry.attrs.mode
        });
        if !whole {
            return Ok(None);
        }
        // What the kernel copied has no digest in an undisturbed run; a resumed one ends the same.
        if !hash || copier.leaves_to_kernel(self.stage, &self.entry.name, size) {
            return Ok(Some(None));
        }
        let Ok(file) = rfs::openat(self.stage, self.entry.name.as_slice(), READ, Mode::empty())
        else {
            return Ok(None);
        };
        let digest = copier.digest(&file, size).map_err(self.failed("read"))?;
        Ok(digest.map(Some))
    }

    fn failed(&self, attempt: &'static str) -> impl FnOnce(Errno) -> Error + use<> {
        self.staging.stage.place.err(attempt, &self.path())
    }
}

/// Cuts the work into jobs, the largest first, so that no thread is left alone with a large file.
fn jobs(tree: &Tree) -> Vec<Job> {
    let mut jobs = Vec::new();
    for (dir, folder) in tree.dirs.iter().enumerate() {
        let mut from = 0;
        let mut size = 0;
        for (index, entry) in folder.entries.iter().enumerate() {
            let bytes = entry.own_bytes();
            if bytes >= OWN_JOB || index - from >= BATCH {
                jobs.push(Job {
                    dir,
                    from,
                    to: index,
                    size,
                });
                (from, size) = (index, 0);
            }
            size += bytes;
            if bytes >= OWN_JOB {
                jobs.push(Job {
                    dir,
                    from,
                    to: index + 1,
                    size,
                });
                (from, size) = (index + 1, 0);
            }
        }
        jobs.push(Job {
            dir,
            from,
            to: folder.entries.len(),
            size,
        });
    }
    jobs.retain(|job| job.from < job.to);
    jobs.sort_by_key(|job| std::cmp::Reverse(job.size));
    jobs
}
