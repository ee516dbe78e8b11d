//! What has to hold beyond the types: names, references, bounds. Every mistake is reported.

use std::collections::BTreeMap;

use baton_protocol::time::parse_duration;

use crate::diagnostic::{FieldPath, excerpt};
use crate::report::Report;

mod container;
mod flow;
mod job;
mod references;
mod reserved;
mod schedule;
mod task;
mod volumes;

pub(crate) use flow::{daemon, flow, job_template};
pub(crate) use job::job;
pub(crate) use task::{callback_url, task};
pub use volumes::is_quantity;

/// Whether `name` is a DNS-1123 label: lower-case letters, digits and `-`, beginning and ending with
/// a letter or digit, at most 63 bytes.
fn is_label(name: &str) -> bool {
    let ends = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= 63
        && name.starts_with(ends)
        && name.ends_with(ends)
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Whether `name` is a DNS-1123 subdomain, as the names of most objects are.
fn is_subdomain(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_label)
}

fn metadata(metadata: &crate::core::Metadata, path: &FieldPath, report: &mut Report) {
    let bad = "a name is made of lower-case letters, digits, '-' and '.', and begins and ends with \
               a letter or digit";
    if !metadata.name.is_empty() {
        if !is_subdomain(&metadata.name) {
            report.at(
                &path.key("name"),
                format!("{:?}: {bad}", excerpt(&metadata.name)),
            );
        }
    } else if let Some(prefix) = &metadata.generate_name {
        if !is_subdomain(prefix.strip_suffix('-').unwrap_or(prefix)) {
            report.at(
                &path.key("generateName"),
                format!("{:?}: {bad}", excerpt(prefix)),
            );
        }
    } else {
        missing(report, &path.key("name"));
    }
}

fn missing(report: &mut Report, path: &FieldPath) {
    report.at(path, "is missing");
}

/// A name that has to be there and be a label.
fn label(name: &str, path: &FieldPath, report: &mut Report) {
    if name.is_empty() {
        missing(report, path);
    } else if !is_label(name) {
        let message = format!(
            "{:?}: a name is made of lower-case letters, digits and '-', begins and ends with a \
             letter or digit, and has at most 63 characters",
            excerpt(name)
        );
        report.at(path, message);
    }
}

/// The names of a name space, and where each was first used.
#[derive(Default)]
struct Names<'a>(BTreeMap<&'a str, FieldPath>);

impl<'a> Names<'a> {
    /// Reports a name that is used already.
    fn insert(&mut self, name: &'a str, path: &FieldPath, report: &mut Report) {
        if name.is_empty() {
            return;
        }
        match self.0.get(name) {
            Some(first) => {
                let message = format!("{:?} is the name of {first} already", excerpt(name));
                report.at(&path.key("name"), message);
            }
            None => {
                self.0.insert(name, path.clone());
            }
        }
    }
}

fn duration(text: Option<&String>, path: &FieldPath, report: &mut Report) {
    if let Some(Err(e)) = text.map(|t| parse_duration(t)) {
        report.at(path, e.to_string());
    }
}

/// Reports unless exactly one of the alternatives is given; `given` holds the names of those that are.
fn exactly_one(given: &[&str], alternatives: &str, path: &FieldPath, report: &mut Report) {
    match given {
        [_] => {}
        [] => report.incomplete(path, format!("has to have one of {alternatives}")),
        [first, second, ..] => {
            let message = format!("{first} and {second} are given; only one of them can be");
            report.at(&path.key(second), message);
        }
    }
}

/// The names of the alternatives that are given.
fn given<'a>(alternatives: &[(&'a str, bool)]) -> Vec<&'a str> {
    alternatives
        .iter()
        .filter_map(|(name, is_given)| is_given.then_some(*name))
        .collect()
}
