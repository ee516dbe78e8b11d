//! Before a run has its pod.

use std::time::Duration;

use baton_api::Rendered;
use baton_api::status::{Carrier, TaskPhase};
use baton_pod::{PodInputs, build};
use baton_protocol::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::{Memory, Next, Op, Seen, delete};
use crate::clock::later;
use crate::task::fold;
use crate::task::runs::{self, INVALID, ORIGIN_ANNOTATION, Origin};

/// How long past its time a pod on a node that is not heard of is waited for.
pub(super) const LOST_AFTER: Duration = Duration::from_secs(30);

/// Whether the pods of earlier runs are gone.
pub(super) enum Cleared {
    /// All are.
    Gone,
    /// Not yet; this is to be done for it.
    Not(Option<Op>),
}

/// Says of a Task that was never run what is wrong with it.
pub(super) fn invalid(memory: &mut Memory, mistakes: &str, now: Timestamp) {
    fold::lose(&mut memory.status, INVALID, mistakes, now);
}

/// Deletes the pods that are there, and waits until they are gone.
pub(super) fn clear(
    memory: &mut Memory,
    seen: &Seen<'_>,
    now: Timestamp,
    next: &mut Next,
) -> Cleared {
    if seen.pods.is_empty() {
        return Cleared::Gone;
    }
    for pod in seen.pods.values() {
        match &pod.metadata.deletion_timestamp {
            None => return Cleared::Not(Some(delete(memory, pod, None))),
            Some(at) if is_lost(seen, pod) => {
                // Nobody will say that it ended.
                let at = later(Timestamp(at.0.into()), LOST_AFTER);
                if at <= now {
                    return Cleared::Not(Some(delete(memory, pod, Some(0))));
                }
                next.wake_at(at);
            }
            Some(_) => {}
        }
    }
    Cleared::Not(None)
}

/// Whether the node of a pod is gone or not heard of.
fn is_lost(seen: &Seen<'_>, pod: &Pod) -> bool {
    let node = pod.spec.as_ref().and_then(|s| s.node_name.as_ref());
    node.is_some_and(|n| !seen.cluster.is_alive(n))
}

/// Makes the pod of the run, once it may be.
pub(super) fn make(
    memory: &mut Memory,
    seen: &Seen<'_>,
    now: Timestamp,
    next: &mut Next,
) -> Option<Op> {
    if seen.task.cancel {
        runs::cancel(&mut memory.status, now);
        return None;
    }
    let spec = match &seen.task.spec {
        Ok(spec) => spec.clone(),
        Err(mistakes) => {
            // It was changed before the run had its pod.
            invalid(memory, mistakes, now);
            return None;
        }
    };
    if let Cleared::Not(op) = clear(memory, seen, now, next) {
        return op;
    }
    let pinned = memory.status.pod.as_ref().map(|p| p.node.clone());
    if pinned.is_none()
        && let Some(at) = runs::not_before(&memory.status).filter(|at| *at > now)
    {
        next.wake_at(at);
        return None;
    }
    match pod(memory, seen, &spec, pinned.as_deref()) {
        Ok(pod) => Some(Op::CreatePod(Box::new(pod))),
        Err(mistakes) => {
            invalid(memory, &mistakes, now);
            memory.status.phase = TaskPhase::Failed;
            None
        }
    }
}

/// The pod of the run: one with the agent's volume where a node that it may land on has the agent.
fn pod(
    memory: &Memory,
    seen: &Seen<'_>,
    spec: &Rendered,
    pinned: Option<&str>,
) -> Result<Pod, String> {
    let inputs = |carrier| PodInputs {
        run: memory.status.run,
        owner_uid: &seen.task.uid,
        carrier,
        tools_image: &seen.settings.tools_image,
        tools_pull_policy: seen.settings.tools_pull_policy.as_deref(),
        user: seen.settings.user,
        node: pinned,
    };
    let made = |carrier| build(spec, &inputs(carrier)).map_err(|e| lines(&e));
    let by_volume = match pinned {
        Some(_) => None,
        None => Some(made(Carrier::Volume)?),
    };
    let carried =
        by_volume.filter(|pod| pod.spec.as_ref().is_some_and(|s| seen.cluster.may_carry(s)));
    let mut pod = match carried {
        Some(pod) => pod,
        None => made(Carrier::DownwardAPI)?,
    };
    pod.metadata.namespace = Some(seen.task.namespace.clone());
    let origin = serde_json::to_string(&Origin::of_status(&memory.status)).unwrap_or_default();
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(ORIGIN_ANNOTATION.to_owned(), origin);
    Ok(pod)
}

fn lines(error: &baton_pod::BuildError) -> String {
    let lines: Vec<_> = error.mistakes.iter().map(ToString::to_string).collect();
    lines.join("\n")
}
