//! A status is written: what differs from the one that is durable.

use std::fmt::Debug;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource;
use kube::api::{Api, Patch, PatchParams};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::MANAGER;

/// What came of writing a status.
#[derive(Debug)]
pub enum Write<T> {
    /// It is durable; the object as it is now.
    Done(T),
    /// The object was changed in between: as it is now.
    Conflict(T),
    /// The object is gone.
    Gone,
}

/// Writes what differs between the status that is durable and this one, where the object is still of
/// this version.
///
/// # Errors
/// What the API server answers.
pub async fn write_status<T, S>(
    api: &Api<T>,
    object: &ObjectReference,
    durable: &S,
    status: &S,
) -> Result<Write<T>, kube::Error>
where
    T: Resource + Clone + Debug + DeserializeOwned,
    S: Serialize + Default + PartialEq,
{
    let name = object.name.as_deref().unwrap_or_default();
    let patch = json!({
        "metadata": { "uid": object.uid, "resourceVersion": object.resource_version },
        "status": difference(durable, status),
    });
    let params = PatchParams::apply(MANAGER);
    match api.patch_status(name, &params, &Patch::Merge(patch)).await {
        Ok(now) => Ok(Write::Done(now)),
        Err(kube::Error::Api(e)) if e.code == 409 => match api.get_opt(name).await? {
            Some(now) if now.meta().uid == object.uid => Ok(Write::Conflict(now)),
            _ => Ok(Write::Gone),
        },
        Err(kube::Error::Api(e)) if e.code == 404 => Ok(Write::Gone),
        Err(e) => Err(e),
    }
}

/// A merge patch from one status to another: the fields that differ, lists whole.
pub fn difference<S: Serialize + Default + PartialEq>(from: &S, to: &S) -> Value {
    let fields = |status| match serde_json::to_value(status) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    Value::Object(match *from == S::default() {
        // None was written yet: also what has its default is news.
        true => fields(to),
        false => fields_that_differ(&fields(from), fields(to)),
    })
}

fn fields_that_differ(from: &Map<String, Value>, to: Map<String, Value>) -> Map<String, Value> {
    let gone = from.keys().filter(|name| !to.contains_key(*name));
    let mut patch: Map<_, _> = gone.map(|name| (name.clone(), Value::Null)).collect();
    for (name, to) in to {
        match (from.get(&name), to) {
            (Some(from), to) if *from == to => {}
            (Some(Value::Object(from)), Value::Object(to)) => {
                patch.insert(name, Value::Object(fields_that_differ(from, to)));
            }
            (_, to) => {
                patch.insert(name, to);
            }
        }
    }
    patch
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_api::status::{TaskPhase, TaskStatus};

    #[test]
    fn a_patch_holds_what_differs_and_removes_what_is_no_more() {
        let from = TaskStatus {
            run: 1,
            reason: "Creating".into(),
            progress: "0/2".into(),
            ..TaskStatus::default()
        };
        let to = TaskStatus {
            phase: TaskPhase::Running,
            reason: String::new(),
            ..from.clone()
        };
        let patch = json!({ "phase": "Running", "reason": null });
        assert_eq!(difference(&from, &to), patch);
        assert_eq!(difference(&to, &to), json!({}));

        let from = json!({ "nodes": {"running": ["a"], "over": []}, "run": 1 });
        let to = json!({ "nodes": {"over": ["a"]}, "run": 1 });
        let patch = json!({ "nodes": {"running": null, "over": ["a"]} });
        assert_eq!(difference(&from, &to), patch);
    }
}
