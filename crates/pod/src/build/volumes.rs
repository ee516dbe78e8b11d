//! The volumes of a pod, and the node that it may be bound to.

use std::collections::BTreeMap;

use baton_api::status::Carrier;
use baton_api::task::TaskSpec;
use baton_protocol::layout::{ORDER, ORDER_ANNOTATION};
use k8s_openapi::api::core::v1::{
    Affinity, CSIVolumeSource, DownwardAPIVolumeFile, DownwardAPIVolumeSource,
    EmptyDirVolumeSource, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm,
    ObjectFieldSelector, PodSpec, Volume,
};

use super::{Mistakes, native, path};
use crate::names::{DRIVER, ORDER_VOLUME, PLAN_ATTRIBUTE, VOLUME};

/// The Task's volumes, and those that carry the order.
pub(super) fn volumes(
    task: &TaskSpec,
    carrier: Carrier,
    plan: String,
    mistakes: &mut Mistakes,
) -> Vec<Volume> {
    let own = match carrier {
        Carrier::Volume => vec![csi(plan)],
        Carrier::DownwardAPI => vec![empty(), order()],
    };
    let mut volumes = own;
    for (i, volume) in task.volumes.iter().enumerate() {
        volumes.push(native::same(volume, &path("volumes").index(i), mistakes));
    }
    volumes
}

/// The agent's volume. `readOnly` stays away: it would make the steps' own folders read-only, too.
fn csi(plan: String) -> Volume {
    Volume {
        name: VOLUME.to_owned(),
        csi: Some(CSIVolumeSource {
            driver: DRIVER.to_owned(),
            volume_attributes: Some(BTreeMap::from([(PLAN_ATTRIBUTE.to_owned(), plan)])),
            ..CSIVolumeSource::default()
        }),
        ..Volume::default()
    }
}

fn empty() -> Volume {
    Volume {
        name: VOLUME.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource::default()),
        ..Volume::default()
    }
}

fn order() -> Volume {
    Volume {
        name: ORDER_VOLUME.to_owned(),
        downward_api: Some(DownwardAPIVolumeSource {
            default_mode: Some(0o444),
            items: Some(vec![DownwardAPIVolumeFile {
                path: ORDER.to_owned(),
                field_ref: Some(ObjectFieldSelector {
                    api_version: None,
                    field_path: format!("metadata.annotations['{ORDER_ANNOTATION}']"),
                }),
                ..DownwardAPIVolumeFile::default()
            }]),
        }),
        ..Volume::default()
    }
}

/// Lets the pod run on this node alone, by way of the scheduler: what else it needs is still looked at.
pub(crate) fn pin(pod: &mut PodSpec, node: &str) {
    let only = NodeSelectorRequirement {
        key: "metadata.name".to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let affinity = pod.affinity.get_or_insert_with(Affinity::default);
    let nodes = affinity
        .node_affinity
        .get_or_insert_with(NodeAffinity::default);
    let required = nodes
        .required_during_scheduling_ignored_during_execution
        .get_or_insert_with(NodeSelector::default);
    if required.node_selector_terms.is_empty() {
        required
            .node_selector_terms
            .push(NodeSelectorTerm::default());
    }
    // One of the terms has to hold.
    for term in &mut required.node_selector_terms {
        term.match_fields
            .get_or_insert_with(Vec::new)
            .push(only.clone());
    }
}
