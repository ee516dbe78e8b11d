//! What of a Job's spec decides about its pods.

use std::time::Duration;

use baton_api::job::{CompletionMode, JobSpec, RestartPolicy};

/// The native delay before a failed pod's replacement.
pub const BACKOFF_BASE: Duration = Duration::from_secs(10);
/// The longest such delay.
pub const BACKOFF_CAP: Duration = Duration::from_secs(360);

/// What a failed container means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// Its pod fails, and another takes its place.
    Never,
    /// It is started again in the same pod.
    OnFailure,
}

/// What decides about a Job's pods. Defaults are those of the API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Most active pods.
    pub parallelism: u32,
    /// Successes that complete the Job. `None`: the first one does, once no pod is active.
    pub completions: Option<u32>,
    /// Whether each completion has an index. Without `completions` there are no indexes.
    pub indexed: bool,
    /// See the module.
    pub backoff_limit: u32,
    /// Longest time that the Job may be active.
    pub active_deadline: Option<Duration>,
    /// What a failed container means.
    pub restart: Restart,
    /// No pod may run for now.
    pub suspend: bool,
    /// [`BACKOFF_BASE`], but for tests.
    pub backoff_base: Duration,
    /// [`BACKOFF_CAP`], but for tests.
    pub backoff_cap: Duration,
}

impl Default for Spec {
    fn default() -> Self {
        Spec {
            parallelism: 1,
            completions: Some(1),
            indexed: false,
            backoff_limit: 6,
            active_deadline: None,
            restart: Restart::Never,
            suspend: false,
            backoff_base: BACKOFF_BASE,
            backoff_cap: BACKOFF_CAP,
        }
    }
}

impl Spec {
    /// What a Job's spec says, with the API server's defaults for what it leaves out.
    pub fn of(spec: &JobSpec) -> Spec {
        // One pod that has to succeed, where neither number is given; a given `parallelism` alone
        // asks for a work queue, which the first success ends.
        let completions = match (spec.parallelism, spec.completions) {
            (None, None) => Some(1),
            (_, completions) => completions,
        };
        Spec {
            parallelism: spec.parallelism(),
            completions,
            indexed: spec.completion_mode == CompletionMode::Indexed,
            backoff_limit: spec.backoff_limit(),
            active_deadline: spec.active_deadline_seconds.map(Duration::from_secs),
            restart: match spec.template.spec.restart_policy {
                Some(RestartPolicy::OnFailure) => Restart::OnFailure,
                Some(RestartPolicy::Never) | None => Restart::Never,
            },
            suspend: spec.suspend,
            ..Spec::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_the_api_server() {
        let given = |parallelism, completions| {
            Spec::of(&JobSpec {
                parallelism,
                completions,
                ..JobSpec::default()
            })
        };
        assert_eq!(given(None, None), Spec::default());
        assert_eq!(given(None, Some(5)).parallelism, 1);
        assert_eq!(given(Some(5), None).completions, None);
        assert_eq!(given(Some(0), Some(2)).parallelism, 0);
    }
}
