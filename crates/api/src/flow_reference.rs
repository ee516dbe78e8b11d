//! References in a JobFlow's texts: to results of earlier nodes, and to the element of a `forEach`.
//!
//! ```text
//! $(flows.NODE.steps.STEP.results.NAME)   $(item)   $(index)
//! ```
//! `$$(flows.` and so on stand for the text with one dollar; any other `$(...)` is none of ours.

use baton_protocol::layout::is_name;

/// A reference in a text of a JobFlow.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum FlowReference {
    /// A result of an earlier node, which runs a Task.
    Result {
        /// The node's name.
        node: String,
        /// The step's name.
        step: String,
        /// The result's name.
        result: String,
    },
    /// The element of the list that this run of the node is for.
    Item,
    /// The place of that element, from 0.
    Index,
}

/// A piece of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// Text that stands for itself.
    Literal(&'a str),
    /// A reference, and how it is written.
    Reference(&'a str, FlowReference),
    /// What begins as a reference and is none.
    Malformed(&'a str),
}

const BEGINNINGS: [&str; 4] = ["$(flows.", "$(item)", "$(index)", "$(item."];

/// Splits a text at its references. A dollar that escapes one is left out.
pub(crate) fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let (mut literal, mut from) = (0, 0);
    while let Some(at) = text
        .get(from..)
        .and_then(|t| t.find("$("))
        .map(|i| i + from)
    {
        from = at + 2;
        let rest = text.get(at..).unwrap_or_default();
        if !BEGINNINGS.iter().any(|b| rest.starts_with(b)) {
            continue;
        }
        let before = text.get(literal..at).unwrap_or_default();
        if let Some(before) = before.strip_suffix('$') {
            push(&mut pieces, before);
            literal = at;
            continue;
        }
        push(&mut pieces, before);
        // An unclosed one is shown to its line's end at most.
        let end = rest.find([')', '\n']).unwrap_or(rest.len());
        let closed = rest.get(end..).is_some_and(|r| r.starts_with(')'));
        let written = rest.get(..end + usize::from(closed)).unwrap_or(rest);
        let body = written.get(2..end).unwrap_or_default();
        pieces.push(match reference(body).filter(|_| closed) {
            Some(reference) => Piece::Reference(written, reference),
            None => Piece::Malformed(written),
        });
        from = at + written.len();
        literal = from;
    }
    push(&mut pieces, text.get(literal..).unwrap_or_default());
    pieces
}

fn push<'a>(pieces: &mut Vec<Piece<'a>>, literal: &'a str) {
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
}

fn reference(body: &str) -> Option<FlowReference> {
    match body {
        "item" => return Some(FlowReference::Item),
        "index" => return Some(FlowReference::Index),
        _ => {}
    }
    let (node, rest) = body.strip_prefix("flows.")?.split_once(".steps.")?;
    let (step, result) = rest.split_once(".results.")?;
    let all_names = [node, step, result].into_iter().all(is_name);
    all_names.then(|| FlowReference::Result {
        node: node.to_owned(),
        step: step.to_owned(),
        result: result.to_owned(),
    })
}

/// A text with its references replaced by their values.
///
/// # Errors
/// What `value` says of the first reference that has none.
pub fn fill(
    text: &str,
    value: &dyn Fn(&FlowReference) -> Result<String, String>,
) -> Result<String, String> {
    let mut filled = String::with_capacity(text.len());
    for piece in pieces(text) {
        match piece {
            Piece::Literal(literal) => filled.push_str(literal),
            Piece::Malformed(written) => filled.push_str(written),
            Piece::Reference(written, reference) => {
                let value = value(&reference).map_err(|why| format!("{written}: {why}"))?;
                filled.push_str(&value);
            }
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_filled() {
        let value = |r: &FlowReference| match r {
            FlowReference::Item => Ok("red".to_owned()),
            FlowReference::Index => Ok("3".to_owned()),
            FlowReference::Result { node, step, result } => match node.as_str() {
                "a" => Ok(format!("<{step}:{result}>")),
                _ => Err("it was skipped".to_owned()),
            },
        };
        for (text, filled) in [
            ("plain $(NAME) $$(NAME)", "plain $(NAME) $$(NAME)"),
            ("$(item)-$(index)", "red-3"),
            ("x$(flows.a.steps.s.results.r)y", "x<s:r>y"),
            (
                "$$(item) $$(flows.a.steps.s.results.r)",
                "$(item) $(flows.a.steps.s.results.r)",
            ),
            ("$(items) $(indexes)", "$(items) $(indexes)"),
        ] {
            assert_eq!(fill(text, &value).as_deref(), Ok(filled), "{text}");
        }
        assert_eq!(
            fill("$(flows.b.steps.s.results.r)", &value),
            Err("$(flows.b.steps.s.results.r): it was skipped".to_owned())
        );
        assert!(matches!(
            pieces("$(flows.a.b)")[..],
            [Piece::Malformed("$(flows.a.b)")]
        ));
        assert!(matches!(
            pieces("$(flows.a\n)")[..],
            [Piece::Malformed("$(flows.a"), _]
        ));
    }
}
