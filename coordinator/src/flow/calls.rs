//! Calls of the API server about one flow.

use std::time::Duration;

use baton_api::flow_status::JobFlowStatus;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::Api;
use kube::runtime::events::Recorder;
use kube::{Client, Resource};
use serde_json::json;

use super::children::{Child, ChildKey, ChildKind, STOP_DEADLINE_SECONDS};
use super::make::Object;
use super::object::{FlowView, JobFlowObject};
use super::plan::Op;
use crate::child::{self, Create, Write};
use crate::task::object::TaskObject;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What came of an [`Op`].
#[derive(Debug)]
pub(super) enum Done {
    /// The child is there.
    Created(ChildKey, Option<Box<Child>>),
    /// Something of this name is there that is not this flow's, or is for something else.
    Taken(ChildKey),
    /// The child was asked to stop; as it is now, where it is still there.
    Stopped(ChildKey, Option<Box<Child>>),
    /// The child of this UID goes, or is gone.
    Deleted(ChildKey, String),
    /// The status is durable; the flow as it is now.
    Wrote(Box<JobFlowStatus>, Box<JobFlowObject>),
    /// The flow was changed in between: as it is now.
    Conflict(Box<JobFlowObject>),
    /// The flow is gone, or goes.
    Gone,
    /// The event was written, or could not be.
    Emitted,
    /// It failed.
    Failed {
        what: What,
        error: String,
        is_refused: bool,
    },
}

/// What a call was about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    /// Making a child.
    Creating(ChildKey),
    /// Stopping or deleting a child.
    Ending(ChildKey),
    /// Writing the status, or deleting the flow.
    Flow,
    /// Writing an event.
    Event,
}

impl What {
    pub(super) fn of(op: &Op) -> What {
        match op {
            Op::Create(key, _) => What::Creating(key.clone()),
            Op::Stop(child) | Op::Delete(child) => What::Ending(child.key()),
            Op::WriteStatus(_) | Op::DeleteFlow => What::Flow,
            Op::Emit(_) => What::Event,
        }
    }
}

/// Makes calls.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) client: Client,
    pub(super) recorder: Recorder,
}

impl Caller {
    /// Makes a call, and waits for its outcome.
    pub(super) async fn call(&self, flow: &FlowView, durable: &JobFlowStatus, op: Op) -> Done {
        let what = What::of(&op);
        let (error, is_refused) =
            match tokio::time::timeout(PATIENCE, self.attempt(flow, durable, op)).await {
                Ok(Ok(done)) => return done,
                Ok(Err(e)) => {
                    let is_refused = child::is_refusal(&e);
                    (child::message(e), is_refused)
                }
                Err(_) => (format!("no answer within {PATIENCE:?}"), false),
            };
        Done::Failed {
            what,
            error,
            is_refused,
        }
    }

    async fn attempt(
        &self,
        flow: &FlowView,
        durable: &JobFlowStatus,
        op: Op,
    ) -> Result<Done, kube::Error> {
        let space = &flow.namespace;
        let jobs: Api<Job> = Api::namespaced(self.client.clone(), space);
        let tasks: Api<TaskObject> = Api::namespaced(self.client.clone(), space);
        let flows: Api<JobFlowObject> = Api::namespaced(self.client.clone(), space);
        let boxed = |child: Option<Child>| child.map(Box::new);
        Ok(match op {
            Op::Create(key, Object::Job(job)) => match child::create(&jobs, &job).await? {
                Create::Done(job) => Done::Created(key, boxed(Child::of_job(&job))),
                Create::Taken(_) => Done::Taken(key),
            },
            Op::Create(key, Object::Task(task)) => {
                match child::create(&tasks, &task.object()).await? {
                    Create::Done(task) => Done::Created(key, boxed(Child::of_task(&task))),
                    Create::Taken(_) => Done::Taken(key),
                }
            }
            Op::Stop(child) => {
                let (name, uid) = (&child.name, &child.uid);
                let now = match child.kind {
                    ChildKind::Job => {
                        let spec = json!({ "activeDeadlineSeconds": STOP_DEADLINE_SECONDS });
                        let patch = json!({ "spec": spec });
                        let job = child::patch(&jobs, name, uid, patch).await?;
                        job.and_then(|job| Child::of_job(&job))
                    }
                    ChildKind::Task => {
                        let patch = json!({ "spec": { "cancel": true } });
                        let task = child::patch(&tasks, name, uid, patch).await?;
                        task.and_then(|task| Child::of_task(&task))
                    }
                };
                Done::Stopped(child.key(), boxed(now))
            }
            Op::Delete(child) => {
                let (name, uid) = (&child.name, &child.uid);
                match child.kind {
                    ChildKind::Job => child::delete(&jobs, name, uid).await?,
                    ChildKind::Task => child::delete(&tasks, name, uid).await?,
                }
                Done::Deleted(child.key(), child.uid.clone())
            }
            Op::WriteStatus(status) => {
                let object = reference(flow);
                match child::write_status(&flows, &object, durable, &*status).await? {
                    Write::Done(now) => Done::Wrote(status, Box::new(now)),
                    Write::Conflict(now) => Done::Conflict(Box::new(now)),
                    Write::Gone => Done::Gone,
                }
            }
            Op::DeleteFlow => {
                child::delete(&flows, &flow.name, &flow.uid).await?;
                Done::Gone
            }
            Op::Emit(note) => {
                child::emit(&self.recorder, &reference(flow), note).await;
                Done::Emitted
            }
        })
    }
}

fn reference(flow: &FlowView) -> ObjectReference {
    ObjectReference {
        api_version: Some(JobFlowObject::api_version(&()).into_owned()),
        kind: Some("JobFlow".to_owned()),
        name: Some(flow.name.clone()),
        namespace: Some(flow.namespace.clone()),
        uid: Some(flow.uid.clone()),
        resource_version: Some(flow.resource_version.clone()),
        ..ObjectReference::default()
    }
}
