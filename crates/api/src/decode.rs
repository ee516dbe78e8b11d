//! Trees to types: a serde deserializer that reports every mistake and goes on, where serde's usual
//! ones stop at the first. A value of another type is reported and read as that type's empty value,
//! an unknown field is reported and left out; so the result is whole, and indexes stay as they were.
//! It counts only where nothing was reported.
//!
//! The types of this crate have a default for every field: which ones have to be given is said by
//! validation, with a place.

use std::cell::RefCell;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use crate::diagnostic::{FieldPath, excerpt, one_of};
use crate::report::Report;
use crate::tree::{Entry, Node, Value};

/// Reads a tree as `T`; what is wrong goes to the report. `None` only where a mistake left nothing.
pub(crate) fn decode<T: DeserializeOwned>(node: &Node, report: &mut Report) -> Option<T> {
    let report = RefCell::new(report);
    let decoder = Decoder {
        node,
        path: &Trail::Root,
        report: &report,
    };
    match T::deserialize(decoder) {
        Ok(value) => Some(value),
        Err(e) => {
            let mut report = report.borrow_mut();
            report.mistyped(node.at, FieldPath::default(), e.to_string());
            None
        }
    }
}

/// A path in the making, on the stack: it is built only where it is needed.
enum Trail<'a> {
    Root,
    Key(&'a Trail<'a>, &'a str),
    Index(&'a Trail<'a>, usize),
}

impl Trail<'_> {
    fn path(&self) -> FieldPath {
        match self {
            Trail::Root => FieldPath::default(),
            Trail::Key(parent, key) => parent.path().key(key),
            Trail::Index(parent, index) => parent.path().index(*index),
        }
    }
}

type Error = de::value::Error;

/// Fields whose text is a duration.
const DURATIONS: &[&str] = &["timeout", "gracePeriod", "retryDelay"];

#[derive(Clone, Copy)]
struct Decoder<'a, 'r> {
    node: &'a Node,
    path: &'a Trail<'a>,
    report: &'a RefCell<&'r mut Report>,
}

impl Decoder<'_, '_> {
    /// Reports that the node is something else than what is expected.
    fn mistyped(&self, expected: &str) {
        // Quotes alone would not make a duration of a number.
        if let (Trail::Key(of, key), Value::Number(_)) = (self.path, &self.node.value)
            && DURATIONS.contains(key)
            && matches!(of, Trail::Index(..) | Trail::Key(_, "spec"))
        {
            let found = self.node.describe();
            self.bad(format!(
                "expected a duration such as 30s or 5m, found {found}"
            ));
            return;
        }
        let mut message = format!("expected {expected}, found {}", self.node.describe());
        if expected == "a string" && self.node.needs_quotes() {
            message += "; put it in quotes";
        }
        if let (true, Value::Bool(value)) = (expected == "a string", &self.node.value) {
            let words = if *value {
                "yes, on and y"
            } else {
                "no, off and n"
            };
            message += &format!(" ({words} mean {value} too)");
        }
        self.bad(message);
    }

    fn bad(&self, message: String) {
        let mut report = self.report.borrow_mut();
        report.mistyped(self.node.at, self.path.path(), message);
    }

    fn integer(&self, least: i64, most: u64) -> i128 {
        let number = match &self.node.value {
            Value::Number(n) => n
                .as_u64()
                .map(i128::from)
                .or_else(|| n.as_i64().map(i128::from)),
            _ => None,
        };
        match number {
            Some(n) if n >= i128::from(least) && n <= i128::from(most) => n,
            Some(n) => {
                self.bad(if n < i128::from(least) {
                    format!("{n} is less than {least}")
                } else {
                    format!("{n} is more than {most}")
                });
                0
            }
            None => {
                self.mistyped("a whole number");
                0
            }
        }
    }

    /// Reports and leaves out the fields that `fields` does not have, and those that hold nothing:
    /// null is the same as absent.
    fn known<'a>(&self, entries: &'a [Entry], fields: &[&'static str]) -> Vec<&'a Entry> {
        let mut known = Vec::with_capacity(entries.len());
        for entry in entries {
            if !fields.contains(&entry.key.as_str()) {
                self.report.borrow_mut().misspelt(
                    entry.at,
                    self.path.path().key(&entry.key),
                    "unknown field".to_owned(),
                    &entry.key,
                    fields.iter().copied(),
                );
            } else if entry.node.value != Value::Null {
                known.push(entry);
            }
        }
        known
    }
}

macro_rules! integers {
    ($($method:ident $visit:ident $type:ty, $least:expr, $most:expr;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            let number = self.integer($least, $most);
            visitor.$visit(<$type>::try_from(number).unwrap_or_default())
        }
    )*};
}

