//! A Task.

use std::collections::BTreeMap;

use baton_protocol::invocation::MAX_RETRIES;
use baton_protocol::layout::is_name;
use serde_json::Value;

use super::references::{self, Earlier, Scope, Use};
use super::{
    Names, container, duration, exactly_one, given, label, metadata, missing, reserved, schedule,
    volumes,
};
use crate::core::EnvVar;
use crate::diagnostic::{FieldPath, excerpt};
use crate::params::is_param_name;
use crate::report::Report;
use crate::task::{
    Callback, MAX_STEPS, MAX_TASK_RETRIES, Param, Sidecar, Step, StepResult, Task, TaskSpec,
};

pub(crate) fn task(task: &Task, report: &mut Report) {
    let path = FieldPath::default();
    metadata(&task.metadata, &path.key("metadata"), report);
    let (path, spec) = (path.key("spec"), &task.spec);
    task_spec(spec, &path, report);
    schedule::schedule(spec.schedule.as_ref(), spec.cancel, &path, report);
}

pub(super) fn task_spec(spec: &TaskSpec, path: &FieldPath, report: &mut Report) {
    let count = spec.steps.len() + spec.finally.len() + spec.sidecars.len();
    if spec.steps.is_empty() {
        report.at(&path.key("steps"), "has to have at least one step");
    }
    if count > MAX_STEPS {
        let message =
            format!("{count} steps and sidecars are too many: a Task has at most {MAX_STEPS}");
        return report.at(&path.key("steps"), message);
    }
    let params = params(&spec.params, &path.key("params"), report);
    volumes::volumes(&spec.volumes, &path.key("volumes"), report);
    reserved::volumes(&spec.volumes, &path.key("volumes"), report);
    duration(spec.timeout.as_ref(), &path.key("timeout"), report);
    duration(spec.grace_period.as_ref(), &path.key("gracePeriod"), report);
    let retries = path.key("taskRetries");
    for (field, given) in [
        ("infrastructure", spec.task_retries.infrastructure),
        ("failure", spec.task_retries.failure),
    ] {
        if given > MAX_TASK_RETRIES {
            let message = format!("{given} is more than {MAX_TASK_RETRIES}");
            report.at(&retries.key(field), message);
        }
    }
    containers(spec, &params, path, report);
    for (i, callback) in spec.callbacks.iter().enumerate() {
        let path = path.key("callbacks").index(i);
        self::callback(callback, &params, &path, report);
    }
}

fn params<'a>(
    params: &'a [Param],
    path: &FieldPath,
    report: &mut Report,
) -> BTreeMap<&'a str, &'a Param> {
    let mut names = Names::default();
    for (i, param) in params.iter().enumerate() {
        let path = path.index(i);
        if param.name.is_empty() {
            missing(report, &path.key("name"));
        } else if !is_param_name(&param.name) {
            let message = format!(
                "{:?} cannot name a parameter: letters, digits, '_' and '-', beginning with a letter or '_'",
                excerpt(&param.name)
            );
            report.at(&path.key("name"), message);
        }
        names.insert(&param.name, &path, report);
        if param.default.is_some() && param.default_value().is_none() {
            let mut message = format!("expected {}", param.kind().describe());
            if let Some(value @ (Value::Number(_) | Value::Bool(_))) = &param.default {
                message += &format!(", found {value}; put it in quotes");
            }
            report.at(&path.key("default"), message);
        }
    }
    params.iter().map(|p| (p.name.as_str(), p)).collect()
}

