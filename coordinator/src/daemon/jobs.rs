//! The Jobs of DaemonJobs that are there, as far as is needed of them.

use std::collections::{BTreeSet, HashMap};

use baton_flow::daemon::JobSeen;
use baton_pod::names::{ATTEMPT_ANNOTATION, NODE_ANNOTATION};
use k8s_openapi::api::batch::v1::Job;

use crate::child::{controller, is_older};

/// A node's Job of an attempt: the node's name, and the attempt.
pub type JobKey = (String, u32);

/// What is needed of a Job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobView {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// The UID of its DaemonJob.
    pub owner: String,
    /// The node and attempt that it was made for.
    pub key: JobKey,
    /// How it stands.
    pub seen: JobSeen,
    /// It was told to stop.
    pub is_stopping: bool,
    /// Its Job controller does nothing with it yet: it waits for a queue.
    pub is_suspended: bool,
    /// It is being deleted.
    pub is_deleting: bool,
    version: String,
}

impl JobView {
    /// Reads a Job; `None` for one that is no DaemonJob's, or does not say what it was made for.
    pub fn read(job: &Job) -> Option<JobView> {
        let meta = &job.metadata;
        let annotations = meta.annotations.as_ref()?;
        let node = annotations.get(NODE_ANNOTATION)?.clone();
        let attempt = annotations.get(ATTEMPT_ANNOTATION)?.parse().ok()?;
        let spec = job.spec.as_ref();
        Some(JobView {
            name: meta.name.clone()?,
            uid: meta.uid.clone()?,
            namespace: meta.namespace.clone().unwrap_or_default(),
            owner: controller(meta)?.to_owned(),
            key: (node, attempt),
            seen: outcome(job),
            // A DaemonJob has no deadline of a node: one is there where it was told to stop.
            is_stopping: spec.is_some_and(|s| s.active_deadline_seconds.is_some()),
            is_suspended: spec.is_some_and(|s| s.suspend == Some(true)),
            is_deleting: meta.deletion_timestamp.is_some(),
            version: meta.resource_version.clone().unwrap_or_default(),
        })
    }
}

fn outcome(job: &Job) -> JobSeen {
    let conditions = job.status.as_ref().and_then(|s| s.conditions.as_deref());
    for condition in conditions.unwrap_or_default() {
        if condition.status != "True" {
            continue;
        }
        match condition.type_.as_str() {
            "Complete" => return JobSeen::Succeeded,
            "Failed" => {
                let reason = condition.reason.clone().filter(|r| !r.is_empty());
                let reason = reason.unwrap_or_else(|| "Failed".to_owned());
                return JobSeen::Failed(reason);
            }
            _ => {}
        }
    }
    JobSeen::Live
}

/// The Jobs of all DaemonJobs.
#[derive(Debug, Default)]
pub struct Jobs {
    /// By the UID of the DaemonJob.
    by_owner: HashMap<String, HashMap<JobKey, JobView>>,
}

impl Jobs {
    /// The Job of a DaemonJob that was made for this node and attempt.
    pub fn get(&self, owner: &str, key: &JobKey) -> Option<&JobView> {
        self.by_owner.get(owner)?.get(key)
    }

    /// Takes a Job as it is now; whether that is news.
    pub fn put(&mut self, job: JobView) -> bool {
        let jobs = self.by_owner.entry(job.owner.clone()).or_default();
        if let Some(known) = jobs.get(&job.key)
            && (is_older(Some(&job.version), &known.version) || *known == job)
        {
            return false;
        }
        jobs.insert(job.key.clone(), job);
        true
    }

    /// Forgets a Job that is gone; whether it was there.
    pub fn remove(&mut self, job: &JobView) -> bool {
        let Some(jobs) = self.by_owner.get_mut(&job.owner) else {
            return false;
        };
        let is_known = jobs.get(&job.key).is_some_and(|k| k.uid == job.uid);
        if is_known {
            jobs.remove(&job.key);
        }
        if jobs.is_empty() {
            self.by_owner.remove(&job.owner);
        }
        is_known
    }

    /// A Job of this UID goes, or is gone, as long as nothing else is told of it.
    pub fn leaves(&mut self, owner: &str, key: &JobKey, uid: &str) {
        let jobs = self.by_owner.get_mut(owner);
        let job = jobs.and_then(|jobs| jobs.get_mut(key));
        if let Some(job) = job.filter(|j| j.uid == uid) {
            job.is_deleting = true;
        }
    }

    /// The Jobs of the namespaces that `here` names that are not in a list of UIDs.
    pub fn missing_from(
        &self,
        list: &BTreeSet<String>,
        here: impl Fn(&str) -> bool,
    ) -> Vec<JobView> {
        let all = self.by_owner.values().flat_map(HashMap::values);
        let is_gone = |job: &&JobView| here(&job.namespace) && !list.contains(&job.uid);
        all.filter(is_gone).cloned().collect()
    }
}
