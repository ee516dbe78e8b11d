//! Three-way: what was seeded (the base), what the source holds now, and what the volume holds.
//!
//! What the user never touched follows the source; what he changed or deleted is his. Pure: the
//! volume is asked through [`Look`].

use std::collections::{BTreeMap, BTreeSet};

use super::stage::part;
use super::tree::{Dir, Entry, Node, Tree, join, shown, split};

/// What the volume has at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Absent,
    /// A folder.
    Dir,
    /// Something else.
    Other,
    /// It cannot be looked at, so it is not ours.
    Hidden,
}

/// Looks at the volume.
pub trait Look {
    /// What is there. Links are not followed, also not on the way.
    fn find(&self, path: &[u8]) -> Found;
    /// Whether the volume's content at a path is that of `entry`: bytes where a digest is known,
    /// size and time where not. Mode and owner do not count: the platform changes them.
    fn holds(&self, path: &[u8], entry: &Entry) -> bool;
    /// The mode of what is there.
    fn mode(&self, path: &[u8]) -> Option<u32>;
    /// The names in a folder.
    fn names(&self, path: &[u8]) -> Vec<Vec<u8>>;
}

/// What happens to one path, or why nothing does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// Made.
    Add,
    /// Replaced: it was as seeded.
    Update,
    /// Removed: it was as seeded, and the source no longer has it.
    Remove,
    /// Left: the user changed it.
    Changed,
    /// Left: the user deleted it.
    Deleted,
    /// Left: the user had something there before.
    Foreign,
    /// Left: the source no longer has it.
    Gone,
}

impl Verb {
    /// What is said of it.
    pub fn text(self) -> &'static str {
        match self {
            Verb::Add => "add",
            Verb::Update => "update",
            Verb::Remove => "remove",
            Verb::Changed => "keep (changed here)",
            Verb::Deleted => "keep deleted",
            Verb::Foreign => "keep (not from a seed)",
            Verb::Gone => "keep (no longer in the source)",
        }
    }

    /// Whether the volume changes.
    pub fn acts(self) -> bool {
        matches!(self, Verb::Add | Verb::Update | Verb::Remove)
    }
}

/// One line of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What happens.
    pub verb: Verb,
    /// To what.
    pub path: Vec<u8>,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.verb.text(), shown(&self.path))
    }
}

/// What a seed will do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Line by line.
    pub steps: Vec<Step>,
    /// What is to be staged and then moved into place.
    pub stage: Tree,
    /// What is removed first, deepest first.
    pub remove: Vec<Vec<u8>>,
    /// The next base: all that the source holds, and what it no longer holds but the volume may.
    pub next: Tree,
}

/// How the folder of an entry fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// The volume has it.
    Exists,
    /// We make it, and all in it.
    New,
    /// It is the user's, for this reason.
    Skip(Verb),
}

/// Makes the plan. `prune` also removes what the source no longer has.
pub fn plan(base: Option<&Tree>, source: &Tree, look: &impl Look, prune: bool) -> Plan {
    let none = Tree::default();
    let mut planner = Planner {
        base: base.unwrap_or(&none),
        source,
        look,
        plan: Plan::default(),
        wanted: BTreeSet::new(),
        modes: Vec::new(),
    };
    planner.follow_source();
    planner.plan.next = source.clone();
    planner.follow_base(prune);
    let Planner {
        mut plan,
        wanted,
        modes,
        ..
    } = planner;
    plan.stage = part(source, &wanted);
    for (path, mode) in modes {
        set_mode(&mut plan.stage, &path, mode);
    }
    plan.remove.sort_unstable_by(|a, b| b.cmp(a));
    plan.remove.dedup();
    plan
}

struct Planner<'a, L> {
    base: &'a Tree,
    source: &'a Tree,
    look: &'a L,
    plan: Plan,
    wanted: BTreeSet<Vec<u8>>,
    modes: Vec<(Vec<u8>, u32)>,
}

