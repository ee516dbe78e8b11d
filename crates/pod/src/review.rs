//! Everything that keeps a cluster from running a Task.

use baton_api::status::Carrier;

use crate::build::{DEFAULT_USER, PodInputs, build};

/// Reviews a Task as the API server has it, in JSON: what [`baton_api::review`] finds, or else what
/// keeps it from being a pod. One sentence for each mistake, with the field that it is in; none where a
/// cluster can run it.
pub fn review(json: &str) -> Vec<String> {
    let rendered = match baton_api::review(json) {
        Ok(rendered) => rendered,
        Err(mistakes) => return mistakes,
    };
    let inputs = PodInputs {
        run: 1,
        owner_uid: "",
        // Whatever keeps a Task from the one pod keeps it from the other.
        carrier: Carrier::DownwardAPI,
        tools_image: "tools",
        tools_pull_policy: None,
        user: Some(DEFAULT_USER),
        node: None,
    };
    match build(&rendered, &inputs) {
        Ok(_) => Vec::new(),
        Err(e) => e.mistakes.iter().map(ToString::to_string).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn quantities_are_looked_at() {
        let task = |limit: serde_json::Value| {
            let step = json!({
                "name": "a", "image": "a", "command": ["a"],
                "resources": { "limits": { "memory": limit } },
            });
            json!({
                "apiVersion": "baton.dev/v1alpha1", "kind": "Task",
                "metadata": { "name": "a" }, "spec": { "steps": [step] },
            })
            .to_string()
        };
        for good in [json!("64Mi"), json!(1_000_000)] {
            assert_eq!(review(&task(good)), Vec::<String>::new());
        }
        assert_eq!(
            review(&task(json!("4q"))),
            [
                "spec.steps[0].resources.limits.memory: \"4q\" is not a quantity such as 500m, 2 or 1Gi"
            ]
        );
    }
}
