//! The Jobs and Tasks of flows, as far as the controller looks at them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use baton_api::flow_status::{FlowResult, MAX_NODE_MESSAGE};
use baton_api::status::{TaskPhase, TaskStatus};
use baton_flow::Seen;
use baton_pod::names::{ATTEMPT_ANNOTATION, FLOW_NODE_LABEL, INDEX_ANNOTATION};
use baton_protocol::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use crate::child::{controller, is_older};
use crate::task::object::TaskObject;
use crate::text::cut;

/// The annotation that holds how long a Job or Task is kept after its end, in seconds.
pub const TTL_ANNOTATION: &str = "baton.dev/ttl-seconds-after-finished";

/// What a child is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChildKind {
    /// A native Job.
    Job,
    /// A Task.
    Task,
}

/// A Job or Task of a flow.
#[derive(Debug, Clone, PartialEq)]
pub struct Child {
    /// What it is.
    pub kind: ChildKind,
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its UID.
    pub uid: String,
    /// Its version for the API server.
    pub version: String,
    /// The UID of the flow that controls it.
    pub owner: String,
    /// The node that it is for.
    pub node: String,
    /// Which element of the node's list it is for, by instance; 0 where it has none.
    pub index: usize,
    /// Which attempt it is, from 1.
    pub attempt: u32,
    /// How it stands.
    pub seen: Seen,
    /// What it says itself of its end.
    pub message: String,
    /// When it was over.
    pub finished_at: Option<Timestamp>,
    /// How long it is to be kept after that, in seconds.
    pub ttl_seconds: Option<u32>,
    /// It is being deleted.
    pub is_deleting: bool,
    /// It waits for somebody to let it begin.
    pub is_suspended: bool,
    /// It was asked to stop.
    pub is_stopping: bool,
    /// Results of a Task that is over.
    pub results: Vec<FlowResult>,
}

impl Child {
    /// What is to be known of a Job; `None` where no object of Baton controls it.
    pub fn of_job(job: &Job) -> Option<Child> {
        let spec = job.spec.as_ref();
        let end = job.status.as_ref().and_then(|status| {
            let conditions = status.conditions.as_deref().unwrap_or_default();
            let is = |kind: &str| {
                let holds = |c: &&JobCondition| c.type_ == kind && c.status == "True";
                conditions.iter().find(holds)
            };
            let complete = is("Complete").map(|c| (Seen::Succeeded, c));
            let failed = || is("Failed").map(|c| (Seen::Failed(word(c.reason.as_deref())), c));
            complete.or_else(failed)
        });
        let deadline = spec.and_then(|s| s.active_deadline_seconds);
        let finished_at = end.as_ref().and_then(|(_, c)| {
            let at = c
                .last_transition_time
                .as_ref()
                .or(c.last_probe_time.as_ref());
            at.map(timestamp)
        });
        let message = end.as_ref().and_then(|(_, c)| c.message.clone());
        Some(Child {
            seen: end.map_or(Seen::Live, |(seen, _)| seen),
            message: cut(&message.unwrap_or_default(), MAX_NODE_MESSAGE),
            finished_at,
            is_suspended: spec.and_then(|s| s.suspend) == Some(true),
            is_stopping: deadline == Some(STOP_DEADLINE_SECONDS),
            ..Child::of_meta(ChildKind::Job, &job.metadata)?
        })
    }

    /// What is to be known of a Task; `None` where no object of Baton controls it.
    pub fn of_task(task: &TaskObject) -> Option<Child> {
        let child = Child::of_meta(ChildKind::Task, &task.metadata)?;
        let status: TaskStatus = task.read_status();
        let reason = || word(Some(&status.reason));
        let seen = match status.phase {
            TaskPhase::Pending | TaskPhase::Running | TaskPhase::Scheduled => Seen::Live,
            TaskPhase::Succeeded => Seen::Succeeded,
            TaskPhase::Failed => Seen::Failed(reason()),
            TaskPhase::Cancelled => Seen::Failed("Cancelled".to_owned()),
            TaskPhase::TimedOut => Seen::Failed("TimedOut".to_owned()),
        };
        let results = match seen {
            Seen::Live => Vec::new(),
            _ => results(&status),
        };
        Some(Child {
            seen,
            message: cut(&status.message, MAX_NODE_MESSAGE),
            finished_at: status.finished_at,
            is_stopping: task.spec.get("cancel") == Some(&serde_json::Value::Bool(true)),
            results,
            ..child
        })
    }

