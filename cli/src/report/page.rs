//! What the template shows, made of the facts: words and numbers, ready to be put in place.

use std::time::Duration;

use askama::Template;
use baton_protocol::{Reason, Record, Timestamp};

use crate::show::style::{size, span};

use super::facts::{End, Facts, GraphNode, NodeLook, Phase, Role, StepFacts, StepResult};
use super::graph::{self, Drawn};
use super::timeline::{self, Bar, Class, Percent, Scale, Tick};
use super::{MAX_LOG_BYTES, MAX_LOGS_BYTES, MAX_RESULT_BYTES, MIN_LOG_BYTES, ansi};

#[derive(Template)]
#[template(path = "page.html")]
pub(super) struct Page {
    kind: String,
    name: String,
    origin: String,
    phase: &'static str,
    phase_class: &'static str,
    headline: String,
    exit_code: i32,
    started: String,
    duration: String,
    notes: Vec<String>,
    graph: Option<Drawn>,
    flows: Vec<FlowRow>,
    ticks: Vec<Tick>,
    rows: Vec<Row>,
    /// What a row is: `Step`.
    row_name: &'static str,
    results: Vec<ShownResult>,
    version: &'static str,
}

struct Row {
    /// Unique on the page: names may repeat where a step is hostile.
    id: usize,
    name: String,
    role: &'static str,
    command: String,
    class: &'static str,
    outcome: String,
    message: String,
    exit: String,
    attempts: String,
    waited: String,
    ran: String,
    cpu: String,
    peak: String,
    bars: Vec<Bar>,
    ready: Option<Percent>,
    log: String,
    open: bool,
}

/// A node of a JobFlow on the timeline and in the table.
struct FlowRow {
    name: String,
    class: &'static str,
    words: String,
    why: String,
    started: String,
    ran: String,
    bar: Option<Bar>,
}

struct ShownResult {
    step: String,
    name: String,
    value: String,
    cut: String,
}

const NONE: &str = "–";

