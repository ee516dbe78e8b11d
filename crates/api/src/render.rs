//! Parameters put in their places.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use baton_protocol::invocation::DEFAULT_GRACE;
use baton_protocol::time::parse_duration;

use crate::core::EnvVar;
use crate::diagnostic::{Diagnostic, FieldPath, excerpt};
use crate::params::ParamValue;
use crate::reference::{Access, Part, Reference, parts};
use crate::report::{Report, did_you_mean};
use crate::task::{Param, Sidecar, Step, Task, TaskSpec};
use crate::validate;

/// Largest text that parameters make of all fields together, in bytes.
pub const MAX_RENDERED_BYTES: usize = 16 << 20;

/// A Task that is ready to run: valid, and every parameter in its place.
///
/// In `command`, `args` and `env` a dollar of a parameter's value is doubled, so that
/// [`expand_env`](crate::expand_env) (or the kubelet) gives it back as it was.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    task: Task,
    params: BTreeMap<String, ParamValue>,
}

impl Rendered {
    /// The task, its texts without references to parameters.
    pub fn task(&self) -> &Task {
        &self.task
    }

    /// What it runs.
    pub fn spec(&self) -> &TaskSpec {
        &self.task.spec
    }

    /// Every parameter's value, defaults included.
    pub fn params(&self) -> &BTreeMap<String, ParamValue> {
        &self.params
    }

    /// Longest run of all steps together.
    pub fn timeout(&self) -> Option<Duration> {
        duration(self.task.spec.timeout.as_ref())
    }

    /// Time between SIGTERM and SIGKILL of what has to stop.
    pub fn grace(&self) -> Duration {
        duration(self.task.spec.grace_period.as_ref()).unwrap_or(DEFAULT_GRACE)
    }
}

/// A duration that validation has read already.
pub(crate) fn duration(text: Option<&String>) -> Option<Duration> {
    text.and_then(|t| parse_duration(t).ok())
}

/// Gives a task its parameters.
///
/// # Errors
/// Every mistake: in the task, where it is not one that [`parse`](crate::parse) gave; a parameter that
/// is missing, unknown or of another type; a reference that these values do not fulfil.
pub fn render(
    task: &Task,
    given: &BTreeMap<String, ParamValue>,
) -> Result<Rendered, Vec<Diagnostic>> {
    let mut report = Report::new(task.origin.clone());
    validate::task(task, &mut report);
    let params = values(&task.spec.params, given, &mut report);
    if !report.is_clean() {
        return Err(report.finish());
    }
    let mut rendered = Rendered {
        task: task.clone(),
        params,
    };
    let mut filler = Filler {
        params: &rendered.params,
        report: &mut report,
        room: MAX_RENDERED_BYTES,
    };
    filler.spec(&mut rendered.task.spec, &FieldPath::default().key("spec"));
    if report.is_clean() {
        Ok(rendered)
    } else {
        Err(report.finish())
    }
}

/// The values of all parameters.
fn values(
    declared: &[Param],
    given: &BTreeMap<String, ParamValue>,
    report: &mut Report,
) -> BTreeMap<String, ParamValue> {
    let top = FieldPath::default();
    for name in given
        .keys()
        .filter(|n| !declared.iter().any(|p| p.name == **n))
    {
        let message = format!(
            "parameter {:?} was given, and there is none of this name",
            excerpt(name)
        );
        let names = declared.iter().map(|p| p.name.as_str());
        report.add(None, top.clone(), message, did_you_mean(name, names));
    }
    let mut values = BTreeMap::new();
    for (i, param) in declared.iter().enumerate() {
        let path = top.key("spec").key("params").index(i);
        let default = param.default_value();
        let value = match (given.get(&param.name), default) {
            (None, Some(default)) => default,
            (None, None) => {
                let message = format!(
                    "parameter {:?} has no default and was not given",
                    excerpt(&param.name)
                );
                report.at(&path, message);
                continue;
            }
            (Some(given), default) => match given.clone().into_kind(param.kind()) {
                Ok(value) => completed(value, default),
                Err(message) => {
                    report.at(
                        &path,
                        format!("parameter {:?}: {message}", excerpt(&param.name)),
                    );
                    continue;
                }
            },
        };
        values.insert(param.name.clone(), value);
    }
    values
}

