//! JSON as YAML that people read.

use serde_json::Value;

/// Writes a value as one YAML document, with a newline at its end. What is read from it is the same
/// value.
pub fn to_yaml(value: &Value) -> String {
    let mut text = String::new();
    block(value, 0, &mut text);
    text
}

fn block(value: &Value, indent: usize, text: &mut String) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (i, (key, value)) in fields.iter().enumerate() {
                if i > 0 {
                    margin(indent, text);
                }
                text.push_str(&scalar(key));
                text.push(':');
                match value {
                    Value::Object(inner) if !inner.is_empty() => {
                        text.push('\n');
                        margin(indent + 2, text);
                        block(value, indent + 2, text);
                    }
                    Value::Array(inner) if !inner.is_empty() => {
                        text.push('\n');
                        margin(indent, text);
                        block(value, indent, text);
                    }
                    _ => {
                        text.push(' ');
                        block(value, indent + 2, text);
                    }
                }
            }
        }
        Value::Array(values) if !values.is_empty() => {
            for (i, value) in values.iter().enumerate() {
                if i > 0 {
                    margin(indent, text);
                }
                text.push_str("- ");
                block(value, indent + 2, text);
            }
        }
        Value::String(string) if is_literal(string) => literal(string, indent, text),
        Value::String(string) => {
            text.push_str(&scalar(string));
            text.push('\n');
        }
        other => {
            text.push_str(&other.to_string());
            text.push('\n');
        }
    }
}

fn margin(indent: usize, text: &mut String) {
    text.extend(std::iter::repeat_n(' ', indent));
}

/// Whether a text of several lines can stand as it is.
fn is_literal(string: &str) -> bool {
    string.trim_end_matches('\n').contains('\n')
        && !string.starts_with([' ', '\n'])
        && string.chars().all(|c| c == '\n' || !c.is_control())
}

fn literal(string: &str, indent: usize, text: &mut String) {
    let body = string.trim_end_matches('\n');
    text.push_str(match string.len() - body.len() {
        0 => "|-\n",
        1 => "|\n",
        _ => "|+\n",
    });
    for line in string.strip_suffix('\n').unwrap_or(string).split('\n') {
        if !line.is_empty() {
            margin(indent, text);
            text.push_str(line);
        }
        text.push('\n');
    }
}

/// A text that YAML takes for itself stands without quotes.
fn scalar(string: &str) -> String {
    let plain = string.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && string
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || " /._-()+=;'".contains(c))
        && !string.ends_with(' ')
        && !is_word_of_yaml(string);
    if plain {
        string.to_owned()
    } else {
        Value::from(string).to_string()
    }
}

/// What YAML 1.1 takes for something else than a text.
fn is_word_of_yaml(string: &str) -> bool {
    matches!(
        string.to_ascii_lowercase().as_str(),
        "y" | "n" | "yes" | "no" | "on" | "off" | "true" | "false" | "null"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{self, Node};
    use proptest::prelude::*;
    use serde_json::json;

    fn read(text: &str) -> Value {
        fn value(node: &Node) -> Value {
            match &node.value {
                tree::Value::Null => Value::Null,
                tree::Value::Bool(b) => (*b).into(),
                tree::Value::Number(n) => Value::Number(n.clone()),
                tree::Value::Text(t) => t.as_str().into(),
                tree::Value::List(nodes) => nodes.iter().map(value).collect(),
                tree::Value::Map(entries) => entries
                    .iter()
                    .map(|e| (e.key.clone(), value(&e.node)))
                    .collect(),
            }
        }
        let roots = tree::read(text).unwrap_or_else(|e| panic!("{}: {text}", e.message));
        value(&roots[0])
    }

    #[test]
    fn it_reads_well() {
        let value =
            json!({"kind": "Task", "on": ["x", {"a b": 1, "c": [[], {}]}], "t": "#!/bin/sh\nx\n"});
        let text =
            "kind: Task\n\"on\":\n- x\n- a b: 1\n  c:\n  - []\n  - {}\nt: |\n  #!/bin/sh\n  x\n";
        assert_eq!(to_yaml(&value), text);
        assert_eq!(read(text), value);
    }

    fn values() -> impl Strategy<Value = Value> {
        let text =
            "[a-z: #'\"\\n|>\\-\\[\\]{},&*!%@`$\t\\\\0-9é.]{0,12}|no|1\\.0|~|null|a\nb\n\n|x\n y\n";
        let leaf = prop_oneof![
            text.prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            any::<bool>().prop_map(Value::from),
            Just(Value::Null),
        ];
        leaf.prop_recursive(4, 24, 4, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                proptest::collection::btree_map(text, inner, 0..4)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(value in values()) {
            let value = json!({"v": value});
            prop_assert_eq!(read(&to_yaml(&value)), value);
        }
    }
}
