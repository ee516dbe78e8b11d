//! What a person sees of a flow beside the output of its nodes, and the table at its end.

use std::time::Duration;

use baton_api::flow_status::{FlowNodeStatus, JobFlowStatus};
use baton_flow::{Graph, NodePhase};

use super::draw::{Label, draw};
use super::story::{FlowStory, ran};
use crate::show::style::{BOLD, FAINT, GREEN, Palette, RED, Style, YELLOW, fit, one_line, span};
use crate::show::table::{Cell, write_rows};
use crate::show::terminal::{Terminal, To};

/// Most lines of a graph that stand above a run.
const MAX_GRAPH: usize = 40;
/// Widest graph, where there is no terminal.
const MAX_COLUMNS: usize = 160;
/// Most nodes that the table shows.
const MAX_ROWS: usize = 500;
/// Longest reason of a row, in columns.
const MAX_WHY: usize = 70;

/// How a node is shown by how it stands: a mark, its style, and a word.
pub fn look(phase: NodePhase) -> (&'static str, Style, &'static str) {
    match phase {
        NodePhase::Waiting => ("·", FAINT, "waiting"),
        NodePhase::Running => ("▶", BOLD, "running"),
        NodePhase::Succeeded => ("✔", GREEN, "succeeded"),
        NodePhase::Failed => ("✘", RED, "failed"),
        NodePhase::Skipped => ("○", FAINT, "skipped"),
        NodePhase::Cancelled => ("✘", YELLOW, "cancelled"),
    }
}

/// How a node stands in a drawing of its graph.
pub fn label(node: Option<&FlowNodeStatus>) -> Label {
    let Some(node) = node else {
        return Label {
            mark: "",
            style: FAINT,
            detail: String::new(),
        };
    };
    let (mark, style, _) = look(node.state);
    let over = node.jobs.iter().filter(|j| j.finished_at.is_some()).count();
    let many = match node.jobs.len() {
        0 | 1 => None,
        all => Some(format!("{over}/{all}")),
    };
    let all: Vec<String> = many.into_iter().chain(ran(node)).collect();
    Label {
        mark,
        style,
        detail: all.join(" "),
    }
}

/// Says what is about to run.
pub(crate) fn introduce(name: &str, graph: &Graph, notes: &[String], terminal: &mut Terminal) {
    let palette = terminal.baton;
    let count = match graph.len() {
        1 => "1 flow".to_owned(),
        n => format!("{n} flows"),
    };
    let head = palette.paint(BOLD, format!("jobflow {name}"));
    let mut text = format!("{head}: {count}\n");
    for note in notes {
        let note = palette.paint(FAINT, format!("note: {}", one_line(note)));
        text.push_str(&format!("{note}\n"));
    }
    let room = terminal.columns().min(MAX_COLUMNS).saturating_sub(2);
    let lines = draw(graph, &|_| label(None), room, palette);
    if lines.len() <= MAX_GRAPH {
        text.push('\n');
        for line in lines {
            text.push_str(&format!("  {line}\n"));
        }
        text.push('\n');
    }
    terminal.put(To::Baton, text.as_bytes());
    terminal.flush();
}

/// Says something of a node.
pub(super) fn say(node: &str, mark: &str, style: Style, said: &str, terminal: &mut Terminal) {
    let palette = terminal.baton;
    let line = match style == RED {
        true => format!(
            "{} {}\n",
            palette.paint(BOLD, node),
            palette.paint(style, format!("{mark} {}", one_line(said)))
        ),
        false => format!(
            "{} {} {}\n",
            palette.paint(BOLD, node),
            palette.paint(style, mark),
            palette.paint(FAINT, one_line(said))
        ),
    };
    terminal.put(To::Baton, line.as_bytes());
    terminal.flush();
}

/// Why a node stands as it does, in a sentence; nothing where that is as it should be.
pub fn why(node: &FlowNodeStatus) -> String {
    match node.state {
        NodePhase::Failed if node.message.is_empty() => node.reason.clone(),
        NodePhase::Failed => format!("{}: {}", node.reason, node.message),
        NodePhase::Skipped => match node.reason.as_str() {
            "ConditionNotMet" => "its condition does not hold".to_owned(),
            "DependencyNotMet" => format!("{} did not succeed", node.because),
            "DependencyNotFailed" => format!("{} did not fail", node.because),
            other => other.to_owned(),
        },
        _ => node.reason.clone(),
    }
}

