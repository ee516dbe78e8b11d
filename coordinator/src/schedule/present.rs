//! What is known and planned -> the template's status.

use std::collections::BTreeMap;
use std::time::Duration;

use baton_api::schedule::{MAX_ACTIVE_NAMED, ScheduleStatus};
use baton_protocol::Timestamp;
use baton_schedule::{Plan, RunState};

use super::make::run_name;
use super::object::{Run, Template, TemplateStatus};
use crate::conditions;
use crate::trouble::Trouble;

/// The condition of a template: True while its runs begin by the clock.
const CONDITION: &str = "Scheduled";
const PHASE: &str = "Scheduled";

/// The status of a template; `plan` is none where its schedule cannot be followed.
pub(super) fn present(
    template: &Template,
    plan: Option<&Plan>,
    runs: &BTreeMap<String, Run>,
    trouble: &Trouble,
    now: Timestamp,
) -> TemplateStatus {
    let mut status = template.status.clone();
    status.observed_generation = template.generation;
    status.phase = PHASE.to_owned();
    schedule(&mut status.schedule, template, plan, runs);
    status.progress = match status.schedule.active_count {
        0 => String::new(),
        count => format!("{count} active"),
    };
    let (value, reason, message) = state(template, plan, &status.schedule, trouble);
    // A condition's reason may not be empty.
    let why = if reason.is_empty() {
        "Scheduled"
    } else {
        reason
    };
    let said = (value, why, message.as_str());
    conditions::set(
        &mut status.conditions,
        CONDITION,
        template.generation,
        said,
        now,
    );
    (status.reason, status.message) = (reason.to_owned(), message);
    status
}

fn schedule(
    status: &mut ScheduleStatus,
    template: &Template,
    plan: Option<&Plan>,
    runs: &BTreeMap<String, Run>,
) {
    if let Some(last) = plan.and_then(|p| p.last) {
        status.last_schedule_time = Some(last);
        status.last_run = run_name(&template.name, last);
    }
    let succeeded = runs.values().filter(|r| r.run.state == RunState::Succeeded);
    let succeeded = succeeded.filter_map(|r| r.finished_at).max();
    status.last_successful_time = status.last_successful_time.max(succeeded);
    status.next_schedule_time = plan.and_then(|p| p.next);
    let active = runs.values().filter(|r| r.run.state == RunState::Active);
    let mut active: Vec<_> = active.map(|r| (r.run.due, r.run.name.clone())).collect();
    active.sort();
    status.active_count = u32::try_from(active.len()).unwrap_or(u32::MAX);
    let named = active.into_iter().take(MAX_ACTIVE_NAMED);
    status.active = named.map(|(_, name)| name).collect();
}

/// The condition's value, one word where there is something to say, and a sentence.
fn state(
    template: &Template,
    plan: Option<&Plan>,
    status: &ScheduleStatus,
    trouble: &Trouble,
) -> (&'static str, &'static str, String) {
    let suspended = template.schedule.as_ref().is_ok_and(|s| s.is_suspended);
    match (&template.schedule, plan) {
        (Err(why), _) => ("False", "Invalid", why.clone()),
        _ if suspended => (
            "False",
            "Suspended",
            "no run begins: it is suspended".to_owned(),
        ),
        _ if trouble.is_some() => ("False", "CannotStart", trouble.message.clone()),
        (
            _,
            Some(Plan {
                waits: Some(due), ..
            }),
        ) => {
            let message = format!(
                "the run of {} waits for the end of the active one",
                short(*due)
            );
            ("True", "Waiting", message)
        }
        _ => match status.next_schedule_time {
            Some(next) => (
                "True",
                "",
                format!("the next run begins at {}", short(next)),
            ),
            None => ("True", "", "no run begins any more".to_owned()),
        },
    }
}

/// A time of full seconds for people.
pub(super) fn short(at: Timestamp) -> String {
    let since =
        at.0.duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
    let full = Timestamp(std::time::UNIX_EPOCH + Duration::from_secs(since.as_secs()));
    full.to_string().replace(".000000Z", "Z")
}
