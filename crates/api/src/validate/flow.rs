//! A JobFlow, a JobTemplate and a DaemonJob. What nodes take of others is checked in [`references`].

use std::collections::BTreeMap;

use baton_flow::{Graph, GraphError, MAX_NODES, Need, Node};

use super::job::{RestartPolicies, job_spec};
use super::task::{callback, task_spec};
use super::{Names, container, exactly_one, given, is_subdomain, label, metadata, schedule};
use crate::daemon::DaemonJob;
use crate::diagnostic::{FieldPath, excerpt};
use crate::flow::{
    Flow, FlowCondition, ForEach, GlobalParams, JobFlow, JobTemplate, MAX_FLOW_RETRIES, MAX_ITEMS,
};
use crate::flow_reference::{FlowReference, Piece, pieces};
use crate::job::JobSpec;
use crate::params::ParamValue;
use crate::report::Report;

mod references;

pub(crate) fn flow(flow: &JobFlow, report: &mut Report) {
    let path = FieldPath::default();
    metadata(&flow.metadata, &path.key("metadata"), report);
    let (path, spec) = (path.key("spec"), &flow.spec);
    global_params(&spec.global_params, &path.key("globalParams"), report);
    if spec.flows.is_empty() {
        report.at(&path.key("flows"), "has to have at least one flow");
    }
    let count = spec.flows.len() + spec.finally.len();
    if count > MAX_NODES {
        let message = format!("{count} flows are too many: a JobFlow has at most {MAX_NODES}");
        return report.at(&path.key("flows"), message);
    }
    bounds(
        &[
            ("activeDeadlineSeconds", spec.active_deadline_seconds),
            ("maxParallel", spec.max_parallel.map(u64::from)),
        ],
        &path,
        report,
    );
    for (i, sink) in spec.callbacks.iter().enumerate() {
        let path = path.key("callbacks").index(i);
        callback(sink, &BTreeMap::new(), &path, report);
    }
    schedule::schedule(spec.schedule.as_ref(), spec.cancel, &path, report);
    let all: Vec<(FieldPath, &Flow)> = [("flows", &spec.flows), ("finally", &spec.finally)]
        .into_iter()
        .flat_map(|(field, flows)| {
            let path = path.key(field);
            let with_path = move |(i, flow)| (path.index(i), flow);
            flows.iter().enumerate().map(with_path)
        })
        .collect();
    for (path, flow) in &all {
        node(flow, path, report);
    }
    let graph = graph(&all, spec.flows.len(), report);
    if let Some(graph) = &graph {
        references::check(&all, graph, report);
    }
}

pub(crate) fn job_template(template: &JobTemplate, report: &mut Report) {
    let path = FieldPath::default();
    metadata(&template.metadata, &path.key("metadata"), report);
    let path = path.key("spec").key("jobTemplate");
    job_spec(
        &template.spec.job_template,
        RestartPolicies::Any,
        &path,
        report,
    );
}

pub(crate) fn daemon(daemon: &DaemonJob, report: &mut Report) {
    let path = FieldPath::default();
    metadata(&daemon.metadata, &path.key("metadata"), report);
    let (path, spec) = (path.key("spec"), &daemon.spec);
    global_params(&spec.global_params, &path.key("globalParams"), report);
    if spec.global_params.node_name.is_some() {
        let message = "a DaemonJob runs on every node; choose nodes by template.spec.nodeSelector";
        report.at(&path.key("globalParams").key("nodeName"), message);
    }
    for name in daemon.excluded() {
        if !is_subdomain(name) {
            let message = format!("{:?} is no node's name", excerpt(name));
            report.at(&path.key("excludeNodeList"), message);
        }
    }
    if let Err(message) = daemon.parallelism(1) {
        report.at(&path.key("parallelism"), message);
    }
    let seconds = [("activeDeadlineSeconds", spec.active_deadline_seconds)];
    bounds(&seconds, &path, report);
    let job = JobSpec {
        template: spec.template.clone(),
        ..JobSpec::default()
    };
    job_spec(&job, RestartPolicies::Any, &path, report);
}

fn bounds(fields: &[(&str, Option<u64>)], path: &FieldPath, report: &mut Report) {
    for (field, value) in fields {
        if *value == Some(0) {
            report.at(&path.key(field), "has to be at least 1");
        }
    }
}

fn global_params(params: &GlobalParams, path: &FieldPath, report: &mut Report) {
    container::env(&params.env, &path.key("env"), report);
    if let Some(name) = params.node_name.as_ref().filter(|n| !is_subdomain(n)) {
        let message = format!("{:?} is no node's name", excerpt(name));
        report.at(&path.key("nodeName"), message);
    }
}

fn node(flow: &Flow, path: &FieldPath, report: &mut Report) {
    label(&flow.name, &path.key("name"), report);
    let templates = given(&[
        ("jobTemplate", flow.job_template.is_some()),
        ("jobTemplateRef", flow.job_template_ref.is_some()),
        ("taskTemplate", flow.task_template.is_some()),
    ]);
    let all = "jobTemplate, jobTemplateRef or taskTemplate";
    exactly_one(&templates, all, path, report);
    if let Some(job) = &flow.job_template {
        job_spec(job, RestartPolicies::Any, &path.key("jobTemplate"), report);
    }
    if let Some(name) = flow.job_template_ref.as_ref().filter(|n| !is_subdomain(n)) {
        let message = format!("{:?} is no JobTemplate's name", excerpt(name));
        report.at(&path.key("jobTemplateRef"), message);
    }
    if let Some(task) = &flow.task_template {
        let path = path.key("taskTemplate");
        task_spec(task, &path, report);
        schedule::none(task.schedule.as_ref(), &path, report);
    }
    params(flow, path, report);
    for (i, when) in flow.when.iter().enumerate() {
        condition(when, &path.key("when").index(i), report);
    }
    if flow.retries > MAX_FLOW_RETRIES {
        let message = format!("{} is more than {MAX_FLOW_RETRIES}", flow.retries);
        report.at(&path.key("retries"), message);
    }
    if let Some(list) = &flow.for_each {
        for_each(list, &path.key("forEach"), report);
    }
    for (i, dependency) in flow.dependencies.iter().enumerate() {
        if let Some(why) = &dependency.malformed {
            report.at(&path.key("dependencies").index(i), why.clone());
        }
    }
}

