//! Graphs of Jobs and Tasks without a cluster, and how graphs are shown.

mod child;
pub mod daemon;
mod describe;
pub mod draw;
mod drive;
mod heard;
pub mod layout;
mod make;
mod present;
mod run;
pub mod screen;
mod shown;
mod story;
mod telling;

pub use child::Told;
pub use describe::{Rows, facts, facts_with, graph, json};
pub use drive::MAX_AT_ONCE;
pub use make::Templates;
pub use run::{FlowError, Over, check, run};
pub use screen::conclusion;
pub use story::FlowStory;
