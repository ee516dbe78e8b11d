//! A rendered Task as those who run it need it: the plan of its order, and the entrypoint's command
//! line of each container.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use baton_protocol::invocation::{DEFAULT_RETRY_DELAY, Invocation, Probe, ScriptSource};
use baton_protocol::layout::{RESULTS, step_dir, turn_file};
use baton_protocol::reference::{When, references};
use baton_protocol::script;
use baton_steps::{self as plan, Plan};

use crate::core::EnvVar;
use crate::reference::{Part, Reference, parts};
use crate::render::{Rendered, duration};
use crate::task::{Capture, OnError, Readiness, Sidecar, Step};

/// Longest packed script that Linux takes as one argument, in bytes; a longer one has to go to a file
/// ([`ScriptSource::File`]), which is for the caller to write.
pub const MAX_INLINE_SCRIPT: usize = 120 << 10;

/// Where a run's files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// The baton volume.
    pub root: PathBuf,
    /// Order files besides each container's own in the volume: the downward API's.
    pub also_wait: Vec<PathBuf>,
    /// Where each container's termination message goes.
    pub termination_message: Option<PathBuf>,
}

/// The plan of a task's order.
pub fn plan(rendered: &Rendered) -> Plan {
    let spec = rendered.spec();
    let named = |steps: &[Step]| {
        let step = |s: &Step| plan::Step {
            name: s.name.clone(),
        };
        steps.iter().map(step).collect()
    };
    let sidecar = |s: &Sidecar| plan::Sidecar {
        name: s.name.clone(),
        awaited: s.readiness.is_some(),
    };
    Plan {
        steps: named(&spec.steps),
        finally: named(&spec.finally),
        sidecars: spec.sidecars.iter().map(sidecar).collect(),
        timeout: rendered.timeout(),
        grace: rendered.grace(),
    }
}

/// The entrypoint's command line of every container, by number: steps, `finally` steps, sidecars.
///
/// Kubernetes' own `$(NAME)` in the commands is not replaced yet: the kubelet does it, or
/// [`expand_env`](crate::expand_env) with the container's environment (see [`environments`]). The
/// command of one with a script is the script's arguments.
pub fn invocations(rendered: &Rendered, places: &Places) -> Vec<Invocation> {
    let task = Numbered::new(rendered);
    let mut invocations: Vec<_> = task
        .steps()
        .map(|(n, s)| step(&task, places, n, s))
        .collect();
    invocations.extend(task.sidecars().map(|(n, s)| sidecar(&task, places, n, s)));
    invocations
}

/// The environment of every container, in the order of [`invocations`]: `$(results.NAME.path)` is
/// replaced, Kubernetes' own `$(NAME)` and `valueFrom` are not.
///
/// The entrypoint looks at the environment only where its step refers to results; elsewhere
/// `$$(steps.` is `$(steps.` here already.
pub fn environments(rendered: &Rendered, places: &Places) -> Vec<Vec<EnvVar>> {
    let task = Numbered::new(rendered);
    let steps = task
        .steps()
        .map(|(n, s)| (n, &s.env, !results_of(&task, places, n, s).is_empty()));
    let sidecars = task.sidecars().map(|(n, s)| (n, &s.env, false));
    let filled = |number, var: &EnvVar, is_resolved: bool| EnvVar {
        value: var.value.as_ref().map(|value| {
            let value = own_paths(value, &step_dir(&places.root, number), Dollars::Doubled);
            if is_resolved {
                value
            } else {
                value.replace("$$(steps.", "$(steps.")
            }
        }),
        ..var.clone()
    };
    steps
        .chain(sidecars)
        .map(|(n, env, is_resolved)| env.iter().map(|v| filled(n, v, is_resolved)).collect())
        .collect()
}

/// A task whose containers have their numbers.
struct Numbered<'a> {
    rendered: &'a Rendered,
}

