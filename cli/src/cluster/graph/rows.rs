//! The containers and steps of a JobFlow's or DaemonJob's run, as the report wants them. Pure.

use std::time::{Duration, UNIX_EPOCH};

use baton_api::flow::JobFlowSpec;
use baton_api::flow_status::{FlowNodeStatus, JobFlowStatus};
use baton_api::status::TaskStatus;
use baton_flow::InstanceId;
use baton_pod::FlowNames;
use baton_pod::names::TOOLS_CONTAINER;
use baton_protocol::{Reason, Record, Timestamp};
use k8s_openapi::api::core::v1::{
    Container, ContainerStateTerminated, ContainerStatus, Pod, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Deserialize;

use super::super::object::Object;
use super::super::states;
use super::kept::Kept;
use super::status::{Status, task_nodes};
use crate::flow::Rows;
use crate::job::plan::PodId;
use crate::job::{Attempt, ContainerStory, PodPhase, PodStory};
use crate::run::story::Story;
use crate::run::task::command_line;
use crate::show::style::{fit, one_line};

/// Most attempts of one Job or Task that are looked for, the last ones.
const MAX_ATTEMPTS: u32 = 100;
/// Longest message of a container, in columns.
const MAX_MESSAGE: usize = 300;
/// The annotation that holds which index of its Job a pod is for.
const INDEX_ANNOTATION: &str = "batch.kubernetes.io/job-completion-index";

/// A Job or Task that a run had.
#[derive(Debug, PartialEq, Eq)]
struct Child {
    /// Its node.
    node: String,
    /// Its own name.
    name: String,
    is_task: bool,
}

/// What a reader has to know who sees a second where a blink was.
const WHOLE_SECONDS: &str = "Kubernetes tells the times of a Job's containers in whole seconds";

/// What is known of the Jobs and Tasks of a run, node after node, and what a person should know of it.
pub(super) fn rows(object: &Object, status: &Status, kept: &Kept) -> (Vec<Rows>, Vec<String>) {
    let (mut unseen, mut of_jobs) = (0, false);
    let of_child = |child: Child| {
        let rows = match child.is_task {
            true => task_story(&child.name, kept).map(|s| Rows::of_task(&child.node, &s)),
            false => Some(Rows::of_pods(&pod_stories(&child.name, kept))),
        };
        let rows = rows.unwrap_or_default();
        unseen += usize::from(rows.steps.is_empty());
        of_jobs |= !child.is_task && !rows.steps.is_empty();
        rows
    };
    let rows = children(object, status).into_iter().map(of_child).collect();
    let unseen = match unseen {
        0 => None,
        1 => Some("of 1 Job or Task no container was seen".to_owned()),
        n => Some(format!("of {n} Jobs and Tasks no container was seen")),
    };
    let times = of_jobs.then(|| WHOLE_SECONDS.to_owned());
    (rows, times.into_iter().chain(unseen).collect())
}

fn children(object: &Object, status: &Status) -> Vec<Child> {
    match status {
        Status::Flow(status) => of_flow(object, status),
        Status::Daemon(status) => {
            let ran = status.nodes.iter().filter(|n| !n.job.is_empty());
            let child = |n: &baton_api::daemon_status::NodeStatus| Child {
                node: n.node.name.clone(),
                name: n.job.clone(),
                is_task: false,
            };
            ran.map(child).collect()
        }
    }
}

/// All attempts of this run: the status names the last one of each, the names of those before it follow
/// from the spec.
fn of_flow(flow: &Object, status: &JobFlowStatus) -> Vec<Child> {
    let tasks = task_nodes(&flow.spec);
    let spec = JobFlowSpec::deserialize(&flow.spec).ok();
    let names = spec.as_ref().map(|spec| (spec, FlowNames::new(spec)));
    let earlier = |node: &FlowNodeStatus, index: usize, attempt: u32| {
        let (spec, names) = names.as_ref()?;
        let node = spec.nodes().position(|n| n.name == node.name)?;
        Some(names.of(flow.name(), spec, InstanceId { node, index }, attempt))
    };
    let mut found = Vec::new();
    for node in &status.nodes {
        let is_task = tasks.contains(&node.name);
        for (index, job) in node.jobs.iter().enumerate() {
            let last = job.attempts;
            let first = (node.earlier_attempts + 1).max(last.saturating_sub(MAX_ATTEMPTS));
            let before = (first..last).filter_map(|attempt| earlier(node, index, attempt));
            let all = before.chain([job.name.clone()]);
            found.extend(all.filter(|name| !name.is_empty()).map(|name| Child {
                node: node.name.clone(),
                name,
                is_task,
            }));
        }
    }
    found
}

fn task_story(name: &str, kept: &Kept) -> Option<Story> {
    let task = kept.task_of(name)?;
    let status: TaskStatus = task.status().ok()?;
    let plan = states::plan(&task.spec, &status);
    let mut story = states::story(name, "", &plan, &status);
    if let Some(pod) = &status.pod {
        for step in &mut story.steps {
            step.log = kept.log(&pod.name, &step.name);
        }
    }
    Some(story)
}

fn pod_stories(job: &str, kept: &Kept) -> Vec<PodStory> {
    let pods = (1..).zip(kept.pods_of(job));
    pods.map(|(id, pod)| pod_story(PodId(id), pod, kept))
        .collect()
}

fn pod_story(id: PodId, pod: &Pod, kept: &Kept) -> PodStory {
    let name = pod.metadata.name.clone().unwrap_or_default();
    let none = PodStatus::default();
    let status = pod.status.as_ref().unwrap_or(&none);
    let spec = pod.spec.as_ref();
    let init = spec.and_then(|s| s.init_containers.as_deref());
    let main = spec.map(|s| s.containers.as_slice());
    let statuses = |list: &Option<Vec<ContainerStatus>>, name: &str| {
        let mut all = list.iter().flatten();
        all.find(|s| s.name == name).cloned().unwrap_or_default()
    };
    let container = |init: bool, spec: &Container| {
        let list = match init {
            true => &status.init_container_statuses,
            false => &status.container_statuses,
        };
        let words = [&spec.command, &spec.args].into_iter().flatten().flatten();
        ContainerStory {
            name: spec.name.clone(),
            init,
            command: command_line(words),
            attempts: attempts(&statuses(list, &spec.name)),
            log: kept.log(&name, &spec.name),
        }
    };
    let init = init.into_iter().flatten();
    let init = init.filter(|c| c.name != TOOLS_CONTAINER);
    let main = main.into_iter().flatten();
    let containers = init.map(|c| container(true, c));
    let containers: Vec<_> = containers
        .chain(main.map(|c| container(false, c)))
        .collect();
    let ends = containers.iter().filter_map(|c| c.attempts.last());
    let ends = ends.filter_map(|a| a.record.as_ref());
    let annotations = pod.metadata.annotations.as_ref();
    let index = annotations.and_then(|a| a.get(INDEX_ANNOTATION));
    let made = pod.metadata.creation_timestamp.as_ref();
    PodStory {
        id,
        index: index.and_then(|i| i.parse().ok()),
        phase: match status.phase.as_deref() {
            Some("Succeeded") => PodPhase::Succeeded,
            Some("Failed") => PodPhase::Failed,
            _ if pod.metadata.deletion_timestamp.is_some() => PodPhase::Deleted,
            _ => PodPhase::Running,
        },
        started_at: made.map_or(Timestamp(UNIX_EPOCH), time),
        finished_at: ends.map(|r| r.finished_at).max(),
        name,
        containers,
    }
}

/// The last start of a container, and the one before it.
fn attempts(status: &ContainerStatus) -> Vec<Attempt> {
    let starts = u32::try_from(status.restart_count).unwrap_or(0) + 1;
    let states = [(&status.last_state, starts - 1), (&status.state, starts)];
    let of_state = |state: &k8s_openapi::api::core::v1::ContainerState, number| {
        if let Some(end) = &state.terminated {
            let record = record(end, number);
            return Some(Attempt {
                started_at: record.started_at.unwrap_or(record.finished_at),
                record: Some(record),
            });
        }
        let running = state.running.as_ref()?;
        Some(Attempt {
            started_at: time(running.started_at.as_ref()?),
            record: None,
        })
    };
    let known = states
        .into_iter()
        .filter_map(|(state, n)| Some((state.as_ref()?, n)));
    known.filter_map(|(state, n)| of_state(state, n)).collect()
}

/// What a kubelet tells of a container's end, as an entrypoint would record it. `number` is how often it
/// was started by then.
fn record(end: &ContainerStateTerminated, number: u32) -> Record {
    let word = end.reason.as_deref().unwrap_or_default();
    let reason = match (word, end.exit_code) {
        ("OOMKilled", _) => Reason::OomKilled,
        ("StartError" | "ContainerCannotRun", _) => Reason::StartError,
        (_, 0) => Reason::Completed,
        _ => Reason::Error,
    };
    // A container that could not be started has begun at the epoch, for some runtimes.
    let started_at = end.started_at.as_ref().map(time);
    let started_at = started_at.filter(|at| at.0 > UNIX_EPOCH);
    let finished_at = end.finished_at.as_ref().map(time).or(started_at);
    let mut record = Record::new(
        reason,
        end.exit_code,
        finished_at.unwrap_or(Timestamp(UNIX_EPOCH)),
    );
    record.signal = end.signal.filter(|n| *n > 0);
    record.attempts = number;
    record.started_at = started_at;
    let ran = started_at.map(|at| record.finished_at.since(at));
    record.ran_ms = ran.map_or(0, |ran| u64::try_from(ran.as_millis()).unwrap_or(u64::MAX));
    record.message = fit(
        &one_line(end.message.as_deref().unwrap_or_default()),
        MAX_MESSAGE,
    );
    record
}

fn time(time: &Time) -> Timestamp {
    // Nothing of a cluster is older than the epoch.
    let millis = u64::try_from(time.0.as_millisecond()).unwrap_or(0);
    Timestamp(UNIX_EPOCH + Duration::from_millis(millis))
}

#[cfg(test)]
mod tests;
