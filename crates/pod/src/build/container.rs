//! A step, `finally` step or sidecar as a container.

use std::collections::BTreeMap;
use std::ffi::OsString;

use baton_api::core::{EnvVar, VolumeMount};
use baton_api::status::Carrier;
use baton_api::task::{Readiness, TaskSpec};
use baton_api::{FieldPath, MAX_INLINE_SCRIPT, for_kubelet};
use baton_protocol::Invocation;
use baton_protocol::invocation::ScriptSource;
use baton_protocol::layout::{BIN, DOWNWARD_ORDER, ROOT, STEPS};
use k8s_openapi::api::core::v1::{
    Container, EnvVar as NativeEnv, ExecAction, Probe, ResourceRequirements,
    VolumeMount as NativeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::Value;

use super::{Mistakes, PodInputs, downward_order, native, path, security};
use crate::names::{ORDER_VOLUME, TOOLS_CONTAINER, VOLUME};

/// Where the entrypoint leaves what the kubelet puts into the pod's status.
pub const TERMINATION_MESSAGE: &str = "/dev/termination-log";
/// Longest single argument or environment variable that Linux takes, in bytes.
pub const MAX_ARG_BYTES: usize = (128 << 10) - 1;

/// What the Task says of a container, whichever kind of it.
pub(super) struct Parts<'a> {
    path: FieldPath,
    name: &'a str,
    image: Option<&'a str>,
    working_dir: Option<&'a str>,
    mounts: &'a [VolumeMount],
    readiness: Option<&'a Readiness>,
    native: Vec<(&'static str, &'a Value)>,
}

/// The containers of a Task, in the order of their numbers.
pub(super) fn parts(task: &TaskSpec) -> impl Iterator<Item = Parts<'_>> {
    let steps = [("steps", &task.steps), ("finally", &task.finally)];
    let steps = steps.into_iter().flat_map(|(field, steps)| {
        steps.iter().enumerate().map(move |(i, s)| Parts {
            path: path(field).index(i),
            name: &s.name,
            image: s.image.as_deref(),
            working_dir: s.working_dir.as_deref(),
            mounts: &s.volume_mounts,
            readiness: None,
            native: s.native().collect(),
        })
    });
    let sidecars = task.sidecars.iter().enumerate().map(|(i, s)| Parts {
        path: path("sidecars").index(i),
        name: &s.name,
        image: s.image.as_deref(),
        working_dir: s.working_dir.as_deref(),
        mounts: &s.volume_mounts,
        readiness: s.readiness.as_ref(),
        native: s.native().collect(),
    });
    steps.chain(sidecars)
}

pub(super) fn container(
    parts: &Parts<'_>,
    mut call: Invocation,
    env: &[EnvVar],
    number: u32,
    carrier: Carrier,
    mistakes: &mut Mistakes,
) -> Container {
    if carrier == Carrier::DownwardAPI {
        call.wait = vec![downward_order().to_owned()];
    }
    check(parts, &call, mistakes);
    let native = parts.native.iter().copied();
    let given: Container = native::object(native, &parts.path, mistakes);
    let mut container = Container {
        name: parts.name.to_owned(),
        image: parts.image.map(str::to_owned),
        command: Some(vec![entrypoint()]),
        args: Some(args(call)),
        env: list(native_env(env, &parts.path, mistakes)),
        working_dir: parts.working_dir.map(str::to_owned),
        volume_mounts: Some(mounts(parts, number, carrier, mistakes)),
        termination_message_path: Some(TERMINATION_MESSAGE.to_owned()),
        termination_message_policy: Some("File".to_owned()),
        ..given
    };
    // Only the kubelet can tell whoever orders this pod that a sidecar is ready.
    if let (Carrier::DownwardAPI, Some(readiness)) = (carrier, parts.readiness) {
        container.startup_probe = Some(probe(readiness));
    }
    for (field, words) in [("args", &container.args), ("command", &container.command)] {
        let words = words.iter().flatten();
        if words.clone().any(|word| word.len() > MAX_ARG_BYTES) {
            let message = format!(
                "an argument is longer than {MAX_ARG_BYTES} bytes, the most that Linux takes"
            );
            mistakes.add(&parts.path.key(field), message);
        }
    }
    container
}

/// The init container that brings the tools to a pod without the baton volume.
pub(super) fn tools(inputs: &PodInputs<'_>) -> Container {
    let quantity = |name: &str, amount: &str| (name.to_owned(), Quantity(amount.to_owned()));
    Container {
        name: TOOLS_CONTAINER.to_owned(),
        image: Some(inputs.tools_image.to_owned()),
        image_pull_policy: inputs.tools_pull_policy.map(str::to_owned),
        command: Some(vec!["/bin/init".to_owned()]),
        args: Some(
            ["install", "--to"]
                .map(str::to_owned)
                .into_iter()
                .chain([format!("{ROOT}/{BIN}")])
                .collect(),
        ),
        resources: Some(ResourceRequirements {
            requests: Some(BTreeMap::from([
                quantity("cpu", "10m"),
                quantity("memory", "16Mi"),
            ])),
            limits: Some(BTreeMap::from([
                quantity("cpu", "1"),
                quantity("memory", "64Mi"),
            ])),
            claims: None,
        }),
        security_context: Some(security::own()),
        volume_mounts: Some(vec![NativeMount {
            name: VOLUME.to_owned(),
            mount_path: ROOT.to_owned(),
            ..NativeMount::default()
        }]),
        ..Container::default()
    }
}

