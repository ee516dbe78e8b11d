//! A template and its runs -> the next thing to do.

use std::collections::{BTreeMap, VecDeque};

use baton_protocol::Timestamp;
use baton_schedule::{Missed, Plan, Seen, plan};

use super::calls::{Done, Op, Target};
use super::object::{Run, Template};
use super::present::{present, short};
use crate::child::{Kind, Note};
use crate::metrics::{Metrics, StartOutcome};
use crate::trouble::Trouble;

/// A template, and what is under way for it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) template: Template,
    /// Starts that failed.
    starting: Trouble,
    /// Other calls that failed.
    calling: Trouble,
    /// No run begins that was due until then: it was missed, or cannot have its name.
    settled: Option<Timestamp>,
    /// The last time that was told of as waiting.
    waited: Option<Timestamp>,
    notes: VecDeque<Note>,
    /// Runs that went while a call was under way.
    lost: Vec<String>,
    pub(super) busy: bool,
}

impl Entry {
    pub(super) fn new(template: Template) -> Entry {
        Entry {
            template,
            starting: Trouble::default(),
            calling: Trouble::default(),
            settled: None,
            waited: None,
            notes: VecDeque::new(),
            lost: Vec::new(),
            busy: false,
        }
    }

    /// The next thing to do, and when to look again at the latest.
    pub(super) fn next<K: Kind>(
        &mut self,
        runs: &BTreeMap<String, Run>,
        metrics: &Metrics,
        now: Timestamp,
    ) -> (Option<Op>, Option<Timestamp>) {
        let plan = self.plan(runs, now);
        if plan.as_ref().is_some_and(|p| p.start.is_none()) {
            self.starting = Trouble::default();
        }
        let status = present(&self.template, plan.as_ref(), runs, &self.starting, now);
        let plan = plan.unwrap_or_default();
        self.tell::<K>(&plan, metrics);
        let (held, blocked) = (self.starting.wait(now), self.calling.wait(now));
        let wake = [plan.next, held, blocked].into_iter().flatten().min();
        let target = |name: &String| {
            runs.get(name).map(|run| Target {
                name: name.clone(),
                uid: run.uid.clone(),
            })
        };
        let start = plan.start.filter(|_| held.is_none()).map(|due| Op::Start {
            stop: plan.stop.iter().filter_map(target).collect(),
            due,
        });
        // What the status has to say comes before anything is forgotten.
        let upkeep = || match status == self.template.status {
            false => Some(Op::Write(Box::new(status))),
            true => plan.forget.iter().find_map(target).map(Op::Forget),
        };
        let op = start.or_else(|| blocked.is_none().then(upkeep).flatten());
        let op = op.or_else(|| self.notes.pop_front().map(Op::Emit));
        (op, wake)
    }

    /// What is planned; nothing where the schedule cannot be followed.
    fn plan(&self, runs: &BTreeMap<String, Run>, now: Timestamp) -> Option<Plan> {
        let schedule = self.template.schedule.as_ref().ok()?;
        let runs: Vec<_> = runs.values().map(|r| r.run.clone()).collect();
        let last = self.template.status.schedule.last_schedule_time;
        let seen = Seen {
            created: self.template.created,
            last: last.max(self.settled),
            runs: &runs,
        };
        Some(plan(schedule, &seen, now))
    }

    /// Tells of what does not begin, once.
    fn tell<K: Kind>(&mut self, plan: &Plan, metrics: &Metrics) {
        if let Some(Missed { last, count }) = plan.missed {
            self.settled = self.settled.max(Some(last));
            metrics.count_starts(K::KIND, StartOutcome::Missed, count);
            let message = match count {
                1 => format!("the run of {} was missed", short(last)),
                _ => format!("{count} runs were missed, the last one of {}", short(last)),
            };
            self.note(true, "MissedSchedule", message);
        }
        if let Some(due) = plan.waits.filter(|due| self.waited < Some(*due)) {
            self.waited = Some(due);
            let message = format!("the run of {} waits: another is active", short(due));
            self.note(false, "Waiting", message);
        }
    }

