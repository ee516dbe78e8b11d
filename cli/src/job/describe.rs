//! A Job's story for programs and for the report.

use std::time::Duration;

use baton_protocol::{Record, Timestamp};
use serde::Serialize;
use serde_json::Value;

use super::condition::{Condition, ConditionType};
use super::story::{ContainerStory, JobStory, PodPhase, PodStory};
use crate::report;

/// Most containers that a report shows.
const MAX_REPORTED: usize = 500;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Run<'a> {
    kind: &'static str,
    name: &'a str,
    source: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<&'a Condition>,
    cancelled: bool,
    exit_code: i32,
    started_at: Timestamp,
    finished_at: Timestamp,
    succeeded: u32,
    failed: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    completed_indexes: &'a str,
    notes: &'a [String],
    pods: Vec<Pod<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Pod<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u32>,
    phase: PodPhase,
    restarts: usize,
    started_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<Timestamp>,
    containers: Vec<Container<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Container<'a> {
    name: &'a str,
    init: bool,
    restarts: usize,
    /// How each of its starts ended, in order.
    records: Vec<&'a Record>,
}

/// What is known of a Job's run, as JSON.
pub fn json(story: &JobStory) -> Value {
    let run = Run {
        kind: "Job",
        name: &story.name,
        source: &story.source,
        condition: story.condition.as_ref(),
        cancelled: story.cancelled,
        exit_code: story.exit_code(),
        started_at: story.started_at,
        finished_at: story.finished_at,
        succeeded: story.succeeded,
        failed: story.failed,
        completed_indexes: &story.completed_indexes,
        notes: &story.notes,
        pods: story.pods.iter().map(pod).collect(),
    };
    // Every key is a text, so there is nothing that JSON cannot write.
    serde_json::to_value(run).unwrap_or_default()
}

fn pod(pod: &PodStory) -> Pod<'_> {
    let containers = pod.containers.iter().map(|container| Container {
        name: &container.name,
        init: container.init,
        restarts: container.attempts.len().saturating_sub(1),
        records: records(container).collect(),
    });
    Pod {
        name: &pod.name,
        index: pod.index,
        phase: pod.phase,
        restarts: pod.restarts(),
        started_at: pod.started_at,
        finished_at: pod.finished_at,
        containers: containers.collect(),
    }
}

fn records(container: &ContainerStory) -> impl Iterator<Item = &Record> {
    container.attempts.iter().filter_map(|a| a.record.as_ref())
}

/// The containers of pods, as the report wants them: a row for each.
pub fn rows(pods: &[PodStory]) -> impl Iterator<Item = report::StepFacts> {
    pods.iter().flat_map(|pod| {
        let single = pod.containers.len() == 1;
        pod.containers.iter().map(move |container| {
            let name = match single {
                true => pod.name.clone(),
                false => format!("{}/{}", pod.name, container.name),
            };
            row(pod, container, name)
        })
    })
}

/// The facts of a Job's run, as the report wants them: a row for each container.
pub fn facts(story: &JobStory) -> report::Facts {
    let mut notes = story.notes.clone();
    let total: usize = story.pods.iter().map(|p| p.containers.len()).sum();
    if total > MAX_REPORTED {
        notes.push(format!(
            "the first {MAX_REPORTED} of {total} containers are shown"
        ));
    }
    report::Facts {
        kind: "Job".to_owned(),
        name: story.name.clone(),
        origin: match story.source.as_str() {
            "-" => "standard input".to_owned(),
            file => file.to_owned(),
        },
        phase: match &story.condition {
            _ if story.cancelled => report::Phase::Cancelled,
            Some(c) if c.kind == ConditionType::Complete => report::Phase::Succeeded,
            Some(c) if c.reason == "DeadlineExceeded" => report::Phase::TimedOut,
            _ => report::Phase::Failed,
        },
        headline: story.headline(),
        exit_code: story.exit_code(),
        started_at: story.started_at,
        finished_at: story.finished_at,
        steps: rows(&story.pods).take(MAX_REPORTED).collect(),
        results: Vec::new(),
        notes,
        graph: None,
    }
}

fn row(pod: &PodStory, container: &ContainerStory, name: String) -> report::StepFacts {
    let attempts = container.attempts.iter().enumerate().map(|(i, attempt)| {
        let record = attempt.record.as_ref();
        let last = i + 1 == container.attempts.len();
        report::Attempt {
            started_at: attempt.started_at,
            finished_at: record.map(|r| r.finished_at),
            failure: record.filter(|_| !last).map(|r| (r.reason, r.exit_code)),
        }
    });
    let last = container.attempts.last();
    let (text, gap) = container.log.kept();
    report::StepFacts {
        name,
        role: match container.init {
            true => report::Role::Init,
            false => report::Role::Container,
        },
        command: container.command.clone(),
        waiting_since: Some(pod.started_at),
        ready_at: None,
        attempts: attempts.collect(),
        end: match last.map(|a| &a.record) {
            Some(Some(record)) => report::End::Recorded(over_all_starts(pod, container, record)),
            Some(None) => report::End::Died("its end was not seen".to_owned()),
            None => report::End::NotRun,
        },
        log: report::Log {
            text,
            gap: gap.map(|(at, missing)| report::Gap { at, missing }),
        },
    }
}

/// The last record, with what all starts together took.
fn over_all_starts(pod: &PodStory, container: &ContainerStory, last: &Record) -> Record {
    let mut record = last.clone();
    // Of a container in a cluster the last two starts are known, and how many there were.
    let starts = u32::try_from(container.attempts.len()).unwrap_or(u32::MAX);
    record.attempts = record.attempts.max(starts);
    record.user_us = records(container)
        .map(|r| r.user_us)
        .fold(0, u64::saturating_add);
    record.system_us = records(container)
        .map(|r| r.system_us)
        .fold(0, u64::saturating_add);
    record.peak_bytes = records(container).map(|r| r.peak_bytes).max().unwrap_or(0);
    if let Some(first) = container.attempts.first() {
        record.waited_ms = millis(first.started_at.since(pod.started_at));
        record.ran_ms = millis(last.finished_at.since(first.started_at));
    }
    record
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
