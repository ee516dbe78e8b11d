//! What is known of a task's run: the fold of its notices, for the table, JSON and the report.

use std::collections::VecDeque;

use baton_protocol::{Reason, Timestamp, exit};
use baton_steps::{Cause, Kind, NotRun, Notice, Outcome, Phase, Plan, StepState};

/// Largest part of a step's output that is kept from its beginning, and again from its end, in bytes.
const MAX_LOG_PART: usize = 256 << 10;

/// A task's run so far.
#[derive(Debug, Clone)]
pub struct Story {
    /// The task's name.
    pub task: String,
    /// Where it was read from: a file's name, or `-`.
    pub source: String,
    /// What a person should know of this run besides.
    pub notes: Vec<String>,
    /// When the first step could start.
    pub started_at: Option<Timestamp>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Steps, `finally` steps and sidecars, by number.
    pub steps: Vec<StepStory>,
}

/// What is known of a step.
#[derive(Debug, Clone)]
pub struct StepStory {
    /// Its number.
    pub number: u32,
    /// What the number stands for.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// What it runs, as a person would write it.
    pub command: String,
    /// How it stands.
    pub state: StepState,
    /// When a sidecar was ready.
    pub ready_at: Option<Timestamp>,
    /// Its attempts, in order.
    pub attempts: Vec<Attempt>,
    /// The results that it left.
    pub results: Vec<(String, Vec<u8>)>,
    /// What it printed.
    pub log: Log,
}

/// One start of a step's command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// When.
    pub started_at: Timestamp,
    /// When and how it failed, where another attempt followed.
    pub failure: Option<(Timestamp, Reason, i32)>,
}

impl Story {
    /// The story of a plan that did not begin.
    pub fn new(task: &str, source: &str, plan: &Plan) -> Story {
        let steps = plan.numbered().map(|(number, kind, name)| StepStory {
            number,
            kind,
            name: name.to_owned(),
            command: String::new(),
            state: StepState::Pending,
            ready_at: None,
            attempts: Vec::new(),
            results: Vec::new(),
            log: Log::default(),
        });
        Story {
            task: task.to_owned(),
            source: source.to_owned(),
            notes: Vec::new(),
            started_at: None,
            outcome: None,
            steps: steps.collect(),
        }
    }

    /// The step of this number.
    pub fn step(&self, number: u32) -> Option<&StepStory> {
        self.steps
            .get(usize::try_from(number).ok()?.checked_sub(1)?)
    }

    /// The same, to change it.
    pub fn step_mut(&mut self, number: u32) -> Option<&mut StepStory> {
        self.steps
            .get_mut(usize::try_from(number).ok()?.checked_sub(1)?)
    }

    /// Takes the next notice.
    pub fn apply(&mut self, notice: &Notice) {
        match notice {
            Notice::TaskStarted { at } => self.started_at = Some(*at),
            Notice::StepStarted {
                number,
                attempt,
                at,
                ..
            } => self.change(*number, |step| {
                step.attempts.push(Attempt {
                    started_at: *at,
                    failure: None,
                });
                step.state = StepState::Running {
                    since: *at,
                    attempt: *attempt,
                };
            }),
            Notice::StepRetrying {
                number,
                reason,
                exit_code,
                at,
                ..
            } => self.change(*number, |step| {
                if let Some(attempt) = step.attempts.last_mut() {
                    attempt.failure = Some((*at, *reason, *exit_code));
                }
            }),
            Notice::SidecarReady { number, at } => {
                self.change(*number, |step| step.ready_at = Some(*at));
            }
            Notice::StepFinished { number, state, .. } => {
                self.change(*number, |step| step.state = state.clone());
            }
            Notice::TaskStopping { .. } => {}
            Notice::TaskFinished { outcome } => self.end(outcome),
        }
    }

    fn change(&mut self, number: u32, change: impl FnOnce(&mut StepStory)) {
        if let Some(step) = self.step_mut(number) {
            change(step);
        }
    }

    fn end(&mut self, outcome: &Outcome) {
        // What first came in the way of the steps is why the others did not run.
        let why = match &outcome.cause {
            Some(Cause::Cancelled { .. }) => NotRun::Cancelled,
            Some(Cause::TimedOut { .. }) => NotRun::TimedOut,
            Some(
                Cause::Step { number, .. }
                | Cause::Died { number, .. }
                | Cause::NotReady { number, .. },
            ) => NotRun::Failure { number: *number },
            None => NotRun::Cancelled,
        };
        for step in &mut self.steps {
            if matches!(step.state, StepState::Pending | StepState::Released { .. }) {
                step.state = StepState::NotRun { why };
            }
        }
        self.outcome = Some(outcome.clone());
    }

    /// The exit code of the task.
    pub fn exit_code(&self) -> i32 {
        self.outcome
            .as_ref()
            .map_or(exit::FAILED, |outcome| outcome.exit_code)
    }

