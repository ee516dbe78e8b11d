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
