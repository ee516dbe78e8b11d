//! YAML to trees. The parser gives events; bounds are checked as they come, so that no source is
//! read further than it is allowed to go.

use std::collections::{BTreeMap, BTreeSet};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Tag};

use super::{
    Budget, Entry, Node, Size, SyntaxError, Value, check_depth, duplicate, scalar, too_deep,
};
use crate::diagnostic::Position;

pub(super) fn read(text: &str) -> Result<Vec<Node>, SyntaxError> {
    let mut builder = Builder::default();
    // A byte order mark is no content.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|e| syntax(&e))?;
        builder.event(event, position(&span.start))?;
    }
    Ok(builder.documents)
}

fn position(marker: &Marker) -> Position {
    Position {
        line: u32::try_from(marker.line()).unwrap_or(u32::MAX).max(1),
        column: u32::try_from(marker.col() + 1).unwrap_or(u32::MAX),
    }
}

fn syntax(error: &ScanError) -> SyntaxError {
    // The parser reads ahead, and so it may meet its own bound before we count to ours.
    if error.info() == "recursion limit exceeded" {
        return too_deep(position(error.marker()));
    }
    SyntaxError::new(
        position(error.marker()),
        format!("this is not YAML: {}", error.info()),
    )
}

/// A collection that is not closed yet.
#[derive(Debug)]
struct Open {
    at: Position,
    anchor: usize,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    List(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        keys: BTreeSet<String>,
        key: Option<(Position, String)>,
        /// Maps that `<<` names; their fields count where the map has none of its own.
        merged: Vec<Node>,
    },
}

#[derive(Debug, Default)]
struct Builder {
    documents: Vec<Node>,
    open: Vec<Open>,
    anchors: BTreeMap<usize, Node>,
    budget: Budget,
}

impl Builder {
    fn event(&mut self, event: Event<'_>, at: Position) -> Result<(), SyntaxError> {
        match event {
            Event::DocumentEnd => self.anchors.clear(),
            Event::Scalar(text, style, anchor, tag) => {
                self.budget.take(Size::of(&text), at)?;
                let value = value(&text, style, tag.as_deref(), at)?;
                self.complete(Node { at, value }, anchor)?;
            }
            Event::SequenceStart(anchor, _) => {
                self.start(at, anchor, Kind::List(Vec::new()))?;
            }
            Event::MappingStart(anchor, _) => {
                let kind = Kind::Map {
                    entries: Vec::new(),
                    keys: BTreeSet::new(),
                    key: None,
                    merged: Vec::new(),
                };
                self.start(at, anchor, kind)?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.end()?,
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor) else {
                    return Err(SyntaxError::new(
                        at,
                        "this alias refers to what it is part of",
                    ));
                };
                self.budget.take(node.size(), at)?;
                check_depth(self.open.len() + node.depth(), at)?;
                let node = node.clone();
                self.complete(node, 0)?;
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) => {}
        }
        Ok(())
    }

    fn start(&mut self, at: Position, anchor: usize, kind: Kind) -> Result<(), SyntaxError> {
        self.budget.take(Size::ONE, at)?;
        check_depth(self.open.len() + 1, at)?;
        if let Some(Kind::Map { key: None, .. }) = self.open.last().map(|o| &o.kind) {
            return Err(key_error(at));
        }
        self.open.push(Open { at, anchor, kind });
        Ok(())
    }

    fn end(&mut self) -> Result<(), SyntaxError> {
        let Some(Open { at, anchor, kind }) = self.open.pop() else {
            return Ok(());
        };
        let value = match kind {
            Kind::List(nodes) => Value::List(nodes),
            Kind::Map {
                mut entries,
                mut keys,
                merged,
                ..
            } => {
                for node in merged {
                    let Value::Map(fields) = node.value else {
                        continue;
                    };
                    let new = fields.into_iter().filter(|e| keys.insert(e.key.clone()));
                    entries.extend(new);
                }
                Value::Map(entries)
            }
        };
        self.complete(Node { at, value }, anchor)
    }

    /// Puts a whole node where it belongs.
    fn complete(&mut self, node: Node, anchor: usize) -> Result<(), SyntaxError> {
        if anchor > 0 {
            // The copy is kept until the document ends, and so it counts.
            self.budget.take(node.size(), node.at)?;
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            if node.value != Value::Null {
                self.documents.push(node);
            }
            return Ok(());
        };
        match &mut open.kind {
            Kind::List(nodes) => nodes.push(node),
            Kind::Map {
                entries,
                keys,
                key,
                merged,
            } => match key.take() {
                None => *key = Some((node.at, key_text(node)?)),
                Some((_, name)) if name == "<<" => merged.extend(merge(node)?),
                Some((at, name)) => {
                    if !keys.insert(name.clone()) {
                        return Err(duplicate(at, &name));
                    }
                    entries.push(Entry {
                        at,
                        key: name,
                        node,
                    });
                }
            },
        }
        Ok(())
    }
}

/// The maps that `<<` names: one, or a list of them.
fn merge(node: Node) -> Result<Vec<Node>, SyntaxError> {
    let is_map = |node: &Node| matches!(node.value, Value::Map(_));
    match node.value {
        Value::Map(_) => Ok(vec![node]),
        Value::List(nodes) if nodes.iter().all(is_map) => Ok(nodes),
        _ => Err(SyntaxError::new(
            node.at,
            "`<<` merges an object, or a list of objects",
        )),
    }
}

fn key_text(node: Node) -> Result<String, SyntaxError> {
    match node.value {
        Value::Text(text) => Ok(text),
        Value::Bool(value) => Ok(value.to_string()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Null | Value::List(_) | Value::Map(_) => Err(key_error(node.at)),
    }
}

fn key_error(at: Position) -> SyntaxError {
    SyntaxError::new(at, "a field's name has to be a string")
}

fn value(
    text: &str,
    style: ScalarStyle,
    tag: Option<&Tag>,
    at: Position,
) -> Result<Value, SyntaxError> {
    let tag = tag
        .filter(|t| t.is_yaml_core_schema())
        .map(|t| t.suffix.as_str());
    let typed = match tag {
        Some("str" | "binary") => Some(Value::Text(text.to_owned())),
        Some("null") => Some(Value::Null),
        Some("bool") => match scalar::resolve(text) {
            Value::Bool(value) => Some(Value::Bool(value)),
            _ => None,
        },
        Some("int" | "float") => scalar::number(text).map(Value::Number),
        _ if style == ScalarStyle::Plain => Some(scalar::resolve(text)),
        _ => Some(Value::Text(text.to_owned())),
    };
    typed.ok_or_else(|| {
        let tag = tag.unwrap_or_default();
        SyntaxError::new(at, format!("this is no !!{tag}"))
    })
}
