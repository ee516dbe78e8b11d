//! Native fields, which the Task's types keep as JSON: read as what Kubernetes wants.

use baton_api::{FieldPath, is_quantity};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::Mistakes;

/// An object of these fields. A field that is not read has its mistakes noted, and is left out.
pub(crate) fn object<'a, T: DeserializeOwned + Serialize + Default>(
    fields: impl IntoIterator<Item = (&'static str, &'a Value)>,
    path: &FieldPath,
    mistakes: &mut Mistakes,
) -> T {
    let mut good = Map::new();
    for (name, value) in fields.into_iter().filter(|(_, value)| !value.is_null()) {
        let mut field = Map::from_iter([(name.to_owned(), value.clone())]);
        quantities(&mut field, path, mistakes);
        let field = Value::Object(field);
        if read::<T>(&field, path, &path.key(name), mistakes).is_some()
            && let Value::Object(field) = field
        {
            good.extend(field);
        }
    }
    // Each field was read by itself already.
    serde_json::from_value(Value::Object(good)).unwrap_or_default()
}

/// A value of the Task's own types, as the native type of the same form.
pub(crate) fn same<T: DeserializeOwned + Serialize + Default>(
    value: &impl Serialize,
    path: &FieldPath,
    mistakes: &mut Mistakes,
) -> T {
    let mut value = serde_json::to_value(value).unwrap_or_default();
    if let Value::Object(fields) = &mut value {
        quantities(fields, path, mistakes);
    }
    read(&value, path, path, mistakes).unwrap_or_default()
}

/// Reads a value, and notes what is wrong with it: at `blame` where that is all that is known.
fn read<T: DeserializeOwned + Serialize>(
    value: &Value,
    path: &FieldPath,
    blame: &FieldPath,
    mistakes: &mut Mistakes,
) -> Option<T> {
    let typed = match T::deserialize(value) {
        Ok(typed) => typed,
        Err(e) => {
            mistakes.add(blame, e.to_string());
            return None;
        }
    };
    let kept = serde_json::to_value(&typed).unwrap_or_default();
    let before = mistakes.0.len();
    unknown(value, &kept, path, mistakes);
    (mistakes.0.len() == before).then_some(typed)
}

/// Notes the fields that were given and are not among those that were understood: none is dropped in
/// silence.
fn unknown(given: &Value, kept: &Value, path: &FieldPath, mistakes: &mut Mistakes) {
    match (given, kept) {
        (Value::Object(given), Value::Object(kept)) => {
            for (key, value) in given.iter().filter(|(_, value)| !value.is_null()) {
                let path = path.key(key);
                match kept.get(key) {
                    Some(kept) => unknown(value, kept, &path, mistakes),
                    None => mistakes.add(&path, "there is no such field in Kubernetes 1.33"),
                }
            }
        }
        (Value::Array(given), Value::Array(kept)) => {
            for (i, (given, kept)) in given.iter().zip(kept).enumerate() {
                unknown(given, kept, &path.index(i), mistakes);
            }
        }
        _ => {}
    }
}

/// Quantities may be numbers in a manifest; the typed form takes texts alone, of which any is taken: the
/// API server would refuse the pod.
fn quantities(fields: &mut Map<String, Value>, path: &FieldPath, mistakes: &mut Mistakes) {
    for (name, value) in fields {
        let path = path.key(name);
        match (name.as_str(), value) {
            ("divisor" | "sizeLimit", value) => quantity(value, &path, mistakes),
            ("limits" | "requests" | "overhead", Value::Object(amounts)) => {
                for (name, amount) in amounts {
                    quantity(amount, &path.key(name), mistakes);
                }
            }
            (_, Value::Object(fields)) => quantities(fields, &path, mistakes),
            (_, Value::Array(values)) => {
                for (i, value) in values.iter_mut().enumerate() {
                    if let Value::Object(fields) = value {
                        quantities(fields, &path.index(i), mistakes);
                    }
                }
            }
            _ => {}
        }
    }
}

fn quantity(value: &mut Value, path: &FieldPath, mistakes: &mut Mistakes) {
    match value {
        Value::Number(_) | Value::String(_) if !is_quantity(value) => {
            let message = format!("{value} is not a quantity such as 500m, 2 or 1Gi");
            mistakes.add(path, message);
        }
        Value::Number(number) => *value = Value::String(number.to_string()),
        _ => {}
    }
}
