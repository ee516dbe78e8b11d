//! From one status of a Task to the next: what happened in between.
//!
//! Pure. A status is written at most once a second, so that several things may have happened; they
//! are told in the order in which they did.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use baton_api::status::{StepPhase, StepStatus, TaskStatus};
use baton_protocol::Timestamp;
use baton_steps::{Kind, Notice};

use super::states::{after, kind, outcome, state};

/// What was told of one run.
#[derive(Debug, Default)]
pub struct Telling {
    started: bool,
    over: bool,
    steps: BTreeMap<u32, Told>,
}

#[derive(Debug, Default)]
struct Told {
    /// The last attempt whose start was told.
    attempt: u32,
    /// The last attempt whose failure was told.
    retried: u32,
    ready: bool,
    over: bool,
}

impl Telling {
    /// Takes the next status of the run, and gives what is new in it.
    pub fn status(&mut self, status: &TaskStatus) -> Vec<Notice> {
        let mut news = Vec::new();
        if let Some(at) = status.started_at
            && !std::mem::replace(&mut self.started, true)
        {
            news.push(Notice::TaskStarted { at });
        }
        let is_sidecar = |step: &&StepStatus| kind(step.kind) == Kind::Sidecar;
        for sidecar in status.steps.iter().filter(is_sidecar) {
            self.began(sidecar, &mut news);
            self.ready(sidecar, &mut news);
        }
        for step in status.steps.iter().filter(|s| !is_sidecar(s)) {
            self.began(step, &mut news);
            self.ended(step, status, &mut news);
        }
        for sidecar in status.steps.iter().filter(is_sidecar) {
            self.ended(sidecar, status, &mut news);
        }
        if let Some(outcome) = outcome(status)
            && !std::mem::replace(&mut self.over, true)
        {
            news.push(Notice::TaskFinished { outcome });
        }
        news
    }

    /// A step printed something before its start was told: it has begun.
    pub fn printed(&mut self, number: u32, of: Kind, at: Timestamp) -> Option<Notice> {
        let told = self.steps.entry(number).or_default();
        if told.attempt > 0 || told.over {
            return None;
        }
        told.attempt = 1;
        Some(Notice::StepStarted {
            number,
            kind: of,
            attempt: 1,
            at,
        })
    }

    /// Whether a step's start can be told: it follows the ends of those before it.
    pub fn is_due(&self, number: u32, of: Kind) -> bool {
        let known = |before: u32| self.steps.get(&before).is_some_and(|told| told.over);
        of == Kind::Sidecar || (1..number).all(known)
    }

    fn began(&mut self, step: &StepStatus, news: &mut Vec<Notice>) {
        let told = self.steps.entry(step.number).or_default();
        let mut at = step.started_at;
        for retry in &step.retries {
            if retry.attempt > told.retried {
                told.start(step, retry.attempt, at.unwrap_or(retry.at), news);
                told.retried = retry.attempt;
                news.push(Notice::StepRetrying {
                    number: step.number,
                    kind: kind(step.kind),
                    attempt: retry.attempt,
                    reason: retry.reason,
                    exit_code: retry.exit_code,
                    delay_ms: retry.delay_ms,
                    at: retry.at,
                });
            }
            at = Some(after(retry));
        }
        if let Some(at) = at {
            told.start(step, step.attempts.max(1), at, news);
        }
    }

    fn ready(&mut self, sidecar: &StepStatus, news: &mut Vec<Notice>) {
        let told = self.steps.entry(sidecar.number).or_default();
        if sidecar.ready && !std::mem::replace(&mut told.ready, true) {
            let at = sidecar.started_at;
            news.push(Notice::SidecarReady {
                number: sidecar.number,
                at: at.unwrap_or(Timestamp(std::time::UNIX_EPOCH)),
            });
        }
    }

    fn ended(&mut self, step: &StepStatus, status: &TaskStatus, news: &mut Vec<Notice>) {
        let told = self.steps.entry(step.number).or_default();
        let over = matches!(step.state, StepPhase::Succeeded | StepPhase::Failed);
        if over && !std::mem::replace(&mut told.over, true) {
            news.push(Notice::StepFinished {
                number: step.number,
                kind: kind(step.kind),
                state: state(step, status.phase),
            });
        }
    }
}

impl Told {
    /// Tells that an attempt began, where that is news. Of a step that is over, whose command never
    /// ran, nothing began.
    fn start(&mut self, step: &StepStatus, attempt: u32, at: Timestamp, news: &mut Vec<Notice>) {
        if attempt <= self.attempt || self.over {
            return;
        }
        self.attempt = attempt;
        news.push(Notice::StepStarted {
            number: step.number,
            kind: kind(step.kind),
            attempt,
            at,
        });
    }
}

/// Holds back a step's end until all that it printed is shown, and with it whatever came later.
#[derive(Debug, Default)]
pub struct Gate {
    waiting: VecDeque<Notice>,
}

impl Gate {
    /// Something happened.
    pub fn push(&mut self, notice: Notice) {
        self.waiting.push_back(notice);
    }

