//! Everything of a task's run that can fail before a process is started.

use std::path::Path;

use baton_api::{Places, Rendered, environments, invocations, plan};
use baton_callbacks::Sink;
use baton_node::Access;
use baton_steps::Plan;

use super::callbacks;
use super::container::{self, Container, Setup, Site, setup};
use super::folders::{Folders, Scratch};
use super::notes::notes;
use super::story::Story;
use super::task::{Options, RunError};

/// A task that can be started.
pub(super) struct Ready {
    pub(super) plan: Plan,
    pub(super) scratch: Scratch,
    pub(super) setups: Vec<Setup>,
    pub(super) sinks: Vec<Sink>,
    pub(super) story: Story,
}

/// Checks what a task takes from its surroundings, before any task is run.
///
/// # Errors
/// Where a variable or a callback is not to be had.
pub(super) fn check(task: &Rendered, env: &[(String, String)]) -> Result<(), RunError> {
    callbacks::sinks(task)?;
    let spec = task.spec();
    let steps = spec.steps.iter().chain(&spec.finally).map(|s| &s.env);
    let variables = steps.chain(spec.sidecars.iter().map(|s| &s.env));
    for (container, variables) in containers(task).zip(variables) {
        let env_of = Container {
            env: variables,
            ..container
        };
        container::check(env_of, env)?;
    }
    Ok(())
}

/// Makes a task ready.
///
/// # Errors
/// Where a folder, a variable, a script or a callback is not to be had.
pub(super) fn prepare(
    task: &Rendered,
    source: &str,
    base: &Path,
    options: &Options<'_>,
) -> Result<Ready, RunError> {
    let plan = plan(task);
    let sinks = callbacks::sinks(task)?;
    let scratch = Scratch::new(options.keep)?;
    let root = scratch.root();
    baton_node::prepare(&root, &plan, Access::Owner)?;
    let folders = Folders::make(&task.spec().volumes, scratch.path())?;
    let site = Site {
        scratch: scratch.path(),
        folders: &folders,
        env: options.env,
        base,
    };
    let places = Places {
        also_wait: Vec::new(),
        root,
        termination_message: None,
    };
    let secrets = task
        .spec()
        .callbacks
        .iter()
        .filter_map(|c| c.secret.as_ref()?.env.clone());
    let hidden: Vec<_> = secrets.collect();
    let mut setups = containers(task)
        .zip(environments(task, &places))
        .zip(invocations(task, &places))
        .map(|((container, env), call)| {
            setup(
                Container {
                    env: &env,
                    ..container
                },
                call,
                &site,
            )
        })
        .collect::<Result<Vec<_>, _>>()?;
    for setup in &mut setups {
        setup.hidden.clone_from(&hidden);
    }
    let mut story = Story::new(task.task().metadata.display_name(), source, &plan);
    for (step, command) in story.steps.iter_mut().zip(commands(task)) {
        step.command = command;
    }
    story.notes = notes(task);
    let places = folders.iter();
    story
        .notes
        .extend(places.map(|(name, path)| format!("volume {name} is {}", path.display())));
    Ok(Ready {
        plan,
        scratch,
        setups,
        sinks,
        story,
    })
}

fn containers(task: &Rendered) -> impl Iterator<Item = Container<'_>> {
    let spec = task.spec();
    let steps = spec.steps.iter().chain(&spec.finally).map(|s| Container {
        name: &s.name,
        env: &[],
        working_dir: s.working_dir.as_deref(),
        mounts: &s.volume_mounts,
    });
    let sidecars = spec.sidecars.iter().map(|s| Container {
        name: &s.name,
        env: &[],
        working_dir: s.working_dir.as_deref(),
        mounts: &s.volume_mounts,
    });
    steps.chain(sidecars)
}

/// What each container runs, as a person would write it.
fn commands(task: &Rendered) -> impl Iterator<Item = String> {
    let spec = task.spec();
    let steps = spec.steps.iter().chain(&spec.finally);
    let steps = steps.map(|s| (&s.script, &s.command, &s.args));
    let sidecars = spec
        .sidecars
        .iter()
        .map(|s| (&s.script, &s.command, &s.args));
    steps
        .chain(sidecars)
        .map(|(script, command, args)| match script {
            Some(script) => script.trim_end().to_owned(),
            None => command_line(command.iter().chain(args)),
        })
}

/// A command, as a person would write it.
pub(crate) fn command_line<'a>(words: impl Iterator<Item = &'a String>) -> String {
    let words: Vec<_> = words.map(|w| quoted(w)).collect();
    words.join(" ")
}

/// A word as a shell would take it.
fn quoted(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-+@:,=%$()".contains(&b);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}