impl Page {
    pub(super) fn of(facts: &Facts) -> Page {
        let scale = Scale::of(facts);
        let fair = MAX_LOGS_BYTES / facts.steps.len().max(1);
        let limit = fair.clamp(MIN_LOG_BYTES, MAX_LOG_BYTES);
        let (phase, phase_class) = match facts.phase {
            Phase::Succeeded => ("Succeeded", "good"),
            Phase::Failed => ("Failed", "bad"),
            Phase::Cancelled => ("Cancelled", "stopped"),
            Phase::TimedOut => ("Timed out", "bad"),
        };
        let steps = facts.steps.iter().enumerate();
        Page {
            kind: facts.kind.clone(),
            name: facts.name.clone(),
            origin: facts.origin.clone(),
            phase,
            phase_class,
            headline: facts.headline.clone(),
            exit_code: facts.exit_code,
            started: to_the_second(facts.started_at),
            duration: span(facts.finished_at.since(facts.started_at)),
            notes: facts.notes.clone(),
            graph: facts
                .graph
                .as_ref()
                .filter(|g| !g.parts.is_empty())
                .map(graph::draw),
            flows: facts
                .graph
                .iter()
                .flat_map(|g| &g.nodes)
                .map(|node| FlowRow::of(node, facts.started_at, &scale))
                .collect(),
            ticks: scale.ticks(),
            rows: steps.map(|(id, s)| Row::of(id, s, &scale, limit)).collect(),
            row_name: match facts.steps.iter().any(|s| s.role == Role::Container) {
                true => "Container",
                false => "Step",
            },
            results: facts.results.iter().map(ShownResult::of).collect(),
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

/// `2026-03-01 09:30:00 UTC`.
fn to_the_second(at: Timestamp) -> String {
    let text = at.to_string();
    let (whole, _) = text.split_once('.').unwrap_or((&text, ""));
    format!("{} UTC", whole.replace('T', " "))
}

impl FlowRow {
    fn of(node: &GraphNode, start: Timestamp, scale: &Scale) -> FlowRow {
        let times = node.started_at.zip(node.finished_at);
        FlowRow {
            name: node.name.clone(),
            class: node.look.name(),
            words: node.words.clone(),
            why: node.why.clone(),
            started: node
                .started_at
                .map_or(NONE.to_owned(), |at| format!("+{}", span(at.since(start)))),
            ran: times.map_or(NONE.to_owned(), |(from, to)| span(to.since(from))),
            bar: times.map(|(from, to)| {
                let class = match node.look {
                    NodeLook::Good => Class::Good,
                    NodeLook::Bad => Class::Bad,
                    NodeLook::Stopped => Class::Stopped,
                    NodeLook::Idle => Class::Wait,
                };
                scale.bar(from, to, class, format!("{}: {}", node.name, node.words))
            }),
        }
    }
}

impl Row {
    fn of(id: usize, step: &StepFacts, scale: &Scale, limit: usize) -> Row {
        let class = timeline::class_of(step);
        let record = match &step.end {
            End::Recorded(record) => Some(record),
            End::NotRun | End::Died(_) => None,
        };
        let of_record = |show: &dyn Fn(&Record) -> String| record.map_or(NONE.to_owned(), show);
        let ran = record.filter(|r| r.attempts > 0);
        let of_run = |show: &dyn Fn(&Record) -> String| ran.map_or(NONE.to_owned(), show);
        Row {
            id,
            name: step.name.clone(),
            role: match step.role {
                Role::Step | Role::Container => "",
                Role::Finally => "finally",
                Role::Sidecar => "sidecar",
                Role::Init => "init",
            },
            command: step.command.clone(),
            class: class.name(),
            outcome: outcome(&step.end),
            message: match &step.end {
                End::Recorded(record) => record.message.clone(),
                End::Died(what) => what.clone(),
                End::NotRun => String::new(),
            },
            exit: of_run(&|r| match r.signal {
                Some(signal) => format!("{} (signal {signal})", r.exit_code),
                None => r.exit_code.to_string(),
            }),
            attempts: of_run(&|r| r.attempts.to_string()),
            waited: of_record(&|r| span(Duration::from_millis(r.waited_ms))),
            ran: of_run(&|r| span(Duration::from_millis(r.ran_ms))),
            // Nobody but an entrypoint tells what a command took, and none takes nothing.
            cpu: of_run(&|r| match r.cpu() {
                Duration::ZERO => NONE.to_owned(),
                took => span(took),
            }),
            peak: of_run(&|r| match r.peak_bytes {
                0 => NONE.to_owned(),
                n => size(n),
            }),
            bars: timeline::bars(step, scale),
            ready: step.ready_at.map(|at| scale.x(at)),
            log: ansi::to_html(&step.log, limit),
            open: class == Class::Bad,
        }
    }
}

fn outcome(end: &End) -> String {
    match end {
        End::NotRun => "Not run".into(),
        End::Died(_) => "Died".into(),
        End::Recorded(record) => {
            let words = match record.reason {
                Reason::Completed => "Succeeded",
                Reason::Error => "Failed",
                Reason::StartError => "Could not start",
                Reason::TimedOut => "Timed out",
                Reason::OomKilled => "Out of memory",
                Reason::Cancelled => "Cancelled",
                Reason::Skipped => "Skipped",
                Reason::Passed => "Passed over",
            };
            match record.continued {
                true => format!("{words}, ignored"),
                false => words.into(),
            }
        }
    }
}

impl ShownResult {
    fn of(result: &StepResult) -> ShownResult {
        let shown = result.value.get(..MAX_RESULT_BYTES);
        let left_out = result.value.len() - shown.unwrap_or(&result.value).len();
        ShownResult {
            step: result.step.clone(),
            name: result.name.clone(),
            value: String::from_utf8_lossy(shown.unwrap_or(&result.value)).into_owned(),
            cut: match left_out {
                0 => String::new(),
                n => format!("… {} left out …", size(n as u64)),
            },
        }
    }
}
