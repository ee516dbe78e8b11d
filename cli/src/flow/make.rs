//! An attempt of a node as the Job or Task that is run here: made as the coordinator makes it, by the
//! same code.

use std::collections::{BTreeMap, BTreeSet};

use baton_api::flow::{Flow, GlobalParams, JobFlow, JobTemplate};
use baton_api::flow_run::{Item, Results, fill_job};
use baton_api::job::JobSpec;
use baton_api::{Job, Rendered, render};
use baton_flow::InstanceId;
use baton_pod::FlowNames;
use baton_pod::job::{JobInputs, Owner, QUEUE_LABEL, job};

/// What an attempt runs.
#[derive(Debug)]
pub(super) enum Made {
    /// A native Job.
    Job(Box<Job>),
    /// A Task with its parameters in place.
    Task(Box<Rendered>),
}

/// What attempts of a flow's nodes are made of.
#[derive(Debug)]
pub(super) struct Maker<'a> {
    flow: &'a JobFlow,
    templates: &'a Templates,
    globals: GlobalParams,
    names: FlowNames,
}

/// JobTemplates by name.
#[derive(Debug, Default)]
pub struct Templates(BTreeMap<String, JobSpec>);

impl Templates {
    /// Takes a template; a later one of the same name takes the place of an earlier one, as it would in
    /// a cluster.
    pub fn add(&mut self, template: &JobTemplate) {
        let name = template.metadata.name.clone();
        self.0.insert(name, template.spec.job_template.clone());
    }
}

impl<'a> Maker<'a> {
    /// A maker for this flow.
    pub(super) fn new(flow: &'a JobFlow, templates: &'a Templates) -> Maker<'a> {
        Maker {
            flow,
            templates,
            globals: without_node(&flow.spec.global_params),
            names: FlowNames::new(&flow.spec),
        }
    }

    /// The name of an attempt's Job or Task.
    pub(super) fn name(&self, id: InstanceId, attempt: u32) -> String {
        let flow = self.flow.metadata.display_name();
        self.names.of(flow, &self.flow.spec, id, attempt)
    }

    /// What an attempt runs, and what its template says otherwise than the globals.
    ///
    /// # Errors
    /// Why it cannot be made.
    pub(super) fn make(
        &self,
        id: InstanceId,
        attempt: u32,
        results: &Results<'_>,
    ) -> Result<(Made, Vec<String>), String> {
        let node = self.node(id.node)?;
        let item = match node.items(results)? {
            None => None,
            Some(items) => {
                let index = id.index;
                let item = items.into_iter().nth(index);
                Some(item.ok_or_else(|| format!("its list has no element {index}"))?)
            }
        };
        self.made(node, &self.name(id, attempt), item.as_ref(), results)
    }

    /// What every attempt of a node runs, as far as it can be told before anything ran; `None` where it
    /// takes results of others.
    ///
    /// # Errors
    /// Why none can be made.
    pub(super) fn preview(&self, place: usize) -> Result<Option<(Made, Vec<String>)>, String> {
        let node = self.node(place)?;
        let item = Item {
            index: 0,
            value: "item".to_owned(),
        };
        let item = node.for_each.as_ref().map(|_| &item);
        let id = InstanceId {
            node: place,
            index: 0,
        };
        let results = |_: &str, _: &str, _: &str| Ok("result".to_owned());
        if node.task(&results, item).is_err() {
            // An array or object that a result will be.
            return Ok(None);
        }
        self.made(node, &self.name(id, 1), item, &results).map(Some)
    }

    fn node(&self, place: usize) -> Result<&Flow, String> {
        let node = self.flow.spec.node(place);
        node.ok_or_else(|| "there is no such flow".to_owned())
    }

    fn made(
        &self,
        node: &Flow,
        name: &str,
        item: Option<&Item>,
        results: &Results<'_>,
    ) -> Result<(Made, Vec<String>), String> {
        let metadata = &self.flow.metadata;
        let owner = Owner {
            kind: "JobFlow",
            name: metadata.display_name(),
            uid: "",
            namespace: metadata.namespace.as_deref().unwrap_or_default(),
            labels: &metadata.labels,
        };
        let none = BTreeMap::new();
        let inputs = inputs(name, owner, &self.globals, &none);
        if let Some(spec) = node.task(results, item)? {
            let made = baton_pod::task::task(spec, &inputs).map_err(|e| e.to_string())?;
            let (task, overruled) = made;
            let rendered = render(&task, &BTreeMap::new()).map_err(|mistakes| {
                let all: Vec<_> = mistakes.iter().map(|d| d.message.clone()).collect();
                all.join("; ")
            })?;
            return Ok((Made::Task(Box::new(rendered)), overruled));
        }
        let spec = match (&node.job_template, &node.job_template_ref) {
            (Some(spec), _) => spec,
            (None, Some(name)) => self.templates.0.get(name).ok_or_else(|| {
                format!("there is no JobTemplate {name:?} in the files that are run")
            })?,
            (None, None) => return Err("it has nothing to run".to_owned()),
        };
        let spec = fill_job(spec, results, item)?;
        let (job, overruled) = native(&spec, &inputs)?;
        Ok((Made::Job(Box::new(job)), overruled))
    }

    /// What a person should know of the flow before it runs here.
    pub(super) fn notes(&self) -> Vec<String> {
        let (spec, mut notes) = (&self.flow.spec, Vec::new());
        if spec.schedule.is_some() {
            notes.push("schedule is not used: it runs once, now".to_owned());
        }
        let mut fields = BTreeSet::new();
        let given = [
            (
                "ttlSecondsAfterFinished",
                spec.ttl_seconds_after_finished.is_some(),
            ),
            ("retainPolicy", spec.retain_policy != Default::default()),
            (
                "globalParams.nodeName",
                spec.global_params.node_name.is_some(),
            ),
        ];
        fields.extend(
            given
                .into_iter()
                .filter_map(|(f, given)| given.then_some(f)),
        );
        notes.extend(crate::run::notes::of_fields(fields));
        notes
    }
}

/// What is asked for all, but for the node: there is this machine alone.
pub(super) fn without_node(globals: &GlobalParams) -> GlobalParams {
    GlobalParams {
        node_name: None,
        ..globals.clone()
    }
}

pub(super) fn inputs<'a>(
    name: &'a str,
    owner: Owner<'a>,
    globals: &'a GlobalParams,
    none: &'a BTreeMap<String, String>,
) -> JobInputs<'a> {
    JobInputs {
        name,
        owner,
        globals,
        labels: none,
        annotations: none,
        node: None,
    }
}

/// The Job that the coordinator would make, but that no queue holds it up.
pub(super) fn native(spec: &JobSpec, inputs: &JobInputs<'_>) -> Result<(Job, Vec<String>), String> {
    let made = job(spec, inputs).map_err(|e| e.to_string())?;
    let mut overruled = made.overruled;
    let labels = made.job.metadata.labels.as_ref();
    if labels.is_some_and(|labels| labels.contains_key(QUEUE_LABEL)) {
        overruled.push(format!("{QUEUE_LABEL} has no meaning without a cluster"));
    }
    let value = serde_json::to_value(&made.job).map_err(|e| e.to_string())?;
    let mut job: Job = serde_json::from_value(value).map_err(|e| e.to_string())?;
    job.spec.suspend = spec.suspend;
    Ok((job, overruled))
}
