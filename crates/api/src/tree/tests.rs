use super::*;

fn one(text: &str) -> Node {
    let mut nodes = read(text).unwrap_or_else(|e| panic!("{}: {}", e.at, e.message));
    assert_eq!(nodes.len(), 1, "{nodes:?}");
    nodes.remove(0)
}

/// The tree without its places.
fn plain(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(b) => (*b).into(),
        Value::Number(n) => n.clone().into(),
        Value::Text(t) => t.clone().into(),
        Value::List(nodes) => nodes.iter().map(plain).collect(),
        Value::Map(entries) => entries
            .iter()
            .map(|e| (e.key.clone(), plain(&e.node)))
            .collect(),
    }
}

fn error(text: &str) -> String {
    match read(text) {
        Ok(nodes) => panic!("{text:.60} was read as {nodes:.0?}"),
        Err(e) => format!("{}: {}", e.at, e.message),
    }
}

#[test]
fn scalars_mean_what_they_mean_to_kubernetes() {
    for (text, want) in [
        ("null", "null"),
        ("~", "null"),
        ("yes", "true"),
        ("Off", "false"),
        ("0644", "420"),
        ("0o17", "15"),
        ("0x1F", "31"),
        ("-12", "-12"),
        ("+3", "3"),
        ("1e3", "1000.0"),
        (".5", "0.5"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("18446744073709551615", "18446744073709551615"),
        ("1.2.3", "\"1.2.3\""),
        ("0899", "899"),
        ("12:30", "\"12:30\""),
        ("1_000", "\"1_000\""),
        (".inf", "\".inf\""),
        ("e5", "\"e5\""),
        ("500m", "\"500m\""),
        ("'3'", "\"3\""),
        ("\"no\"", "\"no\""),
        ("!!str 3", "\"3\""),
        ("!!int '3'", "3"),
    ] {
        let got = plain(&one(&format!("a: {text}\n")))["a"].clone();
        let want: serde_json::Value = serde_json::from_str(want).unwrap();
        assert_eq!(got, want, "{text}");
    }
}

#[test]
fn json_is_read_as_json() {
    let text =
        "{\"a\":\t\"\\ud83d\\ude00\\/\\\"\", \"b\": [1, -2.5e1, true, null, {}, []]}\n{\"c\":1}";
    let nodes = read(text).unwrap();
    assert_eq!(
        plain(&nodes[0]),
        serde_json::json!({"a": "😀/\"", "b": [1, -25.0, true, null, {}, []]})
    );
    assert_eq!(
        nodes[1].entry("c").unwrap().at,
        Position { line: 2, column: 2 }
    );
    assert_eq!(
        plain(&one("{a: [b, 'c']}")),
        serde_json::json!({"a": ["b", "c"]})
    );
}

#[test]
fn places_are_those_of_the_keys() {
    let node = one("a:\n  - b: 1\n    cé: 2\n");
    let element = node.entry("a").unwrap().node.element(0).unwrap();
    assert_eq!(element.at, Position { line: 2, column: 5 });
    let entry = element.entry("cé").unwrap();
    assert_eq!(entry.at, Position { line: 3, column: 5 });
    assert_eq!(entry.node.at, Position { line: 3, column: 9 });
}

#[test]
fn anchors_and_merges() {
    assert_eq!(
        plain(&one("a: &x {k: 1, l: 2}\nb: *x\nc:\n  <<: *x\n  k: 3\n")),
        serde_json::json!({"a": {"k": 1, "l": 2}, "b": {"k": 1, "l": 2}, "c": {"k": 3, "l": 2}})
    );
    assert_eq!(
        error("a: &x [*x]"),
        "1:8: this alias refers to what it is part of"
    );
    assert_eq!(
        error("a: {<<: 3}"),
        "1:9: `<<` merges an object, or a list of objects"
    );
}

#[test]
fn what_blows_up_is_refused() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..12 {
        let aliases = vec![format!("*a{}", i - 1); 9].join(", ");
        bomb += &format!("a{i}: &a{i} [{aliases}]\n");
    }
    assert!(error(&bomb).contains("more than 100000 values, aliases expanded"));
    let long = format!(
        "a: &a {}\nb: [{}*a]\n",
        "x".repeat(1 << 20),
        "*a, ".repeat(20)
    );
    assert!(error(&long).contains("bytes of text, aliases expanded"));
    for text in [
        "[".repeat(100_000),
        "{a: ".repeat(100_000),
        "- ".repeat(100_000),
        "? ".repeat(100_000),
    ] {
        let got = error(&text);
        assert!(
            got.contains("nested deeper than 64 levels") || got.contains("name has to be a string"),
            "{got}"
        );
    }
    let nested = format!("{}1{}", "{\"a\":".repeat(70), "}".repeat(70));
    assert!(error(&nested).contains("nested deeper than 64 levels"));
}

#[test]
fn mistakes_have_places() {
    for (text, want) in [
        ("a: 1\na: 2\n", "2:1: \"a\" is given twice here"),
        ("{\"a\": 1,\n \"a\": 2}", "2:2: \"a\" is given twice here"),
        ("[a]: 1\n", "1:1: a field's name has to be a string"),
        ("!!int x", "1:1: this is no !!int"),
    ] {
        assert_eq!(error(text), want, "{text}");
    }
    assert!(
        error("a: [1\nb: 2").starts_with("2:"),
        "{}",
        error("a: [1\nb: 2")
    );
}
