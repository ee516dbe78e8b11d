//! Everything that keeps a cluster from running an object.

use std::collections::BTreeMap;

use baton_api::core::Metadata;
use baton_api::flow::{GlobalParams, JobFlow};
use baton_api::flow_run::Item;
use baton_api::job::JobSpec;
use baton_api::status::Carrier;
use baton_api::task::TaskSpec;
use baton_api::{FieldPath, Object, Rendered, Task, render};
use k8s_openapi::api::batch::v1 as native;
use k8s_openapi::api::core::v1::{Container, PodSpec};

use crate::build::native::object;
use crate::build::{BuildError, DEFAULT_USER, Mistakes, PodInputs, build};
use crate::job::{JobInputs, Owner, job};
use crate::task::task;

/// Reviews a Task as the API server has it, in JSON: what [`baton_api::review`] finds, or else what
/// keeps it from being a pod. One sentence for each mistake, with the field that it is in; none where a
/// cluster can run it.
pub fn review(json: &str) -> Vec<String> {
    match baton_api::review(json) {
        Ok(rendered) => built(&rendered).err().map(sentences).unwrap_or_default(),
        Err(mistakes) => mistakes,
    }
}

/// Reviews an object of any kind of Baton's as the API server has it, in JSON: as [`review`], and of a
/// JobFlow, JobTemplate or DaemonJob what keeps it from being Jobs and Tasks.
pub fn review_object(json: &str) -> Vec<String> {
    match baton_api::review_object(json) {
        // What its parameters make of it is a part of the review.
        Ok(Object::Task(_)) => review(json),
        Ok(Object::JobFlow(flow)) => job_flow(&flow),
        Ok(Object::JobTemplate(template)) => {
            let found = job_spec(&template.spec.job_template).into_iter();
            found.map(|m| format!("spec.{m}")).collect()
        }
        Ok(Object::DaemonJob(daemon)) => {
            let spec = JobSpec {
                template: daemon.spec.template.clone(),
                ..JobSpec::default()
            };
            let mut found = globals(&daemon.spec.global_params);
            let of_template = job_spec(&spec).into_iter().map(|m| {
                let field = m.strip_prefix("jobTemplate.").unwrap_or(&m);
                format!("spec.{field}")
            });
            found.extend(of_template);
            found
        }
        Ok(Object::Job(_)) => vec!["a Job is none of Baton's own kinds".to_owned()],
        Err(mistakes) => mistakes,
    }
}

fn built(rendered: &Rendered) -> Result<(), BuildError> {
    let inputs = PodInputs {
        run: 1,
        owner_uid: "",
        // Whatever keeps a Task from the one pod keeps it from the other.
        carrier: Carrier::DownwardAPI,
        tools_image: "tools",
        tools_pull_policy: None,
        user: Some(DEFAULT_USER),
        node: None,
    };
    build(rendered, &inputs).map(|_| ())
}

fn sentences(error: BuildError) -> Vec<String> {
    error.mistakes.iter().map(ToString::to_string).collect()
}

fn job_flow(flow: &JobFlow) -> Vec<String> {
    let mut found = globals(&flow.spec.global_params);
    let item = Item {
        index: 0,
        value: String::new(),
    };
    for (field, flows) in [("flows", &flow.spec.flows), ("finally", &flow.spec.finally)] {
        for (i, node) in flows.iter().enumerate() {
            // The parameters' values are known when its turn comes.
            let unknown = |_: &str, _: &str, _: &str| Ok(String::new());
            let mistakes = match (&node.job_template, node.task(&unknown, Some(&item))) {
                (Some(spec), _) => job_spec(spec),
                (None, Ok(Some(spec))) => task_spec(spec),
                (None, _) => continue,
            };
            let placed = |m: String| format!("spec.{field}[{i}].{m}");
            found.extend(mistakes.into_iter().map(placed));
        }
    }
    found
}

/// What is wrong with what every Job is given.
fn globals(globals: &GlobalParams) -> Vec<String> {
    let none = BTreeMap::new();
    let made = job(&JobSpec::default(), &inputs(globals, &none));
    let found = made.err().map(sentences).unwrap_or_default();
    let of_globals = found.into_iter().filter(|m| m.starts_with("globalParams."));
    of_globals.map(|m| format!("spec.{m}")).collect()
}

/// What keeps a spec from being a Job, with fields from `jobTemplate` on.
fn job_spec(spec: &JobSpec) -> Vec<String> {
    let mut found = native_fields(spec);
    if found.is_empty() {
        let none = BTreeMap::new();
        let made = job(spec, &inputs(&GlobalParams::default(), &none));
        found = made.err().map(sentences).unwrap_or_default();
    }
    // Its pods' metadata is looked at by itself.
    let placed = |m: String| match m.starts_with("template.") {
        true => format!("jobTemplate.{m}"),
        false => m,
    };
    found.into_iter().map(placed).collect()
}

/// The native fields of a Job that are wrong, each by itself.
fn native_fields(spec: &JobSpec) -> Vec<String> {
    let mut mistakes = Mistakes::default();
    let path = FieldPath::default().key("jobTemplate");
    let _: native::JobSpec = object(spec.native(), &path, &mut mistakes);
    let (path, pod) = (path.key("template").key("spec"), &spec.template.spec);
    let _: PodSpec = object(pod.native(), &path, &mut mistakes);
    for (field, containers) in [
        ("initContainers", &pod.init_containers),
        ("containers", &pod.containers),
    ] {
        for (i, container) in containers.iter().enumerate() {
            let path = path.key(field).index(i);
            let _: Container = object(container.native(), &path, &mut mistakes);
        }
    }
    mistakes.0.iter().map(ToString::to_string).collect()
}

