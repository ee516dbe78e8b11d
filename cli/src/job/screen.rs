//! What a person sees of a Job while it runs, and the table at its end.

use std::collections::BTreeMap;
use std::time::Duration;

use baton_api::Job as Manifest;
use baton_api::job::{CompletionMode, Container};
use baton_protocol::Record;
use baton_steps::StepState;

use super::condition::ConditionType;
use super::plan::PodId;
use super::setup::{Identity, containers};
use super::story::{JobStory, PodPhase, PodStory};
use crate::run::task::Part;
use crate::show::lines::Lines;
use crate::show::style::{BOLD, FAINT, GREEN, Palette, RED, Style, YELLOW, of_step, span, width};
use crate::show::table::{Cell, write_rows};
use crate::show::terminal::{Terminal, To};
use crate::show::text::{Look, aligned, prefix, write_line};
use crate::show::words;

/// Widest name that is shown whole.
const MAX_NAME: usize = 40;
/// Most pods that the table shows; the first failed ones are among them.
const MAX_ROWS: usize = 200;

/// The running log.
pub(super) struct Screen {
    look: Look,
    columns: usize,
    /// Whether a pod's name is enough to tell a container.
    single: bool,
    /// Added to numbers for the colours.
    hue: u32,
    shown: BTreeMap<u32, Shown>,
}

struct Shown {
    name: String,
    colour: u32,
    lines: Lines,
}

impl Screen {
    pub(super) fn new(job: &Manifest, quiet: bool, terminal: &Terminal) -> Screen {
        let pod = &job.spec.template.spec;
        let single = containers(pod).count() == 1;
        let container = match single {
            true => 0,
            false => containers(pod)
                .map(|c| width(&c.name) + 1)
                .max()
                .unwrap_or(0),
        };
        let digits = |n: u32| n.max(1).ilog10() as usize + 1;
        // `-7`, or `-12-7` with an index; more digits than one come late, if ever.
        let numbers = match job.spec.completions {
            Some(n) if job.spec.completion_mode == CompletionMode::Indexed => {
                2 + 1 + digits(n.saturating_sub(1))
            }
            _ => 1 + digits(job.spec.completions.unwrap_or(1)),
        };
        Screen {
            look: Look {
                steps: terminal.steps,
                baton: terminal.baton,
                tty: terminal.steps_on_tty,
                quiet,
                bare: false,
            },
            columns: (width(job.metadata.display_name()) + numbers + container).min(MAX_NAME),
            single,
            hue: 0,
            shown: BTreeMap::new(),
        }
    }

    /// Shows the Job beside others: names in so many columns, and the colours from this number on.
    pub(super) fn be_part(&mut self, part: Part) {
        (self.columns, self.hue) = (part.columns, part.colour);
    }

    /// What stands above the first pod.
    pub(super) fn introduce(&self, story: &JobStory, terminal: &mut Terminal) {
        let palette = self.look.baton;
        let head = format!("job {}", story.name);
        let mut text = format!("{}\n", palette.paint(BOLD, head));
        for note in &story.notes {
            text.push_str(&format!(
                "{}\n",
                palette.paint(FAINT, format!("note: {note}"))
            ));
        }
        terminal.put(To::Baton, text.as_bytes());
    }

    pub(super) fn started(
        &mut self,
        number: u32,
        id: PodId,
        pod: &Identity,
        container: &Container,
        before: usize,
        terminal: &mut Terminal,
    ) {
        let name = match self.single {
            true => pod.name.clone(),
            false => format!("{}/{}", pod.name, container.name),
        };
        let shown = Shown {
            name,
            // One colour for all that is of one pod.
            colour: id.0 + self.hue,
            lines: Lines::default(),
        };
        self.shown.insert(number, shown);
        let said = match before {
            0 => "started".to_owned(),
            restarts => format!("started again (restart {restarts})"),
        };
        if !self.look.quiet {
            self.say(number, "▶", FAINT, &said, terminal);
        }
    }

    pub(super) fn printed(&mut self, number: u32, bytes: &[u8], terminal: &mut Terminal) {
        let Some(shown) = self.shown.get_mut(&number) else {
            return;
        };
        let prefix = prefix(&self.look, shown.colour, &shown.name, self.columns);
        let mut out = Vec::with_capacity(bytes.len() + prefix.len() * 4);
        let look = &self.look;
        shown
            .lines
            .feed(bytes, |line| write_line(look, &prefix, line, &mut out));
        terminal.put(To::Steps, &out);
    }

