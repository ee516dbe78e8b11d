//! The plan against a volume in memory: whatever was seeded, changed and brought by a newer source.

use std::collections::BTreeMap;

use proptest::collection::btree_map;
use proptest::prelude::*;

use super::*;
use crate::seed::tree::{Attrs, Digest, Kind, Time};

/// A volume, or a source: what each path holds. Folders are `None`.
type Paths = BTreeMap<&'static str, Option<u8>>;

/// Paths with every kind of relation, and one that sorts between a folder and what is in it.
const PATHS: [&str; 7] = ["a", "a.b", "a/x", "a/y", "b", "b/z", "b/z/w"];

/// Some files; folders follow from them, and a path is not both.
fn paths() -> impl Strategy<Value = Paths> {
    btree_map(proptest::sample::select(&PATHS[..]), 0..3_u8, 0..6).prop_map(|files| {
        let mut paths = Paths::new();
        for (path, content) in &files {
            let inner = files
                .keys()
                .any(|other| other.starts_with(&format!("{path}/")));
            paths.insert(path, (!inner).then_some(*content));
        }
        for path in files.keys() {
            for (slash, _) in path.match_indices('/') {
                paths.insert(&path[..slash], None);
            }
        }
        paths
    })
}

fn attrs() -> Attrs {
    Attrs {
        mode: 0o644,
        uid: 0,
        gid: 0,
        mtime: Time { secs: 0, nanos: 0 },
    }
}

fn tree(paths: &Paths) -> Tree {
    let dir = |path: &str| Dir {
        path: path.into(),
        attrs: attrs(),
        gone: false,
        entries: Vec::new(),
    };
    let mut tree = Tree {
        dirs: vec![dir("")],
    };
    tree.dirs.extend(
        paths
            .iter()
            .filter(|(_, c)| c.is_none())
            .map(|(p, _)| dir(p)),
    );
    for (path, content) in paths {
        let (parent, name) = split(path.as_bytes());
        let Some(content) = content else { continue };
        let entry = Entry {
            name: name.to_vec(),
            attrs: attrs(),
            kind: Kind::File {
                size: 1,
                digest: Some(Digest(u128::from(*content))),
                same_as: None,
            },
            gone: false,
        };
        let dir = tree.dirs.iter_mut().find(|d| d.path == parent).unwrap();
        dir.entries.push(entry);
    }
    tree.sort();
    tree
}

fn text(path: &[u8]) -> &str {
    std::str::from_utf8(path).unwrap()
}

fn content(entry: &Entry) -> u8 {
    match entry.kind {
        Kind::File {
            digest: Some(Digest(d)),
            ..
        } => u8::try_from(d).unwrap(),
        _ => unreachable!(),
    }
}

struct Memory<'a>(&'a Paths);

impl Look for Memory<'_> {
    fn find(&self, path: &[u8]) -> Found {
        match self.0.get(text(path)) {
            None => Found::Absent,
            Some(None) => Found::Dir,
            Some(Some(_)) => Found::Other,
        }
    }
    fn holds(&self, path: &[u8], entry: &Entry) -> bool {
        self.0.get(text(path)) == Some(&Some(content(entry)))
    }
    fn mode(&self, _: &[u8]) -> Option<u32> {
        Some(0o644)
    }
    fn names(&self, path: &[u8]) -> Vec<Vec<u8>> {
        let inside = self.0.keys().filter(|p| split(p.as_bytes()).0 == path);
        inside.map(|p| split(p.as_bytes()).1.to_vec()).collect()
    }
}

/// Does what a commit does.
fn apply(plan: &Plan, volume: &Paths) -> Paths {
    let mut after: BTreeMap<String, Option<u8>> =
        volume.iter().map(|(p, c)| ((*p).to_owned(), *c)).collect();
    for path in &plan.remove {
        let path = text(path);
        let full = after
            .keys()
            .any(|other| other.starts_with(&format!("{path}/")));
        if !full {
            after.remove(path);
        }
    }
    for dir in &plan.stage.dirs {
        if !dir.path.is_empty() {
            after.entry(text(&dir.path).to_owned()).or_insert(None);
        }
        for entry in &dir.entries {
            let path = join(&dir.path, &entry.name);
            after.insert(text(&path).to_owned(), Some(content(entry)));
        }
    }
    let known = |path: &str| *PATHS.iter().find(|p| **p == path).unwrap();
    after.iter().map(|(p, c)| (known(p), *c)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn an_empty_volume_becomes_the_source(source in paths()) {
        let plan = plan(None, &tree(&source), &Memory(&Paths::new()), false);
        prop_assert_eq!(apply(&plan, &Paths::new()), source);
    }

    #[test]
    fn an_untouched_volume_becomes_the_newer_source(old in paths(), new in paths()) {
        let plan = plan(Some(&tree(&old)), &tree(&new), &Memory(&old), true);
        prop_assert_eq!(apply(&plan, &old), new);
    }

    #[test]
    fn what_the_user_did_stays(old in paths(), user in paths(), new in paths(), prune: bool) {
        let base = tree(&old);
        let plan = plan(Some(&base), &tree(&new), &Memory(&user), prune);
        let after = apply(&plan, &user);
        for path in PATHS {
            let (was, now) = (old.get(path), user.get(path));
            // Files that he changed, and his own.
            if let Some(Some(_)) = now && now != was {
                prop_assert_eq!(after.get(path), now, "{} of the user", path);
            }
            // What he deleted, unless he put something else in its place.
            if was.is_some() && now.is_none() {
                prop_assert_eq!(after.get(path), None, "{} came back", path);
            }
            // Nothing goes that the source still has, and nothing at all without being asked, unless
            // the source now has a file where its folder was.
            let replaced = path.match_indices('/').any(|(at, _)| matches!(new.get(&path[..at]), Some(Some(_))));
            if now.is_some() && !replaced && (new.contains_key(path) || !prune) {
                prop_assert!(after.contains_key(path), "{} went", path);
            }
        }
    }

    #[test]
    fn a_second_run_has_nothing_to_do(old in paths(), user in paths(), new in paths(), prune: bool) {
        let (base, source) = (tree(&old), tree(&new));
        let first = plan(Some(&base), &source, &Memory(&user), prune);
        let after = apply(&first, &user);
        let second = plan(Some(&first.next), &source, &Memory(&after), prune);
        prop_assert!(second.steps.iter().all(|s| !s.verb.acts()), "{:?}", second.steps);
    }

    #[test]
    fn the_next_base_can_be_written_and_read(old in paths(), user in paths(), new in paths()) {
        use crate::seed::manifest::{Manifest, Origin};
        let plan = plan(Some(&tree(&old)), &tree(&new), &Memory(&user), false);
        let next = Manifest {
            version: None,
            origin: Origin::Folder,
            own_root: false,
            tree: plan.next,
            remove: plan.remove,
        };
        prop_assert_eq!(Manifest::parse(&next.encode()), Ok(next));
    }
}
