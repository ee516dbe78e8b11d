//! A flow's story for programs and for the report.

use baton_api::flow_status::{FlowNodeStatus, JobFlowPhase, JobFlowStatus};
use baton_flow::{Graph, InstanceId, NodePhase, StopReason};
use baton_protocol::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::child::Told;
use super::draw::conditions;
use super::layout::Layout;
use super::screen::{look, why};
use super::story::{FlowStory, ran};
use crate::job::PodStory;
use crate::run::story::Story;
use crate::{job, report, show};

/// Most steps and containers that a report shows.
const MAX_REPORTED: usize = 500;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Run<'a> {
    kind: &'static str,
    name: &'a str,
    source: &'a str,
    exit_code: i32,
    started_at: Timestamp,
    finished_at: Timestamp,
    cancelled: bool,
    notes: &'a [String],
    /// As `kubectl get jobflow -o json` has it in a cluster.
    status: &'a JobFlowStatus,
    attempts: Vec<Attempt<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Attempt<'a> {
    node: &'a str,
    index: usize,
    attempt: u32,
    run: Value,
}

/// What is known of a flow's run, as JSON.
pub fn json(story: &FlowStory) -> Value {
    let name = |id: &InstanceId| {
        let node = story.graph.nodes().get(id.node);
        node.map_or("", |n| n.name.as_str())
    };
    let attempts = story.attempts.iter().map(|((id, attempt), told)| Attempt {
        node: name(id),
        index: id.index,
        attempt: *attempt,
        run: match told {
            Told::Job(story) => job::json(story),
            Told::Task(story) => show::json::task(story),
        },
    });
    let run = Run {
        kind: "JobFlow",
        name: &story.name,
        source: &story.source,
        exit_code: story.exit_code(),
        started_at: story.started_at,
        finished_at: story.finished_at,
        cancelled: story.cancelled,
        notes: &story.notes,
        status: &story.status,
        attempts: attempts.collect(),
    };
    // Every key is a text, so there is nothing that JSON cannot write.
    serde_json::to_value(run).unwrap_or_default()
}

/// What a report shows of an attempt.
#[derive(Debug, Default)]
pub struct Rows {
    /// Its containers or steps.
    pub steps: Vec<report::StepFacts>,
    /// What its steps left.
    pub results: Vec<report::StepResult>,
}

impl Rows {
    /// Of a Job, by its pods.
    pub fn of_pods(pods: &[PodStory]) -> Rows {
        Rows {
            steps: job::rows(pods).collect(),
            results: Vec::new(),
        }
    }

    /// Of the Task of the node of this name; nothing of one that has not ended.
    pub fn of_task(node: &str, story: &Story) -> Rows {
        let Some(facts) = crate::run::facts::facts(story) else {
            return Rows::default();
        };
        let steps = facts.steps.into_iter().map(|mut step| {
            step.name = format!("{}/{}", facts.name, step.name);
            // It waited for its own Task, not for the whole flow.
            step.waiting_since = Some(facts.started_at);
            step
        });
        let results = facts.results.into_iter().map(|mut result| {
            result.step = format!("{node}/{}", result.step);
            result
        });
        Rows {
            steps: steps.collect(),
            results: results.collect(),
        }
    }
}

/// The facts of a flow's run, as the report wants them: a row for each container and step.
pub fn facts(story: &FlowStory) -> report::Facts {
    let nodes = story.graph.nodes().iter().enumerate();
    let rows = nodes.flat_map(|(place, node)| {
        let attempts = story.attempts_of(place);
        attempts.map(|(_, _, told)| match told {
            Told::Job(story) => Rows::of_pods(&story.pods),
            Told::Task(story) => Rows::of_task(&node.name, story),
        })
    });
    facts_with(story, rows)
}

/// The same with these rows.
pub fn facts_with(story: &FlowStory, rows: impl IntoIterator<Item = Rows>) -> report::Facts {
    let stopped = story.status.stopped.as_ref().map(|s| s.reason);
    let (mut steps, mut results) = (Vec::new(), Vec::new());
    for of_attempt in rows {
        steps.extend(of_attempt.steps);
        results.extend(of_attempt.results);
    }
    let mut notes = story.notes.clone();
    let total = steps.len();
    if total > MAX_REPORTED {
        steps.truncate(MAX_REPORTED);
        notes.push(format!(
            "the first {MAX_REPORTED} of {total} steps and containers are shown"
        ));
    }
    report::Facts {
        kind: "JobFlow".to_owned(),
        name: story.name.clone(),
        origin: match story.source.as_str() {
            "-" => "standard input".to_owned(),
            file => file.to_owned(),
        },
        phase: match story.status.phase {
            _ if story.cancelled => report::Phase::Cancelled,
            JobFlowPhase::Succeeded => report::Phase::Succeeded,
            JobFlowPhase::Cancelled => report::Phase::Cancelled,
            _ if stopped == Some(StopReason::DeadlineExceeded) && story.is_stop_the_cause() => {
                report::Phase::TimedOut
            }
            _ => report::Phase::Failed,
        },
        headline: story.headline(),
        exit_code: story.exit_code(),
        started_at: story.started_at,
        finished_at: story.finished_at,
        steps,
        results,
        notes,
        graph: Some(graph(&story.graph, &story.status)),
    }
}

/// A graph as it is to be drawn, by its nodes' status: the nodes of `finally` below all others. Where
/// it is too large to be drawn, there are no pictures.
pub fn graph(graph: &Graph, status: &JobFlowStatus) -> report::Graph {
    let all: Option<Vec<Layout>> = [false, true]
        .into_iter()
        .filter(|finally| (0..graph.len()).any(|n| graph.is_finally(n) == *finally))
        .map(|finally| Layout::of(graph, finally))
        .collect();
    let names = graph.nodes().iter().enumerate();
    let nodes = names.map(|(place, n)| match status.node(&n.name) {
        Some(status) => node(status, conditions(graph, place)),
        None => node(&FlowNodeStatus::default(), Vec::new()),
    });
    report::Graph {
        nodes: nodes.collect(),
        parts: all.unwrap_or_default(),
    }
}

fn node(node: &FlowNodeStatus, conditions: Vec<String>) -> report::GraphNode {
    use report::NodeLook::{Bad, Good, Idle, Stopped};
    let mut facts: Vec<String> = Vec::new();
    if node.jobs.len() > 1 {
        facts.push(format!("{} Jobs", node.jobs.len()));
    }
    facts.extend(ran(node));
    let attempts = node.jobs.iter().map(|j| j.attempts).max().unwrap_or(0);
    if attempts > 1 {
        facts.push(format!("{attempts} attempts"));
    }
    let (mark, _, word) = look(node.state);
    let words = [vec![format!("{:?}", node.state)], facts.clone()].concat();
    let first = match node.state {
        NodePhase::Succeeded if !facts.is_empty() => format!("{mark} {}", facts.remove(0)),
        _ => format!("{mark} {word}"),
    };
    let brief = [vec![first], facts, conditions.clone()].concat();
    report::GraphNode {
        name: node.name.clone(),
        look: match node.state {
            NodePhase::Succeeded => Good,
            NodePhase::Failed => Bad,
            NodePhase::Cancelled => Stopped,
            NodePhase::Waiting | NodePhase::Running | NodePhase::Skipped => Idle,
        },
        words: [words, conditions].concat().join(" · "),
        brief: brief.join(" · "),
        why: why(node),
        started_at: node.started_at,
        finished_at: node.finished_at,
    }
}