    fn of_meta(kind: ChildKind, meta: &ObjectMeta) -> Option<Child> {
        let annotation = |key: &str| meta.annotations.as_ref()?.get(key).cloned();
        let label = |key: &str| meta.labels.as_ref()?.get(key).cloned();
        let index = annotation(INDEX_ANNOTATION).and_then(|n| n.parse().ok());
        Some(Child {
            kind,
            name: meta.name.clone()?,
            namespace: meta.namespace.clone()?,
            uid: meta.uid.clone()?,
            version: meta.resource_version.clone().unwrap_or_default(),
            owner: controller(meta)?.to_owned(),
            node: label(FLOW_NODE_LABEL).unwrap_or_default(),
            index: index.unwrap_or(0),
            attempt: annotation(ATTEMPT_ANNOTATION)
                .and_then(|n| n.parse().ok())
                .unwrap_or(0),
            seen: Seen::Live,
            message: String::new(),
            finished_at: None,
            ttl_seconds: annotation(TTL_ANNOTATION).and_then(|n| n.parse().ok()),
            is_deleting: meta.deletion_timestamp.is_some(),
            is_suspended: false,
            is_stopping: false,
            results: Vec::new(),
        })
    }

    /// How it is found among those of its flow.
    pub fn key(&self) -> ChildKey {
        (self.kind, self.name.clone())
    }
}

/// What a child and its name are.
pub type ChildKey = (ChildKind, String);

/// The deadline that a Job which is to stop is given: it has passed already, so the Job controller ends
/// the Job's pods, gracefully, and the Job stays with its condition.
pub const STOP_DEADLINE_SECONDS: i64 = 1;

fn word(reason: Option<&str>) -> String {
    match reason {
        None | Some("") => "Failed".to_owned(),
        Some(reason) => cut(reason, 100),
    }
}

fn timestamp(time: &Time) -> Timestamp {
    Timestamp(SystemTime::from(time.0))
}

fn results(status: &TaskStatus) -> Vec<FlowResult> {
    let of_step = |step: &baton_api::status::StepStatus| {
        let result = |r: &baton_api::status::ResultStatus| FlowResult {
            step: step.name.clone(),
            name: r.name.clone(),
            value: r.value.clone(),
        };
        step.results.iter().map(result).collect::<Vec<_>>()
    };
    status.steps.iter().flat_map(of_step).collect()
}

/// The children of one flow.
pub type OfFlow = BTreeMap<ChildKey, Arc<Child>>;

/// The children of all flows, by the flow that controls them.
#[derive(Debug, Default)]
pub struct Children {
    by_owner: HashMap<String, OfFlow>,
}

impl Children {
    /// The children of a flow; `None` where it has none.
    pub fn of(&self, flow: &str) -> Option<&OfFlow> {
        self.by_owner.get(flow)
    }

    /// Takes a child as it is now, and gives the flow that controls it; `None` where it is known as it
    /// was later, or is the same.
    pub fn put(&mut self, child: Child) -> Option<String> {
        let owner = child.owner.clone();
        let children = self.by_owner.entry(owner.clone()).or_default();
        if let Some(known) = children.get(&child.key())
            && known.uid == child.uid
            && is_older(Some(&child.version), &known.version)
        {
            return None;
        }
        children.insert(child.key(), Arc::new(child));
        Some(owner)
    }