    /// A run is over.
    pub(super) fn ended(&mut self, run: &Run) {
        let message = format!("run {} is over: {}", run.run.name, run.phase);
        self.note(false, "RunFinished", message);
    }

    /// A run went.
    pub(super) fn lost(&mut self, uid: &str) {
        if self.busy {
            self.lost.push(uid.to_owned());
        }
    }

    /// Whether a run went while the last call was under way.
    pub(super) fn has_lost(&self, uid: &str) -> bool {
        self.lost.iter().any(|lost| lost == uid)
    }

    /// A call begins.
    pub(super) fn begin(&mut self) {
        self.busy = true;
        self.lost.clear();
    }

    /// A call is over.
    pub(super) fn finish(&mut self, done: &Done, kind: &str, now: Timestamp) {
        self.busy = false;
        match done {
            Done::Started(run, stopped) => {
                self.starting = Trouble::default();
                if self.has_lost(&run.uid) {
                    self.settled = self.settled.max(Some(run.run.due));
                }
                let names: Vec<_> = stopped.iter().map(|t| t.name.as_str()).collect();
                let instead = match names[..] {
                    [] => String::new(),
                    _ => format!(" in place of {}", names.join(", ")),
                };
                let (name, due) = (&run.run.name, short(run.run.due));
                self.note(
                    false,
                    "RunStarted",
                    format!("run {name} of {due} begins{instead}"),
                );
            }
            Done::Taken { name, due } => {
                self.settled = self.settled.max(Some(*due));
                let message = format!(
                    "the run of {} cannot begin: there is a {kind} {name} that is not its",
                    short(*due)
                );
                self.note(true, "CannotStart", message);
            }
            Done::Failed { of_start, why } => {
                let name = &self.template.name;
                tracing::warn!(kind, name, error = why, "a call about a schedule failed");
                let trouble = match of_start {
                    true => &mut self.starting,
                    false => &mut self.calling,
                };
                let is_news = *of_start && trouble.message != *why;
                trouble.add("CannotStart", why.clone(), now);
                if is_news {
                    self.note(true, "CannotStart", why.clone());
                }
            }
            Done::Template(_) | Done::Forgotten(_) => self.calling = Trouble::default(),
            Done::Gone | Done::Nothing => {}
        }
    }

