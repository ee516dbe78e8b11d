//! JSON to trees. YAML's parser reads most JSON, but not escaped surrogate pairs, nor tabs everywhere.

use std::collections::BTreeSet;

use serde::de::IgnoredAny;

use super::{Budget, Entry, Node, Size, SyntaxError, Value, check_depth, duplicate, too_deep};
use crate::diagnostic::Position;

/// Whether a text that begins as a JSON object is made of JSON objects; `None` for any other.
pub(super) fn check(text: &str) -> Option<Result<(), SyntaxError>> {
    let inner = text.trim_ascii_start().strip_prefix('{')?;
    inner.trim_ascii_start().starts_with(['"', '}']).then(|| {
        serde_json::Deserializer::from_str(text)
            .into_iter::<IgnoredAny>()
            .try_for_each(|document| document.map(drop))
            .map_err(|e| syntax(&e))
    })
}

fn syntax(error: &serde_json::Error) -> SyntaxError {
    let at = Position {
        line: u32::try_from(error.line()).unwrap_or(u32::MAX),
        column: u32::try_from(error.column().max(1)).unwrap_or(u32::MAX),
    };
    let cause = error.to_string();
    if cause.starts_with("recursion limit") {
        return too_deep(at);
    }
    // The place is told already.
    let cause = cause
        .rsplit_once(" at line ")
        .map_or(cause.as_str(), |(c, _)| c);
    SyntaxError::new(at, format!("this is not JSON: {cause}"))
}

/// Reads a text that [`check`] found good: the grammar is not checked again.
pub(super) fn read(text: &str) -> Result<Vec<Node>, SyntaxError> {
    let mut reader = Reader {
        rest: text,
        at: Position { line: 1, column: 1 },
        budget: Budget::default(),
    };
    let mut documents = Vec::new();
    while reader.next().is_some() {
        documents.push(reader.node(0)?);
    }
    Ok(documents)
}

struct Reader<'a> {
    rest: &'a str,
    at: Position,
    budget: Budget,
}

impl<'a> Reader<'a> {
    /// The next character that is no white space.
    fn next(&mut self) -> Option<char> {
        let space = self.rest.len() - self.rest.trim_ascii_start().len();
        self.advance(space);
        self.rest.chars().next()
    }

    /// Passes over `len` bytes, and gives them.
    fn advance(&mut self, len: usize) -> &'a str {
        let (passed, rest) = self.rest.split_at_checked(len).unwrap_or((self.rest, ""));
        for character in passed.chars() {
            if character == '\n' {
                self.at.line += 1;
                self.at.column = 1;
            } else {
                self.at.column += 1;
            }
        }
        self.rest = rest;
        passed
    }

    fn bad(&self) -> SyntaxError {
        SyntaxError::new(self.at, "this is not JSON")
    }

    fn node(&mut self, depth: usize) -> Result<Node, SyntaxError> {
        let first = self.next();
        let at = self.at;
        let value = match first {
            Some('{') => Value::Map(self.map(depth + 1)?),
            Some('[') => Value::List(self.list(depth + 1)?),
            Some('"') => Value::Text(self.text()?),
            Some(_) => {
                self.budget.take(Size::ONE, at)?;
                let end = |c: char| c.is_ascii_whitespace() || matches!(c, ',' | ']' | '}');
                let len = self.rest.find(end).unwrap_or(self.rest.len());
                match self.advance(len) {
                    "null" => Value::Null,
                    "true" => Value::Bool(true),
                    "false" => Value::Bool(false),
                    number => Value::Number(number.parse().map_err(|_| self.bad())?),
                }
            }
            None => return Err(self.bad()),
        };
        Ok(Node { at, value })
    }

    fn text(&mut self) -> Result<String, SyntaxError> {
        let at = self.at;
        let mut escaped = false;
        let close = self.rest.bytes().skip(1).position(|b| {
            let closes = b == b'"' && !escaped;
            escaped = b == b'\\' && !escaped;
            closes
        });
        let len = close.ok_or_else(|| self.bad())? + 2;
        let text: String = serde_json::from_str(self.advance(len))
            .map_err(|_| SyntaxError::new(at, "not JSON"))?;
        self.budget.take(Size::of(&text), at)?;
        Ok(text)
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Node>, SyntaxError> {
        let mut nodes = Vec::new();
        self.open(depth)?;
        while self.goes_on(']')? {
            nodes.push(self.node(depth)?);
        }
        Ok(nodes)
    }

    fn map(&mut self, depth: usize) -> Result<Vec<Entry>, SyntaxError> {
        let (mut entries, mut keys) = (Vec::new(), BTreeSet::new());
        self.open(depth)?;
        while self.goes_on('}')? {
            let at = self.at;
            let key = self.text()?;
            if !keys.insert(key.clone()) {
                return Err(duplicate(at, &key));
            }
            self.next();
            self.advance(1); // the colon
            let node = self.node(depth)?;
            entries.push(Entry { at, key, node });
        }
        Ok(entries)
    }

    fn open(&mut self, depth: usize) -> Result<(), SyntaxError> {
        self.budget.take(Size::ONE, self.at)?;
        check_depth(depth, self.at)?;
        self.advance(1);
        Ok(())
    }

    /// Whether another element follows; the comma before it, or what closes them, is passed over.
    fn goes_on(&mut self, close: char) -> Result<bool, SyntaxError> {
        if self.next() == Some(',') {
            self.advance(1);
        }
        match self.next() {
            Some(c) if c == close => {
                self.advance(1);
                Ok(false)
            }
            Some(_) => Ok(true),
            None => Err(self.bad()),
        }
    }
}
