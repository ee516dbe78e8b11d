//! Calls of the API server.

use baton_api::status::TaskStatus;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, DeleteParams, Preconditions};
use kube::runtime::events::Recorder;
use serde_json::json;

use super::object::{TaskObject, TaskView};
use super::plan::Op;
use crate::child::{self, Create, Failure, Write, is_gone, patiently};

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
    /// The Task is gone, or going.
    Gone,
    /// There is nothing more to do about it.
    Nothing,
    /// It failed: what was attempted.
    Failed(&'static str, Failure),
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
        let done = patiently(self.attempt(task, durable, op)).await;
        done.unwrap_or_else(|failure| Done::Failed(what, failure))
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
            Op::CreatePod(pod) => Ok(match child::create(&pods, &pod).await? {
                Create::Done(pod) => Done::Created(pod),
                Create::Taken(name) => Done::Taken(name),
            }),
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
            } => {
                let patch = json!({ "metadata": { "annotations": annotations } });
                Ok(match child::patch(&pods, &name, &uid, patch).await? {
                    Some(pod) => Done::Annotated(pod),
                    None => Done::NoPod { name, uid },
                })
            }
            Op::WriteStatus(status) => {
                let object = task.reference();
                let written = child::write_status(&tasks, &object, durable, &*status).await?;
                Ok(match written {
                    Write::Done(now) => Done::Wrote(status, Box::new(now)),
                    Write::Conflict(now) => Done::Conflict(Box::new(now)),
                    Write::Gone => Done::Gone,
                })
            }
            Op::DeleteTask => {
                child::delete(&tasks, &task.name, &task.uid).await?;
                Ok(Done::Gone)
            }
            Op::Emit(note) => {
                child::emit(&self.recorder, &task.reference(), note).await;
                Ok(Done::Nothing)
            }
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
