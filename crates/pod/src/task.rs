//! A Task's spec as the Task that a JobFlow makes of it.

use std::collections::BTreeMap;

use baton_api::core::Metadata;
use baton_api::task::{API_VERSION, PodTemplate, Task, TaskSpec};
use k8s_openapi::api::core::v1::{Affinity, PodSpec};

use crate::build::volumes::pin;
use crate::build::{BuildError, Mistakes};
use crate::job::{JobInputs, merged, refuse_own};

/// Makes the Task of a spec, with what `inputs` give it: the same rules as for [`job`](crate::job::job).
/// The sentences tell what the template says otherwise than the globals.
///
/// # Errors
/// Labels and annotations that are Baton's own, and an affinity that is none.
pub fn task(mut spec: TaskSpec, inputs: &JobInputs<'_>) -> Result<(Task, Vec<String>), BuildError> {
    let mut mistakes = Mistakes::default();
    let mut overruled = Vec::new();
    let globals = inputs.globals;
    for step in spec.steps.iter_mut().chain(&mut spec.finally) {
        environment(&step.name, &mut step.env, inputs, &mut overruled);
    }
    for sidecar in &mut spec.sidecars {
        environment(&sidecar.name, &mut sidecar.env, inputs, &mut overruled);
    }
    let has_any = !(globals.labels.is_empty()
        && globals.annotations.is_empty()
        && globals.node_name.is_none()
        && inputs.node.is_none());
    if has_any {
        let template = spec.pod_template.get_or_insert_with(PodTemplate::default);
        metadata(template, inputs, &mut overruled, &mut mistakes);
        place(template, inputs, &mut overruled, &mut mistakes);
    }
    let mut labels: BTreeMap<_, _> = inputs.owner.queue_labels().collect();
    labels.extend(globals.labels.clone());
    labels.extend(inputs.labels.clone());
    let mut annotations = globals.annotations.clone();
    annotations.extend(inputs.annotations.clone());
    let task = Task {
        api_version: API_VERSION.to_owned(),
        kind: "Task".to_owned(),
        metadata: Metadata {
            name: inputs.name.to_owned(),
            namespace: Some(inputs.owner.namespace.to_owned()),
            labels,
            annotations,
            owner_references: serde_json::to_value([inputs.owner.reference()]).ok(),
            ..Metadata::default()
        },
        spec,
        ..Task::default()
    };
    match mistakes.0 {
        mistakes if mistakes.is_empty() => Ok((task, overruled)),
        mistakes => Err(BuildError { mistakes }),
    }
}

fn environment(
    container: &str,
    env: &mut Vec<baton_api::core::EnvVar>,
    inputs: &JobInputs<'_>,
    overruled: &mut Vec<String>,
) {
    let mut all = Vec::with_capacity(inputs.globals.env.len() + env.len());
    for var in &inputs.globals.env {
        match env.iter().find(|own| own.name == var.name) {
            Some(own) if own != var => {
                let name = &var.name;
                overruled.push(format!(
                    "env: the template's {name:?} wins in step {container:?}"
                ));
            }
            Some(_) => {}
            None => all.push(var.clone()),
        }
    }
    all.append(env);
    *env = all;
}

fn metadata(
    template: &mut PodTemplate,
    inputs: &JobInputs<'_>,
    overruled: &mut Vec<String>,
    mistakes: &mut Mistakes,
) {
    let metadata = template.metadata.get_or_insert_with(Metadata::default);
    let globals = inputs.globals;
    let none = BTreeMap::new();
    for (field, of, globals) in [
        ("labels", &mut metadata.labels, &globals.labels),
        (
            "annotations",
            &mut metadata.annotations,
            &globals.annotations,
        ),
    ] {
        let given = std::mem::take(of);
        refuse_own(field, &given, globals, mistakes);
        *of = merged(field, given, globals, &none, overruled);
    }
}

fn place(
    template: &mut PodTemplate,
    inputs: &JobInputs<'_>,
    overruled: &mut Vec<String>,
    mistakes: &mut Mistakes,
) {
    let Some(node) = inputs.node.or(inputs.globals.node_name.as_deref()) else {
        return;
    };
    let pod = &mut template.spec;
    if let Some(own) = &pod.node_name {
        if own.as_str() != Some(node) {
            overruled.push(format!("nodeName: the template's {own} wins"));
        }
        return;
    }
    let path = baton_api::FieldPath::default()
        .key("taskTemplate")
        .key("podTemplate")
        .key("spec")
        .key("affinity");
    let mut native = PodSpec {
        affinity: pod
            .affinity
            .as_ref()
            .map(|a| crate::build::native::same::<Affinity>(a, &path, mistakes)),
        ..PodSpec::default()
    };
    pin(&mut native, node);
    pod.affinity = serde_json::to_value(native.affinity).ok();
}
