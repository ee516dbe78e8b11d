//! What is Baton's own in the pod of a Task: names, folders and variables.

use baton_protocol::layout::{ATTEMPT_ENV, DOWNWARD_ORDER, RESULTS_ENV, ROOT};

use crate::core::{EnvVar, Volume, VolumeMount};
use crate::diagnostic::FieldPath;
use crate::report::Report;

/// The volumes of Baton's own.
const VOLUMES: [&str; 2] = ["baton", "baton-order"];

pub(super) fn volumes(volumes: &[Volume], path: &FieldPath, report: &mut Report) {
    for (i, volume) in volumes.iter().enumerate() {
        if VOLUMES.contains(&volume.name.as_str()) {
            let message = format!("{:?} is the name of a volume of Baton's own", volume.name);
            report.at(&path.index(i).key("name"), message);
        }
    }
}

pub(super) fn container(
    env: &[EnvVar],
    mounts: &[VolumeMount],
    path: &FieldPath,
    report: &mut Report,
) {
    for (i, var) in env.iter().enumerate() {
        if [ATTEMPT_ENV, RESULTS_ENV].contains(&var.name.as_str()) {
            let message = format!("Baton itself sets {}", var.name);
            report.at(&path.key("env").index(i).key("name"), message);
        }
    }
    let podinfo = DOWNWARD_ORDER
        .rsplit_once('/')
        .map_or("", |(folder, _)| folder);
    for (i, mount) in mounts.iter().enumerate() {
        let hides = |own: &str| is_in(&mount.mount_path, own) || is_in(own, &mount.mount_path);
        for own in [ROOT, podinfo] {
            if mount.mount_path.starts_with('/') && hides(own) {
                let message = format!("{own} is Baton's own folder in every container");
                report.at(&path.key("volumeMounts").index(i).key("mountPath"), message);
            }
        }
    }
}

/// Whether the folder `inner` is `outer`, or below it.
fn is_in(inner: &str, outer: &str) -> bool {
    let parts = |path: &str| -> Vec<String> {
        let parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
        parts.map(str::to_owned).collect()
    };
    parts(inner).starts_with(&parts(outer))
}
