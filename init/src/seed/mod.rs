//! `init seed`: puts what an image brings into a user's volume, once, and follows later images
//! without ever touching what the user made his own.
//!
//! # What is on the volume
//! Everything of ours is in one folder of the target, so it is on the same file system:
//! ```text
//! TARGET/.baton-seed/manifest    the marker: what was seeded, see [`manifest`]
//! TARGET/.baton-seed/lock        for the record lock; empty, stays
//! TARGET/.baton-seed/owner       who is at work; there only meanwhile, see [`lock`]
//! TARGET/.baton-seed/stage/      what will be put in place, laid out as in the target
//! TARGET/.baton-seed/intent      the next manifest; there only while it is being committed
//! ```
//!
//! # Why it may be killed at any instant
//! A seed is three steps, and each begins with one atomic rename of the step before:
//! 1. *Stage.* All content is written below `stage`. The target does not change. Killed here, the
//!    next run finds no intent: it takes over the staged files that are whole (see [`folder`]; an
//!    archive is unpacked anew), removes the staged ones that the source does not have, and copies
//!    the rest. A failure here (a full disk) removes `stage`, and the volume is as before.
//! 2. *Commit.* `intent` appears by rename: now the stage is complete, and the seed goes forward
//!    whatever happens, also when the next run brings another image. Then each removal is done, and
//!    each staged entry renamed to where the target has nothing or what we seeded; whole folders at
//!    once where the target has no such folder. Killed here, the next run does the same with what is
//!    still staged: what has been moved is no longer in the stage, and what has been removed is no
//!    longer there. A file that is put in the place of another is compared with the old manifest
//!    once more at that moment, so that an edit made in between is kept.
//! 3. *Mark.* The stage, empty by now, is removed, and `intent` is renamed to `manifest`. The owner
//!    file goes last. Killed between the two, the next run sees it and tidies up.
//!
//! The order holds for a killed process and a killed container. For a machine that loses power it
//! holds with [`Options::sync`], which waits for the disk before steps 2 and 3; without it the data
//! reaches the disk when the kernel writes it back. A marker that did not survive whole does not
//! count (its last line counts the others).
//!
//! # What is recognised without reading everything
//! With a version named on both sides, nothing but the marker is read. Without, the size and time of
//! an archive, or kind, size, time, mode, owner and link target of each entry of a folder are
//! compared with the manifest ([`scan::unchanged`]). Contents are not read for that: images whose
//! build clamps all times to one value need a version. Once a seed is due, contents count.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{self as rfs, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

pub mod archive;
pub mod at;
pub mod commit;
pub mod error;
pub mod file;
pub mod folder;
mod job;
pub mod lock;
pub mod manifest;
mod members;
pub mod plan;
pub mod progress;
pub mod scan;
pub mod stage;
pub mod state;
pub mod tree;
pub mod unpack;
pub mod volume;
pub mod work;
pub mod zstd;

pub use error::Error;

use archive::Archive;
use error::Place;
use job::{Job, digest_all, free_space};
use manifest::{Body, Header, Manifest, Origin};
use plan::{Found, Look, Step};
use progress::Progress;
use state::{State, Target, leftovers, load, peek};
use tree::Entry;
use volume::{Scratch, Volume};

/// The state folder.
pub const STATE: &str = ".baton-seed";
const MANIFEST: &str = "manifest";
const INTENT: &str = "intent";
const STAGE: &str = "stage";

/// What to seed, where, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// A folder, or a tar, tar.gz or tar.zst file.
    pub from: PathBuf,
    /// The target folder; made where it is missing.
    pub to: PathBuf,
    /// Names what is seeded; the same name again means that nothing is to be done.
    pub version: Option<Vec<u8>>,
    /// Accept data that was not seeded: keep it, add what is missing.
    pub adopt: bool,
    /// Remove what the source no longer has, where the user never touched it.
    pub prune: bool,
    /// Only say what would be done.
    pub dry_run: bool,
    /// Wait for the disk before marking.
    pub sync: bool,
    /// Show no progress.
    pub quiet: bool,
    /// Most threads that copy.
    pub threads: usize,
}

