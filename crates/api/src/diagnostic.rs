//! What is wrong with a manifest, where, and what was probably meant.

use std::fmt;
use std::sync::Arc;

use crate::tree::Node;

/// Most mistakes that are reported for one document; the last one then counts the rest.
pub const MAX_DIAGNOSTICS: usize = 100;
/// Longest source line that is shown below a message, in characters.
const MAX_EXCERPT: usize = 160;

/// A place in a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position {
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// One step of a [`FieldPath`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Segment {
    /// A field of an object.
    Key(String),
    /// An element of a list, from 0.
    Index(usize),
}

/// The path of a field from the document's root, written as `spec.steps[1].timeout`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct FieldPath(Vec<Segment>);

impl FieldPath {
    /// The path of a field in here.
    pub fn key(&self, key: &str) -> FieldPath {
        self.join(Segment::Key(key.to_owned()))
    }

    /// The path of an element in here.
    pub fn index(&self, index: usize) -> FieldPath {
        self.join(Segment::Index(index))
    }

    /// The segments, from the root.
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// The path of what this is in; none for the root.
    pub fn parent(&self) -> Option<FieldPath> {
        let (_, parent) = self.0.split_last()?;
        Some(FieldPath(parent.to_vec()))
    }

    fn join(&self, segment: Segment) -> FieldPath {
        let mut segments = self.0.clone();
        segments.push(segment);
        FieldPath(segments)
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Key(key) if !is_plain(key) => write!(f, "[{:?}]", excerpt(key))?,
                Segment::Key(key) if i == 0 => f.write_str(key)?,
                Segment::Key(key) => write!(f, ".{key}")?,
            }
        }
        Ok(())
    }
}

fn is_plain(key: &str) -> bool {
    (1..=80).contains(&key.len())
        && key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// One mistake. `{}` writes it on one line; `{:#}` adds the source line with a mark below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The source's name: a file's, or `-`.
    pub source: Arc<str>,
    /// Where; none where the mistake is not in the text, as with a parameter that was not given.
    pub position: Option<Position>,
    /// Which field; empty for the document as a whole.
    pub path: FieldPath,
    /// What is wrong, and what was expected.
    pub message: String,
    /// What was probably meant.
    pub suggestion: Option<String>,
    /// The source line, where it is short enough to show.
    pub line: Option<String>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)?;
        if let Some(position) = self.position {
            write!(f, ":{position}")?;
        }
        if !self.path.segments().is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}", self.message)?;
        if let Some(suggestion) = &self.suggestion {
            write!(f, "; did you mean {suggestion}?")?;
        }
        if let (true, Some(line), Some(position)) = (f.alternate(), &self.line, self.position) {
            let margin = position.line.to_string();
            let indent = " ".repeat(position.column.saturating_sub(1) as usize);
            write!(f, "\n {margin} | {line}")?;
            write!(f, "\n {} | {indent}^", " ".repeat(margin.len()))?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostic {}

/// Where a document comes from: what a later mistake in it needs to be told with its place. The
/// default knows no place.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Origin(Option<Arc<Known>>);

#[derive(Debug, PartialEq)]
struct Known {
    source: Arc<str>,
    text: Arc<str>,
    root: Node,
}

impl Origin {
    pub(crate) fn new(source: Arc<str>, text: Arc<str>, root: Node) -> Origin {
        Origin(Some(Arc::new(Known { source, text, root })))
    }

    pub(crate) fn root(&self) -> Option<&Node> {
        self.0.as_deref().map(|known| &known.root)
    }

    /// The place of a field, or of the nearest that is there above it.
    pub fn position(&self, path: &FieldPath) -> Option<Position> {
        self.walk(path).map(|(at, _)| at)
    }

    /// Whether the field is there.
    pub(crate) fn has(&self, path: &FieldPath) -> bool {
        self.walk(path).is_some_and(|(_, missing)| missing == 0)
    }

    /// The place of the nearest field that is there, and how many segments lead on from it.
    fn walk(&self, path: &FieldPath) -> Option<(Position, usize)> {
        let mut node = self.root()?;
        let mut at = node.at;
        for (i, segment) in path.segments().iter().enumerate() {
            let found = match segment {
                Segment::Key(key) => node.entry(key).map(|e| (&e.node, e.at)),
                Segment::Index(index) => node.element(*index).map(|n| (n, n.at)),
            };
            let Some((next, place)) = found else {
                return Some((at, path.segments().len() - i));
            };
            (node, at) = (next, place);
        }
        Some((at, 0))
    }

    pub(crate) fn diagnose(
        &self,
        position: Option<Position>,
        path: FieldPath,
        message: String,
    ) -> Diagnostic {
        let known = self.0.as_deref();
        diagnostic(
            known.map_or_else(|| "-".into(), |k| k.source.clone()),
            known.map_or("", |k| &k.text),
            position,
            path,
            message,
        )
    }
}

/// A mistake in `text`.
pub(crate) fn diagnostic(
    source: Arc<str>,
    text: &str,
    position: Option<Position>,
    path: FieldPath,
    message: String,
) -> Diagnostic {
    let line = position
        .and_then(|p| text.lines().nth(p.line.saturating_sub(1) as usize))
        .filter(|line| line.chars().nth(MAX_EXCERPT).is_none())
        // A tab or a control character would move the mark, or the reader's terminal.
        .map(|line| line.replace(char::is_control, " "));
    Diagnostic {
        source,
        position,
        path,
        message,
        suggestion: None,
        line,
    }
}

/// The beginning of a text of any length, for a message.
pub(crate) fn excerpt(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// `a, b or c`.
pub(crate) fn one_of(words: &[&str]) -> String {
    match words {
        [] => "nothing".to_owned(),
        [word] => (*word).to_owned(),
        [rest @ .., last] => format!("{} or {last}", rest.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_written_as_people_write_them() {
        let path = FieldPath::default().key("spec").key("steps").index(1);
        assert_eq!(path.key("timeout").to_string(), "spec.steps[1].timeout");
        assert_eq!(
            FieldPath::default().key("a").key("b.io/c").to_string(),
            "a[\"b.io/c\"]"
        );
    }
}
