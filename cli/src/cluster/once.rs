//! What has a schedule does not run itself: a copy without it does, under a name of its own.

use baton_api::JobFlow;
use baton_api::core::Metadata;

use super::error::ClusterError;
use super::object::Object;
use crate::run::load::Written;

/// Refuses what has a schedule, where what runs is meant.
pub(super) fn runs_itself(object: &Object) -> Result<(), ClusterError> {
    if object.spec.get("schedule").is_none_or(|s| s.is_null()) {
        return Ok(());
    }
    let (kind, name) = (object.kind(), object.name());
    Err(ClusterError::Other(format!(
        "{kind} {name} has a schedule: its runs are objects of their own, which `baton list -l \
         baton.dev/schedule={name}` shows"
    )))
}

/// What a person is told of it.
pub(super) const SAID: &str = "it has a schedule, and is run once, now, under a name of its own; `kubectl apply` has the \
     cluster follow the schedule";

/// A Task with a schedule, to be run now; none where it has none.
pub(super) fn task(written: &Written) -> Option<Written> {
    written.task.spec.schedule.as_ref()?;
    let mut task = written.task.clone();
    task.spec.schedule = None;
    rename(&mut task.metadata);
    Some(Written {
        task,
        given: written.given.clone(),
    })
}

/// A JobFlow with a schedule, to be run now; none where it has none.
pub(super) fn flow(flow: &JobFlow) -> Option<JobFlow> {
    flow.spec.schedule.as_ref()?;
    let mut flow = flow.clone();
    flow.spec.schedule = None;
    rename(&mut flow.metadata);
    Some(flow)
}

fn rename(metadata: &mut Metadata) {
    if !metadata.name.is_empty() {
        metadata.generate_name = Some(format!("{}-now-", metadata.name));
        metadata.name.clear();
    }
}
