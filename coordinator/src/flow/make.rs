//! An attempt of a node as the Job or Task that runs it.

use std::collections::BTreeMap;

use baton_api::flow::Flow;
use baton_api::flow_run::{Item, fill_job};
use baton_api::flow_status::JobFlowStatus;
use baton_api::job::JobSpec;
use baton_flow::{InstanceId, NodePhase};
use baton_pod::job::{JobInputs, Owner, job};
use baton_pod::label_value;
use baton_pod::names::{
    ATTEMPT_ANNOTATION, FLOW_LABEL, FLOW_NODE_LABEL, INDEX_ANNOTATION, TEMPLATE_ANNOTATION,
};
use baton_pod::task::task;
use k8s_openapi::api::batch::v1::Job;

use super::children::{ChildKey, ChildKind, TTL_ANNOTATION};
use super::object::{FlowSpec, FlowView, Template};
use crate::task::object::TaskObject;

/// What an attempt of a node is run by.
#[derive(Debug, Clone, PartialEq)]
pub enum Object {
    /// A native Job.
    Job(Box<Job>),
    /// A Task.
    Task(Box<TaskDocument>),
}

/// A Task that is to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskDocument(pub serde_json::Value);

impl TaskDocument {
    /// The Task as the API server takes it.
    pub fn object(&self) -> TaskObject {
        // It was written by the type that it is read as.
        serde_json::from_value(self.0.clone()).unwrap_or_default()
    }
}

/// Why an attempt cannot be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// Something outside is missing that may still come: one word, and a sentence.
    Waits(&'static str, String),
    /// It is wrong in itself.
    Invalid(String),
}

/// What attempts are made of.
pub struct Maker<'a> {
    /// The flow.
    pub view: &'a FlowView,
    /// Its spec.
    pub flow: &'a FlowSpec,
    /// The JobTemplate of this name in its namespace.
    pub template: &'a dyn Fn(&str) -> Option<Template>,
    /// A result of an earlier node.
    pub results: &'a dyn Fn(&str, &str, &str) -> Result<String, String>,
}

impl Maker<'_> {
    /// The Job or Task of an attempt under this name, and what its template says otherwise than the
    /// globals.
    ///
    /// # Errors
    /// Where something is missing or wrong.
    pub fn make(
        &self,
        id: InstanceId,
        attempt: u32,
        name: &str,
    ) -> Result<(Object, Vec<String>), Why> {
        let node = self.flow.spec.node(id.node).ok_or_else(|| {
            // The place is one of the graph that was made from these nodes.
            Why::Invalid("there is no such flow".to_owned())
        })?;
        let item = self.item(node, id.index)?;
        let index = node.for_each.as_ref().map(|_| id.index);
        let own = |key: &str, value: String| (key.to_owned(), value);
        let labels = BTreeMap::from([
            own(FLOW_LABEL, label_value(&self.view.name)),
            own(FLOW_NODE_LABEL, node.name.clone()),
        ]);
        let mut annotations = BTreeMap::from([own(ATTEMPT_ANNOTATION, attempt.to_string())]);
        annotations.extend(index.map(|i| own(INDEX_ANNOTATION, i.to_string())));
        let inputs = |annotations| JobInputs {
            name,
            owner: Owner {
                kind: "JobFlow",
                name: &self.view.name,
                uid: &self.view.uid,
                namespace: &self.view.namespace,
                labels: &self.view.labels,
            },
            globals: &self.flow.spec.global_params,
            labels: &labels,
            annotations,
            node: None,
        };
        if let Some(mut spec) = node
            .task(self.results, item.as_ref())
            .map_err(Why::Invalid)?
        {
            // It would be deleted before its end is recorded.
            let ttl = spec.ttl_seconds_after_finished.take();
            annotations.extend(ttl.map(|s| own(TTL_ANNOTATION, s.to_string())));
            let (task, overruled) = task(spec, &inputs(&annotations)).map_err(invalid)?;
            let value = serde_json::to_value(task).map_err(|e| Why::Invalid(e.to_string()))?;
            let mistakes = baton_pod::review(&value.to_string());
            if !mistakes.is_empty() {
                return Err(Why::Invalid(mistakes.join("; ")));
            }
            return Ok((Object::Task(Box::new(TaskDocument(value))), overruled));
        }
        let held;
        let spec: &JobSpec = match (&node.job_template, &node.job_template_ref) {
            (Some(spec), _) => spec,
            (None, Some(name)) => {
                let template = (self.template)(name).ok_or_else(|| {
                    let message = format!("there is no JobTemplate {name:?} yet");
                    Why::Waits("JobTemplateMissing", message)
                })?;
                held = template.spec.map_err(|mistakes| {
                    let message = format!("JobTemplate {name:?} is none: {mistakes}");
                    Why::Waits("JobTemplateInvalid", message)
                })?;
                annotations.extend([own(TEMPLATE_ANNOTATION, template.version)]);
                &held.job_template
            }
            (None, None) => return Err(Why::Invalid("it has nothing to run".to_owned())),
        };
        let spec = fill_job(spec, self.results, item.as_ref()).map_err(Why::Invalid)?;
        let made = job(&spec, &inputs(&annotations)).map_err(invalid)?;
        let mut job = made.job;
        if let Some(seconds) = made.ttl_seconds {
            let annotations = job.metadata.annotations.get_or_insert_default();
            annotations.insert(TTL_ANNOTATION.to_owned(), seconds.to_string());
        }
        Ok((Object::Job(Box::new(job)), made.overruled))
    }

    fn item(&self, node: &Flow, index: usize) -> Result<Option<Item>, Why> {
        match node.items(self.results).map_err(Why::Invalid)? {
            None => Ok(None),
            Some(items) => match items.into_iter().nth(index) {
                Some(item) => Ok(Some(item)),
                None => Err(Why::Invalid(format!("its list has no element {index}"))),
            },
        }
    }
}

