//! `spec.schedule`.

use baton_schedule::{Cron, Zone, ZoneError};

use crate::diagnostic::{FieldPath, excerpt};
use crate::report::Report;
use crate::schedule::{MAX_KEPT, MAX_STARTING_DEADLINE, ScheduleSpec};

use super::missing;

/// The schedule of an object, and what excludes one; `path` is that of the object's spec.
pub(super) fn schedule(
    schedule: Option<&ScheduleSpec>,
    is_cancelled: bool,
    path: &FieldPath,
    report: &mut Report,
) {
    let Some(schedule) = schedule else {
        return;
    };
    if is_cancelled {
        let message = "what has a schedule does not run itself; schedule.suspend stops its runs from \
                       beginning";
        report.at(&path.key("cancel"), message);
    }
    let path = path.key("schedule");
    cron(&schedule.cron, &path.key("cron"), report);
    zone(schedule, &path.key("timeZone"), report);
    let seconds = schedule.starting_deadline_seconds;
    if let Some(seconds) = seconds.filter(|s| !(1..=MAX_STARTING_DEADLINE).contains(s)) {
        let message = format!("expected 1 to {MAX_STARTING_DEADLINE}, found {seconds}");
        report.at(&path.key("startingDeadlineSeconds"), message);
    }
    for (field, kept) in [
        (
            "successfulRunsHistoryLimit",
            schedule.successful_runs_history_limit,
        ),
        ("failedRunsHistoryLimit", schedule.failed_runs_history_limit),
    ] {
        if let Some(kept) = kept.filter(|k| *k > MAX_KEPT) {
            report.at(&path.key(field), format!("{kept} is more than {MAX_KEPT}"));
        }
    }
}

/// A part of another object cannot have a schedule of its own.
pub(super) fn none(schedule: Option<&ScheduleSpec>, path: &FieldPath, report: &mut Report) {
    if schedule.is_some() {
        let message = "a part of a JobFlow has no schedule of its own; the JobFlow can have one";
        report.at(&path.key("schedule"), message);
    }
}

fn cron(text: &str, path: &FieldPath, report: &mut Report) {
    if text.trim().is_empty() {
        return missing(report, path);
    }
    if let Err(why) = text.parse::<Cron>() {
        report.at(path, format!("{:?}: {why}", excerpt(text)));
    }
}

fn zone(schedule: &ScheduleSpec, path: &FieldPath, report: &mut Report) {
    let Some(name) = &schedule.time_zone else {
        return;
    };
    match schedule.zone() {
        Ok(_) => {}
        Err(ZoneError::Unknown) => {
            let names = Zone::names();
            let names = names.iter().map(String::as_str);
            let message = format!("{:?}: {}", excerpt(name), ZoneError::Unknown);
            report.suggest(path, message, name, names);
        }
        Err(why @ ZoneError::Spelling(_)) => report.at(path, format!("{name:?}: {why}")),
    }
}
