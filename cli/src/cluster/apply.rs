//! From a manifest to an object in the cluster, and which run of it is meant then.

use baton_api::Task as Manifest;
use baton_api::status::TaskStatus;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::act::{Target, past};
use super::connect::Cluster;
use super::error::ClusterError;
use super::follow::Since;
use super::kind::Kind;
use super::object::{FIELD_MANAGER, Object};
use crate::run::load::Written;

/// A Task that is in the cluster.
pub(super) struct Applied {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) since: Since,
    /// What a person should know of it.
    pub(super) note: Option<String>,
}

/// Makes the cluster's Task the one of the manifest, and sees that it runs.
pub(super) async fn apply(cluster: &Cluster, written: &Written) -> Result<Applied, ClusterError> {
    let namespace = namespace(cluster, &written.task)?;
    let name = written.task.metadata.name.clone();
    let mut manifest = manifest(written);
    if let Some(metadata) = manifest.get_mut("metadata") {
        set(metadata, "namespace", json!(namespace));
    }
    let tasks = cluster.objects(Kind::Task, &namespace);
    if name.is_empty() {
        let task: Object = serde_json::from_value(manifest)
            .map_err(|e| ClusterError::Other(format!("cannot write the task as JSON: {e}")))?;
        let created = tasks.create(&PostParams::default(), &task).await;
        let created = created.map_err(cluster.cannot("create the task"))?;
        return Ok(Applied {
            name: created.name().to_owned(),
            namespace,
            since: Since::default(),
            note: Some(format!("created task {}", created.name())),
        });
    }
    let doing = format!("apply task {name}");
    let before = tasks.get_opt(&name).await;
    let before = before.map_err(cluster.cannot(&doing))?;
    if before.as_ref().is_some_and(Object::is_cancelled) && !written.task.spec.cancel {
        // Somebody else's field, which applying would leave as it is.
        if let Some(spec) = manifest.get_mut("spec") {
            set(spec, "cancel", json!(false));
        }
    }
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let applied = tasks.patch(&name, &params, &Patch::Apply(manifest)).await;
    let applied = applied.map_err(cluster.cannot(&doing))?;
    let decided = decide(before.as_ref(), &applied);
    if decided.rerun {
        super::act::rerun(cluster, Target::of(&applied)).await?;
    }
    Ok(Applied {
        name,
        namespace,
        since: decided.since,
        note: decided.note.map(str::to_owned),
    })
}

/// The namespace of a manifest: its own, or the one that is meant.
fn namespace(cluster: &Cluster, task: &Manifest) -> Result<String, ClusterError> {
    match &task.metadata.namespace {
        Some(own) if cluster.namespace_given && *own != cluster.namespace => {
            let label = task.metadata.display_name();
            Err(ClusterError::Other(format!(
                "task {label} names namespace {own}, and --namespace names {}; leave one of them out",
                cluster.namespace
            )))
        }
        Some(own) => Ok(own.clone()),
        None => Ok(cluster.namespace.clone()),
    }
}

/// The Task as it was written, with the parameters that were given as defaults.
fn manifest(written: &Written) -> Value {
    let mut task = written.task.clone();
    task.status = None;
    for param in &mut task.spec.params {
        let kind = param.kind();
        if let Some(given) = written.given.get(&param.name)
            && let Ok(value) = given.clone().into_kind(kind)
        {
            param.kind = Some(kind);
            param.default = serde_json::to_value(value).ok();
        }
    }
    // Every key is a text, so there is nothing that JSON cannot write.
    serde_json::to_value(task).unwrap_or_default()
}

fn set(object: &mut Value, key: &str, value: Value) {
    if let Some(map) = object.as_object_mut() {
        map.insert(key.to_owned(), value);
    }
}

/// What applying a Task comes to.
#[derive(Debug, PartialEq, Eq)]
struct Decided {
    since: Since,
    rerun: bool,
    note: Option<&'static str>,
}

