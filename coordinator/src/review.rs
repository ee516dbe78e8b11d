//! Whether an object may be written: what the admission webhook answers by. Pure.

use baton_api::flow::JobFlowSpec;
use baton_api::flow_status::JobFlowStatus;
use serde::Deserialize;

use crate::flow::change::refused;
use crate::flow::object::FlowSpec;
use crate::schedule::review_change;

/// Everything that is wrong with an object in JSON, one sentence for each mistake: what keeps a cluster
/// from running it, or else what of a change would rewrite the history of a JobFlow that runs. `before`
/// is what it was, where it is changed.
pub fn review(object: &str, before: Option<&str>) -> Vec<String> {
    let found = baton_pod::review_object(object);
    match before {
        Some(before) if found.is_empty() => {
            let mut found = review_change(object, before);
            found.extend(rewritten(object, before));
            found
        }
        _ => found,
    }
}

/// A JobFlow as it is to be.
#[derive(Deserialize)]
struct After {
    kind: String,
    spec: JobFlowSpec,
}

/// A JobFlow as it was. What cannot be read of it was written by another version, which the controller
/// looks at.
#[derive(Deserialize)]
struct Before {
    #[serde(default)]
    status: JobFlowStatus,
}

fn rewritten(object: &str, before: &str) -> Vec<String> {
    let (Ok(after), Ok(before)) = (
        serde_json::from_str::<After>(object),
        serde_json::from_str::<Before>(before),
    ) else {
        return Vec::new();
    };
    match FlowSpec::new(after.spec) {
        Ok(spec) if after.kind == "JobFlow" => refused(&before.status, &spec),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::change::seal;
    use baton_flow::{NodePhase, State};
    use baton_protocol::Timestamp;
    use serde_json::{Value, json};

    fn flow(image: &str, more: bool, status: &Value) -> String {
        let job = |image: &str| {
            let containers = json!([{"name": "c", "image": image}]);
            json!({"template": {"spec": {"containers": containers}}})
        };
        let mut flows = vec![json!({"name": "a", "jobTemplate": job(image)})];
        if more {
            flows.push(json!({"name": "b", "dependencies": ["a"], "jobTemplate": job("i")}));
        }
        let object = json!({
            "apiVersion": "baton.dev/v1alpha1", "kind": "JobFlow",
            "metadata": {"name": "f"}, "spec": {"flows": flows}, "status": status,
        });
        object.to_string()
    }

    #[test]
    fn a_change_that_rewrites_history_is_refused() {
        let nothing = json!({});
        let spec: After = serde_json::from_str(&flow("i", false, &nothing)).unwrap();
        let spec = FlowSpec::new(spec.spec).unwrap();
        let mut state = State::new(1);
        state.started_at = Some(Timestamp(std::time::UNIX_EPOCH));
        state.nodes[0].phase = NodePhase::Running;
        let mut status = JobFlowStatus::default();
        status.set_state(&spec.graph, &state, &|_, _| String::new());
        seal(&mut status, &spec);
        let runs = serde_json::to_value(&status).unwrap();

        let before = flow("i", false, &runs);
        let review = |after: &str| review(after, Some(&before));
        assert_eq!(review(&flow("i", true, &runs)), [""; 0], "it only adds");
        assert_eq!(
            review(&flow("other", false, &runs)),
            ["flow \"a\" runs and cannot change"]
        );
        let invalid = flow("i", false, &runs).replace("\"name\":\"a\"", "\"name\":\"A\"");
        assert!(review(&invalid)[0].starts_with("spec.flows[0].name: "));
        // Before it began, and where it is new, everything may change.
        let fresh = flow("i", false, &nothing);
        assert!(super::review(&flow("other", false, &nothing), Some(&fresh)).is_empty());
        assert!(super::review(&flow("other", false, &nothing), None).is_empty());
    }

    #[test]
    fn what_runs_does_not_become_a_template() {
        let plain = flow("i", false, &json!({}));
        let schedule = r#""spec":{"schedule":{"cron":"@daily"},"#;
        let template = plain.replacen(r#""spec":{"#, schedule, 1);
        assert!(
            review(&template, None).is_empty() && review(&template, Some(&template)).is_empty()
        );
        assert!(review(&template, Some(&plain))[0].starts_with("spec.schedule: "));
        assert!(review(&plain, Some(&template))[0].starts_with("spec.schedule: "));
    }
}
