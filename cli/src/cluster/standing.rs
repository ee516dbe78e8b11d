//! How an object stands: what the statuses of all kinds have in common. Pure.

use std::time::Duration;

use baton_protocol::Timestamp;
use serde::Deserialize;

use super::kind::Kind;
use super::object::Object;
use crate::show::style::{FAINT, GREEN, RED, Style, YELLOW, fit, one_line, span};

/// Longest reason that is shown, in columns.
const MAX_REASON: usize = 40;

/// What the statuses of all kinds have in common.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Standing {
    /// The generation of the spec that it speaks of.
    pub observed_generation: Option<i64>,
    /// In a word; empty where nobody has taken the object up.
    pub phase: String,
    /// Why, in one word.
    pub reason: String,
    /// The same as a sentence.
    pub message: String,
    /// What is over, of all: `3/5`.
    pub progress: String,
    /// Which run, from 1; 0 before the first, and of kinds that do not count them.
    pub run: u32,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it was over.
    pub finished_at: Option<Timestamp>,
}

impl Standing {
    /// How an object stands.
    ///
    /// # Errors
    /// Where its status is of a form that this version does not know.
    pub fn of(object: &Object) -> Result<Standing, serde_json::Error> {
        object.status()
    }

    /// Whether nothing more will happen in this run.
    pub fn is_over(&self) -> bool {
        matches!(
            self.phase.as_str(),
            "Succeeded" | "Failed" | "Cancelled" | "TimedOut"
        )
    }

    /// Whether nothing more will happen by the spec as it is. A changed Task runs anew by itself, and so
    /// does what was refused before it ever ran.
    pub fn is_over_for(&self, object: &Object) -> bool {
        let is_current = self.observed_generation >= Some(object.generation());
        let stays = object.kind() != Kind::Task && self.run > 0;
        self.is_over() && (is_current || stays)
    }

    /// How the object stands, in a word.
    pub fn word(&self, object: &Object) -> String {
        if object.metadata.deletion_timestamp.is_some() {
            return "Deleting".to_owned();
        }
        match self.phase.as_str() {
            "" | "Pending" | "Running" if object.is_cancelled() => "Cancelling".to_owned(),
            "" => "Pending".to_owned(),
            phase => one_line(phase),
        }
    }

    /// The colour of the phase.
    pub fn style(&self) -> Option<Style> {
        style(&self.phase)
    }

    /// Why it stands so, where the phase does not say it already.
    pub fn shown_reason(&self) -> String {
        match self.reason == self.phase {
            true => String::new(),
            false => fit(&one_line(&self.reason), MAX_REASON),
        }
    }

    /// How long it has run, or ran.
    pub fn duration(&self, now: Timestamp) -> String {
        match (self.started_at, self.finished_at) {
            (Some(start), Some(end)) => span(end.since(start)),
            (Some(start), None) => span(Duration::from_secs(now.since(start).as_secs())),
            (None, _) => String::new(),
        }
    }
}

/// The colour of a phase, or of how a part stands.
pub fn style(phase: &str) -> Option<Style> {
    match phase {
        "" | "Pending" | "Waiting" | "Skipped" => Some(FAINT),
        "Succeeded" => Some(GREEN),
        "Failed" | "TimedOut" => Some(RED),
        "Cancelled" | "Suspended" => Some(YELLOW),
        _ => None,
    }
}
