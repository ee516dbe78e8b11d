//! The plan of a pod that is there already.

use baton_steps::{Plan, PlanError};
use k8s_openapi::api::core::v1::Pod;

use crate::names::{DRIVER, PLAN_ANNOTATION, PLAN_ATTRIBUTE};

/// Where the plan of a pod is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PlanSource {
    /// In the attributes of its baton volume: its node's agent orders it by the volume.
    Volume,
    /// In its annotation [`PLAN_ANNOTATION`]: it is ordered by its status.
    Annotation,
    /// Nowhere: each of its containers is a step, in their order, and it is ordered by its status.
    Containers,
}

/// The plan of a pod, and where it is.
///
/// # Errors
/// Where the plan is no plan, or is past its bounds.
pub fn plan_of(pod: &Pod) -> Result<(Plan, PlanSource), PlanError> {
    let spec = pod.spec.as_ref();
    let volume = spec.and_then(|s| s.volumes.as_ref()).and_then(|v| {
        v.iter()
            .find_map(|v| v.csi.as_ref().filter(|c| c.driver == DRIVER))
    });
    if let Some(csi) = volume {
        let attribute = csi
            .volume_attributes
            .as_ref()
            .and_then(|a| a.get(PLAN_ATTRIBUTE));
        let plan = Plan::from_json(attribute.map_or("", String::as_str))?;
        return Ok((plan, PlanSource::Volume));
    }
    let annotations = pod.metadata.annotations.as_ref();
    if let Some(plan) = annotations.and_then(|a| a.get(PLAN_ANNOTATION)) {
        return Ok((Plan::from_json(plan)?, PlanSource::Annotation));
    }
    let containers = spec.map_or(&[][..], |s| &s.containers);
    let plan = Plan::of_steps(containers.iter().map(|c| c.name.clone()));
    plan.check()?;
    Ok((plan, PlanSource::Containers))
}
