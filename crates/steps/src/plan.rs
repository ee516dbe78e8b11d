//! What a step pod is to run: the part of a Task that its node has to know.

use std::collections::BTreeSet;
use std::time::Duration;

use baton_protocol::layout::{MAX_CAUSE_BYTES, MAX_NAME_BYTES, is_name};
use baton_protocol::text::cut;
use baton_protocol::time::MAX_DURATION;
use serde::{Deserialize, Serialize};

pub use baton_protocol::invocation::DEFAULT_GRACE;

/// Largest plan that is read, in bytes of JSON.
pub const MAX_PLAN_BYTES: usize = 256 << 10;
/// Most steps, `finally` steps and sidecars of one plan, together.
pub const MAX_STEPS: usize = 1000;
/// The one version of the written form.
const VERSION: u32 = 1;

/// What a step pod runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The steps, in order: numbers 1 to n. At least one.
    pub steps: Vec<Step>,
    /// The steps that run at the end, whatever happened: numbers n+1 to K.
    pub finally: Vec<Step>,
    /// What runs beside the steps: numbers K+1 and up.
    pub sidecars: Vec<Sidecar>,
    /// Longest time from the beginning to the end of the last of `steps`.
    pub timeout: Option<Duration>,
    /// Time that a step or sidecar which is told to stop has for it.
    pub grace: Duration,
}

/// A step or `finally` step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Its name, unique among all of the plan's.
    pub name: String,
}

/// A sidecar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sidecar {
    /// Its name, unique among all of the plan's.
    pub name: String,
    /// It has a readiness probe, and the first step waits until it is ready.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub awaited: bool,
}

/// What a number of a plan stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// One of the plan's steps.
    Step,
    /// A `finally` step.
    Finally,
    /// A sidecar.
    Sidecar,
}

/// Why a plan is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Longer than [`MAX_PLAN_BYTES`].
    #[error("the plan is {0} bytes long, more than {MAX_PLAN_BYTES}")]
    TooLong(usize),
    /// No JSON of this form.
    #[error("the plan is malformed: {0}")]
    Malformed(String),
    /// Of a version that this program does not know.
    #[error("the plan is of version {0}; this program knows version {VERSION}")]
    Version(u32),
    /// Without steps.
    #[error("the plan has no steps")]
    NoSteps,
    /// More than [`MAX_STEPS`].
    #[error("the plan has {0} steps and sidecars, more than {MAX_STEPS}")]
    TooMany(usize),
    /// A name that cannot be one.
    #[error(
        "{0:?} cannot name a step: letters, digits, '-', '_' and '.', at most {MAX_NAME_BYTES}, \
         starting with a letter, digit or '_'"
    )]
    Name(String),
    /// A name that is used twice.
    #[error("two steps or sidecars of the plan have the name {0:?}")]
    Duplicate(String),
    /// Longer than [`MAX_DURATION`].
    #[error("the plan's {0} is longer than a year")]
    Duration(&'static str),
}

impl Plan {
    /// A plan of steps alone.
    pub fn of_steps<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Plan {
        let step = |name: S| Step { name: name.into() };
        Plan {
            steps: names.into_iter().map(step).collect(),
            finally: Vec::new(),
            sidecars: Vec::new(),
            timeout: None,
            grace: DEFAULT_GRACE,
        }
    }

    /// Checks the plan against its bounds.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn check(&self) -> Result<(), PlanError> {
        if self.steps.is_empty() {
            return Err(PlanError::NoSteps);
        }
        let count = self.steps.len() + self.finally.len() + self.sidecars.len();
        if count > MAX_STEPS {
            return Err(PlanError::TooMany(count));
        }
        let mut names = BTreeSet::new();
        for (_, _, name) in self.numbered() {
            if !is_name(name) {
                return Err(PlanError::Name(name.chars().take(MAX_NAME_BYTES).collect()));
            }
            if !names.insert(name) {
                return Err(PlanError::Duplicate(name.to_owned()));
            }
        }
        if self.timeout.is_some_and(|t| t > MAX_DURATION) {
            return Err(PlanError::Duration("timeout"));
        }
        if self.grace > MAX_DURATION {
            return Err(PlanError::Duration("grace"));
        }
        Ok(())
    }

    /// Number of steps, without the `finally` steps: n.
    pub fn main_count(&self) -> u32 {
        count(self.steps.len())
    }

    /// Number of steps and `finally` steps: K.
    pub fn last(&self) -> u32 {
        count(self.steps.len() + self.finally.len())
    }

    /// The order that says finished: K+1.
    pub fn finished(&self) -> u32 {
        self.last().saturating_add(1)
    }

    /// Number of steps, `finally` steps and sidecars: the highest number.
    pub fn total(&self) -> u32 {
        self.last().saturating_add(count(self.sidecars.len()))
    }

    /// Everything with its number and kind, by number.
    pub fn numbered(&self) -> impl Iterator<Item = (u32, Kind, &str)> {
        let steps = self.steps.iter().map(|s| (Kind::Step, s.name.as_str()));
        let finally = self
            .finally
            .iter()
            .map(|s| (Kind::Finally, s.name.as_str()));
        let sidecars = self
            .sidecars
            .iter()
            .map(|s| (Kind::Sidecar, s.name.as_str()));
        (1..)
            .zip(steps.chain(finally).chain(sidecars))
            .map(|(number, (kind, name))| (number, kind, name))
    }

    /// What the number stands for; `None` where it stands for nothing.
    pub fn kind(&self, number: u32) -> Option<Kind> {
        match number {
            0 => None,
            n if n <= self.main_count() => Some(Kind::Step),
            n if n <= self.last() => Some(Kind::Finally),
            n if n <= self.total() => Some(Kind::Sidecar),
            _ => None,
        }
    }

    /// Whether the number is that of a sidecar that the first step waits for.
    pub fn is_awaited(&self, number: u32) -> bool {
        let place = number.checked_sub(self.finished());
        let sidecar = place.and_then(|i| self.sidecars.get(usize::try_from(i).ok()?));
        sidecar.is_some_and(|s| s.awaited)
    }

    /// The name of a number; empty where it stands for nothing.
    pub fn name(&self, number: u32) -> &str {
        let index = usize::try_from(number)
            .unwrap_or(usize::MAX)
            .wrapping_sub(1);
        self.numbered().nth(index).map_or("", |(_, _, name)| name)
    }

    /// Writes the plan as one line of JSON.
    pub fn to_json(&self) -> String {
        let written = Written {
            version: VERSION,
            steps: self.steps.clone(),
            finally: self.finally.clone(),
            sidecars: self.sidecars.clone(),
            timeout_ms: self.timeout.map(millis),
            grace_ms: millis(self.grace),
        };
        serde_json::to_string(&written).unwrap_or_default()
    }

    /// Reads a plan that [`to_json`](Plan::to_json) wrote, and checks it.
    ///
    /// # Errors
    /// Where the text is no such plan, or the plan is past its bounds.
    pub fn from_json(text: &str) -> Result<Plan, PlanError> {
        if text.len() > MAX_PLAN_BYTES {
            return Err(PlanError::TooLong(text.len()));
        }
        let malformed =
            |e: serde_json::Error| PlanError::Malformed(cut(&e.to_string(), MAX_CAUSE_BYTES));
        let Version { version } = serde_json::from_str(text).map_err(malformed)?;
        if version != VERSION {
            return Err(PlanError::Version(version));
        }
        let written: Written = serde_json::from_str(text).map_err(malformed)?;
        let plan = Plan {
            steps: written.steps,
            finally: written.finally,
            sidecars: written.sidecars,
            timeout: written.timeout_ms.map(Duration::from_millis),
            grace: Duration::from_millis(written.grace_ms),
        };
        plan.check()?;
        Ok(plan)
    }
}

