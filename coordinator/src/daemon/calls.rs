//! Calls of the API server about one DaemonJob.

use baton_api::daemon_status::DaemonJobStatus;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::api::Api;
use kube::runtime::events::Recorder;
use serde_json::json;

use super::jobs::{JobKey, JobView};
use super::object::DaemonObject;
use crate::child::{self, Create, Failure, Note, Write, patiently};

/// What is to be called for.
#[derive(Debug)]
pub(super) enum Op {
    /// Make a node's Job.
    Create(JobKey, Box<Job>),
    /// Have a Job end: its pods are told to, and it says that its time is up.
    Stop(JobView),
    /// Delete a Job once its pods are gone.
    Delete(JobView),
    /// Write the status: from what is durable to what it is to be.
    WriteStatus(Box<DaemonJobStatus>, Box<DaemonJobStatus>),
    /// Delete the DaemonJob, and with it all that it owns.
    DeleteSelf,
}

impl Op {
    /// The Job that it is about.
    pub(super) fn key(&self) -> Option<&JobKey> {
        match self {
            Op::Create(key, _) => Some(key),
            Op::Stop(job) | Op::Delete(job) => Some(&job.key),
            Op::WriteStatus(..) | Op::DeleteSelf => None,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Op::Create(..) => "creating a Job",
            Op::Stop(_) => "stopping a Job",
            Op::Delete(_) => "deleting a Job",
            Op::WriteStatus(..) => "writing the status",
            Op::DeleteSelf => "deleting the finished DaemonJob",
        }
    }
}

/// What came of a call.
#[derive(Debug)]
pub(super) enum Done {
    /// The Job is there.
    Job(Box<Job>),
    /// Something else has its name.
    Taken,
    /// The Job of this UID goes, or is gone.
    JobGoes(String),
    /// The DaemonJob goes, or is gone.
    Gone,
    /// The status is durable: what it was before, and what it is.
    Wrote {
        from: Box<DaemonJobStatus>,
        to: Box<DaemonJobStatus>,
        object: Box<DaemonObject>,
    },
    /// The DaemonJob was changed in between: as it is now.
    Conflict(Box<DaemonObject>),
    /// It failed: what was attempted.
    Failed(&'static str, Failure),
}

/// Makes calls.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) client: Client,
    pub(super) recorder: Recorder,
}

impl Caller {
    /// Makes a call, and waits for its outcome.
    pub(super) async fn call(&self, of: &ObjectReference, op: Op) -> Done {
        let what = op.name();
        let done = patiently(self.attempt(of, op)).await;
        done.unwrap_or_else(|failure| Done::Failed(what, failure))
    }

    async fn attempt(&self, of: &ObjectReference, op: Op) -> Result<Done, kube::Error> {
        let namespace = of.namespace.as_deref().unwrap_or_default();
        let jobs: Api<Job> = Api::namespaced(self.client.clone(), namespace);
        let daemons: Api<DaemonObject> = Api::namespaced(self.client.clone(), namespace);
        match op {
            Op::Create(_, job) => Ok(match child::create(&jobs, &job).await? {
                Create::Done(job) => Done::Job(Box::new(job)),
                Create::Taken(_) => Done::Taken,
            }),
            // A Job's template cannot be changed, its deadline can: by that its pods end as they do
            // when its time is up, and the Job stays and says so.
            Op::Stop(job) => {
                let patch = json!({ "spec": { "activeDeadlineSeconds": 1 } });
                let patched = child::patch(&jobs, &job.name, &job.uid, patch).await?;
                Ok(match patched {
                    Some(job) => Done::Job(Box::new(job)),
                    None => Done::JobGoes(job.uid),
                })
            }
            Op::Delete(job) => {
                child::delete_with_pods(&jobs, &job.name, &job.uid).await?;
                Ok(Done::JobGoes(job.uid))
            }
            Op::WriteStatus(from, to) => {
                let written = child::write_status(&daemons, of, &*from, &*to).await?;
                Ok(match written {
                    Write::Done(object) => Done::Wrote {
                        from,
                        to,
                        object: Box::new(object),
                    },
                    Write::Conflict(now) => Done::Conflict(Box::new(now)),
                    Write::Gone => Done::Gone,
                })
            }
            Op::DeleteSelf => {
                let (name, uid) = (of.name.as_deref(), of.uid.as_deref());
                let (name, uid) = (name.unwrap_or_default(), uid.unwrap_or_default());
                child::delete(&daemons, name, uid).await?;
                Ok(Done::Gone)
            }
        }
    }

    /// Writes Kubernetes Events, one after the other.
    pub(super) async fn emit(&self, of: &ObjectReference, notes: Vec<Note>) {
        for note in notes {
            child::emit(&self.recorder, of, note).await;
        }
    }
}