fn params(flow: &Flow, path: &FieldPath, report: &mut Report) {
    let path = path.key("params");
    let Some(task) = &flow.task_template else {
        if !flow.params.is_empty() {
            report.at(&path, "only a flow with a taskTemplate has parameters");
        }
        return;
    };
    let mut names = Names::default();
    for (i, given) in flow.params.iter().enumerate() {
        let path = path.index(i);
        names.insert(&given.name, &path, report);
        let Some(param) = task.params.iter().find(|p| p.name == given.name) else {
            let message = format!("the Task has no parameter {:?}", excerpt(&given.name));
            let all = task.params.iter().map(|p| p.name.as_str());
            report.suggest(&path.key("name"), message, &given.name, all);
            continue;
        };
        match serde_json::from_value::<ParamValue>(given.value.clone()).ok() {
            None => {
                let message = format!("expected {}", param.kind().describe());
                report.at(&path.key("value"), message);
            }
            // A text may become an array or an object once its references are filled.
            Some(value) if value.kind() == param.kind() || given.value.is_string() => {}
            Some(value) => {
                let message = format!(
                    "expected {}, found {}",
                    param.kind().describe(),
                    value.kind().describe()
                );
                report.at(&path.key("value"), message);
            }
        }
    }
    for param in task.params.iter().filter(|p| p.default.is_none()) {
        if !flow.params.iter().any(|given| given.name == param.name) {
            let name = excerpt(&param.name);
            report.at(
                &path,
                format!("parameter {name:?} has no default and is not given"),
            );
        }
    }
}

fn condition(when: &FlowCondition, path: &FieldPath, report: &mut Report) {
    if when.operator.is_none() {
        report.incomplete(path, "has to have an operator: in or notin");
    }
    if when.values.is_empty() {
        report.incomplete(path, "has to have values");
    }
}

fn for_each(list: &ForEach, path: &FieldPath, report: &mut Report) {
    let sources = given(&[
        ("items", !list.items.is_empty()),
        ("from", list.from.is_some()),
    ]);
    exactly_one(&sources, "items or from", path, report);
    if list.items.len() > MAX_ITEMS {
        let message = format!("{} elements are more than {MAX_ITEMS}", list.items.len());
        report.at(&path.key("items"), message);
    }
    if let Some(from) = &list.from {
        let reference = matches!(
            pieces(from)[..],
            [Piece::Reference(_, FlowReference::Result { .. })]
        );
        if !reference {
            let message = "has to be a result: $(flows.FLOW.steps.STEP.results.NAME)";
            report.at(&path.key("from"), message);
        }
    }
    bounds(
        &[("maxParallel", list.max_parallel.map(u64::from))],
        path,
        report,
    );
}

/// The graph, where nothing is wrong with it.
fn graph(all: &[(FieldPath, &Flow)], first_finally: usize, report: &mut Report) -> Option<Graph> {
    let nodes = all.iter().enumerate().map(|(i, (_, flow))| Node {
        name: flow.name.clone(),
        needs: flow
            .dependencies
            .iter()
            .map(|d| Need {
                node: d.name.clone(),
                on: d.condition,
            })
            .collect(),
        finally: i >= first_finally,
    });
    let errors = match Graph::new(nodes.collect()) {
        Ok(graph) => return Some(graph),
        Err(errors) => errors,
    };
    let path = |node: usize| all.get(node).map(|(p, _)| p.clone()).unwrap_or_default();
    let known = |node: usize, index: usize| {
        let dependency = all.get(node).and_then(|(_, f)| f.dependencies.get(index));
        dependency.is_some_and(|d| d.malformed.is_none())
    };
    for error in errors {
        let message = error.to_string();
        match error {
            // What has no name is told of already.
            GraphError::Duplicate { name, .. } if name.is_empty() => {}
            GraphError::Duplicate { node, .. } => report.at(&path(node).key("name"), message),
            GraphError::Unknown {
                node, index, need, ..
            } => {
                if known(node, index) {
                    let names = all.iter().map(|(_, f)| f.name.as_str());
                    let own = all.get(node).map(|(_, f)| f.name.as_str());
                    let names = names.filter(|n| Some(*n) != own);
                    let at = path(node).key("dependencies").index(index);
                    report.suggest(&at, message, &need, names);
                }
            }
            GraphError::Itself { node, index, .. }
            | GraphError::Twice { node, index, .. }
            | GraphError::OnFinally { node, index, .. } => {
                if known(node, index) {
                    report.at(&path(node).key("dependencies").index(index), message);
                }
            }
            GraphError::Cycle { node, .. } => report.at(&path(node).key("dependencies"), message),
            GraphError::TooManyEdges(_) => {
                report.at(&FieldPath::default().key("spec").key("flows"), message);
            }
            GraphError::Empty | GraphError::TooManyNodes(_) => {}
        }
    }
    None
}