/// Steps, `finally` steps and sidecars: they share one name space.
fn containers(
    spec: &TaskSpec,
    params: &BTreeMap<&str, &Param>,
    path: &FieldPath,
    report: &mut Report,
) {
    let mut names = Names::default();
    let all: Vec<&Step> = spec.steps.iter().chain(&spec.finally).collect();
    let mut earlier = Earlier {
        steps: BTreeMap::new(),
        all: &all,
    };
    for (field, steps) in [("steps", &spec.steps), ("finally", &spec.finally)] {
        for (i, step) in steps.iter().enumerate() {
            let path = path.key(field).index(i);
            names.insert(&step.name, &path, report);
            let scope = Scope {
                params,
                earlier: Ok(&earlier),
                own: &step.results,
            };
            self::step(step, scope, &path, report);
            container::mounts(
                &step.volume_mounts,
                &spec.volumes,
                &path.key("volumeMounts"),
                report,
            );
            reserved::container(&step.env, &step.volume_mounts, &path, report);
            earlier.steps.insert(&step.name, &step.results);
        }
    }
    let scope = Scope {
        params,
        earlier: Err("a sidecar starts before every step, and sees no results"),
        own: &[],
    };
    for (i, sidecar) in spec.sidecars.iter().enumerate() {
        let path = path.key("sidecars").index(i);
        names.insert(&sidecar.name, &path, report);
        self::sidecar(sidecar, scope, &path, report);
        reserved::container(&sidecar.env, &sidecar.volume_mounts, &path, report);
        container::mounts(
            &sidecar.volume_mounts,
            &spec.volumes,
            &path.key("volumeMounts"),
            report,
        );
    }
}

fn step(step: &Step, scope: Scope<'_>, path: &FieldPath, report: &mut Report) {
    label(&step.name, &path.key("name"), report);
    Program {
        command: &step.command,
        args: &step.args,
        script: step.script.as_deref(),
        env: &step.env,
        image: step.image.as_deref(),
        working_dir: step.working_dir.as_deref(),
    }
    .check(scope, path, report);
    duration(step.timeout.as_ref(), &path.key("timeout"), report);
    duration(step.retry_delay.as_ref(), &path.key("retryDelay"), report);
    if step.retries > MAX_RETRIES {
        let message = format!("{} is more than {MAX_RETRIES}", step.retries);
        report.at(&path.key("retries"), message);
    }
    results(&step.results, &path.key("results"), report);
    for (i, when) in step.when.iter().enumerate() {
        let path = path.key("when").index(i);
        references::text(
            &when.input,
            Use::Condition,
            scope,
            &path.key("input"),
            report,
        );
        if when.operator.is_none() {
            report.at(&path.key("operator"), "has to be in or notin");
        }
        if when.values.is_empty() {
            report.at(&path.key("values"), "has to have at least one value");
        }
        for (i, value) in when.values.iter().enumerate() {
            references::text(
                value,
                Use::Condition,
                scope,
                &path.key("values").index(i),
                report,
            );
        }
    }
    for (field, capture) in [("stdout", &step.stdout), ("stderr", &step.stderr)] {
        let Some(capture) = capture else { continue };
        let path = path.key(field).key("path");
        if capture.path.is_empty() {
            missing(report, &path);
        }
        references::text(&capture.path, Use::Capture, scope, &path, report);
    }
}

fn results(results: &[StepResult], path: &FieldPath, report: &mut Report) {
    let mut names = Names::default();
    for (i, result) in results.iter().enumerate() {
        let path = path.index(i);
        if result.name.is_empty() {
            missing(report, &path.key("name"));
        } else if !is_name(&result.name) {
            let message = format!(
                "{:?} cannot name a result: letters, digits, '-', '_' and '.', not beginning with \
                 '-' or '.', at most 63",
                excerpt(&result.name)
            );
            report.at(&path.key("name"), message);
        }
        names.insert(&result.name, &path, report);
    }
}

fn sidecar(sidecar: &Sidecar, scope: Scope<'_>, path: &FieldPath, report: &mut Report) {
    label(&sidecar.name, &path.key("name"), report);
    Program {
        command: &sidecar.command,
        args: &sidecar.args,
        script: sidecar.script.as_deref(),
        env: &sidecar.env,
        image: sidecar.image.as_deref(),
        working_dir: sidecar.working_dir.as_deref(),
    }
    .check(scope, path, report);
    if let Some(readiness) = &sidecar.readiness {
        let path = path.key("readiness");
        let alternatives = [
            ("port", readiness.port.is_some()),
            ("command", !readiness.command.is_empty()),
        ];
        exactly_one(&given(&alternatives), "port or command", &path, report);
        if readiness.port == Some(0) {
            report.at(&path.key("port"), "0 is not between 1 and 65535");
        }
        for (i, word) in readiness.command.iter().enumerate() {
            references::text(
                word,
                Use::Word,
                scope,
                &path.key("command").index(i),
                report,
            );
        }
    }
}

