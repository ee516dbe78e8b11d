//! What the controller watches, as one stream.

use baton_pod::names::FLOW_LABEL;
use futures::stream::SelectAll;
use k8s_openapi::api::batch::v1::Job;
use kube::Client;
use kube::api::{Api, ObjectMeta};
use kube::runtime::watcher::Config;

use super::children::Child;
use super::object::{JobFlowObject, JobTemplateObject};
use crate::task::object::TaskObject;
use crate::watching::{self, api, changes};

/// One watch: a kind, and the namespace it is limited to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Scope {
    pub(super) kind: Kind,
    pub(super) namespace: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    JobFlow,
    JobTemplate,
    Job,
    Task,
}

/// An object of a watched kind.
#[derive(Debug)]
pub(super) enum Thing {
    Flow(Box<JobFlowObject>),
    Template(Box<JobTemplateObject>),
    /// A Job or Task that a flow made.
    Child(Box<Child>),
    /// A Job or Task that has a flow's label, and no owner.
    Nothing,
}

/// What a watch tells.
pub(super) type Change = watching::Change<Thing>;

type Changes = watching::Changes<Scope, Thing>;

/// Watches JobFlows, JobTemplates, and the Jobs and Tasks of flows, in the given namespaces (all where
/// there is none). Gives the watches, and their stream; it never ends.
pub(super) fn watch(client: &Client, namespaces: &[String]) -> (Vec<Scope>, SelectAll<Changes>) {
    let mut scopes = Vec::new();
    let mut all = SelectAll::new();
    for namespace in watching::spaces(namespaces) {
        let mut scope = |kind| {
            let scope = Scope {
                kind,
                namespace: namespace.clone(),
            };
            scopes.push(scope.clone());
            scope
        };
        let space = namespace.as_deref();
        let any = Config::default;
        let of_flows = || Config::default().labels(FLOW_LABEL);
        let flows: Api<JobFlowObject> = api(client, space);
        let flow = |mut flow: JobFlowObject| {
            trim(&mut flow.metadata);
            Thing::Flow(Box::new(flow))
        };
        all.push(changes(flows, any(), scope(Kind::JobFlow), flow));
        let templates: Api<JobTemplateObject> = api(client, space);
        let template = |template| Thing::Template(Box::new(template));
        all.push(changes(
            templates,
            any(),
            scope(Kind::JobTemplate),
            template,
        ));
        let jobs: Api<Job> = api(client, space);
        let job = |job| child(Child::of_job(&job));
        all.push(changes(jobs, of_flows(), scope(Kind::Job), job));
        let tasks: Api<TaskObject> = api(client, space);
        let task = |task| child(Child::of_task(&task));
        all.push(changes(tasks, of_flows(), scope(Kind::Task), task));
    }
    (scopes, all)
}

fn child(child: Option<Child>) -> Thing {
    child.map_or(Thing::Nothing, |child| Thing::Child(Box::new(child)))
}

fn trim(meta: &mut ObjectMeta) {
    meta.managed_fields = None;
}
