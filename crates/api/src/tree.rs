//! A document as a tree whose nodes know their places.

use serde_json::Number;

use crate::diagnostic::{Position, excerpt};
use crate::document::{MAX_DEPTH, MAX_NODES, MAX_SCALAR_BYTES};

mod json;
mod scalar;
mod yaml;

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) at: Position,
    pub(crate) value: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A field: its key's place, the key, and its value. Keys are unique in a map.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) at: Position,
    pub(crate) key: String,
    pub(crate) node: Node,
}

/// What stops a source from being read: one mistake, at one place.
#[derive(Debug)]
pub(crate) struct SyntaxError {
    pub(crate) at: Position,
    pub(crate) message: String,
}

impl SyntaxError {
    fn new(at: Position, message: impl Into<String>) -> SyntaxError {
        SyntaxError {
            at,
            message: message.into(),
        }
    }
}

/// Reads a text of YAML or JSON documents; empty documents are left out.
pub(crate) fn read(text: &str) -> Result<Vec<Node>, SyntaxError> {
    match json::check(text) {
        None => yaml::read(text),
        Some(Ok(())) => json::read(text),
        // A text that only looks like JSON can be YAML.
        Some(Err(error)) => yaml::read(text).map_err(|_| error),
    }
}

impl Node {
    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|e| e.key == key),
            _ => None,
        }
    }

    pub(crate) fn element(&self, index: usize) -> Option<&Node> {
        match &self.value {
            Value::List(nodes) => nodes.get(index),
            _ => None,
        }
    }

    /// The text of a field that is a text.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        match &self.entry(key)?.node.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// What the node is, for a message: `the number 3`.
    pub(crate) fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(value) => format!("the boolean {value}"),
            Value::Number(number) => format!("the number {number}"),
            Value::Text(text) => format!("the string {:?}", excerpt(text)),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "an object".to_owned(),
        }
    }

    /// Whether the node is a scalar that becomes a text by quotes.
    pub(crate) fn needs_quotes(&self) -> bool {
        matches!(self.value, Value::Bool(_) | Value::Number(_))
    }

    /// How many nodes and bytes of text this is.
    fn size(&self) -> Size {
        match &self.value {
            Value::Text(text) => Size::of(text),
            Value::List(nodes) => nodes.iter().map(Node::size).fold(Size::ONE, Size::and),
            Value::Map(entries) => entries
                .iter()
                .map(|e| Size::of(&e.key).and(e.node.size()))
                .fold(Size::ONE, Size::and),
            _ => Size::ONE,
        }
    }

    fn depth(&self) -> usize {
        let deepest = match &self.value {
            Value::List(nodes) => nodes.iter().map(Node::depth).max(),
            Value::Map(entries) => entries.iter().map(|e| e.node.depth()).max(),
            _ => return 0,
        };
        1 + deepest.unwrap_or(0)
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Size {
    nodes: usize,
    bytes: usize,
}

impl Size {
    const ONE: Size = Size { nodes: 1, bytes: 0 };

    fn of(text: &str) -> Size {
        Size {
            nodes: 1,
            bytes: text.len(),
        }
    }

    fn and(self, other: Size) -> Size {
        Size {
            nodes: self.nodes.saturating_add(other.nodes),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }
}

/// What a source has used up of its bounds.
#[derive(Debug, Default)]
struct Budget(Size);

impl Budget {
    fn take(&mut self, size: Size, at: Position) -> Result<(), SyntaxError> {
        self.0 = self.0.and(size);
        if self.0.nodes > MAX_NODES {
            return Err(SyntaxError::new(
                at,
                format!("too large: more than {MAX_NODES} values, aliases expanded"),
            ));
        }
        if self.0.bytes > MAX_SCALAR_BYTES {
            return Err(SyntaxError::new(
                at,
                format!("too large: more than {MAX_SCALAR_BYTES} bytes of text, aliases expanded"),
            ));
        }
        Ok(())
    }
}

fn check_depth(depth: usize, at: Position) -> Result<(), SyntaxError> {
    if depth > MAX_DEPTH {
        return Err(too_deep(at));
    }
    Ok(())
}

fn too_deep(at: Position) -> SyntaxError {
    SyntaxError::new(at, format!("nested deeper than {MAX_DEPTH} levels"))
}

fn duplicate(at: Position, key: &str) -> SyntaxError {
    SyntaxError::new(at, format!("{:?} is given twice here", excerpt(key)))
}

#[cfg(test)]
mod tests;