/// Says what became of a node that is over.
pub(super) fn over(node: &FlowNodeStatus, quiet: bool, terminal: &mut Terminal) {
    let (mark, style, word) = look(node.state);
    if quiet && node.state != NodePhase::Failed {
        return;
    }
    let mut said = word.to_owned();
    if let Some(ran) = ran(node) {
        said.push_str(match node.state {
            NodePhase::Succeeded => " in ",
            _ => " after ",
        });
        said.push_str(&ran);
    }
    let why = why(node);
    if !why.is_empty() {
        said.push_str(&format!(": {why}"));
    }
    say(&node.name, mark, style, &said, terminal);
}

/// The status line: `jobflow x: 2 running · 3 of 7 over · next attempt in 3s`.
pub(super) fn status(
    name: &str,
    running: usize,
    status: &JobFlowStatus,
    waits: Option<Duration>,
    palette: Palette,
    columns: usize,
) -> String {
    let over = status.nodes.iter().filter(|n| n.state.is_over()).count();
    let mut parts = vec![
        format!("{running} running"),
        format!("{over} of {} over", status.nodes.len()),
    ];
    if let Some(waits) = waits {
        parts.push(format!("next attempt in {}", span(waits)));
    }
    if status.stopped.is_some() {
        parts.push("stopping".to_owned());
    }
    let text = format!("jobflow {name}: {}", parts.join(" · "));
    let text = fit(&text, columns.saturating_sub(1));
    palette.paint(FAINT, text).to_string()
}

/// The table of all nodes.
fn table(story: &FlowStory, palette: Palette) -> String {
    let head = ["FLOW", "OUTCOME"].map(Cell::head);
    let right = ["ATTEMPTS", "STARTED", "RAN"].map(Cell::head_right);
    let why = Cell::head("WHY");
    let mut rows = vec![head.into_iter().chain(right).chain([why]).collect()];
    let nodes = story.status.nodes.iter().enumerate().take(MAX_ROWS);
    rows.extend(nodes.map(|(place, node)| row(story, place, node)));
    let mut text = String::new();
    write_rows(&rows, palette, &mut text);
    let more = story.status.nodes.len().saturating_sub(MAX_ROWS);
    if more > 0 {
        text.push_str(&format!("  … and {more} more\n"));
    }
    text
}

fn row(story: &FlowStory, place: usize, node: &FlowNodeStatus) -> Vec<Cell> {
    let (mark, style, word) = look(node.state);
    let name = match story.graph.is_finally(place) {
        true => format!("{} (finally)", node.name),
        false => node.name.clone(),
    };
    let mut outcome = format!("{mark} {word}");
    if node.jobs.len() > 1 {
        use baton_api::flow_status::FlowJobState::Succeeded;
        let good = node.jobs.iter().filter(|j| j.state == Succeeded).count();
        outcome.push_str(&format!(" ({good} of {})", node.jobs.len()));
    }
    let attempts: u32 = node.jobs.iter().map(|j| j.attempts).sum();
    let started = node.started_at.map(|at| at.since(story.started_at));
    let started = started.map(|s| format!("+{}", span(s)));
    vec![
        Cell::left(name, None),
        Cell::left(outcome, Some(style)),
        Cell::right(match attempts {
            0 => String::new(),
            n => n.to_string(),
        }),
        Cell::right(started.unwrap_or_default()),
        Cell::right(ran(node).unwrap_or_default()),
        Cell::left(fit(&one_line(&why(node)), MAX_WHY), Some(FAINT)),
    ]
}

/// What is printed at the end: the table, and the closing line.
pub fn conclusion(story: &FlowStory, palette: Palette, with_table: bool, quiet: bool) -> String {
    let mut text = String::new();
    if with_table && !quiet {
        text = format!("\n{}\n", table(story, palette));
    }
    let code = story.exit_code();
    let style = match code {
        0 => GREEN,
        baton_steps::CANCELLED_EXIT_CODE => YELLOW,
        _ => RED,
    };
    if !quiet || code != 0 {
        let headline = palette.paint(style, one_line(&story.headline()));
        text.push_str(&format!("jobflow {}: {headline}\n", story.name));
    }
    text
}
