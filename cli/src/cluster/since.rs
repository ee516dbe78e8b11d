//! Which runs of a Task are of the past. Pure.

use baton_api::status::TaskStatus;

/// Which runs of a Task are followed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Since {
    /// Runs up to this one are of the past.
    pub run: u32,
    /// What statuses of earlier generations say is of the past.
    pub generation: i64,
}

impl Since {
    /// Whether a status is of a run that is meant. One that says that the spec cannot be run is of no
    /// run at all.
    pub(super) fn is_met(self, status: &TaskStatus) -> bool {
        let observed = status.observed_generation.unwrap_or(i64::MAX);
        let refused =
            status.phase.is_over() && status.run <= self.run && status.reason == "Invalid";
        status.run > self.run || (refused && observed >= self.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_api::status::TaskPhase;

    #[test]
    fn runs_of_the_past_are_not_shown() {
        let since = Since {
            run: 2,
            generation: 5,
        };
        let status = |run, phase, observed, reason: &str| TaskStatus {
            run,
            phase,
            observed_generation: Some(observed),
            reason: reason.to_owned(),
            ..TaskStatus::default()
        };
        assert!(!since.is_met(&status(2, TaskPhase::Succeeded, 4, "Completed")));
        assert!(!since.is_met(&status(2, TaskPhase::Succeeded, 5, "Completed")));
        assert!(since.is_met(&status(3, TaskPhase::Pending, 5, "")));
        assert!(!since.is_met(&status(2, TaskPhase::Failed, 4, "Invalid")));
        assert!(since.is_met(&status(2, TaskPhase::Failed, 5, "Invalid")));
        assert!(Since::default().is_met(&status(1, TaskPhase::Succeeded, 1, "")));
    }
}