/// An object's keys that were not given have their defaults.
fn completed(value: ParamValue, default: Option<ParamValue>) -> ParamValue {
    match (value, default) {
        (ParamValue::Object(given), Some(ParamValue::Object(mut all))) => {
            all.extend(given);
            ParamValue::Object(all)
        }
        (value, _) => value,
    }
}

/// Who reads a text after us, and so what must not be taken for theirs in a parameter's value.
#[derive(Clone, Copy)]
enum Reader {
    /// The kubelet, then the entrypoint.
    Kubelet,
    /// The entrypoint alone.
    Entrypoint,
    /// Nobody.
    Nobody,
}

impl Reader {
    fn escape(self, value: &str) -> String {
        match self {
            Reader::Kubelet => value.replace('$', "$$"),
            Reader::Entrypoint => value.replace("$(steps.", "$$(steps."),
            Reader::Nobody => value.to_owned(),
        }
    }

    /// A text around references, with the escapes resolved that no later reader resolves.
    fn literal(self, text: &str) -> Cow<'_, str> {
        match self {
            Reader::Kubelet => text.into(),
            _ if !text.contains("$$(") => text.into(),
            Reader::Entrypoint => text.replace("$$(params.", "$(params.").into(),
            Reader::Nobody => text
                .replace("$$(params.", "$(params.")
                .replace("$$(steps.", "$(steps.")
                .into(),
        }
    }
}

struct Filler<'a> {
    params: &'a BTreeMap<String, ParamValue>,
    report: &'a mut Report,
    /// How many more bytes parameters may bring.
    room: usize,
}

