//! A Job's spec as the native Job that an owner makes of it.

use std::collections::BTreeMap;

use baton_api::FieldPath;
use baton_api::flow::GlobalParams;
use baton_api::job::JobSpec;
use k8s_openapi::api::batch::v1::{Job, JobSpec as NativeSpec};
use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::build::native::same;
use crate::build::volumes::pin;
use crate::build::{BuildError, Mistakes};
use crate::names::OWN_PREFIX;

/// What begins the labels by which Kueue takes a Job into a queue.
pub const QUEUE_PREFIX: &str = "kueue.x-k8s.io/";
/// The label that names the queue of a Job.
pub const QUEUE_LABEL: &str = "kueue.x-k8s.io/queue-name";

/// The object that a Job is made for.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    /// Its kind, of `baton.dev/v1alpha1`.
    pub kind: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its UID.
    pub uid: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// Its labels: those of Kueue go on to its Jobs.
    pub labels: &'a BTreeMap<String, String>,
}

impl Owner<'_> {
    pub(crate) fn reference(&self) -> OwnerReference {
        OwnerReference {
            api_version: baton_api::flow::API_VERSION.to_owned(),
            kind: self.kind.to_owned(),
            name: self.name.to_owned(),
            uid: self.uid.to_owned(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }
    }

    pub(crate) fn queue_labels(&self) -> impl Iterator<Item = (String, String)> {
        let all = self.labels.iter();
        all.filter(|(key, _)| key.starts_with(QUEUE_PREFIX))
            .map(|(key, value)| (key.clone(), value.clone()))
    }
}

/// What a Job is made from besides its spec.
#[derive(Debug, Clone, Copy)]
pub struct JobInputs<'a> {
    /// The Job's name.
    pub name: &'a str,
    /// The object that it is made for.
    pub owner: Owner<'a>,
    /// What every Job and its pods are given; the template wins.
    pub globals: &'a GlobalParams,
    /// Baton's own labels of the Job and its pods.
    pub labels: &'a BTreeMap<String, String>,
    /// Baton's own annotations of the Job.
    pub annotations: &'a BTreeMap<String, String>,
    /// The one node that its pods may run on, whatever the template says; `None` where it is free, or
    /// `globals` name one.
    pub node: Option<&'a str>,
}

/// A Job that can be created.
#[derive(Debug, Clone, PartialEq)]
pub struct Made {
    /// The Job.
    pub job: Job,
    /// How long it is to be kept once its end is recorded, in seconds: the Job itself does not say, so
    /// that it is not gone before.
    pub ttl_seconds: Option<u32>,
    /// What the template says otherwise than `globals`, one sentence each.
    pub overruled: Vec<String>,
}

/// Makes the native Job of a spec. The same spec and inputs give the same Job.
///
/// Its pods are never restarted in place. `globals` come first and what the template says wins: labels
/// and annotations by key, environment variables by name, in each container and init container, before
/// the container's own. A node becomes a required affinity, so that the scheduler still looks at taints
/// and room. A Job that names a Kueue queue is made suspended.
///
/// # Errors
/// Every native field that is none or of another type than Kubernetes wants, and labels and annotations
/// that are Baton's own.
pub fn job(spec: &JobSpec, inputs: &JobInputs<'_>) -> Result<Made, BuildError> {
    let mut mistakes = Mistakes::default();
    let mut overruled = Vec::new();
    let path = FieldPath::default().key("jobTemplate");
    let mut native: NativeSpec = same(spec, &path, &mut mistakes);
    let ttl_seconds = native.ttl_seconds_after_finished.take();
    let ttl_seconds = ttl_seconds.map(|s| u32::try_from(s).unwrap_or(0));

    pod_metadata(&mut native.template, inputs, &mut overruled, &mut mistakes);
    let pod = native.template.spec.get_or_insert_with(PodSpec::default);
    pod.restart_policy = Some("Never".to_owned());
    let containers = pod.init_containers.iter_mut().flatten();
    for container in containers.chain(&mut pod.containers) {
        environment(container, inputs.globals, &mut overruled);
    }
    place(pod, inputs, &mut overruled);

    let labels = labels(&native.template, inputs);
    if labels.contains_key(QUEUE_LABEL) {
        native.suspend = Some(true);
    }
    let mut annotations = inputs.globals.annotations.clone();
    annotations.extend(inputs.annotations.clone());
    let job = Job {
        metadata: ObjectMeta {
            name: Some(inputs.name.to_owned()),
            namespace: Some(inputs.owner.namespace.to_owned()),
            labels: Some(labels),
            annotations: Some(annotations).filter(|a| !a.is_empty()),
            owner_references: Some(vec![inputs.owner.reference()]),
            ..ObjectMeta::default()
        },
        spec: Some(native),
        status: None,
    };
    match mistakes.0 {
        mistakes if mistakes.is_empty() => Ok(Made {
            job,
            ttl_seconds,
            overruled,
        }),
        mistakes => Err(BuildError { mistakes }),
    }
}

