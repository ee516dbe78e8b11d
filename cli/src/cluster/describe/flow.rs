//! All that is known of a JobFlow, for people. Pure.

use std::fmt::Write;

use baton_api::flow::JobFlowSpec;
use baton_api::flow_status::{FlowJobState, FlowNodeStatus, JobFlowStatus};
use baton_flow::{Graph, NodePhase};
use baton_protocol::Timestamp;
use serde::Deserialize;

use super::super::advice::{Next, next_of_flow};
use super::super::object::Object;
use super::super::parts::{self, node_ran, of_job};
use super::super::standing::Standing;
use super::page::{EventLine, MAX_MESSAGE, Page};
use crate::flow::draw::{Label, draw};
use crate::flow::screen::{look, why};
use crate::show::style::{BOLD, FAINT, Palette, RED, YELLOW, fit, one_line, size};
use crate::show::table::Cell;

/// Most nodes that are drawn; more are a list that nobody reads.
const MAX_DRAWN: usize = 100;
/// Most rows of the table of nodes.
const MAX_ROWS: usize = 200;
/// Most elements of one node that are shown, those that failed first.
const MAX_ELEMENTS: usize = 20;
/// Longest value of a result that is shown, in columns.
const MAX_RESULT: usize = 60;

/// What is known.
pub struct KnownFlow<'a> {
    /// The JobFlow.
    pub flow: &'a Object,
    /// Its status.
    pub status: &'a JobFlowStatus,
    /// Its events, or why they are not known.
    pub events: Result<&'a [EventLine], String>,
    /// The time.
    pub now: Timestamp,
    /// The columns of a line.
    pub columns: usize,
}

/// Writes it.
pub fn flow_text(known: &KnownFlow<'_>, palette: Palette) -> String {
    let (flow, status) = (known.flow, known.status);
    let mut page = Page::new(palette);
    page.flow_head(known);
    page.schedule(flow, status.schedule.as_ref(), known.now);
    page.graph(known);
    page.nodes(known);
    page.flow_results(status);
    page.conditions(&status.conditions, known.now);
    page.callbacks(&status.callbacks);
    page.events(&known.events, known.now);
    let next: Vec<Next> = next_of_flow(flow, status);
    page.next(&next);
    page.text
}

impl Page {
    fn flow_head(&mut self, known: &KnownFlow<'_>) {
        let (flow, status) = (known.flow, known.status);
        let standing = Standing::of(flow).unwrap_or_default();
        self.standing(flow, &standing);
        if status.run > 1 {
            self.field("Run", &status.run.to_string());
        }
        if let Some(stopped) = &status.stopped
            && !status.phase.is_over()
        {
            let said = format!("{:?}: what runs is being stopped", stopped.reason);
            self.field("Stopping", &self.palette.paint(YELLOW, said).to_string());
        }
        self.times(flow, &standing, known.now);
        self.generation(flow, &standing);
    }

    fn graph(&mut self, known: &KnownFlow<'_>) {
        let Some(graph) = graph(known.flow).filter(|g| (2..=MAX_DRAWN).contains(&g.len())) else {
            return;
        };
        self.title("Graph");
        let label = |place: usize| {
            let node = graph.nodes().get(place);
            let status = node.and_then(|n| known.status.node(&n.name));
            let state = status.map(|n| n.state).unwrap_or_default();
            let (mark, style, _) = look(state);
            Label {
                mark,
                style,
                detail: status.map(|n| detail(n, known.now)).unwrap_or_default(),
            }
        };
        let columns = known.columns.saturating_sub(2);
        for line in draw(&graph, &label, columns, self.palette) {
            self.line(format!("  {line}").trim_end());
        }
    }

    fn nodes(&mut self, known: &KnownFlow<'_>) {
        let nodes = &known.status.nodes;
        if nodes.is_empty() {
            return;
        }
        self.title("Flows");
        let mut rows = vec![vec![
            Cell::head("FLOW"),
            Cell::head("STATE"),
            Cell::head("REASON"),
            Cell::head_right("ATTEMPTS"),
            Cell::head_right("RAN"),
            Cell::head("JOB"),
        ]];
        for node in nodes {
            rows.push(node_row(node, known.now));
            rows.extend(element_rows(node, known.now));
        }
        let more = rows.len().saturating_sub(MAX_ROWS + 1);
        rows.truncate(MAX_ROWS + 1);
        self.rows(&rows);
        if more > 0 {
            self.line(&format!("  … and {more} more; `-o json` shows all"));
        }
        for node in nodes {
            let said = match node.state {
                NodePhase::Skipped => why(node),
                _ => one_line(&node.message),
            };
            if !said.is_empty() {
                let name = self.palette.paint(BOLD, &node.name);
                self.line(&format!("  {name}: {}", fit(&said, MAX_MESSAGE)));
            }
        }
    }

