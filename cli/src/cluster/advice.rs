//! What a person can do about a failure in a cluster. Pure.

use baton_api::daemon_status::{DaemonJobStatus, NodeStatus};
use baton_api::flow_status::{FlowNodeStatus, JobFlowPhase, JobFlowStatus};
use baton_api::status::{StepPhase, TaskPhase, TaskStatus};
use baton_flow::NodePhase;
use baton_flow::daemon::DaemonPhase;
use baton_protocol::{Reason, Record, exit};

use super::object::Object;
use crate::show::style::size;

/// About a step's end, where its record lets us know.
pub fn advice(record: &Record) -> Option<String> {
    let said = match (record.reason, record.exit_code) {
        (Reason::TimedOut, _) => {
            "give it more time with `timeout`, or see in its log what it waits for".to_owned()
        }
        (Reason::OomKilled, _) if record.peak_bytes > 0 => format!(
            "raise its resources.limits.memory; it used {} at least",
            size(record.peak_bytes)
        ),
        (Reason::OomKilled, _) => "raise its resources.limits.memory".to_owned(),
        (Reason::StartError, exit::NOT_FOUND) => {
            "the program is not in its image, or not on PATH there".to_owned()
        }
        (Reason::StartError, exit::NOT_EXECUTABLE) => {
            "the program in its image cannot be executed: see its mode, and that the image is for \
             the node's architecture"
                .to_owned()
        }
        (Reason::StartError, _) => return of_container(&record.message).map(str::to_owned),
        (Reason::Error, exit::NOT_FOUND) => {
            "exit code 127 of a shell means that a command is not in its image".to_owned()
        }
        _ => return None,
    };
    Some(said)
}

/// About a container that does not run, by what the kubelet says.
pub fn of_container(message: &str) -> Option<&'static str> {
    [
        (
            &["ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull"][..],
            "see that the image's name is right and that the node can pull it; a private registry \
             needs podTemplate.spec.imagePullSecrets",
        ),
        (&["InvalidImageName"], "correct the name of its image"),
        (
            &["CreateContainerConfigError"],
            "see that the Secrets and ConfigMaps that it names exist",
        ),
        (
            &["CreateContainerError", "RunContainerError"],
            "`kubectl describe pod` tells what the container runtime says",
        ),
    ]
    .into_iter()
    .find_map(|(reasons, said)| {
        let known = reasons.iter().any(|reason| message.contains(reason));
        known.then_some(said)
    })
}

/// What can be done next about a Task.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// A command, and what it is for.
    Command(String, &'static str),
    /// Something else.
    Hint(&'static str),
}

/// What can be done next about a Task.
pub fn next(name: &str, namespace: &str, cancelled: bool, status: &TaskStatus) -> Vec<Next> {
    let baton = |verb: &str| format!("baton {verb} -n {namespace} {name}");
    let failed = status.steps.iter().find(|s| s.state == StepPhase::Failed);
    let mut all = Vec::new();
    match (status.phase, status.reason.as_str()) {
        (TaskPhase::Pending | TaskPhase::Running, _) => {
            all.push(Next::Command(baton("logs -f"), "follows it"));
            if !cancelled {
                all.push(Next::Command(baton("cancel"), "stops it"));
            }
        }
        (TaskPhase::Succeeded | TaskPhase::Scheduled, _) => {}
        (_, "Invalid") => all.push(Next::Hint(
            "correct the manifest and apply it again; `baton validate FILE` checks it",
        )),
        (TaskPhase::Failed, "Evicted" | "NodeLost") => {
            all.push(Next::Command(baton("rerun"), "runs it again"));
            all.push(Next::Hint(
                "taskRetries.infrastructure in its spec does so by itself next time",
            ));
        }
        _ => {
            if let Some(step) = failed {
                let command = format!("{} --step {}", baton("logs"), step.name);
                all.push(Next::Command(command, "shows what it printed"));
            }
            all.push(Next::Command(
                baton("rerun"),
                "runs it again from its first step",
            ));
        }
    }
    all
}

/// What can be done next about a JobFlow.
pub fn next_of_flow(flow: &Object, status: &JobFlowStatus) -> Vec<Next> {
    let failed = status.nodes.iter().find(|n| n.state == NodePhase::Failed);
    let failed = failed.filter(|n| !n.jobs.is_empty());
    let command = |n: &FlowNodeStatus| format!("--node {}", n.name);
    next_of_graph(flow, status.phase, &status.reason, failed.map(command))
}

/// What can be done next about a DaemonJob.
pub fn next_of_daemon(daemon: &Object, status: &DaemonJobStatus) -> Vec<Next> {
    let mut failed = status.nodes.iter().filter(|n| !n.job.is_empty());
    let failed = failed.find(|n| n.node.state == DaemonPhase::Failed);
    let command = |n: &NodeStatus| format!("--node {}", n.node.name);
    next_of_graph(daemon, status.phase, &status.reason, failed.map(command))
}

fn next_of_graph(
    object: &Object,
    phase: JobFlowPhase,
    reason: &str,
    failed: Option<String>,
) -> Vec<Next> {
    let named = format!(
        "-n {} {}/{}",
        object.namespace(),
        object.kind(),
        object.name()
    );
    let baton = |verb: &str| format!("baton {verb} {named}");
    let mut all = Vec::new();
    match phase {
        JobFlowPhase::Suspended => all.push(Next::Hint(
            "it is suspended: set suspend to false in its spec, and it goes on",
        )),
        JobFlowPhase::Pending | JobFlowPhase::Running => {
            all.push(Next::Command(baton("logs -f"), "follows it"));
            if !object.is_cancelled() {
                all.push(Next::Command(baton("cancel"), "stops it"));
            }
        }
        JobFlowPhase::Failed if reason == "Invalid" => all.push(Next::Hint(
            "correct the manifest and apply it again; `baton validate FILE` checks it",
        )),
        JobFlowPhase::Failed | JobFlowPhase::Cancelled => {
            if let Some(failed) = failed {
                let command = format!("{} {failed}", baton("logs"));
                all.push(Next::Command(command, "shows what it printed"));
            }
            all.push(Next::Command(
                baton("rerun"),
                "runs again what did not succeed",
            ));
        }
        _ => {}
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_protocol::Timestamp;

    #[test]
    fn advice_is_given_where_there_is_some() {
        let of = |reason, code, message: &str| {
            let mut record = Record::new(reason, code, Timestamp(std::time::UNIX_EPOCH));
            record.message = message.to_owned();
            advice(&record)
        };
        assert!(of(Reason::OomKilled, 137, "").unwrap().contains("memory"));
        let pull = of(Reason::StartError, 0, "ImagePullBackOff: Back-off").unwrap();
        assert!(pull.contains("imagePullSecrets"));
        assert_eq!(of(Reason::Error, 1, ""), None);
        assert_eq!(of(Reason::StartError, 125, "?"), None);
    }
}