/// What a pod of Baton cannot have.
fn check(parts: &Parts<'_>, call: &Invocation, mistakes: &mut Mistakes) {
    if parts.image.is_none_or(|image| image.trim().is_empty()) {
        mistakes.add(
            &parts.path.key("image"),
            "is missing: in a cluster every container has one",
        );
    }
    if parts.name == TOOLS_CONTAINER {
        mistakes.add(&parts.path.key("name"), "is a name of Baton's own");
    }
    for (field, value) in &parts.native {
        let why = match *field {
            _ if value.is_null() => continue,
            "restartPolicy" | "restartPolicyRules" => {
                "a step's container is never restarted; retries is how often its command is"
            }
            "terminationMessagePath" | "terminationMessagePolicy" => {
                "the termination message is Baton's own: the step's record"
            }
            _ => continue,
        };
        mistakes.add(&parts.path.key(field), why);
    }
    if let Some(ScriptSource::Inline(packed)) = &call.script
        && packed.len() > MAX_INLINE_SCRIPT
    {
        let message = format!(
            "the script is {} bytes long when packed, more than the {MAX_INLINE_SCRIPT} that Linux takes \
             as an argument: put it into the image or into a ConfigMap that the step mounts",
            packed.len()
        );
        mistakes.add(&parts.path.key("script"), message);
    }
}

/// The entrypoint's arguments, such that the kubelet's `$(NAME)` changes the command alone.
fn args(mut call: Invocation) -> Vec<String> {
    let command = std::mem::take(&mut call.command);
    // They were texts before.
    let text = |word: OsString| word.to_string_lossy().into_owned();
    let options = call
        .to_args()
        .into_iter()
        .map(|o| text(o).replace('$', "$$"));
    let mut args: Vec<_> = options.collect();
    let mut words = command.into_iter().map(|word| for_kubelet(&text(word)));
    if let Some(program) = words.next() {
        args.extend([format!("--command={program}"), "--".to_owned()]);
        args.extend(words);
    }
    args
}

fn native_env(env: &[EnvVar], at: &FieldPath, mistakes: &mut Mistakes) -> Vec<NativeEnv> {
    let var = |(i, var): (usize, &EnvVar)| {
        let var = EnvVar {
            value: var.value.as_deref().map(for_kubelet),
            ..var.clone()
        };
        native::same(&var, &at.key("env").index(i), mistakes)
    };
    env.iter().enumerate().map(var).collect()
}

/// The volume, read-only but for the container's own folder, and what the Task mounts.
fn mounts(
    parts: &Parts<'_>,
    number: u32,
    carrier: Carrier,
    mistakes: &mut Mistakes,
) -> Vec<NativeMount> {
    let root = NativeMount {
        name: VOLUME.to_owned(),
        mount_path: ROOT.to_owned(),
        read_only: Some(true),
        ..NativeMount::default()
    };
    let own = NativeMount {
        name: VOLUME.to_owned(),
        mount_path: format!("{ROOT}/{STEPS}/{number}"),
        sub_path: Some(format!("{STEPS}/{number}")),
        ..NativeMount::default()
    };
    let order = NativeMount {
        name: ORDER_VOLUME.to_owned(),
        mount_path: DOWNWARD_ORDER
            .rsplit_once('/')
            .map_or(DOWNWARD_ORDER, |(folder, _)| folder)
            .to_owned(),
        read_only: Some(true),
        ..NativeMount::default()
    };
    let order = (carrier == Carrier::DownwardAPI).then_some(order);
    let given =
        parts.mounts.iter().enumerate().map(|(i, mount)| {
            native::same(mount, &parts.path.key("volumeMounts").index(i), mistakes)
        });
    [root, own].into_iter().chain(order).chain(given).collect()
}

/// A sidecar's readiness as the kubelet finds it out: it looks until the sidecar is ready once, as the
/// agent's volume does, and never gives up.
fn probe(readiness: &Readiness) -> Probe {
    let command = match readiness.port {
        // The kubelet itself would look at the pod's own address, where a server of this pod's steps
        // need not listen.
        Some(port) => vec![entrypoint(), format!("--check-port={port}")],
        None => readiness.command.clone(),
    };
    Probe {
        exec: Some(ExecAction {
            command: Some(command),
        }),
        period_seconds: Some(1),
        timeout_seconds: Some(5),
        failure_threshold: Some(i32::MAX),
        ..Probe::default()
    }
}

fn entrypoint() -> String {
    format!("{ROOT}/{BIN}/entrypoint")
}

fn list<T>(values: Vec<T>) -> Option<Vec<T>> {
    (!values.is_empty()).then_some(values)
}
