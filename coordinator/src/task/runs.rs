//! Where one run ends and the next begins.

use std::time::Duration;

use baton_api::Rendered;
use baton_api::status::{MAX_RUNS_KEPT, RunStatus, TaskPhase, TaskStatus};
use baton_protocol::Timestamp;
use serde::{Deserialize, Serialize};

use super::fold::{self, NODE_LOST};
use super::memory::Memory;
use super::object::TaskView;
use crate::clock::later;

/// The annotation in which a pod says which run it belongs to, so that a controller that finds it
/// knows as much as the one that made it.
pub(super) const ORIGIN_ANNOTATION: &str = "baton.dev/origin";

/// What a run was begun for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Origin {
    /// Digest of what is run.
    pub(super) digest: String,
    /// The re-run that was asked for.
    #[serde(default)]
    pub(super) rerun: String,
    /// Runs before it that were lost to the infrastructure.
    #[serde(default)]
    pub(super) infrastructure_retries: u32,
    /// Runs before it that failed.
    #[serde(default)]
    pub(super) failure_retries: u32,
}

impl Origin {
    pub(super) fn of_task(task: &TaskView) -> Origin {
        Origin {
            digest: task.digest.clone(),
            rerun: task.rerun.clone(),
            ..Origin::default()
        }
    }

    pub(super) fn of_status(status: &TaskStatus) -> Origin {
        Origin {
            digest: status.spec_digest.clone(),
            rerun: status.rerun.clone(),
            infrastructure_retries: status.infrastructure_retries,
            failure_retries: status.failure_retries,
        }
    }

    /// Whether a run of this origin is what the Task asks for.
    pub(super) fn is_wanted(&self, task: &TaskView) -> bool {
        self.digest == task.digest && (task.rerun.is_empty() || self.rerun == task.rerun)
    }
}

/// What a failed run is repeated for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retry {
    Infrastructure,
    Failure,
}

/// The reasons of runs that were lost to the infrastructure.
const INFRASTRUCTURE: [&str; 5] = ["Evicted", "Preempted", NODE_LOST, "Rejected", POD_DELETED];
/// The reason of a run whose pod somebody deleted.
pub(super) const POD_DELETED: &str = "PodDeleted";
/// The reason of a Task that is none.
pub(super) const INVALID: &str = "Invalid";
/// First delay of a retry; it doubles with each.
const FIRST_DELAY: Duration = Duration::from_secs(10);
/// Longest delay of a retry.
const LONGEST_DELAY: Duration = Duration::from_secs(300);

/// Whether a run that is over is to be repeated, and why.
pub(super) fn retry(status: &TaskStatus, spec: &Rendered) -> Option<Retry> {
    let retries = spec.spec().task_retries;
    let failed = matches!(status.phase, TaskPhase::Failed | TaskPhase::TimedOut);
    if !failed || status.reason == INVALID {
        return None;
    }
    if INFRASTRUCTURE.contains(&status.reason.as_str()) {
        let left = status.infrastructure_retries < retries.infrastructure;
        return left.then_some(Retry::Infrastructure);
    }
    (status.failure_retries < retries.failure).then_some(Retry::Failure)
}

/// When the pod of a run that repeats another may be made: 10 s after that one's end, then 20 s, up to
/// 5 min.
pub(super) fn not_before(status: &TaskStatus) -> Option<Timestamp> {
    let retries = status
        .infrastructure_retries
        .saturating_add(status.failure_retries);
    let ended = status.runs.first()?.finished_at?;
    let doubled = retries.checked_sub(1)?.min(10);
    let delay = FIRST_DELAY.saturating_mul(1 << doubled).min(LONGEST_DELAY);
    Some(later(ended, delay))
}

/// The origin of the run that repeats this one.
pub(super) fn repeated(status: &TaskStatus, why: Retry) -> Origin {
    let mut origin = Origin::of_status(status);
    let count = match why {
        Retry::Infrastructure => &mut origin.infrastructure_retries,
        Retry::Failure => &mut origin.failure_retries,
    };
    *count = count.saturating_add(1);
    origin
}

/// Begins a run: the one before goes among the earlier ones.
pub(super) fn begin(
    memory: &mut Memory,
    run: u32,
    origin: Origin,
    spec: &Rendered,
    now: Timestamp,
) {
    let old = std::mem::take(&mut memory.status);
    let mut runs = old.runs;
    if old.run > 0 {
        let over = old.phase.is_over();
        let (phase, reason) = match over {
            true => (old.phase, old.reason),
            false => (TaskPhase::Cancelled, "Superseded".to_owned()),
        };
        let ended = RunStatus {
            run: old.run,
            pod: old.pod.map(|p| p.name).unwrap_or_default(),
            phase,
            reason,
            started_at: old.started_at,
            finished_at: old.finished_at.or(Some(now)),
        };
        runs.insert(0, ended);
        runs.truncate(MAX_RUNS_KEPT);
    }
    memory.status = TaskStatus {
        run,
        spec_digest: origin.digest,
        rerun: origin.rerun,
        infrastructure_retries: origin.infrastructure_retries,
        failure_retries: origin.failure_retries,
        steps: fold::steps(&baton_api::plan(spec)),
        conditions: old.conditions,
        observed_generation: old.observed_generation,
        runs,
        ..TaskStatus::default()
    };
    memory.callbacks_known = false;
    memory.forget_pod();
}

/// Ends a run that never had a pod, or whose pod nothing ran in.
pub(super) fn cancel(status: &mut TaskStatus, now: Timestamp) {
    status.phase = TaskPhase::Cancelled;
    status.reason = "Cancelled".to_owned();
    status.message = "the task was cancelled before it began".to_owned();
    status.exit_code = Some(baton_steps::CANCELLED_EXIT_CODE);
    status.finished_at = Some(now);
    fold::settle(status);
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_api::status::StepPhase;
    use baton_steps::Plan;

    #[test]
    fn no_step_of_a_run_that_never_began_waits_for_its_turn() {
        let mut status = TaskStatus {
            steps: fold::steps(&Plan::of_steps(["a", "b"].map(str::to_owned))),
            ..TaskStatus::default()
        };
        cancel(&mut status, Timestamp(std::time::SystemTime::UNIX_EPOCH));
        assert!(status.steps.iter().all(|s| s.state == StepPhase::NotRun));
    }
}