/// What steps and sidecars run.
struct Program<'a> {
    command: &'a [String],
    args: &'a [String],
    script: Option<&'a str>,
    env: &'a [EnvVar],
    image: Option<&'a str>,
    working_dir: Option<&'a str>,
}

impl Program<'_> {
    fn check(&self, scope: Scope<'_>, path: &FieldPath, report: &mut Report) {
        let command = path.key("command");
        match (self.command, self.script) {
            ([], None) => {
                report.incomplete(path, "has neither command nor script; it has to have one")
            }
            ([_, ..], Some(_)) => report.at(
                &path.key("script"),
                "command and script are given; only one of them can be",
            ),
            ([first, ..], None) if first.is_empty() => {
                report.at(&command.index(0), "the program's name is empty");
            }
            ([], Some(script)) if script.trim().is_empty() => {
                report.at(&path.key("script"), "the script is empty");
            }
            _ => {}
        }
        for (field, words) in [("command", self.command), ("args", self.args)] {
            for (i, word) in words.iter().enumerate() {
                references::text(word, Use::Word, scope, &path.key(field).index(i), report);
            }
        }
        if let Some(script) = self.script {
            references::script(script, scope, &path.key("script"), report);
        }
        container::env(self.env, &path.key("env"), report);
        for (i, var) in self.env.iter().enumerate() {
            if let Some(value) = &var.value {
                let path = path.key("env").index(i).key("value");
                references::text(value, Use::Value, scope, &path, report);
            }
        }
        for (field, text) in [("image", self.image), ("workingDir", self.working_dir)] {
            if let Some(text) = text {
                references::text(text, Use::Fixed, scope, &path.key(field), report);
            }
        }
    }
}

pub(super) fn callback(
    callback: &Callback,
    params: &BTreeMap<&str, &Param>,
    path: &FieldPath,
    report: &mut Report,
) {
    let scope = Scope {
        params,
        earlier: Err("callbacks see no results"),
        own: &[],
    };
    references::text(&callback.url, Use::Fixed, scope, &path.key("url"), report);
    if callback.url.is_empty() {
        missing(report, &path.key("url"));
    } else if !callback.url.contains("$(params.") {
        callback_url(&callback.url, &path.key("url"), report);
    }
    for (i, event) in callback.events.iter().enumerate() {
        if callback.events.iter().take(i).any(|e| e == event) {
            report.at(&path.key("events").index(i), "this event is named twice");
        }
    }
    if let Some(secret) = &callback.secret {
        let path = path.key("secret");
        let alternatives = [
            ("value", secret.value.is_some()),
            ("valueFrom", secret.value_from.is_some()),
            ("env", secret.env.is_some()),
        ];
        exactly_one(
            &given(&alternatives),
            "value, valueFrom or env",
            &path,
            report,
        );
        if let Some(source) = &secret.value_from {
            let path = path.key("valueFrom").key("secretKeyRef");
            container::secret_key(&source.secret_key_ref, &path, report);
        }
        for (field, text) in [("value", &secret.value), ("env", &secret.env)] {
            if text.as_ref().is_some_and(String::is_empty) {
                report.at(&path.key(field), "is empty");
            }
        }
    }
}

/// Reports a callback's URL that cannot be one.
pub(crate) fn callback_url(url: &str, path: &FieldPath, report: &mut Report) {
    let rest = ["http://", "https://"]
        .into_iter()
        .find_map(|scheme| url.strip_prefix(scheme));
    let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next());
    let clean = url.bytes().all(|b| b.is_ascii_graphic());
    if !clean || host.is_none_or(|host| host.is_empty() || host.starts_with(':')) {
        let message = format!("{:?} is not an http or https URL", excerpt(url));
        report.at(path, message);
    }
}