/// What keeps a spec from being a Task and its pod, with fields from `taskTemplate` on.
fn task_spec(spec: TaskSpec) -> Vec<String> {
    let none = BTreeMap::new();
    let made = match task(spec, &inputs(&GlobalParams::default(), &none)) {
        Ok((made, _)) => made,
        Err(e) => {
            let found = sentences(e).into_iter();
            let field = |m: &str| m.strip_prefix("template.").unwrap_or(m).to_owned();
            return found
                .map(|m| format!("taskTemplate.podTemplate.{}", field(&m)))
                .collect();
        }
    };
    let whole = Task {
        metadata: Metadata {
            owner_references: None,
            ..made.metadata
        },
        ..made
    };
    let Ok(rendered) = render(&whole, &BTreeMap::new()) else {
        // A parameter without a value so far: it is looked at once it has one.
        return Vec::new();
    };
    let found = built(&rendered).err().map(sentences).unwrap_or_default();
    let of_spec = |m: &String| m.strip_prefix("spec.").map(str::to_owned);
    let placed = |m: String| format!("taskTemplate.{}", of_spec(&m).unwrap_or(m));
    found.into_iter().map(placed).collect()
}

/// What a Job or Task is made from where nothing but its template counts.
fn inputs<'a>(globals: &'a GlobalParams, none: &'a BTreeMap<String, String>) -> JobInputs<'a> {
    JobInputs {
        name: "a",
        owner: Owner {
            kind: "JobFlow",
            name: "a",
            uid: "",
            namespace: "",
            labels: none,
        },
        globals,
        labels: none,
        annotations: none,
        node: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn quantities_are_looked_at() {
        let task = |limit: serde_json::Value| {
            let step = json!({
                "name": "a", "image": "a", "command": ["a"],
                "resources": { "limits": { "memory": limit } },
            });
            json!({
                "apiVersion": "baton.dev/v1alpha1", "kind": "Task",
                "metadata": { "name": "a" }, "spec": { "steps": [step] },
            })
            .to_string()
        };
        for good in [json!("64Mi"), json!(1_000_000)] {
            assert_eq!(review(&task(good)), Vec::<String>::new());
        }
        assert_eq!(
            review(&task(json!("4q"))),
            [
                "spec.steps[0].resources.limits.memory: \"4q\" is not a quantity such as 500m, 2 or 1Gi"
            ]
        );
    }

    fn reviewed(kind: &str, spec: serde_json::Value) -> Vec<String> {
        let object = json!({
            "apiVersion": "baton.dev/v1alpha1", "kind": kind,
            "metadata": { "name": "a" }, "spec": spec,
        });
        review_object(&object.to_string())
    }

    #[test]
    fn native_fields_of_every_kind_are_looked_at() {
        let pod = |limit: &str| {
            let limits = json!({ "limits": { "memory": limit } });
            json!({ "spec": { "containers": [{ "name": "a", "image": "i", "resources": limits }] } })
        };
        let says = "\"4q\" is not a quantity such as 500m, 2 or 1Gi";
        let at = "containers[0].resources.limits.memory";
        let step = json!({ "name": "s", "image": "i", "command": ["x"],
                           "resources": { "limits": { "memory": "4q" } } });
        let task = json!({ "params": [{ "name": "p" }], "steps": [step] });
        let flow = |limit: &str| {
            json!({
                "globalParams": { "labels": { "baton.dev/x": "y" } },
                "flows": [
                    { "name": "a", "jobTemplate": { "template": pod("1Gi") } },
                    { "name": "b", "jobTemplate": { "template": pod(limit) } },
                ],
                "finally": [{ "name": "t", "taskTemplate": task,
                              "params": [{ "name": "p", "value": "v" }] }],
            })
        };
        let found = reviewed("JobFlow", flow("4q"));
        assert_eq!(
            found,
            [
                "spec.globalParams.labels[\"baton.dev/x\"]: names that begin with baton.dev/ are Baton's own".to_owned(),
                format!("spec.flows[1].jobTemplate.template.spec.{at}: {says}"),
                format!("spec.finally[0].taskTemplate.steps[0].resources.limits.memory: {says}"),
            ]
        );
        let template = |limit: &str| json!({ "jobTemplate": { "template": pod(limit) } });
        assert!(reviewed("JobTemplate", template("1Gi")).is_empty());
        assert_eq!(
            reviewed("JobTemplate", template("4q")),
            [format!("spec.jobTemplate.template.spec.{at}: {says}")]
        );
        let wrong = json!({ "jobTemplate": { "template": { "spec": {
            "tolerations": "all",
            "containers": [{ "name": "a", "image": "i", "resources": { "limits": 7 } }],
        } }, "podFailurePolicy": {} } });
        let found = reviewed("JobTemplate", wrong);
        let template = "spec.jobTemplate.template.spec";
        assert!(
            found[0].starts_with(&format!("{template}.tolerations: ")),
            "{found:?}"
        );
        let limits = format!("{template}.containers[0].resources: invalid type: integer `7`");
        assert!(found[1].starts_with(&limits), "{found:?}");
        assert_eq!(found.len(), 2, "{found:?}");
        let daemon = |limit: &str| json!({ "template": pod(limit) });
        assert!(reviewed("DaemonJob", daemon("1Gi")).is_empty());
        assert_eq!(
            reviewed("DaemonJob", daemon("4q")),
            [format!("spec.template.spec.{at}: {says}")]
        );
    }
}
