//! A seed under the lock: finish what was interrupted, look, stage, commit.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;

use rustix::fs as rfs;

use super::archive::{Archive, Contents};
use super::commit::Commit;
use super::error::{Error, Place};
use super::folder::{Digests, Staging};
use super::manifest::{Manifest, Origin};
use super::plan::{self, Plan, Step};
use super::progress::{Progress, Total, human};
use super::state::{State, load};
use super::tree::{self, Kind, Tree, join, split};
use super::volume::{Scratch, Volume};
use super::{
    INTENT, MANIFEST, Options, Outcome, Report, Source, load_manifest, lock, refuse_foreign, scan,
    unpack,
};

/// A seed under the lock.
pub(super) struct Job<'a> {
    pub(super) options: &'a Options,
    pub(super) source: &'a Source,
    pub(super) state: &'a State,
    pub(super) lock: &'a lock::Lock,
    pub(super) progress: Progress,
    /// Bytes that the seed takes, once they are known.
    pub(super) needed: std::cell::Cell<Option<u64>>,
    pub(super) free: Option<u64>,
}

/// What was staged, and what it means.
struct Staged {
    plan: Plan,
    origin: Origin,
    own_root: bool,
}

impl Job<'_> {
    pub(super) fn run(&self, report: &mut Report, say: &dyn Fn(&str)) -> Result<(), Error> {
        let (options, state) = (self.options, self.state);
        let mut old = self.load(MANIFEST)?;
        if let Some(intent) = self.load_intent()? {
            say("finishing an interrupted seed");
            let kept = self.commit(&intent, old.as_ref())?;
            report.finished_other = true;
            report.steps.extend(kept);
            old = Some(intent);
        }
        if let Some(bytes) = load(&state.fd, &state.place, MANIFEST)?
            && self.source.is_seeded(&bytes, options)?
        {
            return state.tidy();
        }
        let target = &state.target;
        let names = target.names()?;
        if old.is_none() && !options.adopt {
            refuse_foreign(target, &names)?;
        }
        let own_root = old.is_none() && names.is_empty() && !target.is_mount();
        let base = old.as_ref().map(|m| &m.tree);
        let compare = old.is_some() || !names.is_empty();
        let staged = match self.source {
            Source::Folder(fd, place) => {
                self.stage_folder(fd, place, base, compare, own_root, report)?
            }
            Source::Archive(archive) => self.stage_archive(archive, base, compare, own_root)?,
        };
        let next = Manifest {
            version: options.version.clone(),
            origin: staged.origin,
            own_root: staged.own_root,
            tree: staged.plan.next,
            remove: staged.plan.remove,
        };
        let (entries, bytes) = (staged.plan.stage.count(), staged.plan.stage.bytes());
        report.steps.extend(staged.plan.steps);
        state.sync(options.sync)?;
        self.lock.check()?;
        state.intend(&next.encode())?;
        let kept = self.commit(&next, old.as_ref())?;
        report
            .steps
            .retain(|step| kept.iter().all(|k| k.path != step.path));
        report.steps.extend(kept);
        report.outcome = match old {
            None => Outcome::Seeded { entries, bytes },
            Some(_) => Outcome::Upgraded,
        };
        state.tidy()
    }

    fn commit(&self, next: &Manifest, old: Option<&Manifest>) -> Result<Vec<Step>, Error> {
        let commit = Commit {
            target: &self.state.target.fd,
            place: &self.state.target.place,
            next,
            old: old.map(|m| &m.tree),
        };
        let kept = commit.apply(self.state.staged().as_ref())?;
        self.state.sync(self.options.sync)?;
        self.state.mark()?;
        Ok(kept)
    }

    /// Reads the marker; a damaged one counts as none where the user accepts that.
    fn load(&self, name: &str) -> Result<Option<Manifest>, Error> {
        load_manifest(&self.state.fd, &self.state.place, name, self.options.adopt)
    }

    /// Reads the intent. A damaged one (a machine that lost power) never was.
    fn load_intent(&self) -> Result<Option<Manifest>, Error> {
        load_manifest(&self.state.fd, &self.state.place, INTENT, true)
    }

    fn stage_folder(
        &self,
        fd: &OwnedFd,
        place: &Place,
        base: Option<&Tree>,
        compare: bool,
        own_root: bool,
        report: &mut Report,
    ) -> Result<Staged, Error> {
        let (options, state) = (self.options, self.state);
        let target = rfs::fstat(&state.target.fd).map_err(state.target.place.err("read", b""))?;
        let scan = scan::scan(fd, place, Some(scan::identity(&target)))?;
        let mut tree = scan.tree;
        report.skipped = scan.skipped;
        if compare {
            digest_all(fd, place, &mut tree, base, options.threads)?;
        }
        let mut plan = self.plan(base, &tree);
        self.needed.set(Some(plan.stage.bytes()));
        let total = Total {
            bytes: Some(plan.stage.bytes()),
        };
        let staging = Staging {
            source: fd,
            source_place: place,
            stage: &state.stage(false)?,
            threads: options.threads,
            progress: &self.progress,
        };
        let digests = self
            .progress
            .watch(total, options.quiet, || staging.copy(&plan.stage))?;
        let paths = digests.into_iter().filter_map(|(dir, entry, digest)| {
            let dir = plan.stage.dirs.get(dir)?;
            Some((join(&dir.path, &dir.entries.get(entry)?.name), digest))
        });
        for (path, digest) in paths {
            set_digest(&mut plan.next, &path, digest);
        }
        share_digests(&mut plan.next);
        Ok(Staged {
            plan,
            origin: Origin::Folder,
            own_root,
        })
    }

    fn stage_archive(
        &self,
        archive: &Archive,
        base: Option<&Tree>,
        compare: bool,
        own_root: bool,
    ) -> Result<Staged, Error> {
        let (options, state) = (self.options, self.state);
        let origin = archive.origin()?;
        let watch = |total, work: &mut dyn FnMut() -> Result<Contents, Error>| {
            self.progress.watch(total, options.quiet, work)
        };
        let stage = state.stage(true)?;
        let (contents, plan);
        if compare {
            contents = watch(Total::default(), &mut || {
                unpack::list(archive, &Progress::default())
            })?;
            plan = self.plan(base, &contents.tree);
            self.needed.set(Some(plan.stage.bytes()));
            if plan.stage.count() > 0 {
                let total = Total {
                    bytes: Some(plan.stage.bytes()),
                };
                self.progress.watch(total, options.quiet, || {
                    unpack::part(archive, &contents, &plan.stage, &stage, &self.progress)
                })?;
            }
        } else {
            contents = watch(Total::default(), &mut || {
                unpack::whole(archive, &stage, &self.progress)
            })?;
            plan = self.plan(base, &contents.tree);
        }
        Ok(Staged {
            plan,
            origin,
            own_root: own_root && contents.has_root,
        })
    }

    fn plan(&self, base: Option<&Tree>, tree: &Tree) -> Plan {
        let scratch = Scratch::default();
        let volume = Volume::new(&self.state.target.fd, &scratch);
        plan::plan(base, tree, &volume, self.options.prune)
    }

    /// Says what a full volume would have needed.
    pub(super) fn explain(&self, e: Error) -> Error {
        match e {
            Error::Io { path, cause, .. } if Error::is_full(&cause) => Error::Full {
                path,
                cause,
                needed: self.needed.get().map_or("more".into(), human),
                free: self.free.map_or("less".into(), human),
            },
            other => other,
        }
    }
}

