//! The definitions in `deploy`, as the types give them. `BATON_UPDATE_GOLDEN=1` writes them anew.

#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)] // a test's helpers fail as tests do

mod statuses;

use baton_api::crd::{Rules, definitions, to_yaml};
use baton_api::{Object, Source, parse};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

const HEAD: &str = "# Made from the types of crates/api; do not edit.\n\
                    # BATON_UPDATE_GOLDEN=1 cargo test -p baton-api --test crd\n";
/// Most bytes that `kubectl apply` can note in its annotation.
const MOST_TO_APPLY: usize = 262_144;

fn compare(file: &str, crd: &Value) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../deploy")
        .join(file);
    let want = format!("{HEAD}{}", to_yaml(crd));
    if std::env::var_os("BATON_UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &want).unwrap();
    }
    let have = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        have == want,
        "{} is not what the types give; BATON_UPDATE_GOLDEN=1 writes it anew",
        path.display()
    );
}

#[test]
fn the_definitions_are_those_of_the_types() {
    for (folder, rules) in [("crds", Rules::Checked), ("crds-v1.24", Rules::Unknown)] {
        for (name, crd) in definitions(rules) {
            compare(&format!("{folder}/{name}.yaml"), &crd);
        }
    }
}

#[test]
fn a_definition_can_be_applied() {
    for rules in [Rules::Checked, Rules::Unknown] {
        for (name, crd) in definitions(rules) {
            let text = crd.to_string();
            assert!(text.len() < MOST_TO_APPLY, "{name}: {} bytes", text.len());
            let has_rules = text.contains("x-kubernetes-validations");
            assert!(rules == Rules::Checked || !has_rules, "{name}");
        }
    }
}

/// The rules of <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/> for a schema
/// that is structural.
fn is_structural(path: &str, schema: &Value) {
    let fields = schema
        .as_object()
        .unwrap_or_else(|| panic!("{path}: {schema}"));
    const KNOWN: [&str; 18] = [
        "additionalProperties",
        "description",
        "enum",
        "format",
        "items",
        "maxItems",
        "maxLength",
        "maximum",
        "minItems",
        "minLength",
        "minimum",
        "nullable",
        "pattern",
        "properties",
        "required",
        "type",
        "x-kubernetes-int-or-string",
        "x-kubernetes-preserve-unknown-fields",
    ];
    for key in fields.keys() {
        let is_list = key.starts_with("x-kubernetes-list") || key == "x-kubernetes-validations";
        assert!(KNOWN.contains(&key.as_str()) || is_list, "{path}: {key}");
    }
    let kind = fields.get("type").and_then(Value::as_str);
    let any = fields.contains_key("x-kubernetes-preserve-unknown-fields");
    let number_or_text = fields.contains_key("x-kubernetes-int-or-string");
    // An object whose fields are kept is one still.
    assert!(
        kind == Some("object") || kind.is_some() != (any || number_or_text),
        "{path}: {schema}"
    );
    assert!(
        !(fields.contains_key("properties") && fields.contains_key("additionalProperties")),
        "{path}"
    );
    assert_eq!(
        fields.get("type").is_some_and(|t| t == "array"),
        fields.contains_key("items"),
        "{path}"
    );
    let properties = fields.get("properties").and_then(Value::as_object);
    for (name, inner) in properties.into_iter().flatten() {
        is_structural(&format!("{path}.{name}"), inner);
    }
    for name in fields
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        assert!(
            properties.unwrap().contains_key(name.as_str().unwrap()),
            "{path}: {name}"
        );
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = fields.get(key) {
            is_structural(&format!("{path}[]"), inner);
        }
    }
}

#[test]
fn the_schemas_are_structural() {
    for (name, crd) in definitions(Rules::Checked) {
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
        for part in ["spec", "status"] {
            // A JobTemplate has no status.
            if let Some(schema) = schema.get(part) {
                is_structural(&format!("{name}.{part}"), schema);
            }
        }
    }
    let step = &part("task", "spec")["properties"]["steps"]["items"]["properties"];
    assert_eq!(
        step["onError"]["enum"],
        serde_json::json!(["stop", "continue"])
    );
    assert_eq!(step["retries"]["maximum"], 1000);
    assert_eq!(
        step["resources"]["x-kubernetes-preserve-unknown-fields"],
        true
    );
}

/// Fails where the API server would drop or refuse a part of the value.
fn is_kept(path: &str, schema: &Value, value: &Value) {
    if schema.get("x-kubernetes-preserve-unknown-fields").is_some() {
        return;
    }
    let kind = match value {
        Value::Object(_) => "object",
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::Null => panic!("{path}: nothing is written"),
    };
    if schema.get("x-kubernetes-int-or-string").is_some() {
        assert!(matches!(kind, "string" | "integer"), "{path}: {value}");
        return;
    }
    assert_eq!(schema["type"], kind, "{path}: {value}");
    if let Some(allowed) = schema.get("enum").and_then(Value::as_array) {
        assert!(
            allowed.contains(value),
            "{path}: {value} is not one of {allowed:?}"
        );
    }
    for (name, inner) in value.as_object().into_iter().flatten() {
        let of_map = schema.get("additionalProperties");
        let known = schema
            .get("properties")
            .and_then(|p| p.get(name))
            .or(of_map);
        let known = known.unwrap_or_else(|| panic!("{path}.{name} would be dropped"));
        is_kept(&format!("{path}.{name}"), known, inner);
    }
    for inner in value.as_array().into_iter().flatten() {
        is_kept(&format!("{path}[]"), &schema["items"], inner);
    }
}

fn part(kind: &str, name: &str) -> Value {
    let all = definitions(Rules::Checked);
    let (_, crd) = all.iter().find(|(name, _)| *name == kind).unwrap();
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"][name].clone()
}

/// What people write reaches the coordinator whole.
#[test]
fn specs_are_kept() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut count = BTreeMap::new();
    for folder in [
        "examples",
        "crates/pod/tests/tasks",
        "crates/api/tests/good",
    ] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|e| e != "yaml") {
                continue;
            }
            let text = std::fs::read(&path).unwrap();
            let name = path.display().to_string();
            for document in parse(Source {
                name: &name,
                text: &text,
            })
            .unwrap()
            {
                let (kind, spec) = match &document.object {
                    Object::Task(task) => ("task", json(&task.spec)),
                    Object::JobFlow(flow) => ("jobflow", json(&flow.spec)),
                    Object::JobTemplate(template) => ("jobtemplate", json(&template.spec)),
                    Object::DaemonJob(daemon) => ("daemonjob", json(&daemon.spec)),
                    Object::Job(_) => continue,
                };
                *count.entry(kind).or_insert(0) += 1;
                is_kept(&name, &part(kind, "spec"), &spec);
            }
        }
    }
    assert!(count["task"] >= 6, "{count:?}");
    assert_eq!(count.len(), 4, "{count:?}");
}

fn json(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap()
}