    /// Forgets a child; false where another one is in its place, or none.
    pub fn remove(&mut self, owner: &str, key: &ChildKey, uid: &str) -> bool {
        let Some(children) = self.by_owner.get_mut(owner) else {
            return false;
        };
        if children.get(key).is_none_or(|c| c.uid != uid) {
            return false;
        }
        children.remove(key);
        if children.is_empty() {
            self.by_owner.remove(owner);
        }
        true
    }

    /// A child of this UID goes, or is gone, as long as nothing else is told of it.
    pub fn leaves(&mut self, owner: &str, key: &ChildKey, uid: &str) {
        let children = self.by_owner.get_mut(owner);
        let child = children.and_then(|children| children.get_mut(key));
        if let Some(child) = child.filter(|c| c.uid == uid) {
            Arc::make_mut(child).is_deleting = true;
        }
    }

    /// The children of this kind, of the namespaces that `here` names, that are not in a list of UIDs.
    pub fn missing_from(
        &self,
        kind: ChildKind,
        list: &BTreeSet<String>,
        here: impl Fn(&str) -> bool,
    ) -> Vec<Arc<Child>> {
        let all = self.by_owner.values().flat_map(BTreeMap::values);
        all.filter(|c| c.kind == kind && here(&c.namespace) && !list.contains(&c.uid))
            .cloned()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn job(conditions: Value) -> Child {
        let job: Job = serde_json::from_value(json!({
            "metadata": {
                "name": "f-a", "namespace": "ci", "uid": "j", "resourceVersion": "7",
                "labels": {"baton.dev/flow": "a"},
                "annotations": {"baton.dev/attempt": "2", "baton.dev/index": "3",
                                "baton.dev/ttl-seconds-after-finished": "9"},
                "ownerReferences": [{"apiVersion": "baton.dev/v1alpha1", "kind": "JobFlow", "name": "f",
                                     "uid": "u", "controller": true}],
            },
            "spec": {"template": {"spec": {"containers": []}}},
            "status": {"conditions": conditions},
        }))
        .unwrap();
        Child::of_job(&job).unwrap()
    }

    #[test]
    fn a_job_is_over_by_its_conditions() {
        let live = job(json!([{"type": "FailureTarget", "status": "True", "reason": "x"}]));
        assert_eq!(live.seen, Seen::Live);
        assert_eq!((live.node.as_str(), live.index, live.attempt), ("a", 3, 2));
        assert_eq!((live.owner.as_str(), live.ttl_seconds), ("u", Some(9)));
        let at = "2026-01-02T03:04:05Z";
        let failed = job(
            json!([{"type": "Failed", "status": "True", "lastTransitionTime": at,
                                 "reason": "BackoffLimitExceeded", "message": "too many"}]),
        );
        assert_eq!(failed.seen, Seen::Failed("BackoffLimitExceeded".into()));
        assert_eq!(failed.message, "too many");
        assert_eq!(
            failed.finished_at.map(|t| t.to_string()).as_deref(),
            Some("2026-01-02T03:04:05.000000Z")
        );
        let done = job(json!([{"type": "SuccessCriteriaMet", "status": "True"},
                              {"type": "Complete", "status": "True"}]));
        assert_eq!(done.seen, Seen::Succeeded);
        assert_eq!(
            job(json!([{"type": "Complete", "status": "False"}])).seen,
            Seen::Live
        );
    }

    #[test]
    fn an_older_view_of_a_child_does_not_count() {
        let mut children = Children::default();
        let child = |version: &str, uid: &str| Child {
            version: version.into(),
            uid: uid.into(),
            ..job(json!([]))
        };
        assert_eq!(children.put(child("7", "j")).as_deref(), Some("u"));
        assert_eq!(children.put(child("6", "j")), None);
        assert!(
            children.put(child("8", "k")).is_some(),
            "another in its place"
        );
        let key = child("8", "k").key();
        assert!(!children.remove("u", &key, "j"));
        assert!(children.remove("u", &key, "k"));
        assert!(children.of("u").is_none());
    }
}
