//! JSON Schema as Kubernetes wants it: "structural".

use serde_json::{Map, Value, json};

/// Rewrites a schema, and all in it.
pub(super) fn make(schema: &mut Value) {
    if *schema == Value::Bool(true) {
        *schema = Value::Object(Map::new());
    }
    let Value::Object(fields) = schema else {
        return;
    };
    optional(fields);
    one_of_constants(fields);
    // Unknown fields are dropped by the server, and named by the webhook; a default would be written
    // into every Task.
    for key in [
        "additionalProperties",
        "$schema",
        "title",
        "default",
        "examples",
    ] {
        let is_map = key == "additionalProperties" && fields.get(key).is_some_and(Value::is_object);
        if !is_map {
            fields.remove(key);
        }
    }
    // Formats that Kubernetes does not know.
    if let Some(Value::String(format)) = fields.get("format")
        && format.starts_with("uint")
    {
        if let Some(most) = greatest(format) {
            fields.entry("maximum").or_insert(most.into());
        }
        fields.remove("format");
    }
    if let Some(Value::String(text)) = fields.get_mut("description") {
        *text = plain(text);
    }
    let is_any = !["type", "properties", "items", "enum"]
        .iter()
        .any(|key| fields.contains_key(*key));
    if is_any {
        fields.insert(
            "x-kubernetes-preserve-unknown-fields".to_owned(),
            json!(true),
        );
        fields.remove("nullable");
    }
    if let Some(Value::Object(properties)) = fields.get_mut("properties") {
        properties.values_mut().for_each(make);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = fields.get_mut(key) {
            make(inner);
        }
    }
}

/// What may be absent and has no single type is "this or null" in JSON Schema.
fn optional(fields: &mut Map<String, Value>) {
    let Some(Value::Array(variants)) = fields.remove("anyOf") else {
        return;
    };
    let some = variants
        .into_iter()
        .find(|v| v.get("enum") != Some(&json!([null])));
    if let Some(Value::Object(some)) = some {
        for (key, value) in some {
            fields.entry(key).or_insert(value);
        }
    }
}

/// An enumeration whose values are documented is a list of constants in JSON Schema.
fn one_of_constants(fields: &mut Map<String, Value>) {
    let Some(Value::Array(variants)) = fields.get("oneOf") else {
        return;
    };
    let values: Vec<Value> = variants.iter().flat_map(constants).collect();
    fields.remove("oneOf");
    fields.insert("type".to_owned(), json!("string"));
    fields.insert("enum".to_owned(), Value::Array(values));
}

fn constants(variant: &Value) -> Vec<Value> {
    match (variant.get("const"), variant.get("enum")) {
        (Some(value), _) => vec![value.clone()],
        (None, Some(Value::Array(values))) => values.clone(),
        _ => Vec::new(),
    }
}

fn greatest(format: &str) -> Option<u64> {
    match format {
        "uint8" => Some(u8::MAX.into()),
        "uint16" => Some(u16::MAX.into()),
        "uint32" => Some(u32::MAX.into()),
        _ => None,
    }
}

/// Links of the sources' documentation say nothing to people who read a definition.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("](") {
        let link_end = after.find(')').map_or(after.len(), |end| end + 1);
        plain.push_str(before);
        rest = after.get(link_end..).unwrap_or_default();
    }
    plain.push_str(rest);
    plain.replace(['[', ']'], "").replace('\n', " ")
}
