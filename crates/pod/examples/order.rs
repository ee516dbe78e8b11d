//! Orders a pod without the baton volume by kubectl alone: pods in, as they change; patches out. What is
//! told goes to standard error. Time limits are looked at when the pod changes.
//!
//! ```sh
//! mkfifo patches
//! kubectl get pod hello-1 -o json --watch | cargo run -p baton-pod --example order > patches &
//! while read -r patch; do kubectl patch pod hello-1 -p "$patch"; done < patches
//! ```

use std::io::{self, Write};
use std::time::SystemTime;

use baton_pod::{Ordered, plan_of};
use baton_protocol::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut ordered = None;
    for pod in serde_json::Deserializer::from_reader(io::stdin().lock()).into_iter::<Pod>() {
        let pod = pod?;
        let now = Timestamp(SystemTime::now());
        let update = match &mut ordered {
            None => {
                let (plan, _) = plan_of(&pod)?;
                let (new, update) = Ordered::open(plan, &pod, now);
                ordered = Some(new);
                update
            }
            Some(ordered) => ordered.update(&pod, now),
        };
        if let Some(annotations) = update.patch {
            let patch = json!({"metadata": {"annotations": annotations}});
            writeln!(io::stdout(), "{patch}")?;
            io::stdout().flush()?;
        }
        for told in update.told {
            writeln!(io::stderr(), "{} {:?}", told.at, told.what)?;
        }
        if ordered.as_ref().is_some_and(|o| o.outcome().is_some()) {
            break;
        }
    }
    Ok(())
}