impl<L: Look> Planner<'_, L> {
    fn step(&mut self, verb: Verb, path: Vec<u8>) {
        self.plan.steps.push(Step { verb, path });
    }

    fn follow_source(&mut self) {
        let mut fates: BTreeMap<&[u8], Fate> = BTreeMap::new();
        let mut said: BTreeSet<&[u8]> = BTreeSet::new();
        let source = self.source;
        for dir in &source.dirs {
            let parent = match dir.path.is_empty() {
                true => None,
                false => fates.get(split(&dir.path).0).copied(),
            };
            let fate = self.folder(dir, parent);
            fates.insert(&dir.path, fate);
            for entry in &dir.entries {
                let path = join(&dir.path, &entry.name);
                match fate {
                    Fate::New => {
                        self.wanted.insert(path.clone());
                        self.step(Verb::Add, path);
                    }
                    Fate::Exists => self.entry(path, entry),
                    Fate::Skip(Verb::Deleted) if self.is_news(&path, entry) => {
                        // Said once, of the folder that the user deleted.
                        let mut top = dir.path.as_slice();
                        while let Some(Fate::Skip(_)) = fates.get(split(top).0) {
                            top = split(top).0;
                        }
                        if said.insert(top) {
                            self.step(Verb::Deleted, top.to_vec());
                        }
                    }
                    Fate::Skip(_) => {}
                }
            }
        }
    }

    /// Whether the source has something here that was not seeded before.
    fn is_news(&self, path: &[u8], entry: &Entry) -> bool {
        let known = self.base.entry(path);
        !known.is_some_and(|known| !known.gone && known.same(entry))
    }

    fn folder(&mut self, dir: &Dir, parent: Option<Fate>) -> Fate {
        let path = &dir.path;
        let known = self.base.node(path);
        match parent {
            None => return Fate::Exists,
            Some(Fate::Skip(verb)) => return Fate::Skip(verb),
            Some(Fate::New) => {}
            Some(Fate::Exists) => match self.look.find(path) {
                Found::Dir => return Fate::Exists,
                Found::Absent if known.is_some() => {
                    return Fate::Skip(Verb::Deleted);
                }
                Found::Absent => {}
                Found::Other if self.untouched_entry(known, path) => {
                    self.plan.remove.push(path.clone());
                }
                Found::Other | Found::Hidden => {
                    let verb = match known {
                        Some(_) => Verb::Changed,
                        None => Verb::Foreign,
                    };
                    self.step(verb, path.clone());
                    return Fate::Skip(verb);
                }
            },
        }
        self.wanted.insert(path.clone());
        self.step(Verb::Add, path.clone());
        Fate::New
    }

    fn entry(&mut self, path: Vec<u8>, entry: &Entry) {
        let known = self.base.node(&path);
        if !self.is_news(&path, entry) {
            return;
        }
        let verb = match (self.look.find(&path), known) {
            (Found::Absent, None) => Verb::Add,
            (Found::Absent, Some(_)) => Verb::Deleted,
            (Found::Dir, Some(Node::Dir(_))) => match self.untouched_below(&path) {
                Some(inner) => {
                    self.plan.remove.extend(inner);
                    self.plan.remove.push(path.clone());
                    Verb::Update
                }
                None => Verb::Changed,
            },
            (Found::Other, Some(Node::Entry(recorded))) if self.look.holds(&path, recorded) => {
                // A mode that the platform or the user changed stays, with the new content.
                let mode = self.look.mode(&path).unwrap_or(recorded.attrs.mode);
                if mode != recorded.attrs.mode {
                    self.modes.push((path.clone(), mode));
                }
                Verb::Update
            }
            (Found::Other, _) if self.look.holds(&path, entry) => return,
            (_, Some(_)) => Verb::Changed,
            (_, None) => Verb::Foreign,
        };
        if verb.acts() {
            self.wanted.insert(path.clone());
        }
        self.step(verb, path);
    }

    fn untouched_entry(&self, known: Option<Node<'_>>, path: &[u8]) -> bool {
        matches!(known, Some(Node::Entry(recorded)) if self.look.holds(path, recorded))
    }

    /// All that is in a seeded folder of the volume, where every bit of it is as seeded.
    fn untouched_below(&self, path: &[u8]) -> Option<Vec<Vec<u8>>> {
        let mut inner = Vec::new();
        let mut left = vec![path.to_vec()];
        while let Some(dir) = left.pop() {
            self.base.dir(&dir)?;
            for name in self.look.names(&dir) {
                let path = join(&dir, &name);
                match self.look.find(&path) {
                    Found::Dir => left.push(path.clone()),
                    Found::Other if self.untouched_entry(self.base.node(&path), &path) => {}
                    _ => return None,
                }
                inner.push(path);
            }
        }
        Some(inner)
    }

    /// Looks after what the base has and the source has not.
    fn follow_base(&mut self, prune: bool) {
        let base = self.base;
        for dir in &base.dirs {
            // Where the source now has a file in a folder's place, the folder was dealt with there.
            if self.under_an_entry(&dir.path) {
                continue;
            }
            for entry in &dir.entries {
                let path = join(&dir.path, &entry.name);
                if self.source.node(&path).is_none() && self.lost(&path, entry, prune) {
                    let gone = Entry {
                        gone: true,
                        ..entry.clone()
                    };
                    insert(&mut self.plan.next, base, &dir.path, Some(gone));
                }
            }
            let lost = !dir.path.is_empty() && self.source.node(&dir.path).is_none();
            if lost && self.look.find(&dir.path) == Found::Dir {
                match prune {
                    // Only where it is empty by then.
                    true => self.plan.remove.push(dir.path.clone()),
                    false => insert(&mut self.plan.next, base, &dir.path, None),
                }
            }
        }
        self.plan.next.sort();
    }

    fn under_an_entry(&self, mut path: &[u8]) -> bool {
        while !path.is_empty() {
            if self.source.entry(path).is_some() {
                return true;
            }
            path = split(path).0;
        }
        false
    }

    /// Decides on an entry that the source no longer has; true where the base keeps it in mind.
    fn lost(&mut self, path: &[u8], entry: &Entry, prune: bool) -> bool {
        if self.look.find(path) != Found::Other || !self.look.holds(path, entry) {
            // Deleted or changed: the user's from now on.
            return false;
        }
        if prune {
            self.plan.remove.push(path.to_vec());
            self.step(Verb::Remove, path.to_vec());
        } else if !entry.gone {
            self.step(Verb::Gone, path.to_vec());
        }
        !prune
    }
}

/// Adds what the source no longer has to the next base, with the folders that lead there.
fn insert(tree: &mut Tree, base: &Tree, dir: &[u8], entry: Option<Entry>) {
    let mut path = dir;
    while tree.dirs.iter().all(|d| d.path != path) {
        let Some(known) = base.dir(path) else { return };
        tree.dirs.push(Dir {
            gone: true,
            ..known.clone_empty()
        });
        path = split(path).0;
    }
    if let (Some(found), Some(entry)) = (tree.dirs.iter_mut().find(|d| d.path == dir), entry) {
        found.entries.push(entry);
    }
}

fn set_mode(tree: &mut Tree, path: &[u8], mode: u32) {
    let (parent, name) = split(path);
    let dir = tree.dirs.iter_mut().find(|d| d.path == parent);
    if let Some(entry) = dir.and_then(|d| d.entries.iter_mut().find(|e| e.name == name)) {
        entry.attrs.mode = mode;
    }
}

#[cfg(test)]
mod tests;