impl<'a> Numbered<'a> {
    fn new(rendered: &'a Rendered) -> Numbered<'a> {
        Numbered { rendered }
    }

    fn steps(&self) -> impl Iterator<Item = (u32, &'a Step)> + use<'a> {
        let spec = self.rendered.spec();
        (1..).zip(spec.steps.iter().chain(&spec.finally))
    }

    fn sidecars(&self) -> impl Iterator<Item = (u32, &'a Sidecar)> + use<'a> {
        (self.finished()..).zip(&self.rendered.spec().sidecars)
    }

    fn is_finally(&self, number: u32) -> bool {
        number as usize > self.rendered.spec().steps.len()
    }

    /// The order that says finished.
    fn finished(&self) -> u32 {
        let spec = self.rendered.spec();
        // Validation bounds them.
        u32::try_from(spec.steps.len() + spec.finally.len() + 1).unwrap_or(u32::MAX)
    }
}

/// A container's own order file first: it is the fastest.
fn waited_for(places: &Places, number: u32) -> Vec<PathBuf> {
    let own = turn_file(&places.root, number);
    [own]
        .into_iter()
        .chain(places.also_wait.iter().cloned())
        .collect()
}

fn step(task: &Numbered<'_>, places: &Places, number: u32, step: &Step) -> Invocation {
    let folder = step_dir(&places.root, number);
    let when = step.when.iter().filter_map(|when| {
        Some(When {
            input: when.input.clone(),
            operator: when.operator?,
            values: when.values.clone(),
        })
    });
    let capture = |capture: &Option<Capture>| {
        let path = &capture.as_ref()?.path;
        Some(own_paths(path, &folder, Dollars::Plain).into())
    };
    Invocation {
        step: Some(step.name.clone()),
        wait: waited_for(places, number),
        wait_content: number.to_string(),
        through_cancel: task.is_finally(number),
        results_of: results_of(task, places, number, step),
        out: capture(&step.stdout),
        err: capture(&step.stderr),
        script: step.script.as_ref().map(|script| packed(script, &folder)),
        when: when.collect(),
        timeout: duration(step.timeout.as_ref()),
        grace: task.rendered.grace(),
        continue_on_error: step.on_error == OnError::Continue,
        retries: step.retries,
        retry_delay: duration(step.retry_delay.as_ref()).unwrap_or(DEFAULT_RETRY_DELAY),
        termination_message: places.termination_message.clone(),
        command: words(&step.command, &step.args, &folder),
        step_dir: Some(folder),
        ..Invocation::default()
    }
}

fn sidecar(task: &Numbered<'_>, places: &Places, number: u32, sidecar: &Sidecar) -> Invocation {
    let folder = step_dir(&places.root, number);
    let probe = |readiness: &Readiness| match readiness.port {
        Some(port) => Probe::Port(port),
        None => Probe::Command(readiness.command.clone()),
    };
    Invocation {
        step: Some(sidecar.name.clone()),
        wait: waited_for(places, number),
        through_cancel: !task.rendered.spec().finally.is_empty(),
        until: Some(task.finished()),
        script: sidecar
            .script
            .as_ref()
            .map(|script| packed(script, &folder)),
        grace: task.rendered.grace(),
        ready: sidecar.readiness.as_ref().map(probe),
        termination_message: places.termination_message.clone(),
        command: words(&sidecar.command, &sidecar.args, &folder),
        step_dir: Some(folder),
        ..Invocation::default()
    }
}

fn words(command: &[String], args: &[String], folder: &Path) -> Vec<OsString> {
    command
        .iter()
        .chain(args)
        .map(|word| own_paths(word, folder, Dollars::Doubled).into())
        .collect()
}

fn packed(script: &str, folder: &Path) -> ScriptSource {
    let script = own_paths(script, folder, Dollars::Plain);
    ScriptSource::Inline(script::encode(script.as_bytes()))
}

/// The folders of exactly the steps that a step refers to.
fn results_of(
    task: &Numbered<'_>,
    places: &Places,
    number: u32,
    step: &Step,
) -> Vec<(String, PathBuf)> {
    let env = step.env.iter().filter_map(|var| var.value.as_ref());
    let when = step
        .when
        .iter()
        .flat_map(|when| std::iter::once(&when.input).chain(&when.values));
    let texts = step.command.iter().chain(&step.args).chain(env).chain(when);
    let wanted: BTreeSet<String> = texts
        .flat_map(|text| references(text.as_bytes()))
        .map(|reference| reference.step)
        .collect();
    task.steps()
        .take_while(|(n, _)| *n < number)
        .filter(|(_, s)| wanted.contains(&s.name))
        .map(|(n, s)| (s.name.clone(), step_dir(&places.root, n)))
        .collect()
}

/// Whether the kubelet reads the text later, to which two dollars are one.
#[derive(Clone, Copy)]
enum Dollars {
    Doubled,
    Plain,
}

/// Replaces each `$(results.NAME.path)` by the file of this result.
fn own_paths(text: &str, folder: &Path, dollars: Dollars) -> String {
    let mut filled = String::with_capacity(text.len());
    for part in parts(text) {
        match part {
            Part::Reference(_, Reference::OwnPath(name)) => {
                let path = folder.join(RESULTS).join(name);
                let path = path.to_string_lossy();
                match dollars {
                    Dollars::Doubled => filled.push_str(&path.replace('$', "$$")),
                    Dollars::Plain => filled.push_str(&path),
                }
            }
            Part::Literal(written) | Part::Reference(written, _) | Part::Malformed(written) => {
                filled.push_str(written);
            }
        }
    }
    filled
}

#[cfg(test)]
mod tests;
