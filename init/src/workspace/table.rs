//! Reading a table of a TOML file strictly: every key is known, every value of its kind, and every
//! mistake has its line.

use toml_span::Value;
use toml_span::value::{Table as Keys, ValueInner};

use super::error::{ConfigError, Mistake};
use crate::cli::{nearest, suggest};

/// A table of which keys are taken one by one; what is left at its end is a mistake.
pub(super) struct Table<'t> {
    keys: Keys<'t>,
    content: &'t str,
    start: usize,
    known: Vec<&'static str>,
}

/// The line, from 1, that byte `at` is in.
pub(super) fn line_of(content: &str, at: usize) -> usize {
    let before = content.as_bytes().iter().take(at);
    1 + before.filter(|b| **b == b'\n').count()
}

fn wrong(key: &'static str, wanted: &'static str, content: &str, at: usize) -> ConfigError {
    ConfigError::at(line_of(content, at), Mistake::Kind(key, wanted))
}

/// A string, with its line.
fn text(
    key: &'static str,
    mut value: Value<'_>,
    content: &str,
) -> Result<(String, usize), ConfigError> {
    match value.take() {
        ValueInner::String(text) if !text.contains('\0') => {
            Ok((text.into_owned(), line_of(content, value.span.start)))
        }
        _ => Err(wrong(
            key,
            "a string without NUL",
            content,
            value.span.start,
        )),
    }
}

/// The values of a list.
fn words<'t>(
    key: &'static str,
    mut value: Value<'t>,
    content: &str,
) -> Result<Vec<Value<'t>>, ConfigError> {
    match value.take() {
        ValueInner::Array(values) => Ok(values),
        _ => Err(wrong(key, "a list", content, value.span.start)),
    }
}

/// A list of strings, with their lines.
fn strings(
    key: &'static str,
    value: Value<'_>,
    content: &str,
) -> Result<Vec<(String, usize)>, ConfigError> {
    words(key, value, content)?
        .into_iter()
        .map(|word| text(key, word, content))
        .collect()
}

impl<'t> Table<'t> {
    /// Takes a value that has to be a table.
    pub(super) fn of(
        mut value: Value<'t>,
        content: &'t str,
        key: &'static str,
    ) -> Result<Table<'t>, ConfigError> {
        match value.take() {
            ValueInner::Table(keys) => Ok(Table {
                start: keys
                    .keys()
                    .map(|key| key.span.start)
                    .min()
                    .unwrap_or(value.span.start),
                keys,
                content,
                known: Vec::new(),
            }),
            _ => Err(wrong(key, "a table", content, value.span.start)),
        }
    }

    /// The line that it begins in.
    pub(super) fn line(&self) -> usize {
        line_of(self.content, self.start)
    }

    fn take(&mut self, key: &'static str) -> Option<Value<'t>> {
        self.known.push(key);
        self.keys.remove(key)
    }

    /// To be called last: whatever was not taken is unknown.
    pub(super) fn end(self) -> Result<(), ConfigError> {
        let Some(key) = self.keys.keys().min_by_key(|key| key.span.start) else {
            return Ok(());
        };
        let name = key.name.to_string();
        let meant = suggest(&name, &self.known);
        let line = line_of(self.content, key.span.start);
        Err(ConfigError::at(line, Mistake::Key(name, meant)))
    }

    pub(super) fn string(
        &mut self,
        key: &'static str,
    ) -> Result<Option<(String, usize)>, ConfigError> {
        let content = self.content;
        self.take(key)
            .map(|value| text(key, value, content))
            .transpose()
    }

    pub(super) fn required(&mut self, key: &'static str) -> Result<(String, usize), ConfigError> {
        let line = self.line();
        match self.string(key)? {
            Some((text, line)) if text.is_empty() => {
                Err(ConfigError::at(line, Mistake::Empty(key)))
            }
            Some(found) => Ok(found),
            None => Err(self
                .misspelt(key)
                .unwrap_or(ConfigError::at(line, Mistake::Missing(key)))),
        }
    }

    /// What is missing may be there in another spelling.
    fn misspelt(&self, key: &'static str) -> Option<ConfigError> {
        let mut keys = self.keys.keys();
        let near = keys.find(|near| nearest(&near.name, &[key]).is_some())?;
        let mistake = Mistake::Key(near.name.to_string(), suggest(&near.name, &[key]));
        let line = line_of(self.content, near.span.start);
        Some(ConfigError::at(line, mistake))
    }

    pub(super) fn strings(
        &mut self,
        key: &'static str,
    ) -> Result<Vec<(String, usize)>, ConfigError> {
        let content = self.content;
        self.take(key)
            .map_or(Ok(Vec::new()), |value| strings(key, value, content))
    }

    pub(super) fn flag(&mut self, key: &'static str) -> Result<bool, ConfigError> {
        let Some(mut value) = self.take(key) else {
            return Ok(false);
        };
        match value.take() {
            ValueInner::Boolean(flag) => Ok(flag),
            _ => Err(wrong(key, "true or false", self.content, value.span.start)),
        }
    }

    pub(super) fn number(
        &mut self,
        key: &'static str,
        least: i64,
        most: i64,
    ) -> Result<Option<i64>, ConfigError> {
        let Some(mut value) = self.take(key) else {
            return Ok(None);
        };
        match value.take() {
            ValueInner::Integer(number) if (least..=most).contains(&number) => Ok(Some(number)),
            _ => {
                let line = line_of(self.content, value.span.start);
                Err(ConfigError::at(line, Mistake::Number(key, least, most)))
            }
        }
    }

    pub(super) fn port(&mut self, key: &'static str) -> Result<Option<u16>, ConfigError> {
        let number = self.number(key, 1, i64::from(u16::MAX))?;
        Ok(number.and_then(|number| u16::try_from(number).ok()))
    }

    pub(super) fn choice(
        &mut self,
        key: &'static str,
        choices: &[&'static str],
    ) -> Result<Option<&'static str>, ConfigError> {
        let Some((text, line)) = self.string(key)? else {
            return Ok(None);
        };
        match choices.iter().find(|choice| **choice == text) {
            Some(choice) => Ok(Some(choice)),
            None => {
                let meant = suggest(&text, choices);
                let mistake = Mistake::Choice(key, text, choices.join(", "), meant);
                Err(ConfigError::at(line, mistake))
            }
        }
    }

    pub(super) fn table(&mut self, key: &'static str) -> Result<Option<Table<'t>>, ConfigError> {
        let content = self.content;
        self.take(key)
            .map(|value| Table::of(value, content, key))
            .transpose()
    }

    pub(super) fn tables(&mut self, key: &'static str) -> Result<Vec<Table<'t>>, ConfigError> {
        let content = self.content;
        let Some(value) = self.take(key) else {
            return Ok(Vec::new());
        };
        words(key, value, content)?
            .into_iter()
            .map(|value| Table::of(value, content, key))
            .collect()
    }

    /// A table of strings: name, value and line of each.
    pub(super) fn pairs(
        &mut self,
        key: &'static str,
    ) -> Result<Vec<(String, String, usize)>, ConfigError> {
        let Some(table) = self.table(key)? else {
            return Ok(Vec::new());
        };
        let content = table.content;
        let pairs = table.keys.into_iter().map(|(name, value)| {
            let (value, line) = text(key, value, content)?;
            Ok((name.name.into_owned(), value, line))
        });
        pairs.collect()
    }
}
