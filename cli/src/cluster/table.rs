//! The table of Tasks. Pure.

use std::time::{Duration, SystemTime};

use baton_api::status::{TaskPhase, TaskStatus};
use baton_protocol::Timestamp;

use super::object::Task;
use crate::show::style::{FAINT, GREEN, Palette, RED, Style, YELLOW, fit, one_line, span, width};

/// Longest reason that is shown, in columns.
const MAX_REASON: usize = 40;
/// Longest name that the others are aligned to, in columns.
const MAX_NAME: usize = 63;

/// The table's columns, as wide as what was shown first.
#[derive(Debug)]
pub struct Table {
    namespaces: bool,
    widths: Vec<usize>,
}

impl Table {
    /// A table with a column for namespaces, or without.
    pub fn new(namespaces: bool) -> Table {
        let titles = [
            "NAMESPACE",
            "NAME",
            "STATUS",
            "STEP",
            "REASON",
            "AGE",
            "DURATION",
        ];
        Table {
            namespaces,
            widths: titles.iter().map(|t| width(t)).collect(),
        }
    }

    /// Makes room for these rows.
    pub fn fit(&mut self, rows: &[Row]) {
        for row in rows {
            for (known, cell) in self.widths.iter_mut().zip(row.cells()) {
                *known = (*known).max(width(&cell)).min(MAX_NAME);
            }
        }
    }

    /// The line above the rows.
    pub fn header(&self, palette: Palette) -> String {
        let titles = [
            "NAMESPACE",
            "NAME",
            "STATUS",
            "STEP",
            "REASON",
            "AGE",
            "DURATION",
        ];
        let cells = titles.map(str::to_owned);
        self.line(&cells, [Some(FAINT); 7], palette)
    }

    /// A row's line.
    pub fn row(&self, row: &Row, palette: Palette) -> String {
        let mut styles = [None; 7];
        styles[2] = row.style;
        self.line(&row.cells(), styles, palette)
    }

    fn line(&self, cells: &[String; 7], styles: [Option<Style>; 7], palette: Palette) -> String {
        let mut line = String::new();
        let cells = cells.iter().zip(styles).zip(&self.widths);
        for ((cell, style), columns) in cells.skip(usize::from(!self.namespaces)) {
            let pad = " ".repeat(columns.saturating_sub(width(cell)) + 3);
            match style {
                Some(style) => line.push_str(&palette.paint(style, cell).to_string()),
                None => line.push_str(cell),
            }
            line.push_str(&pad);
        }
        format!("{}\n", line.trim_end())
    }
}

/// A Task's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    namespace: String,
    name: String,
    status: String,
    style: Option<Style>,
    step: String,
    reason: String,
    age: String,
    duration: String,
}

impl Row {
    /// The row of a Task at this time.
    pub fn new(task: &Task, now: Timestamp) -> Row {
        let (status, style, step, reason, duration) = match task.status() {
            Ok(status) => (
                standing(task, &status),
                style(status.phase),
                status.progress.clone(),
                reason(&status),
                duration(&status, now),
            ),
            Err(_) => (
                "?".to_owned(),
                Some(YELLOW),
                String::new(),
                "status of another version".to_owned(),
                String::new(),
            ),
        };
        let created = task.metadata.creation_timestamp.as_ref();
        let age = created.map(|at| age(now.since(Timestamp(SystemTime::from(at.0)))));
        Row {
            namespace: task.namespace().to_owned(),
            name: task.name().to_owned(),
            status,
            style,
            step,
            reason,
            age: age.unwrap_or_default(),
            duration,
        }
    }

    /// Whether both tell the same, but for the time.
    pub fn same(&self, other: &Row) -> bool {
        let said = |r: &Row| {
            let texts = [&r.namespace, &r.name, &r.status, &r.step, &r.reason];
            texts.map(Clone::clone)
        };
        said(self) == said(other)
    }

    fn cells(&self) -> [String; 7] {
        [
            &self.namespace,
            &self.name,
            &self.status,
            &self.step,
            &self.reason,
            &self.age,
            &self.duration,
        ]
        .map(Clone::clone)
    }
}

/// How a Task stands, in a word.
pub fn standing(task: &Task, status: &TaskStatus) -> String {
    if task.metadata.deletion_timestamp.is_some() {
        return "Deleting".to_owned();
    }
    match status.phase {
        TaskPhase::Pending | TaskPhase::Running if task.is_cancelled() => "Cancelling".to_owned(),
        phase => format!("{phase:?}"),
    }
}

/// The colour of a phase.
pub fn style(phase: TaskPhase) -> Option<Style> {
    match phase {
        TaskPhase::Pending => Some(FAINT),
        TaskPhase::Running => None,
        TaskPhase::Succeeded => Some(GREEN),
        TaskPhase::Failed | TaskPhase::TimedOut => Some(RED),
        TaskPhase::Cancelled => Some(YELLOW),
    }
}

fn reason(status: &TaskStatus) -> String {
    // What the first word says already.
    let same = matches!(
        (status.phase, status.reason.as_str()),
        (TaskPhase::Cancelled, "Cancelled") | (TaskPhase::TimedOut, "TimedOut")
    );
    match same {
        true => String::new(),
        false => fit(&one_line(&status.reason), MAX_REASON),
    }
}

/// How long a Task has run, or ran.
pub fn duration(status: &TaskStatus, now: Timestamp) -> String {
    match (status.started_at, status.finished_at) {
        (Some(start), Some(end)) => span(end.since(start)),
        (Some(start), None) => span(Duration::from_secs(now.since(start).as_secs())),
        (None, _) => String::new(),
    }
}

/// An age, as kubectl writes it: `12s`, `5m`, `3h`, `4d`.
pub fn age(age: Duration) -> String {
    match age.as_secs() {
        secs @ 0..120 => format!("{secs}s"),
        secs @ 120..7200 => format!("{}m", secs / 60),
        secs @ 7200..172_800 => format!("{}h", secs / 3600),
        secs => format!("{}d", secs / 86_400),
    }
}