impl Filler<'_> {
    fn spec(&mut self, spec: &mut TaskSpec, path: &FieldPath) {
        for (field, steps) in [("steps", &mut spec.steps), ("finally", &mut spec.finally)] {
            for (i, step) in steps.iter_mut().enumerate() {
                self.step(step, &path.key(field).index(i));
            }
        }
        for (i, sidecar) in spec.sidecars.iter_mut().enumerate() {
            self.sidecar(sidecar, &path.key("sidecars").index(i));
        }
        for (i, callback) in spec.callbacks.iter_mut().enumerate() {
            let path = path.key("callbacks").index(i).key("url");
            self.text(&mut callback.url, Reader::Nobody, &path);
            validate::callback_url(&callback.url, &path, self.report);
        }
    }

    fn step(&mut self, step: &mut Step, path: &FieldPath) {
        let has_script = step.script.is_some();
        self.program(&mut step.command, &mut step.args, has_script, path);
        self.env(&mut step.env, path);
        self.optional(&mut step.image, &path.key("image"));
        self.optional(&mut step.working_dir, &path.key("workingDir"));
        for (i, when) in step.when.iter_mut().enumerate() {
            let path = path.key("when").index(i);
            self.text(&mut when.input, Reader::Entrypoint, &path.key("input"));
            for (i, value) in when.values.iter_mut().enumerate() {
                self.text(value, Reader::Entrypoint, &path.key("values").index(i));
            }
        }
        for (field, capture) in [("stdout", &mut step.stdout), ("stderr", &mut step.stderr)] {
            if let Some(capture) = capture {
                self.text(
                    &mut capture.path,
                    Reader::Nobody,
                    &path.key(field).key("path"),
                );
            }
        }
    }

    fn sidecar(&mut self, sidecar: &mut Sidecar, path: &FieldPath) {
        let has_script = sidecar.script.is_some();
        self.program(&mut sidecar.command, &mut sidecar.args, has_script, path);
        self.env(&mut sidecar.env, path);
        self.optional(&mut sidecar.image, &path.key("image"));
        self.optional(&mut sidecar.working_dir, &path.key("workingDir"));
        if let Some(readiness) = &mut sidecar.readiness {
            let path = path.key("readiness").key("command");
            self.words(&mut readiness.command, Reader::Nobody, &path);
        }
    }

    fn program(
        &mut self,
        command: &mut Vec<String>,
        args: &mut Vec<String>,
        has_script: bool,
        path: &FieldPath,
    ) {
        self.words(command, Reader::Kubelet, &path.key("command"));
        self.words(args, Reader::Kubelet, &path.key("args"));
        if !has_script && command.first().is_none_or(String::is_empty) {
            let message = "the program's name is empty with these parameters";
            self.report.at(&path.key("command"), message);
        }
    }

    fn env(&mut self, env: &mut [EnvVar], path: &FieldPath) {
        for (i, var) in env.iter_mut().enumerate() {
            if let Some(value) = &mut var.value {
                let path = path.key("env").index(i).key("value");
                self.text(value, Reader::Kubelet, &path);
            }
        }
    }

    fn optional(&mut self, text: &mut Option<String>, path: &FieldPath) {
        if let Some(text) = text {
            self.text(text, Reader::Nobody, path);
        }
    }

    fn words(&mut self, words: &mut Vec<String>, reader: Reader, path: &FieldPath) {
        let mut filled = Vec::with_capacity(words.len());
        for (i, mut word) in words.drain(..).enumerate() {
            let list = match parts(&word).as_slice() {
                [Part::Reference(_, Reference::Param(name, Access::All))] => self.params.get(*name),
                _ => None,
            };
            match list {
                Some(ParamValue::Array(elements)) => {
                    for element in elements {
                        self.take(element.len() + 1, &path.index(i));
                        filled.push(reader.escape(element));
                    }
                }
                _ => {
                    self.text(&mut word, reader, &path.index(i));
                    filled.push(word);
                }
            }
            if self.room == 0 {
                break;
            }
        }
        *words = filled;
    }

    fn text(&mut self, text: &mut String, reader: Reader, path: &FieldPath) {
        let mut filled = String::new();
        for part in parts(text) {
            match part {
                Part::Reference(written, Reference::Param(name, access)) => {
                    match value(self.params, name, access) {
                        Ok(value) => {
                            self.take(value.len(), path);
                            if self.room == 0 {
                                return;
                            }
                            filled.push_str(&reader.escape(value));
                        }
                        Err(message) => self.report.at(path, format!("{written}: {message}")),
                    }
                }
                Part::Literal(written) => filled.push_str(&reader.literal(written)),
                Part::Reference(written, _) | Part::Malformed(written) => {
                    filled.push_str(written);
                }
            }
        }
        if filled.contains('\0') {
            self.report
                .at(path, "a NUL character cannot be handed to a program");
        }
        *text = filled;
    }

    /// Counts what parameters bring; what passes the bound is reported once.
    fn take(&mut self, bytes: usize, path: &FieldPath) {
        if self.room == 0 {
            return;
        }
        self.room = self.room.saturating_sub(bytes);
        if self.room == 0 {
            let message = format!("parameters make more than {MAX_RENDERED_BYTES} bytes of text");
            self.report.at(path, message);
        }
    }
}

fn value<'a>(
    params: &'a BTreeMap<String, ParamValue>,
    name: &str,
    access: Access<'_>,
) -> Result<&'a str, String> {
    match (params.get(name), access) {
        (Some(ParamValue::String(text)), Access::Whole) => Ok(text),
        (Some(ParamValue::Array(elements)), Access::Index(index)) => elements
            .get(index)
            .map(String::as_str)
            .ok_or_else(|| format!("{name:?} has {} elements", elements.len())),
        (Some(ParamValue::Object(fields)), Access::Key(key)) => fields
            .get(key)
            .map(String::as_str)
            .ok_or_else(|| format!("{name:?} has no key {key:?}")),
        _ => Err("there is no such value".to_owned()),
    }
}

#[cfg(test)]
pub(crate) mod tests;
