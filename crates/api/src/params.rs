//! Parameters: their values, and how a person writes them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::diagnostic::excerpt;
use crate::task::{Param, ParamType};

/// Longest name of a parameter, in bytes.
pub const MAX_PARAM_NAME: usize = 63;

/// The value of a parameter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ParamValue {
    /// A text.
    String(String),
    /// A list of texts.
    Array(Vec<String>),
    /// Texts by key.
    Object(BTreeMap<String, String>),
}

impl ParamValue {
    /// Its type.
    pub fn kind(&self) -> ParamType {
        match self {
            ParamValue::String(_) => ParamType::String,
            ParamValue::Array(_) => ParamType::Array,
            ParamValue::Object(_) => ParamType::Object,
        }
    }

    /// The value as one of this type. A text is read as an array where it is JSON (`["a", "b"]`) or
    /// a list with commas (`a,b`; an empty text is an empty array), and as an object where it is JSON.
    ///
    /// # Errors
    /// What was expected, where it is neither of this type nor a text that can be read so.
    pub fn into_kind(self, kind: ParamType) -> Result<ParamValue, String> {
        match (kind, self) {
            (kind, value) if value.kind() == kind => Ok(value),
            (ParamType::Array, ParamValue::String(text)) => {
                if text.trim_start().starts_with('[') {
                    serde_json::from_str(&text)
                        .map(ParamValue::Array)
                        .map_err(|e| format!("expected a JSON array of strings: {e}"))
                } else if text.is_empty() {
                    Ok(ParamValue::Array(Vec::new()))
                } else {
                    Ok(ParamValue::Array(
                        text.split(',').map(str::to_owned).collect(),
                    ))
                }
            }
            (ParamType::Object, ParamValue::String(text)) => serde_json::from_str(&text)
                .map(ParamValue::Object)
                .map_err(|e| format!("expected a JSON object of strings: {e}")),
            (kind, value) => Err(format!(
                "expected {}, found {}",
                kind.describe(),
                value.kind().describe()
            )),
        }
    }
}

impl From<&str> for ParamValue {
    fn from(text: &str) -> ParamValue {
        ParamValue::String(text.to_owned())
    }
}

impl ParamType {
    pub(crate) fn describe(self) -> &'static str {
        match self {
            ParamType::String => "a string",
            ParamType::Array => "an array of strings",
            ParamType::Object => "an object of strings",
        }
    }
}

impl Param {
    /// Its type: as given, or the default's, or else a string.
    pub fn kind(&self) -> ParamType {
        self.kind.unwrap_or(match self.default {
            Some(Value::Array(_)) => ParamType::Array,
            Some(Value::Object(_)) => ParamType::Object,
            _ => ParamType::String,
        })
    }

    /// Its default, of its type. `None` where it has none, or one that validation refuses.
    pub fn default_value(&self) -> Option<ParamValue> {
        let value: ParamValue = serde_json::from_value(self.default.clone()?).ok()?;
        (value.kind() == self.kind()).then_some(value)
    }
}

/// Why a `NAME=VALUE` is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParamError {
    /// No `=` in it.
    #[error("{0:?} is not of the form NAME=VALUE")]
    Form(String),
    /// The name can name no parameter.
    #[error("{0:?} cannot name a parameter")]
    Name(String),
}

/// Reads a parameter as a person gives it: `NAME=VALUE`. The value is a text here;
/// [`ParamValue::into_kind`] reads it as what the Task declares.
///
/// # Errors
/// Where there is no `=`, or no name before it.
pub fn parse_param(text: &str) -> Result<(String, ParamValue), ParamError> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| ParamError::Form(excerpt(text)))?;
    if !is_param_name(name) {
        return Err(ParamError::Name(excerpt(name)));
    }
    Ok((name.to_owned(), value.into()))
}

/// Whether `name` can name a parameter: letters, digits, `_` and `-`, beginning with a letter or `_`,
/// at most [`MAX_PARAM_NAME`] bytes.
pub fn is_param_name(name: &str) -> bool {
    name.len() <= MAX_PARAM_NAME
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(words: &[&str]) -> ParamValue {
        ParamValue::Array(words.iter().map(|w| (*w).to_owned()).collect())
    }

    #[test]
    fn values_as_people_write_them() {
        assert_eq!(parse_param("a=b=c"), Ok(("a".to_owned(), "b=c".into())));
        assert_eq!(parse_param("a"), Err(ParamError::Form("a".to_owned())));
        assert_eq!(parse_param("1=b"), Err(ParamError::Name("1".to_owned())));
        let read = |text: &str, kind| ParamValue::from(text).into_kind(kind);
        assert_eq!(read("[1]", ParamType::String), Ok("[1]".into()));
        assert_eq!(read("a,b", ParamType::Array), Ok(array(&["a", "b"])));
        assert_eq!(read("", ParamType::Array), Ok(array(&[])));
        assert_eq!(read("[\"a,b\"]", ParamType::Array), Ok(array(&["a,b"])));
        assert_eq!(
            read("{\"k\":\"v\"}", ParamType::Object),
            Ok(ParamValue::Object(BTreeMap::from([(
                "k".to_owned(),
                "v".to_owned()
            )])))
        );
        assert!(read("[1]", ParamType::Array).is_err());
        assert!(read("k=v", ParamType::Object).is_err());
        assert_eq!(
            array(&[]).into_kind(ParamType::String),
            Err("expected a string, found an array of strings".to_owned())
        );
    }
}
