//! The kinds that the commands know, and how people name objects of them.

use std::fmt;
use std::str::FromStr;

/// A kind of object that Baton runs in a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Ordered steps in one pod.
    Task,
    /// A graph of Jobs and Tasks.
    JobFlow,
    /// A Job on every node.
    DaemonJob,
}

impl Kind {
    /// All of them, in the order in which they are looked for.
    pub const ALL: [Kind; 3] = [Kind::Task, Kind::JobFlow, Kind::DaemonJob];

    /// As a manifest has it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Task => "Task",
            Kind::JobFlow => "JobFlow",
            Kind::DaemonJob => "DaemonJob",
        }
    }

    /// As people write it: `task`, `jobflow`, `daemonjob`.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Task => "task",
            Kind::JobFlow => "jobflow",
            Kind::DaemonJob => "daemonjob",
        }
    }

    /// As the API server has it in its paths.
    pub fn plural(self) -> &'static str {
        match self {
            Kind::Task => "tasks",
            Kind::JobFlow => "jobflows",
            Kind::DaemonJob => "daemonjobs",
        }
    }

    fn short(self) -> &'static str {
        match self {
            Kind::Task => "btask",
            Kind::JobFlow => "jf",
            Kind::DaemonJob => "dj",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Kind {
    type Err = String;

    /// Reads a kind as kubectl takes it: `jobflow`, `JobFlows`, `jf`, `jobflows.baton.dev`.
    fn from_str(text: &str) -> Result<Kind, String> {
        let lower = text.to_ascii_lowercase();
        let word = lower.strip_suffix(".baton.dev").unwrap_or(&lower);
        let found = Kind::ALL
            .into_iter()
            .find(|kind| [kind.word(), kind.plural(), kind.short()].contains(&word));
        found.ok_or_else(|| {
            let known = Kind::ALL.map(Kind::word).join(", ");
            format!("{text:?} is no kind that runs; there are {known}")
        })
    }
}

/// An object as people name it: `NAME`, or `KIND/NAME` where one name has several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its kind, where it was said.
    pub kind: Option<Kind>,
    /// Its name.
    pub name: String,
}

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Named, String> {
        let (kind, name) = match text.split_once('/') {
            Some((kind, name)) => (Some(kind.parse()?), name),
            None => (None, text),
        };
        if name.is_empty() || name.contains('/') {
            return Err("write it as NAME or KIND/NAME".to_owned());
        }
        let name = name.to_owned();
        Ok(Named { kind, name })
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Some(kind) => write!(f, "{kind}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_objects() {
        let named = |text: &str| text.parse::<Named>();
        let of = |kind, name: &str| {
            let name = name.to_owned();
            Ok(Named { kind, name })
        };
        assert_eq!(named("build"), of(None, "build"));
        for flow in ["jobflow/f", "JobFlow/f", "jf/f", "jobflows.baton.dev/f"] {
            assert_eq!(named(flow), of(Some(Kind::JobFlow), "f"), "{flow}");
        }
        assert_eq!(named("dj/x").unwrap().to_string(), "daemonjob/x");
        assert!(named("pod/x").unwrap_err().contains("jobflow"));
        for bad in ["", "task/", "task/a/b"] {
            assert!(named(bad).is_err(), "{bad:?}");
        }
    }
}
