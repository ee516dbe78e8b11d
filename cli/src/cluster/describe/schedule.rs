//! What `baton describe` tells of a schedule. Pure.

use baton_api::schedule::{ConcurrencyPolicy, ScheduleSpec, ScheduleStatus};
use baton_protocol::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::super::object::Object;
use super::page::Page;
use crate::show::style::{fit, span};

/// Longest list of runs that is shown, in columns.
const MAX_RUNS: usize = 120;

impl Page {
    /// When an object's runs begin, and which there were; nothing where it has no schedule.
    pub(super) fn schedule(
        &mut self,
        object: &Object,
        status: Option<&ScheduleStatus>,
        now: Timestamp,
    ) {
        let none = ScheduleStatus::default();
        let (Some(spec), status) = (spec(&object.spec), status.unwrap_or(&none)) else {
            return;
        };
        self.title("Schedule");
        let zone = spec.time_zone.as_deref().unwrap_or("Etc/UTC");
        self.field("Cron", &format!("{} in {zone}", spec.cron));
        let policy = match spec.concurrency_policy {
            ConcurrencyPolicy::Allow => "",
            ConcurrencyPolicy::Forbid => "a run waits for the end of the one before",
            ConcurrencyPolicy::Replace => "a run takes the place of the one before",
        };
        self.field("Policy", policy);
        let next = match (spec.suspend, status.next_schedule_time) {
            (true, _) => "suspended: no run begins".to_owned(),
            (false, Some(next)) => format!("{}, in {}", short(next), span(next.since(now))),
            (false, None) => String::new(),
        };
        self.field("Next", &next);
        let ago = |at: Timestamp| format!("{}, {} ago", short(at), span(now.since(at)));
        let last = status.last_schedule_time.map(ago);
        let last = last.map(|last| format!("{last}: {}", status.last_run));
        self.field("Last", &last.unwrap_or_default());
        let succeeded = status.last_successful_time.map(ago);
        self.field("Succeeded", &succeeded.unwrap_or_default());
        let active = match status.active_count {
            0 => String::new(),
            count => format!("{count}: {}", fit(&status.active.join(", "), MAX_RUNS)),
        };
        self.field("Active", &active);
        let label = format!("baton list -l baton.dev/schedule={}", object.name());
        self.field("Runs", &label);
    }
}

/// When the next run of an object begins, in few words; none where none does.
pub(in super::super) fn next_run(object: &Object) -> Option<String> {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Status {
        schedule: Option<ScheduleStatus>,
    }
    let status: Status = object.status().ok()?;
    let next = status.schedule?.next_schedule_time?;
    Some(format!("next {}", short(next)))
}

/// The schedule of a spec, as far as it can be read.
fn spec(spec: &Value) -> Option<ScheduleSpec> {
    ScheduleSpec::deserialize(spec.get("schedule")?).ok()
}

/// A time to the second.
fn short(at: Timestamp) -> String {
    let text = at.to_string();
    match text.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::style::Palette;
    use serde_json::json;

    fn at(text: &str) -> Timestamp {
        serde_json::from_value(json!(text)).unwrap()
    }

    #[test]
    fn a_schedule_is_told() {
        let object: Object = serde_json::from_value(json!({
            "apiVersion": "baton.dev/v1alpha1", "kind": "Task",
            "metadata": {"name": "nightly", "namespace": "n"},
            "spec": {"schedule": {"cron": "0 3 * * *", "timeZone": "Europe/Berlin", "concurrencyPolicy": "Forbid"}},
        }))
        .unwrap();
        let status = ScheduleStatus {
            last_schedule_time: Some(at("2030-01-01T02:00:00Z")),
            last_run: "nightly-31557720".to_owned(),
            next_schedule_time: Some(at("2030-01-02T02:00:00Z")),
            active: vec!["nightly-31557720".to_owned()],
            active_count: 1,
            ..ScheduleStatus::default()
        };
        let mut page = Page::new(Palette(false));
        page.schedule(&object, Some(&status), at("2030-01-01T02:30:00.5Z"));
        let want = "
Schedule
  Cron        0 3 * * * in Europe/Berlin
  Policy      a run waits for the end of the one before
  Next        2030-01-02T02:00:00Z, in 23h 29m
  Last        2030-01-01T02:00:00Z, 30m 01s ago: nightly-31557720
  Active      1: nightly-31557720
  Runs        baton list -l baton.dev/schedule=nightly
";
        assert_eq!(page.text, want);
        let mut scheduled = object.clone();
        scheduled.status = Some(json!({"schedule": status}));
        let next = next_run(&scheduled);
        assert_eq!(next.as_deref(), Some("next 2030-01-02T02:00:00Z"));
        assert_eq!(next_run(&object), None);
        let mut plain = Page::new(Palette(false));
        let object = Object {
            spec: json!({"steps": []}),
            ..object
        };
        plain.schedule(&object, None, at("2030-01-01T02:30:00Z"));
        assert_eq!(plain.text, "");
    }
}