    /// The next that can be shown, where the output of these steps is still to come.
    pub fn pop(&mut self, to_come: &BTreeSet<u32>) -> Option<Notice> {
        let blocked = match self.waiting.front()? {
            Notice::StepFinished { number, .. } => to_come.contains(number),
            Notice::TaskFinished { .. } => !to_come.is_empty(),
            _ => false,
        };
        if blocked {
            return None;
        }
        self.waiting.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_api::status::{RetryStatus, StepKind, TaskPhase};
    use baton_protocol::Reason;
    use std::time::{Duration, UNIX_EPOCH};

    fn at(secs: u64) -> Timestamp {
        Timestamp(UNIX_EPOCH + Duration::from_secs(secs))
    }

    fn step(number: u32, state: StepPhase, attempts: u32) -> StepStatus {
        StepStatus {
            name: format!("s{number}"),
            number,
            state,
            attempts,
            started_at: (attempts > 0).then(|| at(number.into())),
            finished_at: Some(at(u64::from(number) + 1)),
            reason: "Completed".to_owned(),
            ..StepStatus::default()
        }
    }

    fn status(phase: TaskPhase, steps: Vec<StepStatus>) -> TaskStatus {
        TaskStatus {
            phase,
            run: 1,
            started_at: Some(at(0)),
            finished_at: phase.is_over().then(|| at(9)),
            steps,
            ..TaskStatus::default()
        }
    }

    fn short(notices: &[Notice]) -> Vec<String> {
        let short = notices.iter().map(|n| match n {
            Notice::TaskStarted { .. } => "begin".to_owned(),
            Notice::StepStarted {
                number, attempt, ..
            } => format!("start {number}.{attempt}"),
            Notice::StepRetrying {
                number, attempt, ..
            } => format!("retry {number}.{attempt}"),
            Notice::SidecarReady { number, .. } => format!("ready {number}"),
            Notice::StepFinished { number, .. } => format!("end {number}"),
            Notice::TaskStopping { .. } => "stop".to_owned(),
            Notice::TaskFinished { .. } => "over".to_owned(),
        });
        short.collect()
    }

    #[test]
    fn what_happened_between_two_statuses() {
        use StepPhase::{NotRun, Running, Succeeded, Waiting};
        let mut telling = Telling::default();
        let mut sidecar = step(4, Running, 1);
        sidecar.kind = StepKind::Sidecar;
        sidecar.ready = true;
        let first = status(
            TaskPhase::Running,
            vec![
                step(1, Running, 1),
                step(2, Waiting, 0),
                step(3, Waiting, 0),
                sidecar.clone(),
            ],
        );
        let news = telling.status(&first);
        assert_eq!(short(&news), ["begin", "start 4.1", "ready 4", "start 1.1"]);
        assert!(telling.status(&first).is_empty(), "told twice");
        sidecar.state = Succeeded;
        let last = status(
            TaskPhase::Succeeded,
            vec![
                step(1, Succeeded, 1),
                step(2, Succeeded, 1),
                step(3, NotRun, 0),
                sidecar,
            ],
        );
        let news = telling.status(&last);
        assert_eq!(
            short(&news),
            ["end 1", "start 2.1", "end 2", "end 4", "over"]
        );
    }

    #[test]
    fn attempts_are_told_one_after_the_other() {
        let mut telling = Telling::default();
        let mut tried = step(1, StepPhase::Running, 3);
        let retry = |attempt: u32| RetryStatus {
            attempt,
            reason: Reason::Error,
            exit_code: 3,
            delay_ms: 500,
            at: at(u64::from(attempt) * 10),
        };
        tried.retries = vec![retry(1), retry(2)];
        let news = telling.status(&status(TaskPhase::Running, vec![tried.clone()]));
        let all = [
            "begin",
            "start 1.1",
            "retry 1.1",
            "start 1.2",
            "retry 1.2",
            "start 1.3",
        ];
        assert_eq!(short(&news), all);
        let third = Timestamp(at(20).0 + Duration::from_millis(500));
        assert!(matches!(news.last(), Some(Notice::StepStarted { at, .. }) if *at == third));
        tried.retries.push(retry(3));
        let waits = telling.status(&status(TaskPhase::Running, vec![tried]));
        assert_eq!(short(&waits), ["retry 1.3"]);
    }

    #[test]
    fn what_is_printed_tells_of_the_start() {
        let mut telling = Telling::default();
        assert!(!telling.is_due(2, Kind::Step));
        assert!(telling.is_due(1, Kind::Step) && telling.is_due(9, Kind::Sidecar));
        telling.status(&status(
            TaskPhase::Running,
            vec![step(1, StepPhase::Succeeded, 1)],
        ));
        assert!(telling.is_due(2, Kind::Step));
        let told = telling.printed(2, Kind::Step, at(1));
        assert!(matches!(
            told,
            Some(Notice::StepStarted {
                number: 2,
                attempt: 1,
                ..
            })
        ));
        assert_eq!(telling.printed(2, Kind::Step, at(2)), None);
        let running = status(TaskPhase::Running, vec![step(2, StepPhase::Running, 1)]);
        assert!(telling.status(&running).is_empty());
    }

    #[test]
    fn an_end_waits_for_the_log() {
        let mut gate = Gate::default();
        let mut telling = Telling::default();
        let over = status(TaskPhase::Succeeded, vec![step(1, StepPhase::Succeeded, 1)]);
        for notice in telling.status(&over) {
            gate.push(notice);
        }
        let mut shown = |to_come: &[u32]| {
            let to_come = to_come.iter().copied().collect();
            short(&std::iter::from_fn(|| gate.pop(&to_come)).collect::<Vec<_>>())
        };
        assert_eq!(shown(&[1, 2]), ["begin", "start 1.1"]);
        assert!(shown(&[1]).is_empty());
        assert_eq!(shown(&[2]), ["end 1"]);
        assert!(shown(&[2]).is_empty());
        assert_eq!(shown(&[]), ["over"]);
    }
}
