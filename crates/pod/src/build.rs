//! A Task as the pod that runs it.
//!
//! Each step, `finally` step and sidecar is a container whose PID 1 is the entrypoint. What carries the
//! order to them differs ([`Carrier`]); the rest is the same.

use std::fmt;
use std::path::{Path, PathBuf};

use baton_api::status::Carrier;
use baton_api::{FieldPath, Places, Rendered, environments, invocations, plan};
use baton_protocol::layout::{DOWNWARD_ORDER, ORDER_ANNOTATION, ROOT};
use baton_steps::{KILL_MARGIN, MAX_PLAN_BYTES, Plan};
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::names::{
    COORDINATOR, MANAGED_LABEL, ORDERED_BY_ANNOTATION, OWN_PREFIX, PLAN_ANNOTATION, RUN_LABEL,
    TASK_LABEL, label_value, pod_name,
};

mod container;
pub(crate) mod native;
mod security;
pub(crate) mod volumes;

pub use container::{MAX_ARG_BYTES, TERMINATION_MESSAGE};
pub use security::DEFAULT_USER;

/// What a pod is built from besides its Task.
#[derive(Debug, Clone, Copy)]
pub struct PodInputs<'a> {
    /// Which run of the Task it is, from 1.
    pub run: u32,
    /// The Task's UID.
    pub owner_uid: &'a str,
    /// What carries the order to its steps.
    pub carrier: Carrier,
    /// The image that brings the tools where there is no baton volume.
    pub tools_image: &'a str,
    /// Its pull policy; the cluster's default where nothing is said.
    pub tools_pull_policy: Option<&'a str>,
    /// The user that containers run as of which neither the Task nor its pod template says anything;
    /// `None` for that of their images, which then may not be root. See [`DEFAULT_USER`].
    pub user: Option<i64>,
    /// The one node that it may run on; `None` leaves the choice to the scheduler.
    pub node: Option<&'a str>,
}

/// Why a Task cannot be a pod: everything that is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildError {
    /// The mistakes, in the order of their fields; at least one.
    pub mistakes: Vec<Mistake>,
}

