//! Calls of the API server.

use std::collections::BTreeMap;
use std::time::Duration;

use baton_api::status::TaskStatus;
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use kube::api::{
    Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy,
};
use kube::runtime::events::{Event, EventType, Recorder};
use kube::{Client, Resource};
use serde_json::{Map, Value, json};

use super::memory::Note;
use super::object::{TaskObject, TaskView};
use super::plan::Op;
use super::text::cut;

/// The field manager of everything that is written.
const MANAGER: &str = "baton-coordinator";
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Answers after which the same would be answered again: what was asked for cannot be read, is too
/// large, or is invalid.
const REFUSALS: [u16; 3] = [400, 413, 422];
/// Longest note of a Kubernetes Event, in bytes.
const MAX_NOTE: usize = 1000;

/// What came of an [`Op`].
#[derive(Debug)]
pub(super) enum Done {
    /// The pod is there.
    Created(Pod),
    /// A pod of this name is there that is not this Task's.
    Taken(String),
    /// The pod is going, or gone where there is none here.
    Deleted {
        name: String,
        uid: String,
        left: Option<Box<Pod>>,
    },
    /// The pod has its annotations.
    Annotated(Pod),
    /// The pod is not there, or another one is in its place.
    NoPod { name: String, uid: String },
    /// The status is durable; the Task as it is now.
    Wrote(Box<TaskStatus>, Box<TaskObject>),
    /// The Task was changed in between: as it is now.
    Conflict(Box<TaskObject>),
    /// There is nothing more to do about it.
    Nothing,
    /// It failed.
    Failed {
        what: &'static str,
        error: String,
        is_refused: bool,
        /// The server may have done it.
        is_open: bool,
    },
}

/// Makes calls about one Task.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) client: Client,
    pub(super) recorder: Recorder,
}

impl Caller {
    /// Makes a call, and waits for its outcome.
    pub(super) async fn call(&self, task: &TaskView, durable: &TaskStatus, op: Op) -> Done {
        let what = name_of(&op);
        match tokio::time::timeout(PATIENCE, self.attempt(task, durable, op)).await {
            Ok(Ok(done)) => done,
            Ok(Err(e)) => Done::Failed {
                what,
                is_refused: matches!(&e, kube::Error::Api(s) if REFUSALS.contains(&s.code)),
                is_open: !matches!(&e, kube::Error::Api(_)),
                error: match e {
                    kube::Error::Api(status) => status.message,
                    e => e.to_string(),
                },
            },
            Err(_) => Done::Failed {
                what,
                error: format!("no answer within {PATIENCE:?}"),
                is_refused: false,
                is_open: true,
            },
        }
    }

    async fn attempt(
        &self,
        task: &TaskView,
        durable: &TaskStatus,
        op: Op,
    ) -> Result<Done, kube::Error> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &task.namespace);
        let tasks: Api<TaskObject> = Api::namespaced(self.client.clone(), &task.namespace);
        match op {
            Op::CreatePod(pod) => create(&pods, task, &pod).await,
            Op::DeletePod { name, uid, grace } => {
                let params = DeleteParams {
                    grace_period_seconds: grace,
                    preconditions: Some(of_uid(&uid)),
                    ..DeleteParams::default()
                };
                let left = match pods.delete(&name, &params).await {
                    // Without a grace period it is gone with the answer.
                    Ok(answer) => answer.left().filter(|_| grace != Some(0)).map(Box::new),
                    Err(e) if is_gone(&e) => None,
                    Err(e) => return Err(e),
                };
                Ok(Done::Deleted { name, uid, left })
            }
            Op::Annotate {
                name,
                uid,
                annotations,
            } => annotate(&pods, name, uid, &annotations).await,
            Op::WriteStatus(status) => {
                let patch = json!({
                    "metadata": { "uid": task.uid, "resourceVersion": task.resource_version },
                    "status": difference(durable, &status),
                });
                let params = PatchParams::apply(MANAGER);
                match tasks
                    .patch_status(&task.name, &params, &Patch::Merge(patch))
                    .await
                {
                    Ok(now) => Ok(Done::Wrote(status, Box::new(now))),
                    Err(kube::Error::Api(e)) if e.code == 409 => {
                        match tasks.get_opt(&task.name).await? {
                            Some(now) => Ok(Done::Conflict(Box::new(now))),
                            None => Ok(Done::Nothing),
                        }
                    }
                    // The watch tells that it is gone.
                    Err(kube::Error::Api(e)) if e.code == 404 => Ok(Done::Nothing),
                    Err(e) => Err(e),
                }
            }
            Op::DeleteTask => {
                let params = DeleteParams {
                    preconditions: Some(of_uid(&task.uid)),
                    propagation_policy: Some(PropagationPolicy::Background),
                    ..DeleteParams::default()
                };
                match tasks.delete(&task.name, &params).await {
                    Ok(_) => Ok(Done::Nothing),
                    Err(e) if is_gone(&e) => Ok(Done::Nothing),
                    Err(e) => Err(e),
                }
            }
            Op::Emit(note) => {
                self.emit(task, note).await;
                Ok(Done::Nothing)
            }
        }
    }

    /// Events are for people who look now: one that cannot be written is not tried again.
    async fn emit(&self, task: &TaskView, note: Note) {
        let event = Event {
            type_: match note.is_warning {
                true => EventType::Warning,
                false => EventType::Normal,
            },
            reason: note.reason,
            note: Some(cut(&note.message, MAX_NOTE / 4)),
            action: "Run".to_owned(),
            secondary: None,
        };
        let reference = ObjectReference {
            api_version: Some(TaskObject::api_version(&()).into_owned()),
            kind: Some("Task".to_owned()),
            name: Some(task.name.clone()),
            namespace: Some(task.namespace.clone()),
            uid: Some(task.uid.clone()),
            ..ObjectReference::default()
        };
        if let Err(e) = self.recorder.publish(&event, &reference).await {
            tracing::debug!(task = task.name, namespace = task.namespace, error = %e, "writing an event");
        }
    }
}