    fn note(&mut self, is_warning: bool, reason: &str, message: String) {
        self.notes.push_back(Note {
            is_warning,
            reason: reason.to_owned(),
            message,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::child::Object;
    use crate::flow::object::JobFlowKind;
    use crate::schedule::make::run_of;
    use crate::schedule::object::Thin;
    use crate::task::object::TaskKind;
    use baton_schedule::RunState;
    use serde_json::{Value, json};

    fn at(text: &str) -> Timestamp {
        serde_json::from_value(json!(text)).unwrap()
    }

    fn object(schedule: Value) -> Object<TaskKind> {
        serde_json::from_value(json!({
            "metadata": {
                "name": "t", "namespace": "n", "uid": "u", "generation": 1,
                "creationTimestamp": "2030-01-01T12:00:30Z",
            },
            "spec": {"schedule": schedule, "steps": [{"name": "a"}]},
        }))
        .unwrap()
    }

    fn entry(schedule: Value) -> Entry {
        let template = Template::answered(Thin::of(object(schedule)));
        Entry::new(template.unwrap())
    }

    fn run(due: &str, phase: &str) -> Run {
        let mut run = run_of(&object(json!({"cron": "* * * * *"})), at(due));
        run.metadata.uid = Some(format!("r-{due}"));
        let mut run = Run::answered(&run.metadata).unwrap();
        run.phase = phase.to_owned();
        run.run.state = match phase {
            "Succeeded" => RunState::Succeeded,
            "Failed" => RunState::Failed,
            _ => RunState::Active,
        };
        run.finished_at = (phase == "Succeeded").then(|| at("2030-01-01T12:30:00Z"));
        run
    }

    fn runs(all: Vec<Run>) -> BTreeMap<String, Run> {
        all.into_iter().map(|r| (r.run.name.clone(), r)).collect()
    }

    fn next(entry: &mut Entry, runs: &BTreeMap<String, Run>, now: &str) -> Option<Op> {
        let metrics = Metrics::new();
        let (op, wake) = entry.next::<TaskKind>(runs, &metrics, at(now));
        assert!(wake.is_none_or(|w| w > at(now)), "it would never sleep");
        op
    }

    /// Takes a status as durable.
    fn written(entry: &mut Entry, op: Option<Op>) -> Value {
        let Some(Op::Write(status)) = op else {
            panic!("expected a status, found {op:?}");
        };
        entry.template.status = *status.clone();
        serde_json::to_value(&status).unwrap()
    }

    #[test]
    fn a_run_is_made_then_told_then_what_is_old_goes() {
        let mut entry = entry(json!({"cron": "*/5 * * * *", "successfulRunsHistoryLimit": 0}));
        let op = next(&mut entry, &runs(vec![]), "2030-01-01T12:01:00Z");
        let status = written(&mut entry, op);
        assert_eq!(status["phase"], "Scheduled");
        assert_eq!(
            status["schedule"]["nextScheduleTime"],
            "2030-01-01T12:05:00.000000Z"
        );
        assert_eq!(
            status["message"],
            "the next run begins at 2030-01-01T12:05:00Z"
        );
        assert!(next(&mut entry, &runs(vec![]), "2030-01-01T12:04:59Z").is_none());

        let op = next(&mut entry, &runs(vec![]), "2030-01-01T12:05:00Z");
        let due = at("2030-01-01T12:05:00Z");
        assert!(
            matches!(op, Some(Op::Start { due: d, .. }) if d == due),
            "{op:?}"
        );
        let active = runs(vec![run("2030-01-01T12:05:00Z", "Running")]);
        let op = next(&mut entry, &active, "2030-01-01T12:05:00Z");
        let status = written(&mut entry, op);
        assert_eq!(status["progress"], "1 active");
        assert_eq!(
            status["schedule"]["lastScheduleTime"],
            "2030-01-01T12:05:00.000000Z"
        );
        assert_eq!(status["schedule"]["lastRun"], "t-31558325");
        assert_eq!(status["schedule"]["active"], json!(["t-31558325"]));

        let over = runs(vec![run("2030-01-01T12:05:00Z", "Succeeded")]);
        let op = next(&mut entry, &over, "2030-01-01T12:06:00Z");
        let status = written(&mut entry, op);
        assert_eq!(
            status["schedule"]["lastSuccessfulTime"],
            "2030-01-01T12:30:00.000000Z"
        );
        assert_eq!(status.get("progress"), None);
        let op = next(&mut entry, &over, "2030-01-01T12:06:00Z");
        assert!(matches!(op, Some(Op::Forget(t)) if t.name == "t-31558325"));
        assert!(next(&mut entry, &runs(vec![]), "2030-01-01T12:06:00Z").is_none());
    }

    #[test]
    fn a_start_that_fails_is_said_and_tried_again() {
        let mut entry = entry(json!({"cron": "*/5 * * * *"}));
        let now = "2030-01-01T12:05:00Z";
        let op = next(&mut entry, &runs(vec![]), now);
        assert!(matches!(op, Some(Op::Start { .. })));
        let failed = Done::Failed {
            of_start: true,
            why: "starting the run: exceeded quota".to_owned(),
        };
        entry.finish(&failed, "Task", at(now));
        let op = next(&mut entry, &runs(vec![]), now);
        let status = written(&mut entry, op);
        assert_eq!(status["reason"], "CannotStart");
        assert_eq!(status["conditions"][0]["status"], "False");
        assert!(matches!(next(&mut entry, &runs(vec![]), now), Some(Op::Emit(n)) if n.is_warning));
        assert!(
            next(&mut entry, &runs(vec![]), now).is_none(),
            "not at once"
        );
        let op = next(&mut entry, &runs(vec![]), "2030-01-01T12:05:01Z");
        assert!(matches!(op, Some(Op::Start { .. })), "{op:?}");
    }

    #[test]
    fn a_status_that_cannot_be_written_keeps_no_run_from_beginning() {
        let mut entry = entry(json!({"cron": "*/5 * * * *"}));
        let failed = Done::Failed {
            of_start: false,
            why: "writing the status: no".to_owned(),
        };
        entry.finish(&failed, "Task", at("2030-01-01T12:04:59.5Z"));
        assert!(next(&mut entry, &runs(vec![]), "2030-01-01T12:04:59.6Z").is_none());
        let op = next(&mut entry, &runs(vec![]), "2030-01-01T12:05:00Z");
        assert!(matches!(op, Some(Op::Start { .. })), "{op:?}");
    }

    #[test]
    fn a_name_that_is_anothers_is_left_alone_until_the_next_time() {
        let mut entry = entry(json!({"cron": "*/5 * * * *"}));
        let taken = Done::Taken {
            name: "t-31558325".to_owned(),
            due: at("2030-01-01T12:05:00Z"),
        };
        entry.finish(&taken, "Task", at("2030-01-01T12:05:00Z"));
        let op = next(&mut entry, &runs(vec![]), "2030-01-01T12:05:01Z");
        let status = written(&mut entry, op);
        assert_eq!(status["schedule"].get("lastScheduleTime"), None);
        assert!(matches!(
            next(&mut entry, &runs(vec![]), "2030-01-01T12:05:01Z"),
            Some(Op::Emit(n)) if n.reason == "CannotStart"
        ));
        let op = next(&mut entry, &runs(vec![]), "2030-01-01T12:10:00Z");
        assert!(matches!(op, Some(Op::Start { .. })), "{op:?}");
    }

    #[test]
    fn what_is_missed_is_told_once() {
        let mut entry = entry(json!({"cron": "*/5 * * * *", "startingDeadlineSeconds": 60}));
        let now = "2030-01-01T12:12:00Z";
        let op = next(&mut entry, &runs(vec![]), now);
        written(&mut entry, op);
        let op = next(&mut entry, &runs(vec![]), now);
        let Some(Op::Emit(note)) = op else {
            panic!("expected an event, found {op:?}");
        };
        assert_eq!(
            note.message,
            "2 runs were missed, the last one of 2030-01-01T12:10:00Z"
        );
        assert!(next(&mut entry, &runs(vec![]), now).is_none());
    }

    #[test]
    fn a_schedule_that_cannot_be_read_says_so() {
        let mut entry = entry(json!({"cron": "*/5 * * *"}));
        let op = next(&mut entry, &runs(vec![]), "2030-01-01T12:12:00Z");
        let status = written(&mut entry, op);
        assert_eq!(
            (status["phase"].as_str(), status["reason"].as_str()),
            (Some("Scheduled"), Some("Invalid"))
        );
        assert!(
            status["message"]
                .as_str()
                .unwrap()
                .starts_with("spec.schedule.cron: expected five")
        );
    }

    #[test]
    fn runs_belong_to_their_kind() {
        let flow: Object<JobFlowKind> = serde_json::from_value(json!({
            "metadata": {"name": "f", "uid": "u"}, "spec": {"schedule": {"cron": "@daily"}},
        }))
        .unwrap();
        let run = run_of(&flow, at("2030-01-01T00:00:00Z"));
        let owner = &run.metadata.owner_references.unwrap()[0];
        assert_eq!((owner.kind.as_str(), owner.name.as_str()), ("JobFlow", "f"));
    }
}