/// The labels of the Job itself. The pods' template has none for it but those of Kueue.
fn labels(template: &PodTemplateSpec, inputs: &JobInputs<'_>) -> BTreeMap<String, String> {
    let pod = template.metadata.as_ref().and_then(|m| m.labels.as_ref());
    let mut labels: BTreeMap<_, _> = inputs.owner.queue_labels().collect();
    labels.extend(inputs.globals.labels.clone());
    for (key, value) in pod.into_iter().flatten() {
        if key.starts_with(QUEUE_PREFIX) {
            labels.insert(key.clone(), value.clone());
        }
    }
    labels.extend(inputs.labels.clone());
    labels
}

fn pod_metadata(
    template: &mut PodTemplateSpec,
    inputs: &JobInputs<'_>,
    overruled: &mut Vec<String>,
    mistakes: &mut Mistakes,
) {
    let metadata = template.metadata.get_or_insert_with(ObjectMeta::default);
    let own = (inputs.labels, &BTreeMap::new());
    for (field, of, globals, own) in [
        (
            "labels",
            &mut metadata.labels,
            &inputs.globals.labels,
            own.0,
        ),
        (
            "annotations",
            &mut metadata.annotations,
            &inputs.globals.annotations,
            own.1,
        ),
    ] {
        let given = of.take().unwrap_or_default();
        refuse_own(field, &given, globals, mistakes);
        let all = merged(field, given, globals, own, overruled);
        *of = Some(all).filter(|all| !all.is_empty());
    }
}

/// Notes the keys that Baton alone gives.
pub(crate) fn refuse_own(
    field: &str,
    template: &BTreeMap<String, String>,
    globals: &BTreeMap<String, String>,
    mistakes: &mut Mistakes,
) {
    let root = FieldPath::default();
    let of_template = root.key("template").key("metadata").key(field);
    let of_globals = root.key("globalParams").key(field);
    for (path, keys) in [(of_template, template), (of_globals, globals)] {
        for key in keys.keys().filter(|key| key.starts_with(OWN_PREFIX)) {
            let message = format!("names that begin with {OWN_PREFIX} are Baton's own");
            mistakes.add(&path.key(key), message);
        }
    }
}

/// `globals`, over them what the template gives, over them Baton's own.
pub(crate) fn merged(
    field: &str,
    given: BTreeMap<String, String>,
    globals: &BTreeMap<String, String>,
    own: &BTreeMap<String, String>,
    overruled: &mut Vec<String>,
) -> BTreeMap<String, String> {
    let mut all = globals.clone();
    for (key, value) in given {
        if all.get(&key).is_some_and(|global| *global != value) {
            overruled.push(format!("{field}: the template's {key:?} wins"));
        }
        all.insert(key, value);
    }
    all.extend(own.clone());
    all
}

/// Puts the variables of all before those of the container, but for those that it has itself.
fn environment(container: &mut Container, globals: &GlobalParams, overruled: &mut Vec<String>) {
    if globals.env.is_empty() {
        return;
    }
    let own = container.env.take().unwrap_or_default();
    let mut all = Vec::with_capacity(globals.env.len() + own.len());
    for var in &globals.env {
        if let Some(known) = own.iter().find(|o| o.name == var.name) {
            let differs = known.value != var.value || known.value_from.is_some();
            if differs {
                let (name, container) = (&var.name, &container.name);
                overruled.push(format!(
                    "env: the template's {name:?} wins in container {container:?}"
                ));
            }
        } else if let Ok(var) = serde_json::to_value(var).and_then(serde_json::from_value) {
            // What was validated can be read.
            all.push(var);
        }
    }
    all.extend(own);
    container.env = Some(all);
}

fn place(pod: &mut PodSpec, inputs: &JobInputs<'_>, overruled: &mut Vec<String>) {
    match (inputs.node, &inputs.globals.node_name, &pod.node_name) {
        (Some(node), ..) => {
            // A name would go around the scheduler.
            pod.node_name = None;
            pin(pod, node);
        }
        (None, Some(node), Some(own)) if node != own => {
            overruled.push(format!("nodeName: the template's {own:?} wins"));
        }
        (None, Some(node), None) => pin(pod, node),
        _ => {}
    }
}
