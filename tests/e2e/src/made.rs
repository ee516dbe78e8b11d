//! The Jobs that are made in a namespace while a test runs.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{Namespace, Series};

/// Every Job that is ever made in a namespace, from now on.
#[derive(Debug)]
pub struct Made<'a> {
    ns: &'a Namespace,
    seen: Series,
}

impl<'a> Made<'a> {
    /// Follows them.
    pub fn follow(ns: &'a Namespace) -> Self {
        let seen = ns.series("jobs", job);
        Self { ns, seen }
    }

    /// How many Jobs of each name there were.
    pub fn stop(self) -> BTreeMap<String, usize> {
        // The watch may be late with the newest, which are still there.
        let there = self.ns.list("jobs", "");
        let there = there.iter().filter_map(job);
        let distinct: BTreeSet<String> = there.chain(self.seen.stop()).collect();
        let mut made = BTreeMap::new();
        for line in &distinct {
            let (name, _) = line.split_once(' ').expect("a name and a UID");
            *made.entry(name.to_owned()).or_default() += 1;
        }
        made
    }
}

/// A Job's name and UID.
fn job(job: &Value) -> Option<String> {
    let text = |key: &str| job["metadata"][key].as_str();
    Some(format!("{} {}", text("name")?, text("uid")?))
}
