//! References in a Task's texts: to parameters, to earlier steps' results, and to the files of a
//! step's own results.
//!
//! ```text
//! $(params.NAME)  $(params.NAME[*])  $(params.NAME[0])  $(params.NAME.KEY)
//! $(steps.STEP.results.NAME)         $(results.NAME.path)
//! ```
//! `$$(params.` and so on stand for the text with one dollar; any other `$(...)` is none of ours.

use baton_protocol::layout::is_name;
use baton_protocol::reference::ResultRef;

use crate::params::is_param_name;

/// A piece of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// Text that stands for itself, escapes included.
    Literal(&'a str),
    /// A reference, and how it is written.
    Reference(&'a str, Reference<'a>),
    /// What begins as a reference and is none.
    Malformed(&'a str),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reference<'a> {
    Param(&'a str, Access<'a>),
    StepResult(ResultRef),
    OwnPath(&'a str),
}

/// Which part of a parameter is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access<'a> {
    /// `$(params.NAME)`
    Whole,
    /// `$(params.NAME[*])`
    All,
    /// `$(params.NAME[0])`
    Index(usize),
    /// `$(params.NAME.KEY)`
    Key(&'a str),
}

const BEGINNINGS: [&str; 4] = ["$(params.", "$(params[", "$(steps.", "$(results."];

/// Splits a text at its references.
pub(crate) fn parts(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let (mut literal, mut from) = (0, 0);
    while let Some(at) = find(text, "$(", from) {
        from = at + 2;
        let rest = text.get(at..).unwrap_or_default();
        let escaped = text.get(..at).is_some_and(|before| before.ends_with('$'));
        if escaped || !BEGINNINGS.iter().any(|b| rest.starts_with(b)) {
            continue;
        }
        // An unclosed one is shown to its line's end at most.
        let end = rest.find([')', '\n']).unwrap_or(rest.len());
        let closed = rest.get(end..).is_some_and(|r| r.starts_with(')'));
        let written = rest.get(..end + usize::from(closed)).unwrap_or(rest);
        let body = written.get(2..end).unwrap_or_default();
        push_literal(&mut parts, text.get(literal..at));
        parts.push(match reference(body).filter(|_| closed) {
            Some(reference) => Part::Reference(written, reference),
            None => Part::Malformed(written),
        });
        from = at + written.len();
        literal = from;
    }
    push_literal(&mut parts, text.get(literal..));
    parts
}

fn find(text: &str, what: &str, from: usize) -> Option<usize> {
    text.get(from..)?.find(what).map(|at| at + from)
}

fn push_literal<'a>(parts: &mut Vec<Part<'a>>, literal: Option<&'a str>) {
    if let Some(literal) = literal.filter(|l| !l.is_empty()) {
        parts.push(Part::Literal(literal));
    }
}

fn reference(body: &str) -> Option<Reference<'_>> {
    if let Some(param) = body.strip_prefix("params.") {
        return param_reference(param);
    }
    if let Some(own) = body.strip_prefix("results.") {
        let name = own.strip_suffix(".path")?;
        return is_name(name).then_some(Reference::OwnPath(name));
    }
    let (step, result) = body.strip_prefix("steps.")?.split_once(".results.")?;
    (is_name(step) && is_name(result)).then(|| {
        Reference::StepResult(ResultRef {
            step: step.to_owned(),
            result: result.to_owned(),
        })
    })
}

fn param_reference(param: &str) -> Option<Reference<'_>> {
    let end = param.find(['.', '[']).unwrap_or(param.len());
    let (name, rest) = param.split_at_checked(end)?;
    let access = if rest.is_empty() {
        Access::Whole
    } else if let Some(key) = rest.strip_prefix('.') {
        is_name(key).then_some(Access::Key(key))?
    } else {
        match rest.strip_prefix('[')?.strip_suffix(']')? {
            "*" => Access::All,
            index => Access::Index(index.parse().ok()?),
        }
    };
    is_param_name(name).then_some(Reference::Param(name, access))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_form_is_found() {
        let text = "a $(params.x) $(params.a[*])$(params.a[12]) $(params.o.k-1) $(HOME) $(results.r.path)\
                    $$(params.y) $(steps.s.results.r)";
        let found: Vec<_> = parts(text)
            .into_iter()
            .filter_map(|p| match p {
                Part::Reference(_, r) => Some(r),
                _ => None,
            })
            .collect();
        assert_eq!(
            found,
            [
                Reference::Param("x", Access::Whole),
                Reference::Param("a", Access::All),
                Reference::Param("a", Access::Index(12)),
                Reference::Param("o", Access::Key("k-1")),
                Reference::OwnPath("r"),
                Reference::StepResult(ResultRef {
                    step: "s".to_owned(),
                    result: "r".to_owned()
                }),
            ]
        );
    }

    #[test]
    fn what_begins_as_one_is_malformed() {
        for text in [
            "$(params.)",
            "$(params.x",
            "$(params.x\n)",
            "$(params[\"x\"])",
            "$(params.x[-1])",
            "$(params.x y)",
            "$(params.x.a.b c)",
            "$(steps.a)",
            "$(steps.a.results.)",
            "$(steps.a.result.b)",
            "$(results.a)",
            "$(results.a.paht)",
        ] {
            let got = parts(text);
            assert!(
                matches!(got.first(), Some(Part::Malformed(_))),
                "{text}: {got:?}"
            );
        }
        assert_eq!(
            parts("$(step.a) $$(steps.a"),
            [Part::Literal("$(step.a) $$(steps.a")]
        );
    }

    proptest! {
        #[test]
        fn the_parts_are_the_text(text in "([$(). \\n]|params|steps|results|path|\\[|\\*|\\]|[a-zé])*") {
            let written: String = parts(&text).iter().map(|p| match p {
                Part::Literal(t) | Part::Reference(t, _) | Part::Malformed(t) => *t,
            }).collect();
            prop_assert_eq!(written, text);
        }
    }
}
