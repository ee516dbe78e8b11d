//! Which logs of a pod are read, and when: those of the steps one after the other, those of the
//! sidecars beside them.

use std::collections::{BTreeMap, BTreeSet};

use baton_api::status::{StepPhase, TaskStatus};
use baton_steps::{Kind, Plan};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use tokio::sync::mpsc;

use super::logs::{Piece, Reader, Source, Standing};

/// Most pieces that wait to be shown.
const MAX_WAITING: usize = 16;

/// The logs of one run's pod.
pub struct Reading {
    logs: BTreeMap<u32, Log>,
    follow: bool,
    /// The pod was seen, or seen to be gone.
    pod_known: bool,
    tell: mpsc::Sender<(u32, Piece)>,
    pieces: mpsc::Receiver<(u32, Piece)>,
}

struct Log {
    container: String,
    kind: Kind,
    state: State,
    reader: Reader,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not read yet.
    New,
    /// Being read.
    Open,
    /// At its end, as far as can be seen.
    Paused,
    /// Read, or not wanted.
    Done,
}

impl Reading {
    /// The logs of a plan's containers; of those named alone, where some are.
    pub fn new(plan: &Plan, only: &[String], follow: bool) -> Reading {
        let (tell, pieces) = mpsc::channel(MAX_WAITING);
        let logs = plan.numbered().map(|(number, kind, name)| {
            let wanted = only.is_empty() || only.iter().any(|o| o == name);
            let log = Log {
                container: name.to_owned(),
                kind,
                state: if wanted { State::New } else { State::Done },
                reader: Reader::default(),
            };
            (number, log)
        });
        Reading {
            logs: logs.collect(),
            follow,
            pod_known: false,
            tell,
            pieces,
        }
    }

    /// The next piece of any log.
    pub async fn next(&mut self) -> Option<(u32, Piece)> {
        self.pieces.recv().await
    }

    /// The next piece that has come already.
    pub fn try_next(&mut self) -> Option<(u32, Piece)> {
        self.pieces.try_recv().ok()
    }

    /// The pod stands so; `None` where it is gone.
    pub fn pod(&mut self, pod: Option<&Pod>) {
        self.pod_known = true;
        let statuses = pod.and_then(|p| p.status.as_ref());
        let statuses = statuses.and_then(|s| s.container_statuses.as_deref());
        for log in self.logs.values() {
            let found = statuses
                .into_iter()
                .flatten()
                .find(|s| s.name == log.container);
            let state = found.and_then(|s| s.state.as_ref());
            log.reader.stands(match (pod, state) {
                (None, _) => Standing::Gone,
                (_, Some(s)) if s.terminated.is_some() => Standing::Ended,
                (_, Some(s)) if s.running.is_some() => Standing::Running,
                _ => Standing::Waiting,
            });
        }
    }

    /// The Task stands so.
    pub fn status(&mut self, status: &TaskStatus) {
        let over = status.phase.is_over();
        let no_pod = over && status.pod.as_ref().is_none_or(|p| p.name.is_empty());
        for step in &status.steps {
            let Some(log) = self.logs.get_mut(&step.number) else {
                continue;
            };
            let step_over = match step.state {
                StepPhase::Succeeded | StepPhase::Failed | StepPhase::NotRun => true,
                StepPhase::Waiting | StepPhase::Running => over,
            };
            if step_over && log.reader.standing() == Standing::Running {
                log.reader.stands(Standing::Ended);
            }
            // The pod's status comes later than the Task's: a step that ran has a log.
            let never =
                self.pod_known && step.attempts == 0 && log.reader.standing() == Standing::Waiting;
            let silent = step.state == StepPhase::NotRun || never;
            if step_over && silent && log.state == State::New {
                log.state = State::Done;
            }
        }
        if no_pod {
            self.skip(|_| true);
        }
    }

    /// The containers that have no log yet are not waited for.
    pub fn skip_waiting(&mut self) {
        self.skip(|standing| standing == Standing::Waiting);
    }

    fn skip(&mut self, which: impl Fn(Standing) -> bool) {
        for log in self.logs.values_mut() {
            if log.state == State::New && which(log.reader.standing()) {
                log.state = State::Done;
            }
        }
    }

    /// Begins to read what can be read now.
    pub fn advance(&mut self, pods: &Api<Pod>, pod: &str) {
        let mut before_done = true;
        for (number, log) in &mut self.logs {
            let turn = before_done || log.kind == Kind::Sidecar;
            if turn && log.state == State::New && log.reader.standing() != Standing::Waiting {
                log.state = State::Open;
                let source = Source {
                    pods: pods.clone(),
                    pod: pod.to_owned(),
                    container: log.container.clone(),
                    number: *number,
                    follow: self.follow,
                };
                log.reader.read(source, self.tell.clone());
            }
            before_done &= matches!(log.state, State::Paused | State::Done);
        }
    }

    /// A log has come to its end, or seems to have.
    pub fn ended(&mut self, number: u32, surely: bool) {
        if let Some(log) = self.logs.get_mut(&number) {
            log.state = if surely { State::Done } else { State::Paused };
        }
    }

    /// A log that paused goes on.
    pub fn goes_on(&mut self, number: u32) {
        if let Some(log) = self.logs.get_mut(&number)
            && log.state == State::Paused
        {
            log.state = State::Open;
        }
    }

    /// The logs that are to be read, or to be read on.
    pub fn to_come(&self) -> BTreeSet<u32> {
        let logs = self.logs.iter();
        logs.filter(|(_, log)| log.state != State::Done)
            .map(|(number, _)| *number)
            .collect()
    }

    /// What a number stands for.
    pub fn kind(&self, number: u32) -> Kind {
        self.logs.get(&number).map_or(Kind::Step, |log| log.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_api::status::{PodStatusRef, StepStatus, TaskPhase};

    #[test]
    fn a_step_that_ran_has_a_log_though_the_pods_status_is_behind() {
        let plan = Plan::of_steps(["ran", "skipped"].map(str::to_owned));
        let mut reading = Reading::new(&plan, &[], true);
        let step = |number, attempts| StepStatus {
            number,
            attempts,
            state: StepPhase::Succeeded,
            ..StepStatus::default()
        };
        let status = TaskStatus {
            phase: TaskPhase::Succeeded,
            pod: Some(PodStatusRef {
                name: "p".to_owned(),
                ..PodStatusRef::default()
            }),
            steps: vec![step(1, 1), step(2, 0)],
            ..TaskStatus::default()
        };
        reading.pod(Some(&Pod::default()));
        reading.status(&status);
        assert_eq!(reading.to_come(), BTreeSet::from([1]));
        reading.skip_waiting();
        assert!(reading.to_come().is_empty());
    }
}