    pub(super) fn ended(&mut self, number: u32, record: &Record, terminal: &mut Terminal) {
        if let Some(shown) = self.shown.get_mut(&number) {
            let prefix = prefix(&self.look, shown.colour, &shown.name, self.columns);
            let (look, mut out) = (&self.look, Vec::new());
            shown
                .lines
                .finish(|line| write_line(look, &prefix, line, &mut out));
            terminal.put(To::Steps, &out);
        }
        let state = StepState::Done {
            record: record.clone(),
        };
        let end = words::end(&state);
        let mut said = end.words;
        if end.failed {
            said.push_str(&format!(" (exit {})", record.exit_code));
        }
        said.push_str(&format!(
            " after {}",
            span(Duration::from_millis(record.ran_ms))
        ));
        if !record.message.is_empty() {
            said.push_str(&format!(": {}", record.message));
        }
        if end.failed || !self.look.quiet {
            self.say(number, end.mark, end.style, &said, terminal);
        }
        self.shown.remove(&number);
    }

    fn say(&self, number: u32, mark: &str, style: Style, said: &str, terminal: &mut Terminal) {
        let Some(shown) = self.shown.get(&number) else {
            return;
        };
        let palette = self.look.baton;
        let name = palette.paint(of_step(shown.colour), aligned(&shown.name, self.columns));
        let line = format!(
            "{name} {} {}\n",
            palette.paint(style, mark),
            palette.paint(FAINT, said)
        );
        terminal.put(To::Baton, line.as_bytes());
    }

    /// The status line: `2 active · 1 of 4 succeeded · 1 failed · next pod in 18s`.
    pub(super) fn status(&self, story: &JobStory, active: u32, waits: Option<Duration>) -> String {
        let done = match story.completions {
            Some(wanted) => format!("{} of {wanted} succeeded", story.succeeded),
            None => format!("{} succeeded", story.succeeded),
        };
        let mut parts = vec![format!("{active} active"), done];
        if story.failed > 0 {
            parts.push(format!("{} failed", story.failed));
        }
        if let Some(waits) = waits {
            parts.push(format!("next pod in {}s", waits.as_secs() + 1));
        }
        let text = format!("job {}: {}", story.name, parts.join(" · "));
        self.look.baton.paint(FAINT, text).to_string()
    }
}

/// The table of all pods.
pub(super) fn table(story: &JobStory, palette: Palette) -> String {
    let head = ["POD", "OUTCOME"].map(|t| Cell::left(t, Some(FAINT)));
    let tail = ["EXIT", "RESTARTS", "RAN"].map(|t| Cell {
        style: Some(FAINT),
        ..Cell::right(t)
    });
    let mut rows = vec![head.into_iter().chain(tail).collect()];
    rows.extend(story.pods.iter().take(MAX_ROWS).map(row));
    let mut text = String::new();
    write_rows(&rows, palette, &mut text);
    let more = story.pods.len().saturating_sub(MAX_ROWS);
    if more > 0 {
        text.push_str(&format!("  … and {more} more pods\n"));
    }
    if !story.completed_indexes.is_empty() {
        text.push_str(&format!(
            "\n  completed indexes: {}\n",
            story.completed_indexes
        ));
    }
    text
}

fn row(pod: &PodStory) -> Vec<Cell> {
    let (outcome, style) = match pod.phase {
        PodPhase::Running => ("▶ running", FAINT),
        PodPhase::Succeeded => ("✔ succeeded", GREEN),
        PodPhase::Failed => ("✘ failed", RED),
        PodPhase::Deleted => ("✘ deleted", YELLOW),
    };
    // The exit code that a person would ask for: the first failure's, or 0.
    let last = pod.containers.iter().filter_map(|c| c.attempts.last());
    let codes = last.filter_map(|a| a.record.as_ref()).map(|r| r.exit_code);
    let code = codes.reduce(|first, next| if first == 0 { next } else { first });
    let ran = pod.finished_at.map(|at| span(at.since(pod.started_at)));
    vec![
        Cell::left(pod.name.clone(), None),
        Cell::left(outcome, Some(style)),
        Cell::right(code.map(|c| c.to_string()).unwrap_or_default()),
        Cell::right(pod.restarts().to_string()),
        Cell::right(ran.unwrap_or_default()),
    ]
}

/// What is printed at the end: the table and the closing line.
pub fn conclusion(story: &JobStory, palette: Palette, with_table: bool, quiet: bool) -> String {
    let mut text = String::new();
    if with_table && !quiet {
        text = format!("\n{}\n", table(story, palette));
    }
    let complete = matches!(&story.condition, Some(c) if c.kind == ConditionType::Complete);
    let style = match story.cancelled {
        true => YELLOW,
        false if complete => GREEN,
        false => RED,
    };
    if !quiet || !complete {
        let headline = palette.paint(style, story.headline());
        text.push_str(&format!("job {}: {headline}\n", story.name));
    }
    text
}
