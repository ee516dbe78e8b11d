//! Runs a Job from its manifest to its story.
//!
//! Three kinds of threads: this one decides, starts and shows; one takes signals (see [`Children`]);
//! and one reads the output of each container that runs.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant, SystemTime};

use baton_api::Job as Manifest;
use baton_protocol::{Timestamp, time};

use super::drive::{Message, Run, Work};
use super::notes::notes;
use super::plan::{self, Job};
use super::screen::Screen;
use super::setup;
use super::spec::Spec;
use super::story::JobStory;
use crate::run::children::{Children, Told};
use crate::run::container::SetupError;
use crate::run::folders::{FolderError, Scratch};
use crate::run::task::Options;
use crate::show::terminal::Terminal;

/// How long entrypoints whose Job is over may take to end.
const PATIENCE: Duration = Duration::from_secs(5);
/// The variable that sets the delay before the first replacement of a failed pod, and before the
/// second restart of a container, in place of the native 10 s.
const BACKOFF_ENV: &str = "BATON_JOB_BACKOFF";

/// Why a Job could not be run, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// A container without a program: its image's is not known here.
    #[error(
        "container {0} has no command; without a cluster there is no image that could bring one"
    )]
    NoCommand(String),
    /// An init container that never ends: its pod would wait for it for ever.
    #[error(
        "init container {0} has restartPolicy: Always, which makes it a sidecar; Jobs have none here: \
         write a Task with sidecars"
    )]
    Sidecar(String),
    /// `BATON_JOB_BACKOFF`.
    #[error("{BACKOFF_ENV}: {0}")]
    Backoff(time::DurationError),
    /// A folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A container's surroundings.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// Something that every run needs.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

pub(super) fn io_error(action: &'static str) -> impl FnOnce(io::Error) -> JobError {
    move |source| JobError::Io { action, source }
}

pub(super) fn now() -> Timestamp {
    Timestamp(SystemTime::now())
}

/// Runs a Job and tells its story. `base` is the folder that its containers start in.
///
/// # Errors
/// Where it cannot be set up, or the machinery fails; nothing of it runs then any more.
pub fn run(
    job: &Manifest,
    source: &str,
    base: &Path,
    options: &Options<'_>,
    children: &Children,
    terminal: &mut Terminal,
) -> Result<JobStory, JobError> {
    let spec = spec(job)?;
    let scratch = Scratch::new(options.keep)?;
    let (tell, told) = channel();
    let ends = tell.clone();
    children.tell(move |what| {
        // Nobody listens any more only where the run is over.
        let _ = ends.send(match what {
            Told::Ended { number, how } => Message::Ended { number, how },
            Told::Stop { nth, .. } => Message::Stop { nth },
        });
    });
    let mut screen = Screen::new(job, options.quiet, terminal);
    let mut story = begin(job, source, &spec);
    match options.part {
        Some(part) => screen.be_part(part),
        None if !options.quiet => screen.introduce(&story, terminal),
        None => {}
    }
    let mut run = Run {
        manifest: job,
        base,
        options,
        children,
        terminal,
        screen,
        scratch: &scratch,
        planner: Job::new(spec.clone()),
        spec,
        story: &mut story,
        origin: Instant::now(),
        pods: BTreeMap::new(),
        live: BTreeMap::new(),
        starts: 0,
        work: VecDeque::from([Work::Job(plan::Event::Tick)]),
        kept: 0,
        tell,
    };
    if children.stops() > 0 {
        run.cancel(children.stops());
    }
    let ended = run.drive(&told);
    run.terminal.set_status(String::new());
    children.tell_nobody();
    if ended.is_err() {
        children.kill_all();
    }
    children.settle(PATIENCE);
    ended?;
    story.finished_at = now();
    if options.keep {
        let kept = format!("kept: {}", scratch.path().display());
        story.notes.push(kept);
    }
    if let Err(e) = scratch.remove() {
        story.notes.push(e.to_string());
    }
    Ok(story)
}

/// Whether a Job can be run here at all.
///
/// # Errors
/// Where it cannot, though it may be fit for a cluster.
pub fn check(job: &Manifest) -> Result<(), JobError> {
    spec(job).map(drop)
}

fn spec(job: &Manifest) -> Result<Spec, JobError> {
    let pod = &job.spec.template.spec;
    let empty = setup::containers(pod).find(|c| c.command.is_empty());
    if let Some(container) = empty {
        return Err(JobError::NoCommand(container.name.clone()));
    }
    let sidecar = pod
        .init_containers
        .iter()
        .find(|c| c.restart_policy.as_ref().is_some_and(|p| p == "Always"));
    if let Some(container) = sidecar {
        return Err(JobError::Sidecar(container.name.clone()));
    }
    let mut spec = Spec::of(&job.spec);
    if let Ok(text) = std::env::var(BACKOFF_ENV) {
        spec.backoff_base = time::parse_duration(&text).map_err(JobError::Backoff)?;
    }
    Ok(spec)
}

fn begin(job: &Manifest, source: &str, spec: &Spec) -> JobStory {
    let now = now();
    JobStory {
        name: job.metadata.display_name().to_owned(),
        source: source.to_owned(),
        notes: notes(job),
        started_at: now,
        finished_at: now,
        pods: Vec::new(),
        condition: None,
        cancelled: false,
        completions: spec.completions,
        succeeded: 0,
        failed: 0,
        completed_indexes: String::new(),
    }
}
