//! `spec.schedule` of a JobFlow or Task: the object is the template of runs that come by the clock.

use std::time::Duration;

use baton_protocol::Timestamp;
pub use baton_schedule::{Concurrency, CronError, ZoneError};
use baton_schedule::{Cron, Zone};
use serde::{Deserialize, Serialize};

/// Runs that succeeded and are kept where nothing is said.
pub const KEPT_SUCCESSFUL: u32 = 3;
/// Other runs that are over and are kept where nothing is said.
pub const KEPT_FAILED: u32 = 1;
/// Most runs of each of these that can be kept.
pub const MAX_KEPT: u32 = 1000;
/// Longest deadline of a start, in seconds: a year.
pub const MAX_STARTING_DEADLINE: u64 = 366 * 24 * 3600;
/// Most active runs that a status names.
pub const MAX_ACTIVE_NAMED: usize = 100;

/// When runs begin, and what becomes of them: as a native CronJob has it. An object with a schedule does
/// not run itself. Each run is an object of its own, of the same kind, with the same spec but for this.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ScheduleSpec {
    /// When runs begin: minute, hour, day of the month, month and day of the week, or @yearly, @monthly,
    /// @weekly, @daily or @hourly.
    pub cron: String,
    /// The time zone of these times, by its name in the IANA database; Etc/UTC where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// What becomes of a run that is due while another is active.
    #[serde(skip_serializing_if = "ConcurrencyPolicy::is_allow")]
    pub concurrency_policy: ConcurrencyPolicy,
    /// How late a run may begin, in seconds; any time where nothing is said. One that is later is missed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starting_deadline_seconds: Option<u64>,
    /// How many runs that succeeded are kept; 3 where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub successful_runs_history_limit: Option<u32>,
    /// How many runs that failed, or were cancelled, are kept; 1 where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_runs_history_limit: Option<u32>,
    /// No run begins; those that are active go on.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
}

/// What becomes of a run that is due while another is active.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum ConcurrencyPolicy {
    /// Both run.
    #[default]
    Allow,
    /// It waits for the end of the other, and is missed where the next one is due by then.
    Forbid,
    /// The other is deleted, and it takes its place.
    Replace,
}

impl ConcurrencyPolicy {
    fn is_allow(&self) -> bool {
        *self == ConcurrencyPolicy::Allow
    }
}

/// Why a schedule cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// The expression.
    #[error("spec.schedule.cron: {0}")]
    Cron(#[from] CronError),
    /// The time zone.
    #[error("spec.schedule.timeZone: {0}")]
    Zone(#[from] ZoneError),
}

impl ScheduleSpec {
    /// The time zone that it names.
    ///
    /// # Errors
    /// Where there is none of this name.
    pub fn zone(&self) -> Result<Zone, ZoneError> {
        match &self.time_zone {
            Some(name) => Zone::named(name),
            None => Ok(Zone::utc()),
        }
    }

    /// The schedule as it is planned by.
    ///
    /// # Errors
    /// Where the expression or the time zone cannot be read; a valid object's can.
    pub fn read(&self) -> Result<baton_schedule::Schedule, ScheduleError> {
        let kept = |given: Option<u32>, usual| {
            let kept = given.unwrap_or(usual).min(MAX_KEPT);
            usize::try_from(kept).unwrap_or_default()
        };
        let deadline = self.starting_deadline_seconds;
        Ok(baton_schedule::Schedule {
            cron: self.cron.parse::<Cron>()?,
            zone: self.zone()?,
            concurrency: match self.concurrency_policy {
                ConcurrencyPolicy::Allow => Concurrency::Allow,
                ConcurrencyPolicy::Forbid => Concurrency::Forbid,
                ConcurrencyPolicy::Replace => Concurrency::Replace,
            },
            starting_deadline: deadline
                .map(|seconds| Duration::from_secs(seconds.min(MAX_STARTING_DEADLINE))),
            keep_successful: kept(self.successful_runs_history_limit, KEPT_SUCCESSFUL),
            keep_failed: kept(self.failed_runs_history_limit, KEPT_FAILED),
            is_suspended: self.suspend,
        })
    }
}

/// What is known of a schedule: a part of the status of its JobFlow or Task, whose phase is `Scheduled`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ScheduleStatus {
    /// When the last run that was begun was due.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub last_schedule_time: Option<Timestamp>,
    /// The name of that run.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub last_run: String,
    /// When a run succeeded last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub last_successful_time: Option<Timestamp>,
    /// When the next run is due; nothing where the schedule is suspended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub next_schedule_time: Option<Timestamp>,
    /// The names of the runs that are active, the oldest first; at most 100 of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub active: Vec<String>,
    /// How many are active.
    pub active_count: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_as_a_cronjob_has_it() {
        let spec: ScheduleSpec = serde_json::from_str(r#"{"cron": "@daily"}"#).unwrap();
        let read = spec.read().unwrap();
        assert_eq!(read.zone, Zone::utc());
        assert_eq!(read.concurrency, Concurrency::Allow);
        assert_eq!((read.keep_successful, read.keep_failed), (3, 1));
        assert_eq!((read.starting_deadline, read.is_suspended), (None, false));
        assert_eq!(
            serde_json::to_string(&spec).unwrap(),
            r#"{"cron":"@daily"}"#
        );
    }

    #[test]
    fn a_mistake_names_its_field() {
        let spec = |cron: &str, zone: &str| ScheduleSpec {
            cron: cron.to_owned(),
            time_zone: Some(zone.to_owned()),
            ..ScheduleSpec::default()
        };
        let said = |spec: ScheduleSpec| spec.read().unwrap_err().to_string();
        assert_eq!(
            said(spec("61 * * * *", "Etc/UTC")),
            "spec.schedule.cron: the minute: \"61\": expected 0 to 59, found 61"
        );
        let zone = said(spec("@daily", "Mars/Olympus"));
        assert!(
            zone.starts_with("spec.schedule.timeZone: there is no"),
            "{zone}"
        );
    }
}