fn invalid(error: baton_pod::BuildError) -> Why {
    Why::Invalid(error.to_string())
}

/// What an instance of a node is run by.
pub fn child_kind(flow: &FlowSpec, id: InstanceId) -> ChildKind {
    match flow.spec.node(id.node) {
        Some(node) if node.task_template.is_some() => ChildKind::Task,
        _ => ChildKind::Job,
    }
}

/// The name of an attempt's Job or Task.
pub fn child_name(flow_name: &str, flow: &FlowSpec, id: InstanceId, attempt: u32) -> String {
    flow.names.of(flow_name, &flow.spec, id, attempt)
}

/// What an attempt is run by, and its name: the one that is recorded, where there is one, as nodes that
/// were added since may have changed what it would be called now.
pub fn child_key(
    status: &JobFlowStatus,
    flow_name: &str,
    flow: &FlowSpec,
    id: InstanceId,
    attempt: u32,
) -> ChildKey {
    let recorded = || {
        let name = &flow.graph.nodes().get(id.node)?.name;
        let in_place = status.nodes.get(id.node).filter(|n| n.name == *name);
        let node = in_place.or_else(|| status.node(name))?;
        let job = node.jobs.get(id.index)?;
        (job.attempts == attempt && !job.name.is_empty()).then(|| job.name.clone())
    };
    let name = recorded().unwrap_or_else(|| child_name(flow_name, flow, id, attempt));
    (child_kind(flow, id), name)
}

/// A result of a node that is over, as the status has it.
///
/// # Errors
/// Why there is none.
pub fn result_of(
    status: &JobFlowStatus,
    node: &str,
    step: &str,
    name: &str,
) -> Result<String, String> {
    let Some(node) = status.node(node) else {
        return Err(format!("there is no flow {node:?}"));
    };
    let found = node
        .results
        .iter()
        .find(|r| r.step == step && r.name == name);
    match (found, node.state) {
        (Some(result), _) => Ok(result.value.clone()),
        (None, NodePhase::Skipped) => Err(format!("{:?} was skipped", node.name)),
        (None, NodePhase::Failed | NodePhase::Cancelled) => {
            Err(format!("{:?} failed before it was written", node.name))
        }
        (None, _) => Err(format!("step {step:?} of {:?} did not write it", node.name)),
    }
}
