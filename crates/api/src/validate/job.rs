//! A Job: what the API server would refuse.

use super::references::no_nul;
use super::{Names, container, label, metadata, volumes};
use crate::diagnostic::FieldPath;
use crate::job::{CompletionMode, Container, Job, JobSpec, PodSpec, RestartPolicy};
use crate::report::Report;

/// Most indexes of an Indexed Job that is not bounded further.
const MAX_INDEXED_PARALLELISM: u32 = 100_000;

/// Which restart policies a pod template may have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum RestartPolicies {
    /// One has to be said.
    Said,
    /// It does not matter: `Never` is what counts.
    Any,
}

pub(crate) fn job(job: &Job, report: &mut Report) {
    let path = FieldPath::default();
    metadata(&job.metadata, &path.key("metadata"), report);
    job_spec(&job.spec, RestartPolicies::Said, &path.key("spec"), report);
}

pub(super) fn job_spec(
    spec: &JobSpec,
    policies: RestartPolicies,
    path: &FieldPath,
    report: &mut Report,
) {
    if spec.completion_mode == CompletionMode::Indexed {
        if spec.completions.is_none() {
            let message = "has to be given where completionMode is Indexed";
            report.at(&path.key("completions"), message);
        }
        if spec.parallelism() > MAX_INDEXED_PARALLELISM {
            let message = format!(
                "{} is more than {MAX_INDEXED_PARALLELISM}, the most of an Indexed Job",
                spec.parallelism()
            );
            report.at(&path.key("parallelism"), message);
        }
    }
    if spec.active_deadline_seconds == Some(0) {
        report.at(&path.key("activeDeadlineSeconds"), "has to be at least 1");
    }
    pod(
        &spec.template.spec,
        policies,
        &path.key("template").key("spec"),
        report,
    );
    let never = policies == RestartPolicies::Any
        || spec.template.spec.restart_policy == Some(RestartPolicy::Never);
    if spec.pod_failure_policy.is_some() && !never {
        let message = "needs restartPolicy: Never";
        report.at(&path.key("podFailurePolicy"), message);
    }
}

fn pod(pod: &PodSpec, policies: RestartPolicies, path: &FieldPath, report: &mut Report) {
    if pod.containers.is_empty() {
        report.at(
            &path.key("containers"),
            "has to have at least one container",
        );
    }
    if pod.restart_policy.is_none() && policies == RestartPolicies::Said {
        let message = "has to be Never or OnFailure: a Job's pods do not run for ever";
        report.at(&path.key("restartPolicy"), message);
    }
    if pod.active_deadline_seconds == Some(0) {
        report.at(&path.key("activeDeadlineSeconds"), "has to be at least 1");
    }
    volumes::volumes(&pod.volumes, &path.key("volumes"), report);
    let mut names = Names::default();
    for (field, containers) in [
        ("initContainers", &pod.init_containers),
        ("containers", &pod.containers),
    ] {
        for (i, container) in containers.iter().enumerate() {
            let path = path.key(field).index(i);
            names.insert(&container.name, &path, report);
            self::container(container, pod, &path, report);
        }
    }
}

fn container(container: &Container, pod: &PodSpec, path: &FieldPath, report: &mut Report) {
    label(&container.name, &path.key("name"), report);
    container::env(&container.env, &path.key("env"), report);
    for (field, words) in [("command", &container.command), ("args", &container.args)] {
        for (i, word) in words.iter().enumerate() {
            no_nul(word, &path.key(field).index(i), report);
        }
    }
    for (i, var) in container.env.iter().enumerate() {
        if let Some(value) = &var.value {
            no_nul(value, &path.key("env").index(i).key("value"), report);
        }
    }
    let mounts = &container.volume_mounts;
    container::mounts(mounts, &pod.volumes, &path.key("volumeMounts"), report);
}
