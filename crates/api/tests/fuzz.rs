//! Nothing panics, whatever is read; and what is large is refused, not worked through.

#![allow(clippy::panic, clippy::indexing_slicing)] // a test's helpers fail as tests do

use std::collections::BTreeMap;

use baton_api::{Diagnostic, Document, MAX_SOURCE_BYTES, Object, Places, Source};
use baton_api::{environments, invocations, parse, plan, render};
use proptest::prelude::*;

const EVERYTHING: &str = include_str!("good/everything.yaml");

/// Reads a text and uses what comes of it as a run would.
fn take(text: &[u8]) -> Result<Vec<Document>, Vec<Diagnostic>> {
    let read = parse(Source { name: "-", text });
    match &read {
        Ok(documents) => documents.iter().for_each(run),
        Err(mistakes) => {
            assert!(!mistakes.is_empty());
            for mistake in mistakes {
                assert!(mistake.to_string().len() < 2000, "{mistake}");
                let _ = format!("{mistake:#}");
            }
        }
    }
    read
}

fn run(document: &Document) {
    let Object::Task(task) = &document.object else {
        return;
    };
    let params = task
        .spec
        .params
        .iter()
        .filter(|p| p.default.is_none())
        .map(|p| (p.name.clone(), "{\"a\":\"b\"}".into()))
        .collect::<BTreeMap<_, _>>();
    let Ok(rendered) = render(task, &params) else {
        return;
    };
    let places = Places {
        root: "/b".into(),
        also_wait: Vec::new(),
        termination_message: None,
    };
    assert_eq!(plan(&rendered).check(), Ok(()));
    let invocations = invocations(&rendered, &places);
    assert_eq!(invocations.len(), environments(&rendered, &places).len());
    for invocation in invocations {
        let read = baton_protocol::Invocation::parse(invocation.to_args());
        assert!(read.is_ok(), "{read:?}");
    }
}

fn refused(text: &[u8]) -> String {
    match take(text) {
        Ok(_) => panic!("it was accepted"),
        Err(mistakes) => mistakes[0].to_string(),
    }
}

#[test]
fn what_is_large_is_refused() {
    let random: Vec<u8> = (0..10_u64 << 20)
        .map(|i| (i.wrapping_mul(6364136223846793005) >> 33) as u8)
        .collect();
    assert!(refused(&random).contains("too long"));
    assert!(
        refused(&random[..MAX_SOURCE_BYTES]).contains("is no text")
            || refused(&random[..MAX_SOURCE_BYTES]).contains("UTF-8")
    );
    let full = |unit: &str| unit.repeat(MAX_SOURCE_BYTES / unit.len()).into_bytes();
    for unit in [
        "a",
        "a ",
        "a\n",
        "- a\n",
        "[",
        "{",
        "- ",
        "? ",
        "a: ",
        "&a ",
        "*a ",
        "!!",
        "\"",
        "'",
        "|\n",
        "%a\n",
        "---\n",
        "--- a\n",
        "\n",
        "#\n",
        "{\"a\":",
        "[]",
        "{}",
        "{}\n",
        "\t",
        "a: [\n",
        "- - ",
        "&a [*a,",
        "\u{feff}",
        "é: é\n",
        "<<: ",
        "{a: b},",
        "\"\\u0041",
        "a:\n",
    ] {
        take(&full(unit)).unwrap_err();
    }
    let fields: String = (0..200_000).map(|i| format!("f{i}: a\n")).collect();
    assert!(refused(fields.as_bytes()).contains("more than 100000 values"));
}

fn tree() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::{Value, json};
    let names = prop::sample::select(vec![
        "apiVersion",
        "kind",
        "metadata",
        "name",
        "spec",
        "steps",
        "finally",
        "sidecars",
        "params",
        "command",
        "args",
        "script",
        "env",
        "value",
        "valueFrom",
        "when",
        "input",
        "operator",
        "values",
        "results",
        "volumes",
        "volumeMounts",
        "mountPath",
        "emptyDir",
        "hostPath",
        "path",
        "timeout",
        "callbacks",
        "url",
        "secret",
        "default",
        "type",
        "readiness",
        "port",
        "template",
        "containers",
        "x",
    ]);
    let texts = prop::sample::select(vec![
        "a",
        "b",
        "in",
        "continue",
        "/x",
        "3s",
        "http://h/",
        "$(params.a)",
        "$(params.a[*])",
        "$(steps.a.results.a)",
        "$(results.a.path)",
        "array",
        "Task",
        "",
        "$(",
        "$$(steps.a.results.a)",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        texts.prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(names.clone(), inner, 0..6)
                .prop_map(|fields| fields.into_iter().map(|(k, v)| (k, json!(v))).collect()),
        ]
    })
}

proptest! {
    #[test]
    fn any_bytes(text in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = take(&text);
    }

    #[test]
    fn any_text(text in "([\\[\\]{}:,\\-?&*!|>'\"%#~\\n \\ta-c$()0-9]|---|<<|\\.\\.\\.|\\PC)*") {
        let _ = take(text.as_bytes());
    }

    #[test]
    fn a_good_text_that_was_changed(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..12_usize, "([\\[\\]{}:,\\-?&*!|>'\"$() \\n]|[a-z0-9]){0,4}"), 1..6)
    ) {
        let mut text = EVERYTHING.as_bytes().to_vec();
        for (at, cut, put) in edits {
            let at = at.index(text.len());
            let end = text.len().min(at + cut);
            text.splice(at..end, put.into_bytes());
        }
        let _ = take(&text);
    }

    #[test]
    fn a_good_text_whose_lines_are_mixed(
        swaps in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..8)
    ) {
        let mut lines: Vec<_> = EVERYTHING.lines().collect();
        for (a, b) in swaps {
            let (a, b) = (a.index(lines.len()), b.index(lines.len()));
            lines.swap(a, b);
        }
        let _ = take(lines.join("\n").as_bytes());
    }

    #[test]
    fn any_tree(spec in tree(), job in any::<bool>()) {
        let (version, kind) = if job { ("batch/v1", "Job") } else { ("baton.dev/v1alpha1", "Task") };
        let document = serde_json::json!({"apiVersion": version, "kind": kind, "metadata": {"name": "a"}, "spec": spec});
        let _ = take(document.to_string().as_bytes());
    }

    /// A step of any shape in a Task that is good otherwise.
    #[test]
    fn any_step(step in tree(), volumes in tree(), callbacks in tree()) {
        let document = serde_json::json!({
            "apiVersion": "baton.dev/v1alpha1", "kind": "Task", "metadata": {"name": "a"},
            "spec": {"steps": [{"name": "a", "command": ["x"]}, step], "volumes": volumes, "callbacks": callbacks},
        });
        let _ = take(document.to_string().as_bytes());
    }
}
