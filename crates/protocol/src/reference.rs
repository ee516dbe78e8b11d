//! References to earlier steps' results, `$(steps.NAME.results.KEY)`, and the `when` conditions made
//! with them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::layout::{MAX_NAME_BYTES, is_name};

/// A result of an earlier step.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResultRef {
    /// The step's name.
    pub step: String,
    /// The result's name.
    pub result: String,
}

impl fmt::Display for ResultRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "$(steps.{}.results.{})", self.step, self.result)
    }
}

/// A piece of a text with references.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part<'a> {
    /// Text that stands for itself.
    Literal(&'a [u8]),
    /// A reference to a result.
    Result(ResultRef),
}

/// Splits a text at its references. `$$(steps.` stands for a literal `$(steps.`; any other `$(...)`
/// is literal text, as it may be meant for someone else.
pub fn split(text: &[u8]) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let (mut literal, mut at) = (0, 0);
    while let Some(rest) = text.get(at..) {
        if rest.is_empty() {
            break;
        }
        if rest.starts_with(b"$$(steps.") {
            push_literal(&mut parts, text.get(literal..at));
            literal = at + 1; // the second dollar starts the literal
            at += 2;
        } else if let Some((reference, len)) = reference_at(rest) {
            push_literal(&mut parts, text.get(literal..at));
            parts.push(Part::Result(reference));
            at += len;
            literal = at;
        } else {
            at += 1;
        }
    }
    push_literal(&mut parts, text.get(literal..));
    parts
}

/// The references of a text, in order.
pub fn references(text: &[u8]) -> impl Iterator<Item = ResultRef> + use<'_> {
    split(text).into_iter().filter_map(|part| match part {
        Part::Result(reference) => Some(reference),
        Part::Literal(_) => None,
    })
}

/// Replaces each reference by what `lookup` gives for it.
///
/// # Errors
/// The first error of `lookup`.
pub fn resolve<E>(
    text: &[u8],
    mut lookup: impl FnMut(&ResultRef) -> Result<Vec<u8>, E>,
) -> Result<Vec<u8>, E> {
    let mut resolved = Vec::with_capacity(text.len());
    for part in split(text) {
        match part {
            Part::Literal(literal) => resolved.extend_from_slice(literal),
            Part::Result(reference) => resolved.extend(lookup(&reference)?),
        }
    }
    Ok(resolved)
}

fn push_literal<'a>(parts: &mut Vec<Part<'a>>, literal: Option<&'a [u8]>) {
    if let Some(literal) = literal.filter(|l| !l.is_empty()) {
        parts.push(Part::Literal(literal));
    }
}

/// Most bytes between the `$(steps.` of a reference and its `)`, and one.
const LONGEST: usize = 2 * MAX_NAME_BYTES + ".results.".len() + 1;

/// The reference that `text` starts with, and its length.
fn reference_at(text: &[u8]) -> Option<(ResultRef, usize)> {
    let body = text.strip_prefix(b"$(steps.")?;
    // No further than two names reach: a text of nothing but beginnings takes no time.
    let end = body.iter().take(LONGEST).position(|b| *b == b')')?;
    let body = std::str::from_utf8(body.get(..end)?).ok()?;
    let (step, result) = body.split_once(".results.")?;
    let good = is_name(step) && is_name(result);
    good.then(|| {
        let reference = ResultRef {
            step: step.to_owned(),
            result: result.to_owned(),
        };
        (reference, "$(steps.".len() + end + 1)
    })
}

/// A condition of a step: it runs where every one of its conditions holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// The text that is looked for; references are resolved first.
    pub input: String,
    /// How.
    pub operator: Operator,
    /// The texts among which it is looked for; references are resolved first.
    pub values: Vec<String>,
}

/// How a [`When`] compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operator {
    /// Holds where the input is one of the values.
    In,
    /// Holds where it is none of them.
    NotIn,
}

impl Operator {
    /// Whether the condition holds for these texts, their references resolved.
    pub fn holds<T: PartialEq>(self, input: &T, values: &[T]) -> bool {
        values.contains(input) == (self == Operator::In)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reference(step: &str, result: &str) -> ResultRef {
        ResultRef {
            step: step.to_owned(),
            result: result.to_owned(),
        }
    }

    #[test]
    fn the_longest_names_are_found_and_beginnings_without_end_take_no_time() {
        let name = "x".repeat(MAX_NAME_BYTES);
        let longest = format!("$(steps.{name}.results.{name})");
        assert_eq!(references(longest.as_bytes()).count(), 1);
        let begun = std::time::Instant::now();
        let endless = "$(steps.".repeat(100_000);
        assert_eq!(
            split(endless.as_bytes()),
            [Part::Literal(endless.as_bytes())]
        );
        assert!(begun.elapsed().as_secs() < 30, "{:?}", begun.elapsed());
    }

    #[test]
    fn references_are_found_among_text() {
        let text = b"a=$(steps.build.results.digest),$(HOME) $(steps.x) $$(steps.a.results.b)$(steps.b.results.c";
        assert_eq!(
            split(text),
            [
                Part::Literal(b"a="),
                Part::Result(reference("build", "digest")),
                Part::Literal(b",$(HOME) $(steps.x) "),
                Part::Literal(b"$(steps.a.results.b)$(steps.b.results.c"),
            ]
        );
    }

    #[test]
    fn what_a_result_holds_is_not_resolved_again() {
        let got = resolve::<()>(b"<$(steps.a.results.b)>", |_| {
            Ok(b"$(steps.a.results.b)".to_vec())
        });
        assert_eq!(got.unwrap(), b"<$(steps.a.results.b)>");
    }

    #[test]
    fn operators() {
        assert!(Operator::In.holds(&"a", &["b", "a"]));
        assert!(!Operator::In.holds(&"a", &[]));
        assert!(Operator::NotIn.holds(&"a", &["b"]));
        assert!(!Operator::NotIn.holds(&"a", &["a"]));
    }

    proptest! {
        #[test]
        fn a_text_without_references_stays_as_it_is(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assume!(!text.windows(8).any(|w| w == b"$(steps."));
            prop_assert_eq!(resolve::<()>(&text, |_| Err(())), Ok(text.clone()));
        }

        #[test]
        fn every_reference_is_found(step in "[a-z][a-z0-9-]{0,9}", result in "[A-Za-z][a-z_]{0,9}", before in "[^$]{0,9}") {
            let want = reference(&step, &result);
            let text = format!("{before}{want}{want}");
            prop_assert_eq!(references(text.as_bytes()).collect::<Vec<_>>(), vec![want.clone(), want]);
        }
    }
}
