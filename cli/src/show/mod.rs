//! What is shown, to people and to programs. Pure, but for [`terminal`].

pub mod conclusion;
pub mod json;
pub mod lines;
pub mod prefixed;
pub mod style;
pub mod table;
pub mod terminal;
pub mod text;
pub mod words;