impl<'de> de::Deserializer<'de> for Decoder<'_, '_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(n), ..) => visitor.visit_u64(n),
                (_, Some(n), _) => visitor.visit_i64(n),
                (.., n) => visitor.visit_f64(n.unwrap_or_default()),
            },
            Value::Text(text) => visitor.visit_str(text),
            Value::List(_) => self.deserialize_seq(visitor),
            Value::Map(_) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.node.value {
            Value::Bool(value) => visitor.visit_bool(value),
            _ => {
                self.mistyped("true or false");
                visitor.visit_bool(false)
            }
        }
    }

    integers! {
        deserialize_u8 visit_u8 u8, 0, u8::MAX.into();
        deserialize_u16 visit_u16 u16, 0, u16::MAX.into();
        deserialize_u32 visit_u32 u32, 0, u32::MAX.into();
        deserialize_u64 visit_u64 u64, 0, u64::MAX;
        deserialize_i32 visit_i32 i32, i32::MIN.into(), i32::MAX as u64;
        deserialize_i64 visit_i64 i64, i64::MIN, i64::MAX as u64;
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.value {
            Value::Text(text) => visitor.visit_str(text),
            _ => {
                self.mistyped("a string");
                visitor.visit_str("")
            }
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.node.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let nodes = match &self.node.value {
            Value::List(nodes) => nodes.as_slice(),
            _ => {
                self.mistyped("a list");
                &[]
            }
        };
        visitor.visit_seq(Elements {
            decoder: self,
            rest: nodes.iter().enumerate(),
        })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let entries = match &self.node.value {
            Value::Map(entries) => entries.iter().collect(),
            _ => {
                self.mistyped("an object");
                Vec::new()
            }
        };
        visitor.visit_map(Fields::new(self, entries))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let entries = match &self.node.value {
            Value::Map(entries) => self.known(entries, fields),
            _ => {
                self.mistyped("an object");
                Vec::new()
            }
        };
        visitor.visit_map(Fields::new(self, entries))
    }

    /// Enums without content: a text out of a set. Another one is reported and read as the first.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let named: Vec<_> = variants.iter().copied().filter(|v| !v.is_empty()).collect();
        let given = match &self.node.value {
            Value::Text(text) if variants.contains(&text.as_str()) => text,
            Value::Text(text) => {
                self.report.borrow_mut().misspelt(
                    self.node.at,
                    self.path.path(),
                    format!("expected {}, found {:?}", one_of(&named), excerpt(text)),
                    text,
                    named.iter().copied(),
                );
                variants.first().copied().unwrap_or_default()
            }
            _ => {
                self.mistyped(&one_of(&named));
                variants.first().copied().unwrap_or_default()
            }
        };
        let variant: StrDeserializer<'_, Error> = given.into_deserializer();
        visitor.visit_enum(variant)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i8 i16 i128 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct identifier
    }
}

struct Elements<'a, 'r> {
    decoder: Decoder<'a, 'r>,
    rest: std::iter::Enumerate<std::slice::Iter<'a, Node>>,
}

impl<'de> de::SeqAccess<'de> for Elements<'_, '_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        let Some((index, node)) = self.rest.next() else {
            return Ok(None);
        };
        seed.deserialize(Decoder {
            node,
            path: &Trail::Index(self.decoder.path, index),
            report: self.decoder.report,
        })
        .map(Some)
    }
}

struct Fields<'a, 'r> {
    decoder: Decoder<'a, 'r>,
    rest: std::vec::IntoIter<&'a Entry>,
    current: Option<&'a Entry>,
}

impl<'a, 'r> Fields<'a, 'r> {
    fn new(decoder: Decoder<'a, 'r>, entries: Vec<&'a Entry>) -> Fields<'a, 'r> {
        Fields {
            decoder,
            rest: entries.into_iter(),
            current: None,
        }
    }
}

impl<'de> de::MapAccess<'de> for Fields<'_, '_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        self.current = self.rest.next();
        let Some(entry) = self.current else {
            return Ok(None);
        };
        let key: StrDeserializer<'_, Error> = entry.key.as_str().into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let Some(entry) = self.current.take() else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        seed.deserialize(Decoder {
            node: &entry.node,
            path: &Trail::Key(self.decoder.path, &entry.key),
            report: self.decoder.report,
        })
    }
}