fn name_of(op: &Op) -> &'static str {
    match op {
        Op::CreatePod(_) => "creating the pod",
        Op::DeletePod { .. } => "deleting the pod",
        Op::Annotate { .. } => "annotating the pod",
        Op::WriteStatus(_) => "writing the status",
        Op::DeleteTask => "deleting the finished Task",
        Op::Emit(_) => "writing an event",
    }
}

fn of_uid(uid: &str) -> Preconditions {
    Preconditions {
        uid: Some(uid.to_owned()),
        resource_version: None,
    }
}

/// There is no such object, or another one in its place.
fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(e) if e.code == 404 || e.code == 409)
}

async fn create(pods: &Api<Pod>, task: &TaskView, pod: &Pod) -> Result<Done, kube::Error> {
    let params = PostParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PostParams::default()
    };
    let error = match pods.create(&params, pod).await {
        Ok(pod) => return Ok(Done::Created(pod)),
        Err(kube::Error::Api(e)) if e.code == 409 && e.reason == "AlreadyExists" => e,
        Err(e) => return Err(e),
    };
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let Some(there) = pods.get_opt(name).await? else {
        return Err(kube::Error::Api(error));
    };
    let owners = there
        .metadata
        .owner_references
        .as_deref()
        .unwrap_or_default();
    if owners
        .iter()
        .any(|o| o.uid == task.uid && o.controller == Some(true))
    {
        return Ok(Done::Created(there));
    }
    Ok(Done::Taken(name.to_owned()))
}

async fn annotate(
    pods: &Api<Pod>,
    name: String,
    uid: String,
    annotations: &BTreeMap<String, String>,
) -> Result<Done, kube::Error> {
    let patch = json!({ "metadata": { "uid": uid, "annotations": annotations } });
    let params = PatchParams::apply(MANAGER);
    match pods.patch(&name, &params, &Patch::Merge(patch)).await {
        Ok(pod) => Ok(Done::Annotated(pod)),
        Err(e) if is_gone(&e) => Ok(Done::NoPod { name, uid }),
        Err(e) => Err(e),
    }
}

/// A merge patch from one status to another: the fields that differ, whole.
fn difference(from: &TaskStatus, to: &TaskStatus) -> Value {
    let fields = |status| match serde_json::to_value(status) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    let (from, mut to) = match *from == TaskStatus::default() {
        // None was written yet: also what has its default is news.
        true => (Map::new(), fields(to)),
        false => (fields(from), fields(to)),
    };
    for name in from.keys() {
        if !to.contains_key(name) {
            to.insert(name.clone(), Value::Null);
        }
    }
    to.retain(|name, value| from.get(name) != Some(value));
    Value::Object(to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_api::status::TaskPhase;

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
    }
}