/// What a seed came to.
#[derive(Debug)]
pub struct Report {
    /// In short.
    pub outcome: Outcome,
    /// An interrupted seed was finished first.
    pub finished_other: bool,
    /// Line by line what was done, or would be.
    pub steps: Vec<Step>,
    /// Sockets that were left out.
    pub skipped: Vec<String>,
    /// Time that it took.
    pub took: Duration,
}

/// What a seed came to, in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The volume has it already.
    UpToDate,
    /// The first seed of the volume.
    Seeded {
        /// Entries that were made.
        entries: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// The volume had an earlier seed.
    Upgraded,
    /// Nothing was done: a dry run.
    Planned,
}

/// Where a seed comes from.
#[derive(Debug)]
enum Source {
    Folder(OwnedFd, Place),
    Archive(Archive),
}

/// Seeds a volume.
///
/// `say` is told in a line what is worth knowing meanwhile. The process's umask is changed while
/// this runs, so no other thread should make files.
///
/// # Errors
/// Where the seed did not happen. Before its commit the volume is then as before; after, the next
/// run goes on.
pub fn run(options: &Options, say: &dyn Fn(&str)) -> Result<Report, Error> {
    let started = Instant::now();
    let source = Source::open(&options.from)?;
    let mut report = Report {
        outcome: Outcome::UpToDate,
        finished_other: false,
        steps: Vec::new(),
        skipped: Vec::new(),
        took: Duration::ZERO,
    };
    if !glance(options, &source)? {
        if options.dry_run {
            dry_run(options, &source, &mut report, say)?;
        } else {
            let umask = rustix::process::umask(Mode::empty());
            let done = seed(options, &source, &mut report, say);
            rustix::process::umask(umask);
            done?;
        }
    }
    report.took = started.elapsed();
    Ok(report)
}

/// Whether a seed would find nothing to do. Writes nothing.
///
/// # Errors
/// Where the source or the target cannot be read.
pub fn is_current(options: &Options) -> Result<bool, Error> {
    glance(options, &Source::open(&options.from)?)
}

/// Whether the volume has all of it already, and no trace of an interrupted run. Writes nothing.
fn glance(options: &Options, source: &Source) -> Result<bool, Error> {
    let Some(target) = Target::open(&options.to)? else {
        return Ok(false);
    };
    let Some(state) = target.state()? else {
        return Ok(false);
    };
    let place = Place(options.to.join(STATE));
    if !leftovers(&state)
        .map_err(place.err("list", b""))?
        .is_empty()
    {
        return Ok(false);
    }
    if options.version.is_some() && !options.prune {
        return Ok(peek(&state).is_some_and(|header| header.version == options.version));
    }
    match load(&state, &place, MANIFEST)? {
        Some(bytes) => source.is_seeded(&bytes, options),
        None => Ok(false),
    }
}

fn seed(
    options: &Options,
    source: &Source,
    report: &mut Report,
    say: &dyn Fn(&str),
) -> Result<(), Error> {
    let rules = lock::Rules::here();
    let (state, lock) = loop {
        let state = State::make(&options.to)?;
        match lock::take(Arc::clone(&state.fd), &state.place, &rules, say) {
            Ok(lock) => break (state, lock),
            // Another seed failed and removed the folder that we waited in.
            Err(_) if rfs::fstat(&*state.fd).is_ok_and(|stat| stat.st_nlink == 0) => {}
            Err(e) => {
                state.undo();
                return Err(e);
            }
        }
    };
    let job = Job {
        options,
        source,
        state: &state,
        lock: &lock,
        progress: Progress::default(),
        needed: std::cell::Cell::new(None),
        free: free_space(&state.target.fd),
    };
    match job.run(report, say) {
        Ok(()) => {
            lock.release();
            Ok(())
        }
        Err(e) => {
            let e = job.explain(e);
            let intended = !matches!(
                rfs::statat(&*state.fd, INTENT, rfs::AtFlags::empty()),
                Err(Errno::NOENT)
            );
            let lost = matches!(e, Error::LostLock(_));
            if lost || intended {
                lock.release();
            } else {
                state.undo();
                lock.release();
            }
            Err(e)
        }
    }
}

