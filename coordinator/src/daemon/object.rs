//! The DaemonJob as the API server has it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use baton_api::daemon::{CompletionPolicy, DEFAULT_NOT_READY_SECONDS, DaemonJob};
use baton_api::flow::FailurePolicy;
use baton_api::job::JobSpec;
use baton_api::review_object;
use baton_flow::daemon::{Completion, DaemonRules, Parallel};
use baton_pod::job::{JobInputs, Made, Owner, job};
use baton_pod::names::{ATTEMPT_ANNOTATION, DAEMON_LABEL, NODE_ANNOTATION, RERUN_ANNOTATION};
use baton_pod::{label_value, node_name};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::PodSpec;
use kube::api::ObjectMeta;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::child::{Kind, Object};

/// The kind.
#[derive(Debug, Clone, Default)]
pub struct OfDaemonJob;

impl Kind for OfDaemonJob {
    const KIND: &'static str = "DaemonJob";
    const PLURAL: &'static str = "daemonjobs";
}

/// A DaemonJob, with its spec and status as they were written.
pub type DaemonObject = Object<OfDaemonJob>;

/// What the controller needs to know of a DaemonJob's metadata and spec.
#[derive(Debug, Clone)]
pub struct DaemonView {
    /// Its name, namespace, labels and so on.
    pub meta: ObjectMeta,
    /// The re-run that is asked for; empty where none is.
    pub rerun: String,
    /// What is to be run, or everything that is wrong with it.
    pub spec: Result<Arc<Spec>, String>,
}

/// What a DaemonJob runs, ready to be used.
#[derive(Debug, Clone)]
pub struct Spec {
    /// As it was read.
    pub daemon: DaemonJob,
    /// What its author asks for.
    pub rules: DaemonRules,
    /// The nodes that are excluded.
    pub excluded: BTreeSet<String>,
    /// What runs in its pods, before a node is chosen.
    pub pod: PodSpec,
    /// What the template says otherwise than `globalParams`, one sentence each.
    pub overruled: Vec<String>,
    /// Digest of what its Jobs are made of.
    pub digest: String,
}

impl DaemonView {
    /// Reads a DaemonJob; `known` is what was read of it before, whose spec is taken over where the
    /// generation is the same.
    pub fn read(object: &DaemonObject, known: Option<&DaemonView>) -> DaemonView {
        let mut meta = object.metadata.clone();
        let generation = meta.generation;
        let known = known.filter(|k| {
            k.meta.uid == meta.uid && generation.is_some() && k.meta.generation == generation
        });
        let spec = match known {
            Some(known) => known.spec.clone(),
            None => Spec::read(object).map(Arc::new),
        };
        let annotations = meta.annotations.take().unwrap_or_default();
        meta.managed_fields = None;
        DaemonView {
            rerun: annotations
                .get(RERUN_ANNOTATION)
                .cloned()
                .unwrap_or_default(),
            meta,
            spec,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.meta.name.as_deref().unwrap_or_default()
    }

    /// Whether it is being deleted.
    pub fn is_deleting(&self) -> bool {
        self.meta.deletion_timestamp.is_some()
    }

    /// The name of a node's Job.
    pub fn job_name(&self, node: &str, attempt: u32) -> String {
        node_name(self.name(), node, None, attempt)
    }

    /// The Job of a node.
    pub fn job(&self, spec: &Spec, node: &str, attempt: u32) -> Result<Job, String> {
        let made = made(&self.meta, &spec.daemon, Some((node, attempt)))?;
        Ok(made.job)
    }
}

impl Spec {
    fn read(object: &DaemonObject) -> Result<Spec, String> {
        let daemon = match review_object(&object.document()) {
            Ok(baton_api::Object::DaemonJob(daemon)) => daemon,
            Ok(_) => return Err("this is no DaemonJob".to_owned()),
            Err(mistakes) => return Err(mistakes.join("\n")),
        };
        // A name in the template is a choice of nodes, and does not go to the Jobs.
        let made = made(&object.metadata, &daemon, None)?;
        let template = made.job.spec.and_then(|s| s.template.spec);
        Ok(Spec {
            rules: rules(&daemon),
            excluded: daemon.excluded().map(str::to_owned).collect(),
            pod: template.unwrap_or_default(),
            overruled: made.overruled,
            digest: digest(&daemon),
            daemon: *daemon,
        })
    }
}

fn made(meta: &ObjectMeta, daemon: &DaemonJob, of: Option<(&str, u32)>) -> Result<Made, String> {
    let name = meta.name.as_deref().unwrap_or_default();
    let labels = BTreeMap::from([(DAEMON_LABEL.to_owned(), label_value(name))]);
    let mut annotations = BTreeMap::new();
    if let Some((node, attempt)) = of {
        annotations.insert(NODE_ANNOTATION.to_owned(), node.to_owned());
        annotations.insert(ATTEMPT_ANNOTATION.to_owned(), attempt.to_string());
    }
    let job_name = of.map(|(node, attempt)| node_name(name, node, None, attempt));
    let none = BTreeMap::new();
    let inputs = JobInputs {
        name: job_name.as_deref().unwrap_or(name),
        owner: Owner {
            kind: OfDaemonJob::KIND,
            name,
            uid: meta.uid.as_deref().unwrap_or_default(),
            namespace: meta.namespace.as_deref().unwrap_or_default(),
            labels: meta.labels.as_ref().unwrap_or(&none),
        },
        globals: &daemon.spec.global_params,
        labels: &labels,
        annotations: &annotations,
        node: of.map(|(node, _)| node),
    };
    let spec = JobSpec {
        backoff_limit_given: daemon.spec.backoff_limit,
        template: daemon.spec.template.clone(),
        ..JobSpec::default()
    };
    job(&spec, &inputs).map_err(|e| e.to_string())
}

fn rules(daemon: &DaemonJob) -> DaemonRules {
    let spec = &daemon.spec;
    let seconds = |s: u64| Duration::from_secs(s);
    DaemonRules {
        parallel: parallel(daemon),
        fail_fast: spec.failure_policy == FailurePolicy::FailFast,
        completion: match spec.completion_policy {
            CompletionPolicy::AllNodes => Completion::AllNodes,
            CompletionPolicy::InitialNodes => Completion::InitialNodes,
            CompletionPolicy::Never => Completion::Never,
        },
        suspended: spec.suspend,
        cancelled: spec.cancel,
        deadline: spec.active_deadline_seconds.map(seconds),
        not_ready: seconds(
            spec.not_ready_seconds
                .unwrap_or(DEFAULT_NOT_READY_SECONDS)
                .into(),
        ),
    }
}

/// What was validated is a number from 1, or a share in per cent.
fn parallel(daemon: &DaemonJob) -> Parallel {
    let Some(given) = &daemon.spec.parallelism else {
        return Parallel::All;
    };
    let share = given.as_str().and_then(|text| text.strip_suffix('%'));
    match share.and_then(|text| text.parse().ok()) {
        Some(share) => Parallel::Share(share),
        None => Parallel::Number(daemon.parallelism(1).unwrap_or(1)),
    }
}

/// A digest of what Jobs are made of: the same however its fields are written.
fn digest(daemon: &DaemonJob) -> String {
    let spec = &daemon.spec;
    let made_of = json!([spec.template, spec.global_params, spec.backoff_limit]);
    let hash = Sha256::digest(made_of.to_string().as_bytes());
    let bytes = hash.iter().take(16);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}
