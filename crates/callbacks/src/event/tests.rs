use super::*;
use std::time::{Duration, SystemTime};

fn at(secs: u64) -> Timestamp {
    Timestamp(SystemTime::UNIX_EPOCH + Duration::from_secs(secs))
}

fn json(what: Happening) -> serde_json::Value {
    let event = Source::new("5d1f", "build.v1", "build-pod").event(at(1), what);
    serde_json::from_slice(&event.to_json()).unwrap()
}

fn compile() -> StepRef {
    StepRef {
        name: "compile".into(),
        number: 2,
    }
}

#[test]
fn a_task_event_is_a_cloud_event() {
    assert_eq!(
        json(Happening::TaskStarted),
        serde_json::json!({
            "specversion": "1.0",
            "id": "5d1f-build_v1-task-started",
            "source": "/baton/run/5d1f/tasks/build.v1",
            "type": "dev.baton.task.started",
            "time": "1970-01-01T00:00:01.000000Z",
            "datacontenttype": "application/json",
            "data": {"task": "build.v1"},
        })
    );
    let end = json(Happening::TaskFinished(TaskEnd {
        outcome: TaskOutcome::Failed,
        exit_code: 3,
        failed_step: Some("compile".into()),
        started_at: at(1),
        finished_at: at(2),
        message: String::new(),
    }));
    assert_eq!(
        end["data"],
        serde_json::json!({
            "task": "build.v1", "outcome": "Failed", "exitCode": 3, "failedStep": "compile",
            "startedAt": "1970-01-01T00:00:01.000000Z",
            "finishedAt": "1970-01-01T00:00:02.000000Z",
        })
    );
}

#[test]
fn a_step_event_names_its_step() {
    let retrying = json(Happening::StepRetrying {
        step: compile(),
        attempt: 1,
        reason: Reason::OomKilled,
        exit_code: 137,
        delay_ms: 1000,
    });
    assert_eq!(retrying["subject"], "compile");
    assert_eq!(retrying["id"], "5d1f-build_v1-step-2-retrying-1");
    assert_eq!(
        retrying["data"],
        serde_json::json!({
            "task": "build.v1", "step": "compile", "number": 2, "attempts": 1,
            "reason": "OOMKilled", "exitCode": 137, "delayMs": 1000,
        })
    );
    let mut record = Record::new(Reason::Error, 3, at(9));
    record.attempts = 2;
    let finished = json(Happening::StepFinished {
        step: compile(),
        record,
    });
    assert_eq!(finished["data"]["reason"], "Error");
    assert_eq!(finished["data"]["exitCode"], 3);
    assert_eq!(finished["data"]["attempts"], 2);
    assert_eq!(
        finished["data"]["finishedAt"],
        "1970-01-01T00:00:09.000000Z"
    );
}

#[test]
fn no_two_happenings_of_a_run_share_an_id() {
    let step = |number| StepRef {
        name: format!("s{number}"),
        number,
    };
    let source = Source::new("r", "t", "p");
    let mut ids: Vec<_> = (1..4)
        .flat_map(|n| {
            [
                Happening::StepStarted { step: step(n) },
                Happening::StepRetrying {
                    step: step(n),
                    attempt: 1,
                    reason: Reason::Error,
                    exit_code: 1,
                    delay_ms: 0,
                },
                Happening::StepRetrying {
                    step: step(n),
                    attempt: 2,
                    reason: Reason::Error,
                    exit_code: 1,
                    delay_ms: 0,
                },
                Happening::StepFinished {
                    step: step(n),
                    record: Record::new(Reason::Error, 1, at(1)),
                },
            ]
        })
        .chain([Happening::TaskStarted])
        .map(|what| source.event(at(1), what).id)
        .collect();
    let all = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), all);
}

#[test]
fn names_read_back() {
    for kind in Kind::ALL {
        assert_eq!(Kind::from_name(kind.name()), Some(kind));
        assert_eq!(kind.cloud_type(), format!("dev.baton.{}", kind.name()));
    }
    assert_eq!(Kind::from_name("task.exploded"), None);
}
