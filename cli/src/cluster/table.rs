//! The table of objects. Pure.

use std::time::{Duration, SystemTime};

use baton_protocol::Timestamp;

use super::describe::schedule::next_run;
use super::object::Object;
use super::standing::Standing;
use crate::show::style::{FAINT, Palette, Style, YELLOW, width};

/// What stands above the columns.
const TITLES: [&str; COLUMNS] = [
    "NAMESPACE",
    "KIND",
    "NAME",
    "STATUS",
    "PROGRESS",
    "REASON",
    "AGE",
    "DURATION",
];
const COLUMNS: usize = 8;
/// The column that is coloured.
const STATUS: usize = 3;
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
        Table {
            namespaces,
            widths: TITLES.iter().map(|t| width(t)).collect(),
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
        let cells = TITLES.map(str::to_owned);
        self.line(&cells, [Some(FAINT); COLUMNS], palette)
    }

    /// A row's line.
    pub fn row(&self, row: &Row, palette: Palette) -> String {
        let mut styles = [None; COLUMNS];
        styles[STATUS] = row.style;
        self.line(&row.cells(), styles, palette)
    }

    fn line(
        &self,
        cells: &[String; COLUMNS],
        styles: [Option<Style>; COLUMNS],
        palette: Palette,
    ) -> String {
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

/// An object's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    namespace: String,
    kind: &'static str,
    name: String,
    status: String,
    style: Option<Style>,
    progress: String,
    reason: String,
    age: String,
    duration: String,
}

impl Row {
    /// The row of an object at this time.
    pub fn new(object: &Object, now: Timestamp) -> Row {
        let (status, style, progress, reason, duration) = match Standing::of(object) {
            Ok(standing) => (
                standing.word(object),
                standing.style(),
                standing.progress.clone(),
                standing.shown_reason(),
                standing.duration(now),
            ),
            Err(_) => (
                "?".to_owned(),
                Some(YELLOW),
                String::new(),
                "status of another version".to_owned(),
                String::new(),
            ),
        };
        let reason = match reason.as_str() {
            "" => next_run(object).unwrap_or_default(),
            _ => reason,
        };
        let created = object.metadata.creation_timestamp.as_ref();
        let age = created.map(|at| age(now.since(Timestamp(SystemTime::from(at.0)))));
        Row {
            namespace: object.namespace().to_owned(),
            kind: object.kind().word(),
            name: object.name().to_owned(),
            status,
            style,
            progress,
            reason,
            age: age.unwrap_or_default(),
            duration,
        }
    }

    /// Whether both tell the same, but for the time.
    pub fn same(&self, other: &Row) -> bool {
        let said =
            |r: &Row| [&r.namespace, &r.name, &r.status, &r.progress, &r.reason].map(Clone::clone);
        self.kind == other.kind && said(self) == said(other)
    }

    fn cells(&self) -> [String; COLUMNS] {
        [
            self.namespace.as_str(),
            self.kind,
            &self.name,
            &self.status,
            &self.progress,
            &self.reason,
            &self.age,
            &self.duration,
        ]
        .map(str::to_owned)
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
