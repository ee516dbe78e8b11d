//! The table at the end of a run.

use std::fmt::Write;
use std::time::Duration;

use baton_steps::{Kind, StepState};

use super::style::{BOLD, FAINT, Palette, Style, fit, one_line, size, span, width};
use super::words;
use crate::run::story::{StepStory, Story};

/// Longest value of a result that is shown, in columns.
const MAX_RESULT: usize = 60;
/// Most results that are shown.
const MAX_RESULTS: usize = 20;

/// One cell: its text, its style, and on which side it stands.
pub(crate) struct Cell {
    pub(crate) text: String,
    pub(crate) style: Option<Style>,
    pub(crate) right: bool,
}

impl Cell {
    pub(crate) fn left(text: impl Into<String>, style: Option<Style>) -> Cell {
        Cell {
            text: text.into(),
            style,
            right: false,
        }
    }

    pub(crate) fn right(text: impl Into<String>) -> Cell {
        Cell {
            text: text.into(),
            style: None,
            right: true,
        }
    }

    /// The head of a column.
    pub(crate) fn head(text: &str) -> Cell {
        Cell::left(text, Some(FAINT))
    }

    /// The head of a column that stands to the right.
    pub(crate) fn head_right(text: &str) -> Cell {
        Cell {
            style: Some(FAINT),
            ..Cell::right(text)
        }
    }
}

/// Writes the table of all steps, and below it their results.
pub fn table(story: &Story, palette: Palette) -> String {
    let mut rows = vec![header()];
    rows.extend(story.steps.iter().map(row));
    let mut text = String::new();
    write_rows(&rows, palette, &mut text);
    write_results(story, palette, &mut text);
    text
}

fn header() -> Vec<Cell> {
    let left = ["STEP", "OUTCOME"].map(Cell::head);
    let right = ["EXIT", "WAITED", "RAN", "CPU", "PEAK"].map(Cell::head_right);
    left.into_iter().chain(right).collect()
}

fn row(step: &StepStory) -> Vec<Cell> {
    let name = match step.kind {
        Kind::Step => step.name.clone(),
        Kind::Finally => format!("{} (finally)", step.name),
        Kind::Sidecar => format!("{} (sidecar)", step.name),
    };
    let end = words::end(&step.state);
    let attempts = match &step.state {
        StepState::Done { record } => record.attempts,
        _ => u32::try_from(step.attempts.len()).unwrap_or(u32::MAX),
    };
    let mut outcome = format!("{} {}", end.mark, end.words);
    if attempts > 1 {
        let _ = write!(outcome, ", {attempts} attempts");
    }
    let mut cells = vec![Cell::left(name, None), Cell::left(outcome, Some(end.style))];
    let facts = match &step.state {
        StepState::Done { record } if record.attempts > 0 => [
            record.exit_code.to_string(),
            span(Duration::from_millis(record.waited_ms)),
            span(Duration::from_millis(record.ran_ms)),
            span(record.cpu()),
            size(record.peak_bytes),
        ],
        StepState::Done { record } => [
            if record.reason.is_success() {
                String::new()
            } else {
                record.exit_code.to_string()
            },
            span(Duration::from_millis(record.waited_ms)),
            String::new(),
            String::new(),
            String::new(),
        ],
        StepState::Died { how, .. } => {
            let nothing = String::new;
            [
                how.exit_code().to_string(),
                nothing(),
                nothing(),
                nothing(),
                nothing(),
            ]
        }
        _ => Default::default(),
    };
    cells.extend(facts.into_iter().map(Cell::right));
    cells
}

/// Writes rows with their columns aligned.
pub(crate) fn write_rows(rows: &[Vec<Cell>], palette: Palette, text: &mut String) {
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|i| {
            let cells = rows.iter().filter_map(|row| row.get(i));
            cells.map(|cell| width(&cell.text)).max().unwrap_or(0)
        })
        .collect();
    for row in rows {
        let mut line = String::new();
        for (cell, columns) in row.iter().zip(&widths) {
            let pad = " ".repeat(columns.saturating_sub(width(&cell.text)));
            let painted = match cell.style {
                Some(style) if !cell.text.is_empty() => {
                    palette.paint(style, &cell.text).to_string()
                }
                _ => cell.text.clone(),
            };
            let _ = match cell.right {
                true => write!(line, "   {pad}{painted}"),
                false if line.is_empty() => write!(line, "  {painted}{pad}"),
                false => write!(line, "   {painted}{pad}"),
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

fn write_results(story: &Story, palette: Palette, text: &mut String) {
    let all: Vec<_> = story
        .steps
        .iter()
        .flat_map(|step| {
            let named = step.results.iter();
            named.map(move |(name, value)| (format!("{}.{name}", step.name), value))
        })
        .collect();
    if all.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n  {}", palette.paint(FAINT, "RESULTS"));
    let shown = || all.iter().take(MAX_RESULTS);
    let columns = shown().map(|(name, _)| width(name)).max().unwrap_or(0);
    for (name, value) in shown() {
        let pad = " ".repeat(columns.saturating_sub(width(name)));
        let value = fit(&one_line(&String::from_utf8_lossy(value)), MAX_RESULT);
        let _ = writeln!(text, "  {name}{pad}   {}", palette.paint(BOLD, value));
    }
    if all.len() > MAX_RESULTS {
        let _ = writeln!(text, "  and {} more", all.len() - MAX_RESULTS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_protocol::{Reason, Record, Timestamp};
    use baton_steps::{NotRun, Plan};
    use std::time::SystemTime;

    #[test]
    fn columns_are_aligned() {
        let mut plan = Plan::of_steps(["compile", "日本"]);
        plan.finally = Plan::of_steps(["clean"]).steps;
        let mut story = Story::new("t", "-", &plan);
        let mut record = Record::new(Reason::Error, 3, Timestamp(SystemTime::UNIX_EPOCH));
        record.attempts = 2;
        record.waited_ms = 5;
        record.ran_ms = 1200;
        record.user_us = 900_000;
        record.peak_bytes = 12_300_000;
        story.steps[0].state = StepState::Done { record };
        story.steps[0].results = vec![("digest".to_owned(), b"sha\nx".to_vec())];
        story.steps[1].state = StepState::NotRun {
            why: NotRun::Failure { number: 1 },
        };
        assert_eq!(
            table(&story, Palette(false)),
            "  STEP              OUTCOME                EXIT   WAITED    RAN     CPU      PEAK\n  \
               compile           ✘ failed, 2 attempts      3      5ms   1.2s   900ms   12.3 MB\n  \
               日本              · not run\n  \
               clean (finally)   · waiting\n\n  \
               RESULTS\n  \
               compile.digest   sha x\n"
        );
    }
}
