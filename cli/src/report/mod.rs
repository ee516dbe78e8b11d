//! `--report FILE.html`: one page that tells a run's whole story and needs nothing but itself.
//!
//! The page loads nothing, runs no script and forbids both by its own content policy, so it can be
//! mailed, archived or served from anywhere. Whatever came from the run (names, results, output) is
//! escaped: a step cannot write markup into it.

mod ansi;
mod facts;
mod graph;
mod page;
mod timeline;

#[cfg(test)]
mod tests;

pub use facts::{
    Attempt, End, Facts, Gap, Graph, GraphNode, Log, NodeLook, Phase, Role, StepFacts, StepResult,
};

/// Most bytes of all logs together that the page shows.
pub const MAX_LOGS_BYTES: usize = 8 << 20;
/// Most bytes of one log that the page shows; the middle of a longer one is left out, and said so.
pub const MAX_LOG_BYTES: usize = 512 << 10;
/// However many steps share the page, each may show this much.
const MIN_LOG_BYTES: usize = 4 << 10;
/// Most bytes of one result that the page shows.
pub const MAX_RESULT_BYTES: usize = 4 << 10;

/// Writes the page.
///
/// # Errors
/// Where the template fails to render, which takes a defect of the template.
pub fn render(facts: &Facts) -> Result<String, askama::Error> {
    askama::Template::render(&page::Page::of(facts))
}
