//! The names by which Baton's parts find what belongs to a Task.

use sha2::{Digest, Sha256};

/// The label that a pod carries which Baton's agent looks after; its value is `true`.
pub const MANAGED_LABEL: &str = "baton.dev/managed";
/// The label that names the Task: [`label_value`] of its name.
pub const TASK_LABEL: &str = "baton.dev/task";
/// The label that holds the number of the run, from 1.
pub const RUN_LABEL: &str = "baton.dev/run";
/// The annotation that asks for the run of a pod to be cancelled; its value is `true`.
pub const CANCEL_ANNOTATION: &str = "baton.dev/cancel";
/// The annotation that holds the plan of a pod without the baton volume, as
/// [`Plan::to_json`](baton_steps::Plan::to_json) writes it.
pub const PLAN_ANNOTATION: &str = "baton.dev/plan";
/// The annotation that tells who orders a pod without the baton volume: [`COORDINATOR`], or nobody
/// but its node's agent.
pub const ORDERED_BY_ANNOTATION: &str = "baton.dev/ordered-by";
/// The value of [`ORDERED_BY_ANNOTATION`] of a pod that the coordinator orders.
pub const COORDINATOR: &str = "coordinator";
/// The annotation in which whoever orders a pod without the baton volume remembers what its order
/// alone does not tell.
pub const MEMORY_ANNOTATION: &str = "baton.dev/memory";
/// The annotation of a Task that asks for another run: each new value is one.
pub const RERUN_ANNOTATION: &str = "baton.dev/rerun";
/// The label of a Job or Task, and of its pods, that names its JobFlow: [`label_value`] of its name.
pub const FLOW_LABEL: &str = "baton.dev/jobflow";
/// The label of a Job or Task, and of its pods, that names its node of the JobFlow.
pub const FLOW_NODE_LABEL: &str = "baton.dev/flow";
/// The label of a Job, and of its pods, that names its DaemonJob: [`label_value`] of its name.
pub const DAEMON_LABEL: &str = "baton.dev/daemonjob";
/// The annotation of a DaemonJob's Job that holds the name of its node.
pub const NODE_ANNOTATION: &str = "baton.dev/node";
/// The annotation of a Job or Task that holds which attempt of its node it is, from 1.
pub const ATTEMPT_ANNOTATION: &str = "baton.dev/attempt";
/// The annotation of a Job or Task that holds which element of its node's list it is for, from 0.
pub const INDEX_ANNOTATION: &str = "baton.dev/index";
/// The annotation of a Job that holds the JobTemplate that it was made from: its name and generation.
pub const TEMPLATE_ANNOTATION: &str = "baton.dev/template";
/// What begins the names of labels and annotations that are Baton's own.
pub const OWN_PREFIX: &str = "baton.dev/";
/// The CSI driver of the baton volume.
pub const DRIVER: &str = "csi.baton.dev";
/// The volume attribute that holds the plan.
pub const PLAN_ATTRIBUTE: &str = "plan";
/// The name of the baton volume in a pod.
pub const VOLUME: &str = "baton";
/// The name of the volume that shows the order of a pod without the baton volume.
pub const ORDER_VOLUME: &str = "baton-order";
/// The name of the init container that brings the tools to a pod without the baton volume.
pub const TOOLS_CONTAINER: &str = "baton-tools";

/// Longest name of a pod that Baton makes, and longest value of a label.
const MAX_NAME: usize = 63;

/// The name of the pod of a run: `<task>-<run>`. Where that is longer than 63 characters, the name of
/// the task is cut and ends in a hash of the whole.
pub fn pod_name(task: &str, run: u32) -> String {
    let suffix = format!("-{run}");
    fit(task, MAX_NAME.saturating_sub(suffix.len())) + &suffix
}

/// The name of the Job or Task of a JobFlow's node: `<jobflow>-<node>`, with `-<index>` behind for an
/// element of its list and `-r<attempt>` from the second attempt on. Where that is longer than 63
/// characters, the names are cut and end in a hash of the whole.
pub fn node_name(flow: &str, node: &str, index: Option<usize>, attempt: u32) -> String {
    let mut suffix = index.map(|i| format!("-{i}")).unwrap_or_default();
    if attempt > 1 {
        suffix += &format!("-r{attempt}");
    }
    fit(
        &format!("{flow}-{node}"),
        MAX_NAME.saturating_sub(suffix.len()),
    ) + &suffix
}

/// The name of an object for another: `<owner>-<other>`. Where that is longer than 63 characters, it is
/// cut and ends in a hash of the whole.
pub fn joined_name(owner: &str, other: &str) -> String {
    fit(&format!("{owner}-{other}"), MAX_NAME)
}

/// A name as the value of a label: as it is, or cut and with a hash at its end where it is longer than
/// 63 characters.
pub fn label_value(name: &str) -> String {
    fit(name, MAX_NAME)
}

fn fit(name: &str, most: usize) -> String {
    if name.len() <= most {
        return name.to_owned();
    }
    const HASH_BYTES: usize = 5;
    let digest = Sha256::digest(name.as_bytes());
    let hash: String = digest
        .iter()
        .take(HASH_BYTES)
        .map(|b| format!("{b:02x}"))
        .collect();
    let room = most.saturating_sub(hash.len() + 1);
    let end = (0..=room).rev().find(|i| name.is_char_boundary(*i));
    let head = name.get(..end.unwrap_or(0)).unwrap_or_default();
    // What is cut may not end in a dot or dash before another dash.
    format!("{}-{hash}", head.trim_end_matches(['-', '.']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_stay_apart() {
        assert_eq!(pod_name("build", 1), "build-1");
        assert_eq!(label_value("build.it"), "build.it");
        let long = "a".repeat(200);
        let other = format!("{}b", "a".repeat(199));
        for (name, run) in [(&long, 1), (&long, 4_294_967_295), (&other, 1)] {
            let pod = pod_name(name, run);
            assert!(
                pod.len() <= 63 && pod.ends_with(&format!("-{run}")),
                "{pod}"
            );
        }
        assert_ne!(pod_name(&long, 1), pod_name(&other, 1));
        assert_eq!(node_name("f", "job1", None, 1), "f-job1");
        assert_eq!(node_name("f", "job1", None, 2), "f-job1-r2");
        assert_eq!(node_name("f", "job1", Some(0), 3), "f-job1-0-r3");
        let node = node_name(&long, "job1", Some(999), 12);
        assert!(node.len() <= 63 && node.ends_with("-999-r12"), "{node}");
        assert_ne!(
            node_name(&long, "a", None, 1),
            node_name(&long, "b", None, 1)
        );
        assert_eq!(joined_name("d", "node1"), "d-node1");
        assert_eq!(label_value(&long).len(), 63);
        let dotted = format!("{}.{}", "a".repeat(51), "b".repeat(60));
        assert!(
            !label_value(&dotted).contains(".-"),
            "{}",
            label_value(&dotted)
        );
    }
}
