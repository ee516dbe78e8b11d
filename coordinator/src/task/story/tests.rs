use super::*;
use crate::task::fold::{
    self,
    tests::{at, plan},
};
use baton_api::status::PodStatusRef;
use baton_events::What;
use baton_steps::{Outcome, Phase, StepState};

fn fresh() -> TaskStatus {
    TaskStatus {
        run: 1,
        pod: Some(PodStatusRef {
            name: "t-1".into(),
            uid: "u-1".into(),
            ..PodStatusRef::default()
        }),
        steps: fold::steps(&plan()),
        ..TaskStatus::default()
    }
}

fn facts() -> Vec<(Timestamp, What)> {
    let mut facts = vec![(at(1), What::TaskStarted)];
    for number in 1..=4 {
        let begin = u64::from(number) * 10;
        let mut record = Record::new(Reason::Completed, 0, at(begin + 5));
        record.attempts = 2;
        record.started_at = Some(at(begin + 3));
        facts.push((at(begin), What::StepStarted { number, attempt: 1 }));
        facts.push((
            at(begin + 2),
            What::StepRetrying {
                number,
                attempt: 1,
                reason: Reason::Error,
                exit_code: 1,
                delay_ms: 1,
            },
        ));
        facts.push((
            at(begin + 5),
            What::StepFinished {
                number,
                state: StepState::Done { record },
                results: Vec::new(),
                missing: Vec::new(),
            },
        ));
    }
    let outcome = Outcome {
        phase: Phase::Succeeded,
        exit_code: 0,
        cause: None,
        started_at: Some(at(1)),
        finished_at: at(60),
    };
    facts.push((at(60), What::TaskFinished { outcome }));
    facts
}

#[test]
fn it_only_grows_as_facts_come() {
    let mut status = fresh();
    let mut told: Vec<Event> = Vec::new();
    for (at, what) in facts() {
        fold::fold(&mut status, at, &what);
        let now = story("t", &status);
        assert_eq!(
            now.get(..told.len()),
            Some(told.as_slice()),
            "after {what:?}"
        );
        told = now;
    }
    // The beginning, three for each of four steps, the end; nothing of the sidecar.
    assert_eq!(told.len(), 1 + 4 * 3 + 1);
    assert_eq!(told[0].id, "u-1-t-task-started");
    assert!(told.last().is_some_and(Event::is_final));
    let ids: std::collections::BTreeSet<_> = told.iter().map(|e| &e.id).collect();
    assert_eq!(ids.len(), told.len());
}

#[test]
fn a_step_is_told_of_when_those_before_it_are_over() {
    let mut status = fresh();
    let (at, second) = facts()
        .into_iter()
        .find(|(_, what)| what.number() == Some(2))
        .unwrap();
    fold::fold(&mut status, at, &second);
    assert_eq!(story("t", &status), []);
}

#[test]
fn it_survives_the_way_through_the_api_server() {
    let mut status = fresh();
    for (at, what) in facts() {
        fold::fold(&mut status, at, &what);
    }
    let read: TaskStatus = serde_json::from_str(&serde_json::to_string(&status).unwrap()).unwrap();
    assert_eq!(story("t", &read), story("t", &status));
}
