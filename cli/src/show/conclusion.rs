//! What stands below a task's output when it is over.

use baton_protocol::Record;
use baton_steps::{Phase, StepState};

use super::style::{BOLD, GREEN, Palette, RED, YELLOW};
use super::table::table;
use crate::run::story::Story;

/// How much is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// Its colours.
    pub palette: Palette,
    /// The table of all steps.
    pub table: bool,
    /// Only what failed.
    pub quiet: bool,
}

/// The table, what can be done about failures, and the end in a sentence.
pub fn conclusion(
    story: &Story,
    headline: &str,
    wanted: Wanted,
    advice: impl Fn(&Record) -> Option<String>,
) -> String {
    let palette = wanted.palette;
    let mut text = String::new();
    if wanted.table && !wanted.quiet {
        text = format!("\n{}\n", table(story, palette));
    }
    let phase = story.outcome.as_ref().map(|o| o.phase);
    for step in &story.steps {
        if let StepState::Done { record } = &step.state
            && let Some(advice) = advice(record)
        {
            text.push_str(&format!("{}: {advice}\n", palette.paint(BOLD, &step.name)));
        }
    }
    let style = match phase {
        Some(Phase::Succeeded) => GREEN,
        Some(Phase::Cancelled) => YELLOW,
        _ => RED,
    };
    if !wanted.quiet || phase != Some(Phase::Succeeded) {
        let headline = palette.paint(style, headline);
        text.push_str(&format!("task {}: {headline}\n", story.task));
    }
    text
}
