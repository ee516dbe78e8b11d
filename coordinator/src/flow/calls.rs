//! Calls of the API server about one flow.

use baton_api::flow_status::JobFlowStatus;
use k8s_openapi::api::batch::v1::Job;
use kube::Client;
use kube::api::Api;
use kube::runtime::events::Recorder;
use serde_json::json;

use super::children::{Child, ChildKey, ChildKind, STOP_DEADLINE_SECONDS};
use super::make::Object;
use super::object::{FlowView, JobFlowObject};
use super::plan::Op;
use crate::child::{self, Create, Failure, Write, patiently};
use crate::task::object::TaskObject;

/// What came of an [`Op`].
#[derive(Debug)]
pub(super) enum Done {
    /// The child is there.
    Created(ChildKey, Option<Box<Child>>),
    /// Something of this name is there that is not this flow's, or is for something else.
    Taken(ChildKey),
    /// The child was asked to stop; as it is now.
    Stopped(ChildKey, Box<Child>),
    /// The child of this UID was to stop, and is not there.
    Missing(ChildKey, String),
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
    Failed(What, Failure),
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
        let done = patiently(self.attempt(flow, durable, op)).await;
        done.unwrap_or_else(|failure| Done::Failed(what, failure))
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
                match now {
                    Some(now) => Done::Stopped(child.key(), Box::new(now)),
                    None => Done::Missing(child.key(), child.uid.clone()),
                }
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
                let object = flow.reference();
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
                child::emit(&self.recorder, &flow.reference(), note).await;
                Done::Emitted
            }
        })
    }
}