/// Whether a Task runs by itself once it is applied: a new one and a changed one do, one that is over
/// is run again, and one that runs is followed.
fn decide(before: Option<&Object>, applied: &Object) -> Decided {
    let Some(before) = before.filter(|b| b.metadata.uid == applied.metadata.uid) else {
        return Decided {
            since: Since::default(),
            rerun: false,
            note: None,
        };
    };
    let status: TaskStatus = before.status().unwrap_or_default();
    let changed = to_run(&before.spec) != to_run(&applied.spec);
    let past = Since {
        generation: applied.generation(),
        ..past(before)
    };
    match (status.phase.is_over(), changed) {
        (_, true) => Decided {
            since: past,
            rerun: false,
            note: Some("its spec changed: it runs anew"),
        },
        (true, false) => Decided {
            since: past,
            rerun: true,
            note: Some("it was over: it runs again"),
        },
        (false, false) => Decided {
            since: Since {
                run: past.run.saturating_sub(1),
                ..past
            },
            rerun: false,
            note: Some("it runs already: this follows it"),
        },
    }
}

/// The fields of a spec that do not change what is run, as the coordinator has them.
const NOT_RUN: [&str; 4] = [
    "cancel",
    "ttlSecondsAfterFinished",
    "callbacks",
    "taskRetries",
];

/// What of a spec decides what is run.
fn to_run(spec: &Value) -> Value {
    let mut spec = spec.clone();
    if let Some(map) = spec.as_object_mut() {
        for field in NOT_RUN {
            map.remove(field);
        }
    }
    spec
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_api::{Source, parse};
    use std::collections::BTreeMap;

    fn written(text: &str, given: &[(&str, &str)]) -> Written {
        let source = Source {
            name: "t",
            text: text.as_bytes(),
        };
        let baton_api::Object::Task(task) = parse(source).unwrap().remove(0).object else {
            panic!("no task");
        };
        let given: BTreeMap<_, _> = given
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).into()))
            .collect();
        Written { task: *task, given }
    }

    #[test]
    fn parameters_become_defaults() {
        let text = r#"{"apiVersion": "baton.dev/v1alpha1", "kind": "Task", "metadata": {"name": "t"},
            "spec": {"params": [{"name": "a"}, {"name": "b", "default": "x"}, {"name": "l", "type": "array"}],
                     "steps": [{"name": "s", "image": "i", "command": ["echo", "$(params.a)"],
                                "resources": {"limits": {"memory": "1Gi"}}}]}}"#;
        let manifest = manifest(&written(text, &[("a", "1"), ("l", "x,y")]));
        assert_eq!(
            manifest["spec"]["params"],
            json!([
                {"name": "a", "type": "string", "default": "1"},
                {"name": "b", "default": "x"},
                {"name": "l", "type": "array", "default": ["x", "y"]},
            ])
        );
        let step = &manifest["spec"]["steps"][0];
        assert_eq!(
            step["command"],
            json!(["echo", "$(params.a)"]),
            "not rendered"
        );
        assert_eq!(step["resources"]["limits"]["memory"], "1Gi");
        assert_eq!(manifest["status"], Value::Null);
    }

    fn task(uid: &str, generation: i64, spec: Value, status: Value) -> Object {
        serde_json::from_value(json!({
            "kind": "Task",
            "metadata": {"name": "t", "uid": uid, "generation": generation},
            "spec": spec,
            "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn which_run_is_meant() {
        let spec = json!({"steps": [1]});
        let over = json!({"phase": "Succeeded", "run": 3});
        let runs = json!({"phase": "Running", "run": 3});
        let applied = task("u", 5, spec.clone(), Value::Null);
        assert_eq!(decide(None, &applied).since, Since::default());
        let since = Since {
            run: 3,
            generation: 5,
        };
        let over_again = over.clone();
        let again = decide(Some(&task("u", 5, spec.clone(), over.clone())), &applied);
        assert!(again.rerun);
        assert_eq!(again.since, since);
        let cancelled = json!({"steps": [1], "cancel": true});
        assert!(decide(Some(&task("u", 4, cancelled, over.clone())), &applied).rerun);
        let changed = decide(Some(&task("u", 4, json!({"steps": [2]}), over)), &applied);
        assert!(!changed.rerun);
        assert_eq!(changed.since, since);
        let told = json!({"steps": [1], "callbacks": [{"url": "http://h/"}], "taskRetries": {"failure": 1}});
        let told = decide(
            Some(&task("u", 4, spec.clone(), over_again)),
            &task("u", 5, told, Value::Null),
        );
        assert!(told.rerun, "what is run is the same");
        let followed = decide(Some(&task("u", 5, spec.clone(), runs.clone())), &applied);
        assert!(!followed.rerun);
        assert_eq!(followed.since.run, 2);
        let recreated = decide(Some(&task("v", 9, spec, runs)), &applied);
        assert_eq!(recreated.since, Since::default());
    }
}