    fn flow_results(&mut self, status: &JobFlowStatus) {
        let all = status.nodes.iter().flat_map(|node| {
            let results = node.results.iter();
            results.map(move |r| (format!("{}.{}.{}", node.name, r.step, r.name), &r.value))
        });
        let rows: Vec<_> = all
            .map(|(name, value)| {
                let mut shown = fit(&one_line(value), MAX_RESULT);
                if shown != *value {
                    let _ = write!(shown, " ({})", size(value.len() as u64));
                }
                vec![Cell::left(name, None), Cell::left(shown, Some(BOLD))]
            })
            .collect();
        if !rows.is_empty() {
            self.title("Results");
            self.rows(&rows);
        }
    }
}

/// The graph of a JobFlow, where its spec is one that this version knows.
pub(crate) fn graph(flow: &Object) -> Option<Graph> {
    let spec = JobFlowSpec::deserialize(&flow.spec).ok()?;
    spec.graph().ok()
}

/// A few words of a node: how long it ran, and which attempt it is where it is not the first.
fn detail(node: &FlowNodeStatus, now: Timestamp) -> String {
    let mut words = Vec::new();
    words.extend(parts::elements(node));
    let ran = node_ran(node, now);
    if !ran.is_empty() {
        words.push(ran);
    }
    if attempts(node) > 1 {
        words.push(format!("×{}", attempts(node)));
    }
    words.join(" ")
}

/// Attempts of a node that has one Job.
fn attempts(node: &FlowNodeStatus) -> u32 {
    node.job().map_or(0, |job| job.attempts)
}

fn node_row(node: &FlowNodeStatus, now: Timestamp) -> Vec<Cell> {
    let (mark, style, _) = look(node.state);
    let state = match parts::elements(node) {
        Some(elements) => format!("{mark} {:?} {elements}", node.state),
        None => format!("{mark} {:?}", node.state),
    };
    let failed = node.state == NodePhase::Failed;
    let count = match attempts(node) {
        0 => String::new(),
        count => count.to_string(),
    };
    let job = node.job().map(|job| job.name.clone());
    vec![
        Cell::left(one_line(&node.name), None),
        Cell::left(state, Some(style)),
        Cell::left(one_line(&node.reason), failed.then_some(RED)),
        Cell::right(count),
        Cell::right(node_ran(node, now)),
        Cell::left(job.unwrap_or_default(), Some(FAINT)),
    ]
}

/// The elements of a node's list, those that need a look first.
fn element_rows(node: &FlowNodeStatus, now: Timestamp) -> Vec<Vec<Cell>> {
    if node.jobs.len() < 2 {
        return Vec::new();
    }
    let mut jobs: Vec<_> = node.jobs.iter().enumerate().collect();
    let rank = |state| match state {
        FlowJobState::Failed => 0,
        FlowJobState::Running | FlowJobState::Starting => 1,
        FlowJobState::Waiting => 2,
        FlowJobState::Cancelled => 3,
        FlowJobState::Succeeded => 4,
    };
    jobs.sort_by_key(|(_, job)| rank(job.state));
    jobs.truncate(MAX_ELEMENTS);
    let row = |(index, job): (usize, &baton_api::flow_status::FlowJobStatus)| {
        let (mark, style) = of_job(job.state);
        let failed = job.state == FlowJobState::Failed;
        let attempts = match job.attempts {
            0 => String::new(),
            count => count.to_string(),
        };
        vec![
            Cell::left(format!("  {}[{index}]", one_line(&node.name)), Some(FAINT)),
            Cell::left(format!("{mark} {:?}", job.state), Some(style)),
            Cell::left(one_line(&job.reason), failed.then_some(RED)),
            Cell::right(attempts),
            Cell::right(parts::ran(job.started_at, job.finished_at, now)),
            Cell::left(&job.name, Some(FAINT)),
        ]
    };
    jobs.into_iter().map(row).collect()
}
