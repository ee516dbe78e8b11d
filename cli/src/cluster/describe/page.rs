//! What the descriptions of all kinds have in common. Pure.

use std::fmt::Write;
use std::time::SystemTime;

use baton_api::status::{CallbackStatus, Condition};
use baton_protocol::Timestamp;

use super::super::advice::Next;
use super::super::object::Object;
use super::super::standing::Standing;
use super::super::table::age;
use crate::show::style::{BOLD, FAINT, Palette, YELLOW, fit, one_line};
use crate::show::table::{Cell, write_rows};

/// Longest message that is shown, in columns.
pub(super) const MAX_MESSAGE: usize = 200;

/// An event of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLine {
    /// When it was seen last.
    pub at: Option<Timestamp>,
    /// Something may be wrong.
    pub warning: bool,
    /// What it is about: `task`, `pod`.
    pub of: String,
    /// One word.
    pub reason: String,
    /// A sentence.
    pub message: String,
    /// How often it was seen.
    pub count: i32,
}

/// The text as it is written.
pub(super) struct Page {
    pub(super) text: String,
    pub(super) palette: Palette,
}

impl Page {
    pub(super) fn new(palette: Palette) -> Page {
        Page {
            text: String::new(),
            palette,
        }
    }

    pub(super) fn line(&mut self, text: &str) {
        let _ = writeln!(self.text, "{text}");
    }

    pub(super) fn title(&mut self, title: &str) {
        let title = self.palette.paint(BOLD, title);
        let _ = writeln!(self.text, "\n{title}");
    }

    /// `Name       value`, where there is a value.
    pub(super) fn field(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            let name = self.palette.paint(FAINT, format!("{name:<11}"));
            let _ = writeln!(self.text, "  {name} {value}");
        }
    }

    pub(super) fn rows(&mut self, rows: &[Vec<Cell>]) {
        write_rows(rows, self.palette, &mut self.text);
    }

    /// What it is, how it stands and why.
    pub(super) fn standing(&mut self, object: &Object, standing: &Standing) {
        let head = format!("{} {}", object.kind().name(), object.name());
        let head = self.palette.paint(BOLD, head);
        let _ = writeln!(self.text, "{head} in namespace {}", object.namespace());
        let mut stands = standing.word(object);
        if object.status.is_none() {
            stands.push_str(" (nothing has taken it up yet: does the coordinator run?)");
        } else if !matches!(standing.reason.as_str(), "" | "Completed")
            && standing.reason != standing.phase
        {
            let _ = write!(stands, ", {}", one_line(&standing.reason));
        }
        let painted = match standing.style() {
            Some(style) => self.palette.paint(style, stands).to_string(),
            None => stands,
        };
        self.field("Status", &painted);
        self.field("Message", &fit(&one_line(&standing.message), MAX_MESSAGE));
        self.field("Progress", &standing.progress);
    }

    /// When it was made, began and ended.
    pub(super) fn times(&mut self, object: &Object, standing: &Standing, now: Timestamp) {
        let created = object.metadata.creation_timestamp.as_ref();
        let created = created.map(|at| Timestamp(SystemTime::from(at.0)));
        self.field("Created", &moment(created, now));
        self.field("Started", &moment(standing.started_at, now));
        self.field("Finished", &moment(standing.finished_at, now));
        self.field("Duration", &standing.duration(now));
    }

    /// That the status is behind the spec, where it is.
    pub(super) fn generation(&mut self, object: &Object, standing: &Standing) {
        if let Some(observed) = standing.observed_generation
            && observed < object.generation()
        {
            let said = format!(
                "generation {}; the status is of generation {observed}",
                object.generation()
            );
            self.field("Spec", &self.palette.paint(YELLOW, said).to_string());
        }
    }

    pub(super) fn conditions(&mut self, conditions: &[Condition], now: Timestamp) {
        if conditions.is_empty() {
            return;
        }
        self.title("Conditions");
        let rows: Vec<_> = conditions
            .iter()
            .map(|c| {
                let since = c.last_transition_time.map(|at| age(now.since(at)));
                vec![
                    Cell::left(format!("{}={}", c.kind, c.status), None),
                    Cell::left(&c.reason, None),
                    Cell::left(since.unwrap_or_default(), Some(FAINT)),
                    Cell::left(fit(&one_line(&c.message), MAX_MESSAGE), None),
                ]
            })
            .collect();
        self.rows(&rows);
    }

    pub(super) fn callbacks(&mut self, callbacks: &[CallbackStatus]) {
        if callbacks.is_empty() {
            return;
        }
        self.title("Callbacks");
        for callback in callbacks {
            let mut said = format!("{} delivered", callback.delivered);
            if callback.waiting > 0 {
                let _ = write!(said, ", {} waiting", callback.waiting);
            }
            if callback.given_up > 0 {
                let _ = write!(said, ", {} given up", callback.given_up);
            }
            let troubled = callback.given_up > 0 || callback.last_error.is_some();
            let said = match troubled {
                true => self.palette.paint(YELLOW, said).to_string(),
                false => said,
            };
            self.line(&format!("  {}   {said}", one_line(&callback.sink)));
            if let Some(error) = &callback.last_error {
                self.line(&format!("    {}", fit(&one_line(error), MAX_MESSAGE)));
            }
        }
    }

    /// The events, or why they are not known.
    pub(super) fn events(&mut self, events: &Result<&[EventLine], String>, now: Timestamp) {
        let events = match events {
            Ok([]) => return,
            Ok(events) => *events,
            Err(why) => {
                self.title("Events");
                self.line(&format!("  cannot be read: {}", one_line(why)));
                return;
            }
        };
        self.title("Events");
        let rows: Vec<_> = events
            .iter()
            .map(|event| {
                let at = event.at.map(|at| age(now.since(at)));
                let times = match event.count {
                    ..=1 => String::new(),
                    count => format!(" (×{count})"),
                };
                let style = event.warning.then_some(YELLOW);
                vec![
                    Cell::right(at.unwrap_or_default()),
                    Cell::left(&event.of, Some(FAINT)),
                    Cell::left(format!("{}{times}", one_line(&event.reason)), style),
                    Cell::left(fit(&one_line(&event.message), MAX_MESSAGE), None),
                ]
            })
            .collect();
        self.rows(&rows);
    }

    /// What can be done next.
    pub(super) fn next(&mut self, all: &[Next]) {
        if all.is_empty() {
            return;
        }
        self.title("Next");
        let commands = all.iter().filter_map(|next| match next {
            Next::Command(command, what) => Some(vec![
                Cell::left(command, None),
                Cell::left(*what, Some(FAINT)),
            ]),
            Next::Hint(_) => None,
        });
        self.rows(&commands.collect::<Vec<_>>());
        for next in all {
            if let Next::Hint(hint) = next {
                self.line(&format!("  {hint}"));
            }
        }
    }
}

/// `2026-11-21T06:00:00Z (3m ago)`
fn moment(at: Option<Timestamp>, now: Timestamp) -> String {
    let Some(at) = at else {
        return String::new();
    };
    let text = jiff::Timestamp::try_from(at.0)
        .ok()
        .and_then(|t| t.round(jiff::Unit::Second).ok());
    let text = text.map(|t| t.to_string()).unwrap_or_default();
    format!("{text} ({} ago)", age(now.since(at)))
}