/// One thing that keeps a Task from being a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The Task's field.
    pub path: FieldPath,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, mistake) in self.mistakes.iter().enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            write!(f, "{separator}{mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for BuildError {}

/// The mistakes found so far.
#[derive(Default)]
pub(crate) struct Mistakes(pub(crate) Vec<Mistake>);

impl Mistakes {
    pub(crate) fn add(&mut self, path: &FieldPath, message: impl Into<String>) {
        self.0.push(Mistake {
            path: path.clone(),
            message: message.into(),
        });
    }
}

/// Builds the pod of a run. The same Task and inputs give the same pod.
///
/// What the Task and its pod template say of native fields is kept. Where they say nothing, the pod is
/// as restricted as the Pod Security Standards' "restricted" wants it (see [`DEFAULT_USER`]), mounts no
/// service account token unless a service account is named, and has no service links.
///
/// # Errors
/// Every native field that is none or of another type than Kubernetes wants, and what a pod of Baton
/// cannot have.
pub fn build(rendered: &Rendered, inputs: &PodInputs<'_>) -> Result<Pod, BuildError> {
    let mut mistakes = Mistakes::default();
    let plan = plan(rendered);
    let pod = Pod {
        metadata: metadata(rendered, inputs, &plan, &mut mistakes),
        spec: Some(spec(rendered, inputs, &plan, &mut mistakes)),
        status: None,
    };
    if mistakes.0.is_empty() {
        Ok(pod)
    } else {
        Err(BuildError {
            mistakes: mistakes.0,
        })
    }
}

fn metadata(
    rendered: &Rendered,
    inputs: &PodInputs<'_>,
    plan: &Plan,
    mistakes: &mut Mistakes,
) -> ObjectMeta {
    let task = rendered.task();
    let name = &task.metadata.name;
    let template = task.spec.pod_template.as_ref();
    let template = template.and_then(|t| t.metadata.clone());
    let template = template.unwrap_or_default();
    let path = path("podTemplate").key("metadata");
    for (field, keys) in [
        ("labels", template.labels.keys()),
        ("annotations", template.annotations.keys()),
    ] {
        for key in keys.filter(|key| key.starts_with(OWN_PREFIX)) {
            let message = format!("names that begin with {OWN_PREFIX} are Baton's own");
            mistakes.add(&path.key(field).key(key), message);
        }
    }
    let (mut labels, mut annotations) = (template.labels, template.annotations);
    labels.extend([
        (MANAGED_LABEL.to_owned(), "true".to_owned()),
        (TASK_LABEL.to_owned(), label_value(name)),
        (RUN_LABEL.to_owned(), inputs.run.to_string()),
    ]);
    annotations.insert(ORDER_ANNOTATION.to_owned(), "0".to_owned());
    if inputs.carrier == Carrier::DownwardAPI {
        annotations.extend([
            (ORDERED_BY_ANNOTATION.to_owned(), COORDINATOR.to_owned()),
            (PLAN_ANNOTATION.to_owned(), plan.to_json()),
        ]);
    }
    ObjectMeta {
        name: Some(pod_name(name, inputs.run)),
        namespace: task.metadata.namespace.clone(),
        labels: Some(labels),
        annotations: Some(annotations),
        owner_references: Some(vec![OwnerReference {
            api_version: baton_api::task::API_VERSION.to_owned(),
            kind: "Task".to_owned(),
            name: name.clone(),
            uid: inputs.owner_uid.to_owned(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }]),
        ..ObjectMeta::default()
    }
}

fn spec(
    rendered: &Rendered,
    inputs: &PodInputs<'_>,
    plan: &Plan,
    mistakes: &mut Mistakes,
) -> PodSpec {
    let task = rendered.spec();
    let template_path = path("podTemplate").key("spec");
    let template = task.pod_template.as_ref().map(|t| &t.spec);
    let fields = template.into_iter().flat_map(|t| t.native());
    let mut pod: PodSpec = native::object(fields, &template_path, mistakes);
    if pod.ephemeral_containers.take().is_some() {
        let message = "a pod gets them once it runs, by kubectl debug";
        mistakes.add(&template_path.key("ephemeralContainers"), message);
    }
    let json = plan.to_json();
    if json.len() > MAX_PLAN_BYTES {
        let message = format!("the names of all steps need more than {MAX_PLAN_BYTES} bytes");
        mistakes.add(&path("steps"), message);
    }
    let places = places();
    let invocations = invocations(rendered, &places);
    let environments = environments(rendered, &places);
    let programs = invocations.into_iter().zip(environments);
    let mut containers: Vec<_> = container::parts(task)
        .zip(programs)
        .zip(1..)
        .map(|((parts, (call, env)), number)| {
            container::container(&parts, call, &env, number, inputs.carrier, mistakes)
        })
        .collect();
    security::restrict(&mut pod, &mut containers, inputs.user);
    pod.volumes = Some(volumes::volumes(task, inputs.carrier, json, mistakes));
    if inputs.carrier == Carrier::DownwardAPI {
        pod.init_containers = Some(vec![container::tools(inputs)]);
    }
    pod.containers = containers;
    pod.restart_policy = Some("Never".to_owned());
    pod.termination_grace_period_seconds = Some(grace_seconds(rendered));
    pod.enable_service_links.get_or_insert(false);
    if pod.service_account_name.is_none() && pod.service_account.is_none() {
        pod.automount_service_account_token.get_or_insert(false);
    }
    if let Some(node) = inputs.node {
        volumes::pin(&mut pod, node);
    }
    pod
}

/// Time from SIGTERM to SIGKILL for the kubelet: that of the commands, and what the entrypoints need
/// to leave their records.
fn grace_seconds(rendered: &Rendered) -> i64 {
    let grace = rendered.grace().saturating_add(KILL_MARGIN);
    let seconds = grace.as_secs() + u64::from(grace.subsec_nanos() > 0);
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

/// Where a pod's files are, as its containers see them.
fn places() -> Places {
    Places {
        root: PathBuf::from(ROOT),
        also_wait: Vec::new(),
        termination_message: Some(PathBuf::from(TERMINATION_MESSAGE)),
    }
}

fn path(field: &str) -> FieldPath {
    FieldPath::default().key("spec").key(field)
}

/// The order file of a pod without the baton volume.
fn downward_order() -> &'static Path {
    Path::new(DOWNWARD_ORDER)
}