/// The version alone: it is read first, so that a newer plan is told from a broken one.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    version: u32,
    steps: Vec<Step>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    finally: Vec<Step>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    sidecars: Vec<Sidecar>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
    grace_ms: u64,
}

fn millis(duration: Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}

fn count(len: usize) -> u32 {
    len.try_into().unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plan() -> Plan {
        Plan {
            finally: vec![Step {
                name: "tidy".into(),
            }],
            sidecars: vec![Sidecar {
                name: "db".into(),
                awaited: true,
            }],
            timeout: Some(Duration::from_secs(60)),
            ..Plan::of_steps(["build", "test"])
        }
    }

    #[test]
    fn the_form_is_stable() {
        let json = r#"{"version":1,"steps":[{"name":"build"},{"name":"test"}],"finally":[{"name":"tidy"}],"sidecars":[{"name":"db","awaited":true}],"timeoutMs":60000,"graceMs":10000}"#;
        assert_eq!(plan().to_json(), json);
        assert_eq!(Plan::from_json(json), Ok(plan()));
    }

    #[test]
    fn numbers_run_through_steps_finally_steps_and_sidecars() {
        let plan = plan();
        assert_eq!(
            (
                plan.main_count(),
                plan.last(),
                plan.finished(),
                plan.total()
            ),
            (2, 3, 4, 4)
        );
        assert_eq!(plan.kind(3), Some(Kind::Finally));
        assert_eq!((plan.kind(4), plan.name(4)), (Some(Kind::Sidecar), "db"));
        assert_eq!((plan.kind(0), plan.kind(5), plan.name(0)), (None, None, ""));
    }

    #[test]
    fn what_is_out_of_bounds_is_refused() {
        let refused = |text: &str| Plan::from_json(text).unwrap_err();
        assert_eq!(
            refused(r#"{"version":2,"stages":[]}"#),
            PlanError::Version(2)
        );
        assert_eq!(
            refused(r#"{"version":1,"steps":[],"graceMs":1}"#),
            PlanError::NoSteps
        );
        assert!(matches!(
            refused(r#"{"version":1,"steps":[{"name":"a","x":1}],"graceMs":1}"#),
            PlanError::Malformed(_)
        ));
        assert_eq!(
            refused(&Plan::of_steps(["a", "b", "a"]).to_json()),
            PlanError::Duplicate("a".into())
        );
        assert_eq!(
            refused(&Plan::of_steps(["../a"]).to_json()),
            PlanError::Name("../a".into())
        );
        assert_eq!(
            refused(&Plan::of_steps((0..1001).map(|i| i.to_string())).to_json()),
            PlanError::TooMany(1001)
        );
        assert_eq!(
            refused(r#"{"version":1,"steps":[{"name":"a"}],"graceMs":99999999999999}"#),
            PlanError::Duration("grace")
        );
        let field = "x".repeat(100_000);
        let long = refused(&format!(
            r#"{{"version":1,"steps":[{{"name":"a","{field}":1}}],"graceMs":1}}"#
        ));
        assert!(matches!(long, PlanError::Malformed(_)) && long.to_string().len() < 400);
        assert!(matches!(
            refused(&" ".repeat(MAX_PLAN_BYTES + 1)),
            PlanError::TooLong(_)
        ));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\{(\"version\":1,)?(\"[a-z]{1,8}\":(-?[0-9]{1,25}|\"x\"|null|\\[\\]))*\\}|.{0,80}") {
            let _ = Plan::from_json(&text);
        }
    }
}
