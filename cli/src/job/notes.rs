//! What a Job asks for that has no meaning without a cluster, named once each.

use std::collections::BTreeSet;

use baton_api::Job;

use super::setup::containers;
use crate::run::notes::{of_fields, of_volumes};

/// Everything of a Job that is accepted and does nothing here, a line each.
pub fn notes(job: &Job) -> Vec<String> {
    let (spec, pod) = (&job.spec, &job.spec.template.spec);
    let mut notes = Vec::new();
    if containers(pod).any(|c| c.image.is_some()) {
        notes.push("image is not used: the containers run with this machine's programs".to_owned());
    }
    let mut native: BTreeSet<&str> = spec.native().map(|(name, _)| name).collect();
    native.extend(pod.native().map(|(name, _)| name));
    native.extend(containers(pod).flat_map(|c| c.native().map(|(name, _)| name)));
    if spec.ttl_seconds_after_finished.is_some() {
        native.insert("ttlSecondsAfterFinished");
    }
    notes.extend(of_fields(native));
    let mounts = containers(pod).flat_map(|c| &c.volume_mounts);
    notes.extend(of_volumes(&pod.volumes, mounts));
    notes
}