fn dry_run(
    options: &Options,
    source: &Source,
    report: &mut Report,
    say: &dyn Fn(&str),
) -> Result<(), Error> {
    report.outcome = Outcome::Planned;
    let target = Target::open(&options.to)?;
    let state = match &target {
        Some(target) => target.state()?,
        None => None,
    };
    let place = Place(options.to.join(STATE));
    let mut old = None;
    if let Some(state) = &state {
        old = load_manifest(state, &place, MANIFEST, options.adopt)?;
        if let Some(intent) = load_manifest(state, &place, INTENT, true)? {
            say("an interrupted seed would be finished first; the plan is for what comes after it");
            old = Some(intent);
        }
    }
    let names = target.as_ref().map_or(Ok(Vec::new()), Target::names)?;
    if let (Some(target), None, false) = (&target, &old, options.adopt) {
        refuse_foreign(target, &names)?;
    }
    let base = old.as_ref().map(|m| &m.tree);
    let tree = match source {
        Source::Folder(fd, place) => {
            let scan = scan::scan(fd, place, None)?;
            let mut tree = scan.tree;
            report.skipped = scan.skipped;
            if old.is_some() || !names.is_empty() {
                digest_all(fd, place, &mut tree, base, options.threads)?;
            }
            tree
        }
        Source::Archive(archive) => unpack::list(archive, &Progress::default())?.tree,
    };
    let plan = match &target {
        Some(target) => {
            let scratch = Scratch::default();
            let volume = Volume::new(&target.fd, &scratch);
            plan::plan(base, &tree, &volume, options.prune)
        }
        None => plan::plan(base, &tree, &Nothing, options.prune),
    };
    report.steps = plan.steps;
    Ok(())
}

/// A volume that is not there yet.
struct Nothing;

impl Look for Nothing {
    fn find(&self, _: &[u8]) -> Found {
        Found::Absent
    }
    fn holds(&self, _: &[u8], _: &Entry) -> bool {
        false
    }
    fn mode(&self, _: &[u8]) -> Option<u32> {
        None
    }
    fn names(&self, _: &[u8]) -> Vec<Vec<u8>> {
        Vec::new()
    }
}

impl Source {
    fn open(path: &Path) -> Result<Source, Error> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let failed = |e: Errno| Error::io("open the source", path, e);
        let fd = rfs::openat(CWD, path, flags, Mode::empty()).map_err(failed)?;
        match at::file_type(&rfs::fstat(&fd).map_err(failed)?) {
            FileType::Directory => Ok(Source::Folder(fd, Place(path.to_owned()))),
            FileType::RegularFile => Ok(Source::Archive(Archive {
                file: fd,
                path: path.display().to_string(),
            })),
            _ => Err(Error::Refused {
                path: path.display().to_string(),
                cause: "a source is a folder or an archive file",
            }),
        }
    }

    /// Whether a manifest already records this source, as far as that can be told quickly.
    fn is_seeded(&self, bytes: &[u8], options: &Options) -> Result<bool, Error> {
        let Ok((header, body)) = Header::parse(bytes) else {
            return Ok(false);
        };
        if options.prune && has_gone(body) {
            return Ok(false);
        }
        if options.version.is_some() {
            return Ok(header.version == options.version);
        }
        match self {
            Source::Folder(fd, _) => {
                Ok(header.origin == Origin::Folder && scan::unchanged(fd, body, options.threads))
            }
            Source::Archive(archive) => archive.is(&header.origin),
        }
    }
}

/// Whether there is something to prune.
fn has_gone(body: Body<'_>) -> bool {
    body.iter()
        .any(|(_, line)| line.first().is_some_and(u8::is_ascii_lowercase))
}

fn load_manifest(
    state: &OwnedFd,
    place: &Place,
    name: &str,
    lenient: bool,
) -> Result<Option<Manifest>, Error> {
    let Some(bytes) = load(state, place, name)? else {
        return Ok(None);
    };
    match Manifest::parse(&bytes) {
        Ok(manifest) => Ok(Some(manifest)),
        Err(_) if lenient => Ok(None),
        Err(cause) => Err(Error::Manifest {
            path: place.at(name.as_bytes()),
            cause,
        }),
    }
}

fn refuse_foreign(target: &Target, names: &[Vec<u8>]) -> Result<(), Error> {
    match names {
        [] => Ok(()),
        [first, others @ ..] => Err(Error::Foreign {
            path: target.place.at(b""),
            example: tree::shown(first),
            more: match others.len() {
                0 => String::new(),
                n => format!(" and {n} more"),
            },
        }),
    }
}
