//! What a task asks for that has no meaning without a cluster, named once each.

use std::collections::BTreeSet;

use baton_api::Rendered;
use baton_api::core::{Volume, VolumeMount};
use baton_api::task::TaskRetries;

/// Everything of a task that is accepted and does nothing here, a line each.
pub fn notes(task: &Rendered) -> Vec<String> {
    let spec = task.spec();
    let steps = || spec.steps.iter().chain(&spec.finally);
    let mut notes = Vec::new();
    if spec.schedule.is_some() {
        notes.push("schedule is not used: it runs once, now".to_owned());
    }
    let images = steps()
        .map(|s| s.image.is_some())
        .chain(spec.sidecars.iter().map(|s| s.image.is_some()));
    if images.into_iter().any(|given| given) {
        notes.push("image is not used: the steps run with this machine's programs".to_owned());
    }
    let mut native = BTreeSet::new();
    for step in steps() {
        native.extend(step.native().map(|(name, _)| name));
    }
    for sidecar in &spec.sidecars {
        native.extend(sidecar.native().map(|(name, _)| name));
    }
    let spec_fields = [
        ("podTemplate", spec.pod_template.is_some()),
        (
            "ttlSecondsAfterFinished",
            spec.ttl_seconds_after_finished.is_some(),
        ),
        ("cancel", spec.cancel),
        ("taskRetries", spec.task_retries != TaskRetries::default()),
    ];
    native.extend(
        spec_fields
            .into_iter()
            .filter_map(|(name, given)| given.then_some(name)),
    );
    notes.extend(of_fields(native));
    let mounts = steps()
        .flat_map(|s| &s.volume_mounts)
        .chain(spec.sidecars.iter().flat_map(|s| &s.volume_mounts));
    notes.extend(of_volumes(&spec.volumes, mounts));
    notes
}

/// Fields that decide how things go in a cluster, and are not followed here.
const NOT_FOLLOWED: &[&str] = &[
    "backoffLimitPerIndex",
    "envFrom",
    "lifecycle",
    "livenessProbe",
    "maxFailedIndexes",
    "podFailurePolicy",
    "startupProbe",
    "successPolicy",
];

/// `resources, securityContext have no meaning without a cluster`, and another line for fields whose
/// absence may be felt.
pub fn of_fields(fields: BTreeSet<&str>) -> Vec<String> {
    let (felt, meaningless): (Vec<_>, Vec<_>) = fields
        .into_iter()
        .partition(|field| NOT_FOLLOWED.contains(field));
    let line = |fields: Vec<&str>, one: &str, more: &str, what: &str| {
        let verb = if fields.len() == 1 { one } else { more };
        (!fields.is_empty()).then(|| format!("{} {verb} {what}", fields.join(", ")))
    };
    let meaningless = line(meaningless, "has", "have", "no meaning without a cluster");
    let felt = line(
        felt,
        "is",
        "are",
        "not followed here: in a cluster it may go otherwise",
    );
    meaningless.into_iter().chain(felt).collect()
}

/// What volumes and mounts ask for that folders do not give.
pub fn of_volumes<'a>(
    volumes: &[Volume],
    mounts: impl Iterator<Item = &'a VolumeMount>,
) -> Vec<String> {
    let mut notes = Vec::new();
    for volume in volumes {
        if let Some((kind, _)) = volume.native().next() {
            notes.push(format!(
                "volume {} ({kind}) is an empty folder here",
                volume.name
            ));
        }
    }
    let (mut read_only, mut root) = (BTreeSet::new(), BTreeSet::new());
    for mount in mounts {
        if mount.read_only {
            read_only.insert(mount.name.as_str());
        }
        if mount.mount_path.trim_matches('/').is_empty() {
            root.insert(mount.name.as_str());
        }
    }
    let list = |names: BTreeSet<&str>| names.into_iter().collect::<Vec<_>>().join(", ");
    if !read_only.is_empty() {
        notes.push(format!(
            "readOnly is not kept: {} can be written",
            list(read_only)
        ));
    }
    if !root.is_empty() {
        notes.push(format!("{}: a mount at / has no meaning here", list(root)));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn what_does_nothing_here_is_named_once() {
        let text = "
apiVersion: baton.dev/v1alpha1
kind: Task
metadata: {name: t}
spec:
  steps:
  - name: a
    image: gcc
    command: [true]
    resources: {limits: {cpu: 1}}
    securityContext: {}
    volumeMounts: [{name: w, mountPath: /w, readOnly: true}]
  - name: b
    image: gcc
    command: ['true']
    resources: {}
    envFrom: []
  volumes:
  - {name: w, emptyDir: {}}
  - {name: c, configMap: {name: c}}
"
        .replace("[true]", "['true']");
        let source = baton_api::Source {
            name: "t.yaml",
            text: text.as_bytes(),
        };
        let documents = baton_api::parse(source).unwrap();
        let baton_api::Object::Task(task) = &documents[0].object else {
            panic!("no task");
        };
        let task = baton_api::render(task, &BTreeMap::new()).unwrap();
        assert_eq!(
            notes(&task),
            [
                "image is not used: the steps run with this machine's programs",
                "resources, securityContext have no meaning without a cluster",
                "envFrom is not followed here: in a cluster it may go otherwise",
                "volume c (configMap) is an empty folder here",
                "readOnly is not kept: w can be written",
            ]
        );
    }
}
