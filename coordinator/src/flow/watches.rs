//! What the controller watches, as one stream.

use baton_pod::names::FLOW_LABEL;
use kube::Client;
use kube::runtime::watcher::Config;

use super::children::Child;
use super::object::{JobFlowObject, JobTemplateObject};
use crate::watching::{Watches, api, spaces};

/// The kinds that are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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

/// Watches JobFlows, JobTemplates, and the Jobs and Tasks of flows, in the given namespaces (all where
/// there is none).
pub(super) fn watch(client: &Client, namespaces: &[String]) -> Watches<Kind, Thing> {
    let mut all = Watches::none();
    for namespace in spaces(namespaces) {
        let space = namespace.as_deref();
        let any = Config::default;
        let of_flows = || Config::default().labels(FLOW_LABEL);
        let flow = |mut flow: JobFlowObject| {
            flow.metadata.managed_fields = None;
            Thing::Flow(Box::new(flow))
        };
        let template = |template| Thing::Template(Box::new(template));
        let job = |job| child(Child::of_job(&job));
        let task = |task| child(Child::of_task(&task));
        all.add((Kind::JobFlow, space), api(client, space), any(), flow);
        let templates = api(client, space);
        all.add((Kind::JobTemplate, space), templates, any(), template);
        all.add((Kind::Job, space), api(client, space), of_flows(), job);
        all.add((Kind::Task, space), api(client, space), of_flows(), task);
    }
    all
}

fn child(child: Option<Child>) -> Thing {
    child.map_or(Thing::Nothing, |child| Thing::Child(Box::new(child)))
}