    /// The end in a sentence without the task's name: `Failed at step test (exit 3) after 3.2s`.
    pub fn headline(&self) -> String {
        use crate::show::style::span;
        let Some(outcome) = &self.outcome else {
            return "did not end".to_owned();
        };
        let took = outcome
            .started_at
            .map(|start| outcome.finished_at.since(start))
            .unwrap_or_default();
        let after = format!("after {}", span(took));
        match &outcome.cause {
            None => format!("{} in {}", outcome.phase, span(took)),
            Some(Cause::Step { name, .. }) if outcome.phase == Phase::Failed => {
                let code = self.exit_code();
                format!("Failed at step {name} (exit {code}) {after}")
            }
            Some(Cause::Died { name, .. }) => format!("Failed at step {name} (it died) {after}"),
            Some(Cause::NotReady { name, .. }) => {
                format!("Failed: sidecar {name} ended before it was ready")
            }
            Some(Cause::Step { name, .. }) => format!("{} at step {name} {after}", outcome.phase),
            Some(Cause::Cancelled { turn } | Cause::TimedOut { turn }) => match self.step(*turn) {
                Some(step) => format!("{} at step {} {after}", outcome.phase, step.name),
                None => format!("{} before the first step", outcome.phase),
            },
        }
    }
}

/// A step's output: its beginning and its end, whole where it is short.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    missing: u64,
}

impl Log {
    /// Takes what was printed next.
    pub fn push(&mut self, bytes: &[u8]) {
        let room = MAX_LOG_PART - self.head.len();
        let (head, rest) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
        self.head.extend_from_slice(head);
        let skip = rest.len().saturating_sub(MAX_LOG_PART);
        let rest = rest.get(skip..).unwrap_or_default();
        let over = (self.tail.len() + rest.len()).saturating_sub(MAX_LOG_PART);
        self.tail.drain(..over);
        self.tail.extend(rest);
        self.missing += (skip + over) as u64;
    }

    /// What was kept, and where in it how many bytes are missing.
    pub fn kept(&self) -> (Vec<u8>, Option<(usize, u64)>) {
        let mut text = self.head.clone();
        text.extend(&self.tail);
        let gap = (self.missing > 0).then_some((self.head.len(), self.missing));
        (text, gap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::{Duration, SystemTime};

    fn at(secs: u64) -> Timestamp {
        Timestamp(SystemTime::UNIX_EPOCH + Duration::from_secs(secs))
    }

    fn outcome(phase: Phase, cause: Option<Cause>) -> Notice {
        Notice::TaskFinished {
            outcome: Outcome {
                phase,
                exit_code: 3,
                cause,
                started_at: Some(at(1)),
                finished_at: at(4),
            },
        }
    }

    #[test]
    fn steps_whose_turn_never_came_did_not_run() {
        let mut story = Story::new("t", "-", &Plan::of_steps(["a", "b"]));
        story.apply(&Notice::TaskStarted { at: at(1) });
        story.apply(&Notice::StepStarted {
            number: 1,
            kind: Kind::Step,
            attempt: 1,
            at: at(2),
        });
        let cause = Cause::Died {
            number: 1,
            name: "a".to_owned(),
            how: baton_steps::Death::Signal(9),
        };
        story.apply(&outcome(Phase::Failed, Some(cause)));
        assert_eq!(
            story.steps[1].state,
            StepState::NotRun {
                why: NotRun::Failure { number: 1 }
            }
        );
        assert_eq!(story.headline(), "Failed at step a (it died) after 3.0s");
    }

    #[test]
    fn headlines() {
        let mut story = Story::new("t", "-", &Plan::of_steps(["a", "b"]));
        let step = Cause::Step {
            number: 2,
            name: "b".to_owned(),
            reason: Reason::Error,
            exit_code: 3,
            message: String::new(),
        };
        for (phase, cause, want) in [
            (Phase::Succeeded, None, "Succeeded in 3.0s"),
            (
                Phase::Failed,
                Some(step),
                "Failed at step b (exit 3) after 3.0s",
            ),
            (
                Phase::TimedOut,
                Some(Cause::TimedOut { turn: 2 }),
                "TimedOut at step b after 3.0s",
            ),
            (
                Phase::Cancelled,
                Some(Cause::Cancelled { turn: 0 }),
                "Cancelled before the first step",
            ),
        ] {
            story.apply(&outcome(phase, cause));
            assert_eq!(story.headline(), want);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))] // megabytes each

        #[test]
        fn a_log_keeps_its_beginning_and_its_end(pieces in proptest::collection::vec(0..2 * MAX_LOG_PART, 0..8)) {
            let mut log = Log::default();
            let mut all = Vec::new();
            for (i, len) in pieces.into_iter().enumerate() {
                let piece: Vec<u8> = (0..len).map(|n| (n / 7 + i) as u8).collect();
                log.push(&piece);
                all.extend(piece);
            }
            let (text, gap) = log.kept();
            match gap {
                None => prop_assert!(text == all),
                Some((at, missing)) => {
                    prop_assert_eq!(text.len() as u64 + missing, all.len() as u64);
                    prop_assert!(text[..at] == all[..at]);
                    prop_assert!(text[at..] == all[all.len() - (text.len() - at)..]);
                    prop_assert_eq!(text.len(), 2 * MAX_LOG_PART);
                }
            }
        }
    }
}
