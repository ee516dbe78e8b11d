//! From a manifest to an object in the cluster, and which run of it is meant then.

use baton_api::JobTemplate;
use baton_api::core::Metadata;
use baton_api::status::TaskStatus;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use serde::Serialize;
use serde_json::{Value, json};

use super::act::{Target, past};
use super::connect::Cluster;
use super::error::ClusterError;
use super::graph;
use super::kind::Kind;
use super::object::{FIELD_MANAGER, Object};
use super::since::Since;
use super::standing::Standing;
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
    let namespace = namespace(cluster, "task", &written.task.metadata)?;
    let name = written.task.metadata.name.clone();
    let mut manifest = manifest(written);
    if let Some(metadata) = manifest.get_mut("metadata") {
        set(metadata, "namespace", json!(namespace));
    }
    let cancels = written.task.spec.cancel;
    let (before, applied) = place(cluster, Kind::Task, &namespace, manifest, cancels).await?;
    if name.is_empty() {
        return Ok(Applied {
            name: applied.name().to_owned(),
            namespace,
            since: Since::default(),
            note: Some(format!("created task {}", applied.name())),
        });
    }
    let decided = decide(before.as_ref(), &applied);
    if decided.rerun {
        super::act::rerun(cluster, Target::of(&applied), false).await?;
    }
    Ok(Applied {
        name,
        namespace,
        since: decided.since,
        note: decided.note.map(str::to_owned),
    })
}

/// Makes the cluster's object the one of the manifest, whose namespace is this; one without a name is
/// created. Gives it as it was before, and as it is now.
async fn place(
    cluster: &Cluster,
    kind: Kind,
    namespace: &str,
    mut manifest: Value,
    cancels: bool,
) -> Result<(Option<Object>, Object), ClusterError> {
    let objects = cluster.objects(kind, namespace);
    let name = manifest.pointer("/metadata/name").and_then(Value::as_str);
    let Some(name) = name.map(str::to_owned) else {
        let object: Object = serde_json::from_value(manifest)
            .map_err(|e| ClusterError::Other(format!("cannot write the {kind} as JSON: {e}")))?;
        let created = objects.create(&PostParams::default(), &object).await;
        let created = created.map_err(cluster.cannot(format!("create the {kind}")))?;
        return Ok((None, created));
    };
    let doing = format!("apply {kind} {name}");
    let before = objects.get_opt(&name).await;
    let before = before.map_err(cluster.cannot(&doing))?;
    if before.as_ref().is_some_and(Object::is_cancelled) && !cancels {
        // Somebody else's field, which applying would leave as it is.
        if let Some(spec) = manifest.get_mut("spec") {
            set(spec, "cancel", json!(false));
        }
    }
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let applied = objects.patch(&name, &params, &Patch::Apply(manifest)).await;
    Ok((before, applied.map_err(cluster.cannot(&doing))?))
}

/// A JobFlow or DaemonJob that is in the cluster.
pub(super) struct AppliedGraph {
    pub(super) object: Object,
    pub(super) since: graph::Since,
    /// What a person should know of it.
    pub(super) note: Option<String>,
}

/// Makes the cluster's JobFlow or DaemonJob the one of the manifest, and sees that it runs: one that is
/// over runs again as a whole.
pub(super) async fn apply_graph(
    cluster: &Cluster,
    kind: Kind,
    metadata: &Metadata,
    manifest: &impl Serialize,
    cancels: bool,
) -> Result<AppliedGraph, ClusterError> {
    let namespace = namespace(cluster, kind.word(), metadata)?;
    let manifest = bare(manifest, &namespace);
    let (before, applied) = place(cluster, kind, &namespace, manifest, cancels).await?;
    let same = before.filter(|b| b.metadata.uid == applied.metadata.uid);
    let standing = same.as_ref().map(Standing::of).transpose();
    let standing = standing.unwrap_or_default().unwrap_or_default();
    let since = |run, rerun, past| graph::Since { run, rerun, past };
    let (since, note) = match same {
        None => {
            let created = metadata.name.is_empty();
            let note = created.then(|| format!("created {kind} {}", applied.name()));
            (since(0, None, None), note)
        }
        Some(before) if standing.is_over() && standing.run > 0 => {
            let (_, asked) = super::act::rerun(cluster, Target::of(&applied), true).await?;
            let past = Some(Box::new(before));
            let note = "it was over: it runs again".to_owned();
            (since(standing.run, Some(asked), past), Some(note))
        }
        Some(_) => {
            let note = (standing.run > 0).then(|| "it runs already: this follows it".to_owned());
            (since(standing.run.saturating_sub(1), None, None), note)
        }
    };
    Ok(AppliedGraph {
        object: applied,
        since,
        note,
    })
}

/// Makes the cluster's JobTemplate the one of the manifest.
pub(super) async fn apply_template(
    cluster: &Cluster,
    template: &JobTemplate,
) -> Result<(), ClusterError> {
    let namespace = namespace(cluster, "jobtemplate", &template.metadata)?;
    let name = &template.metadata.name;
    let resource = ApiResource {
        group: "baton.dev".to_owned(),
        version: "v1alpha1".to_owned(),
        api_version: baton_api::flow::API_VERSION.to_owned(),
        kind: "JobTemplate".to_owned(),
        plural: "jobtemplates".to_owned(),
    };
    let templates: Api<DynamicObject> =
        Api::namespaced_with(cluster.client.clone(), &namespace, &resource);
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let manifest = bare(template, &namespace);
    let applied = templates
        .patch(name, &params, &Patch::Apply(manifest))
        .await;
    let doing = format!("apply jobtemplate {name}");
    applied.map(|_| ()).map_err(cluster.cannot(doing))
}

/// A manifest as it goes to a namespace of the cluster.
fn bare(manifest: &impl Serialize, namespace: &str) -> Value {
    // Every key is a text, so there is nothing that JSON cannot write.
    let mut manifest = serde_json::to_value(manifest).unwrap_or_default();
    if let Some(fields) = manifest.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = manifest.get_mut("metadata") {
        set(metadata, "namespace", json!(namespace));
    }
    manifest
}

/// The namespace of a manifest: its own, or the one that is meant.
fn namespace(cluster: &Cluster, kind: &str, metadata: &Metadata) -> Result<String, ClusterError> {
    match &metadata.namespace {
        Some(own) if cluster.namespace_given && *own != cluster.namespace => {
            let label = metadata.display_name();
            Err(ClusterError::Other(format!(
                "{kind} {label} names namespace {own}, and --namespace names {}; leave one of them out",
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
