//! JobFlows and JobTemplates as the API server has them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use baton_api::flow::{JobFlowSpec, JobTemplateSpec};
use baton_api::{Object as Document, review_object};
use baton_flow::Graph;
use baton_pod::FlowNames;
use baton_pod::names::RERUN_ANNOTATION;
use k8s_openapi::api::core::v1::ObjectReference;
use serde_json::Value;

use super::change::{Digests, params_digest};
use crate::child::{Kind, Object, reference_to};
use crate::schedule::is_template;

/// The kind JobFlow.
#[derive(Debug, Clone, Default)]
pub struct JobFlowKind;

impl Kind for JobFlowKind {
    const KIND: &'static str = "JobFlow";
    const PLURAL: &'static str = "jobflows";
}

/// The kind JobTemplate.
#[derive(Debug, Clone, Default)]
pub struct JobTemplateKind;

impl Kind for JobTemplateKind {
    const KIND: &'static str = "JobTemplate";
    const PLURAL: &'static str = "jobtemplates";
}

/// A JobFlow as the API server has it.
pub type JobFlowObject = Object<JobFlowKind>;
/// A JobTemplate as the API server has it.
pub type JobTemplateObject = Object<JobTemplateKind>;

/// What the controller needs to know of a JobFlow's metadata and spec.
#[derive(Debug, Clone)]
pub struct FlowView {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The generation of its spec.
    pub generation: Option<i64>,
    /// Its version for the API server.
    pub resource_version: String,
    /// It is being deleted.
    pub is_deleting: bool,
    /// It is a template of runs by a schedule, and runs nothing itself.
    pub is_scheduled: bool,
    /// The re-run that is asked for; empty where none is.
    pub rerun: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// It is to stop, whatever else its spec says.
    pub cancel: bool,
    /// What is to be run, or everything that is wrong with it.
    pub spec: Result<Arc<FlowSpec>, String>,
}

/// A spec that nothing is wrong with.
#[derive(Debug)]
pub struct FlowSpec {
    /// The spec.
    pub spec: JobFlowSpec,
    /// Its graph.
    pub graph: Graph,
    /// Digests of its nodes, by place.
    pub digests: Vec<Digests>,
    /// Digest of what every node is given.
    pub params_digest: String,
    /// The JobTemplates that it refers to.
    pub templates: BTreeSet<String>,
    /// What its Jobs and Tasks are called.
    pub names: FlowNames,
}

impl FlowSpec {
    /// A spec with what is derived from it; what is wrong with its graph, where that is none.
    ///
    /// # Errors
    /// Every mistake in the graph.
    pub fn new(spec: JobFlowSpec) -> Result<FlowSpec, String> {
        let graph = spec.graph().map_err(|errors| {
            let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
            lines.join("\n")
        })?;
        let finally = (0..graph.len()).map(|i| graph.is_finally(i));
        let nodes = spec.nodes().zip(finally);
        Ok(FlowSpec {
            digests: nodes.map(|(node, f)| Digests::of(node, f)).collect(),
            params_digest: params_digest(&spec.global_params),
            templates: spec
                .nodes()
                .filter_map(|n| n.job_template_ref.clone())
                .collect(),
            names: FlowNames::new(&spec),
            graph,
            spec,
        })
    }
}

impl FlowView {
    /// Reads a JobFlow; `known` is what was read of it before, whose spec is taken over where the
    /// generation is the same.
    pub fn read(flow: &JobFlowObject, known: Option<&FlowView>) -> FlowView {
        let meta = &flow.metadata;
        let uid = meta.uid.clone().unwrap_or_default();
        let known = known
            .filter(|k| k.uid == uid && k.generation.is_some() && k.generation == meta.generation);
        let is_scheduled = is_template(&flow.spec);
        let annotations = meta.annotations.as_ref();
        FlowView {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            uid,
            generation: meta.generation,
            resource_version: meta.resource_version.clone().unwrap_or_default(),
            is_deleting: meta.deletion_timestamp.is_some(),
            is_scheduled,
            rerun: annotations
                .and_then(|a| a.get(RERUN_ANNOTATION))
                .cloned()
                .unwrap_or_default(),
            labels: meta.labels.clone().unwrap_or_default(),
            cancel: flow.spec.get("cancel") == Some(&Value::Bool(true)),
            spec: match known {
                Some(known) => known.spec.clone(),
                None => review(flow),
            },
        }
    }

    /// How it is spoken of in calls.
    pub fn reference(&self) -> ObjectReference {
        let place = (self.namespace.as_str(), self.name.as_str());
        reference_to::<JobFlowObject>(place, &self.uid, &self.resource_version)
    }
}

fn review(flow: &JobFlowObject) -> Result<Arc<FlowSpec>, String> {
    match review_object(&flow.document()) {
        Ok(Document::JobFlow(flow)) => FlowSpec::new(flow.spec).map(Arc::new),
        Ok(_) => Err("this is no JobFlow".to_owned()),
        Err(mistakes) => Err(mistakes.join("\n")),
    }
}

/// A JobTemplate.
#[derive(Debug, Clone)]
pub struct Template {
    /// Its name and generation, as a Job's annotation has them.
    pub version: String,
    /// What it holds, or everything that is wrong with it.
    pub spec: Result<Arc<JobTemplateSpec>, String>,
}

impl Template {
    /// Reads a JobTemplate.
    pub fn read(template: &JobTemplateObject) -> Template {
        let meta = &template.metadata;
        let name = meta.name.as_deref().unwrap_or_default();
        Template {
            version: format!("{name}@{}", meta.generation.unwrap_or_default()),
            spec: match review_object(&template.document()) {
                Ok(Document::JobTemplate(template)) => Ok(Arc::new(template.spec)),
                Ok(_) => Err("this is no JobTemplate".to_owned()),
                Err(mistakes) => Err(mistakes.join("\n")),
            },
        }
    }
}
