//! The definitions in `deploy`, as the types give them. `BATON_UPDATE_GOLDEN=1` writes them anew.

#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)] // a test's helpers fail as tests do

use std::path::PathBuf;

use baton_api::crd::{Rules, task_crd, to_yaml};
use serde_json::Value;

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
    compare("crds/task.yaml", &task_crd(Rules::Checked));
    compare("crds-v1.24/task.yaml", &task_crd(Rules::Unknown));
}

#[test]
fn a_definition_can_be_applied() {
    for rules in [Rules::Checked, Rules::Unknown] {
        let size = task_crd(rules).to_string().len();
        assert!(size < MOST_TO_APPLY, "{size} bytes");
    }
    assert!(
        !task_crd(Rules::Unknown)
            .to_string()
            .contains("x-kubernetes-validations")
    );
}

/// The rules of <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/> for a schema
/// that is structural.
fn is_structural(path: &str, schema: &Value) {
    let fields = schema
        .as_object()
        .unwrap_or_else(|| panic!("{path}: {schema}"));
    const KNOWN: [&str; 17] = [
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
        "x-kubernetes-preserve-unknown-fields",
    ];
    for key in fields.keys() {
        let is_list = key.starts_with("x-kubernetes-list") || key == "x-kubernetes-validations";
        assert!(KNOWN.contains(&key.as_str()) || is_list, "{path}: {key}");
    }
    let preserved = fields.contains_key("x-kubernetes-preserve-unknown-fields");
    assert!(fields.contains_key("type") != preserved, "{path}: {schema}");
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
    let crd = task_crd(Rules::Checked);
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    for part in ["spec", "status"] {
        is_structural(part, &schema["properties"][part]);
    }
    let step = &schema["properties"]["spec"]["properties"]["steps"]["items"]["properties"];
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