/// Digests what a comparison with the base will ask for: all files but those that the base knows by
/// size and time alone.
pub(super) fn digest_all(
    fd: &OwnedFd,
    place: &Place,
    tree: &mut Tree,
    base: Option<&Tree>,
    threads: usize,
) -> Result<(), Error> {
    let mut wanted = Vec::new();
    for (d, dir) in tree.dirs.iter().enumerate() {
        let known = base.and_then(|base| base.dir(&dir.path));
        for (e, entry) in dir.entries.iter().enumerate() {
            let known = known
                .and_then(|dir| dir.entry(&entry.name))
                .map(|e| &e.kind);
            let by_time = matches!(known, Some(Kind::File { digest: None, .. }));
            if matches!(entry.kind, Kind::File { same_as: None, .. }) && !by_time {
                wanted.push((d, e));
            }
        }
    }
    let progress = Progress::default();
    let digests: Digests = Staging::digest(fd, place, tree, &wanted, threads, &progress)?;
    for (d, e, digest) in digests {
        let entry = tree.dirs.get_mut(d).and_then(|dir| dir.entries.get_mut(e));
        if let Some(Kind::File { digest: slot, .. }) = entry.map(|e| &mut e.kind) {
            *slot = Some(digest);
        }
    }
    share_digests(tree);
    Ok(())
}

fn set_digest(tree: &mut Tree, path: &[u8], digest: tree::Digest) {
    let (parent, name) = split(path);
    let dir = tree
        .dirs
        .binary_search_by(|d| d.path.as_slice().cmp(parent));
    let dir = dir.ok().and_then(|at| tree.dirs.get_mut(at));
    let entry = dir.and_then(|dir| {
        let at = dir
            .entries
            .binary_search_by(|e| e.name.as_slice().cmp(name));
        dir.entries.get_mut(at.ok()?)
    });
    if let Some(Kind::File { digest: slot, .. }) = entry.map(|e| &mut e.kind) {
        *slot = Some(digest);
    }
}

/// Gives hard links the digest of the file that they are.
fn share_digests(tree: &mut Tree) {
    let mut links: BTreeSet<(Vec<u8>, Vec<u8>)> = BTreeSet::new();
    for dir in &tree.dirs {
        for entry in &dir.entries {
            if let Kind::File {
                same_as: Some(first),
                ..
            } = &entry.kind
            {
                links.insert((join(&dir.path, &entry.name), first.clone()));
            }
        }
    }
    for (path, first) in links {
        if let Some(Kind::File {
            digest: Some(digest),
            ..
        }) = tree.entry(&first).map(|e| &e.kind)
        {
            let digest = *digest;
            set_digest(tree, &path, digest);
        }
    }
}

/// Space that a volume reports.
pub(super) fn free_space(fd: &OwnedFd) -> Option<u64> {
    let fs = rfs::fstatvfs(fd).ok()?;
    Some(fs.f_bavail.saturating_mul(fs.f_frsize))
}
