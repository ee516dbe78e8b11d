//! Why a pod does not begin, told once each. Pure.

use std::collections::BTreeSet;

use baton_api::status::{StepPhase, TaskStatus};
use k8s_openapi::api::core::v1::Pod;

use crate::show::style::one_line;

/// What the kubelet says of a container that is on its way.
const ON_ITS_WAY: [&str; 3] = ["ContainerCreating", "PodInitializing", ""];

/// What was told.
#[derive(Debug, Default)]
pub struct Waiting {
    told: BTreeSet<(String, String)>,
}

impl Waiting {
    /// What a pod waits for that a person should see.
    pub fn pod(&mut self, pod: &Pod) -> Vec<String> {
        let Some(status) = &pod.status else {
            return Vec::new();
        };
        let mut said = Vec::new();
        let conditions = status.conditions.iter().flatten();
        for condition in conditions {
            if condition.type_ == "PodScheduled" && condition.status == "False" {
                let message = condition.message.clone().unwrap_or_default();
                let reason = condition.reason.as_deref().unwrap_or_default();
                self.say(
                    "",
                    reason,
                    &format!("no node takes the pod: {message}"),
                    &mut said,
                );
            }
        }
        let init = status.init_container_statuses.iter().flatten();
        for container in init.chain(status.container_statuses.iter().flatten()) {
            let waiting = container.state.as_ref().and_then(|s| s.waiting.as_ref());
            let Some(waiting) = waiting else { continue };
            let reason = waiting.reason.as_deref().unwrap_or_default();
            if !ON_ITS_WAY.contains(&reason) {
                let message = waiting.message.as_deref().unwrap_or_default();
                let text = format!("{} waits: {reason}: {message}", container.name);
                self.say(&container.name, reason, &text, &mut said);
            }
        }
        said
    }

    /// The same, by the Task's status.
    pub fn status(&mut self, status: &TaskStatus) -> Vec<String> {
        let mut said = Vec::new();
        let waiting = status
            .steps
            .iter()
            .filter(|s| s.state == StepPhase::Waiting);
        for step in waiting.filter(|_| !status.phase.is_over()) {
            if !ON_ITS_WAY.contains(&step.reason.as_str()) {
                let text = format!("{} waits: {}: {}", step.name, step.reason, step.message);
                self.say(&step.name, &step.reason, &text, &mut said);
            }
        }
        said
    }

    fn say(&mut self, of: &str, reason: &str, text: &str, said: &mut Vec<String>) {
        // The kubelet changes between both as it tries.
        let same = match reason {
            "ErrImagePull" | "ImagePullBackOff" => "ErrImagePull",
            other => other,
        };
        if self.told.insert((of.to_owned(), same.to_owned())) {
            let text = one_line(text);
            said.push(text.trim_end_matches([':', ' ']).to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(text: &str) -> Pod {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn each_cause_is_told_once() {
        let mut waiting = Waiting::default();
        let creating = r#"{"status": {"containerStatuses": [{"name": "a", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": {"waiting": {"reason": "REASON", "message": "no such image"}}}]}}"#;
        let of = |reason: &str| pod(&creating.replace("REASON", reason));
        assert!(waiting.pod(&of("ContainerCreating")).is_empty());
        assert_eq!(
            waiting.pod(&of("ErrImagePull")),
            ["a waits: ErrImagePull: no such image"]
        );
        assert!(waiting.pod(&of("ImagePullBackOff")).is_empty());
        assert_eq!(waiting.pod(&of("InvalidImageName")).len(), 1);
        let unscheduled = pod(
            r#"{"status": {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2 nodes are available"}]}}"#,
        );
        assert_eq!(
            waiting.pod(&unscheduled),
            ["no node takes the pod: 0/2 nodes are available"]
        );
        assert!(waiting.pod(&unscheduled).is_empty());
    }
}
