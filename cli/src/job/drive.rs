//! The loop around the planner and the pods: it starts processes, hears of their ends, keeps the time
//! and shows what happens. What is to be done is decided elsewhere.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use baton_api::Job as Manifest;
use baton_pid1::Ended;

use super::facts_file;
use super::plan::{self, Action, Job, PodId};
use super::pod::{self, Effect, Pod};
use super::run::{JobError, io_error, now};
use super::screen::Screen;
use super::setup::{self, Identity};
use super::spec::Spec;
use super::story::{Attempt, ContainerStory, JobStory, PodPhase, PodStory};
use crate::run::children::Children;
use crate::run::container::Site;
use crate::run::folders::{Folders, Scratch};
use crate::run::output::{News, Reader};
use crate::run::story::Log;
use crate::run::task::Options;
use crate::show::terminal::Terminal;

/// How often the status line moves.
const TICK: Duration = Duration::from_millis(100);
/// Most bytes of all containers' output together that are kept for a report.
const MAX_KEPT: usize = 64 << 20;

/// What other threads tell this one.
pub(super) enum Message {
    /// Somebody asks for the end.
    Stop { nth: u32 },
    /// An entrypoint is gone.
    Ended { number: u32, how: Ended },
    /// A container printed this.
    Printed { number: u32, bytes: Vec<u8> },
    /// All that a container printed before its end was told.
    Drained { number: u32 },
}

/// What is still to be thought through.
pub(super) enum Work {
    Job(plan::Event),
    Pod(PodId, pod::Event),
}

/// A pod that is not over.
pub(super) struct LivePod {
    machine: Pod,
    identity: Identity,
    dir: PathBuf,
    folders: Folders,
}

/// A container that runs.
pub(super) struct LiveContainer {
    pod: PodId,
    container: usize,
    reader: Reader<()>,
    step_dir: PathBuf,
    how: Option<Ended>,
}

/// The loop's state.
pub(super) struct Run<'a> {
    pub(super) manifest: &'a Manifest,
    pub(super) base: &'a Path,
    pub(super) options: &'a Options<'a>,
    pub(super) children: &'a Children,
    pub(super) terminal: &'a mut Terminal,
    pub(super) screen: Screen,
    pub(super) scratch: &'a Scratch,
    pub(super) spec: Spec,
    pub(super) planner: Job,
    pub(super) story: &'a mut JobStory,
    pub(super) origin: Instant,
    pub(super) pods: BTreeMap<PodId, LivePod>,
    /// By the number that names the process to [`Children`].
    pub(super) live: BTreeMap<u32, LiveContainer>,
    pub(super) starts: u32,
    pub(super) work: VecDeque<Work>,
    pub(super) kept: usize,
    pub(super) tell: Sender<Message>,
}

impl Run<'_> {
    /// Runs until nothing is left to do.
    pub(super) fn drive(&mut self, told: &Receiver<Message>) -> Result<(), JobError> {
        loop {
            while let Some(work) = self.work.pop_front() {
                match work {
                    Work::Job(event) => self.job(event)?,
                    Work::Pod(id, event) => self.pod(id, event)?,
                }
            }
            let wake = self.next_wake();
            if self.pods.is_empty() && (self.story.cancelled || wake.is_none()) {
                // Complete, failed, cancelled, or suspended with nobody who could resume it.
                self.terminal.flush();
                return Ok(());
            }
            self.show_status();
            self.wait(told, wake);
        }
    }

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn next_wake(&self) -> Option<Duration> {
        let job = match self.story.cancelled {
            true => None,
            false => self.planner.next_wake(self.now()),
        };
        let pods = self.pods.values().filter_map(|pod| pod.machine.next_wake());
        pods.chain(job).min()
    }

    /// Waits for the next message, or until it is time to look again.
    fn wait(&mut self, told: &Receiver<Message>, wake: Option<Duration>) {
        let status = self.terminal.is_live().then_some(TICK);
        let until = wake.map(|at| at.saturating_sub(self.now()));
        let patience = until.into_iter().chain(status).min();
        let message = match patience {
            Some(patience) => told.recv_timeout(patience),
            None => told.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match message {
            Ok(message) => {
                self.take(message);
                // What else is there: one pass of thought for all of it.
                while let Ok(message) = told.try_recv() {
                    self.take(message);
                }
            }
            Err(_) => {
                self.work.push_back(Work::Job(plan::Event::Tick));
                let pods = self.pods.keys();
                self.work
                    .extend(pods.map(|id| Work::Pod(*id, pod::Event::Tick)));
            }
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Stop { nth } => self.cancel(nth),
            Message::Printed { number, bytes } => self.printed(number, &bytes),
            Message::Ended { number, how } => {
                if let Some(container) = self.live.get_mut(&number) {
                    container.how = Some(how);
                    let reader = container.reader.handle();
                    // Its end is told after all that it printed.
                    reader.say(());
                    reader.stop();
                }
            }
            Message::Drained { number } => self.ended(number),
        }
    }

    /// Somebody asks for the end, for the `nth` time.
    pub(super) fn cancel(&mut self, nth: u32) {
        self.story.cancelled = true;
        if nth > 1 {
            self.children.kill_all();
        }
        let pods = self.pods.keys();
        self.work
            .extend(pods.map(|id| Work::Pod(*id, pod::Event::Stop)));
    }

    fn printed(&mut self, number: u32, bytes: &[u8]) {
        let Some(container) = self.live.get(&number) else {
            return;
        };
        container.reader.handle().shown(bytes.len());
        self.screen.printed(number, bytes, self.terminal);
        if self.options.logs && self.kept < MAX_KEPT {
            self.kept += bytes.len();
            let index = container.container;
            let pod = self.story.pod_mut(container.pod);
            if let Some(container) = pod.and_then(|p| p.containers.get_mut(index)) {
                container.log.push(bytes);
            }
        }
    }

    fn job(&mut self, event: plan::Event) -> Result<(), JobError> {
        if self.story.cancelled {
            return Ok(());
        }
        let now = self.now();
        for action in self.planner.apply(now, event) {
            match action {
                Action::Create { pod, index } => self.create(pod, index)?,
                Action::Delete(pod) => self.work.push_back(Work::Pod(pod, pod::Event::Stop)),
                Action::Condition(condition) => self.story.condition = Some(condition),
            }
        }
        self.story.succeeded = self.planner.succeeded();
        self.story.failed = self.planner.failed();
        self.story.completed_indexes = self.planner.completed_indexes();
        Ok(())
    }

    fn create(&mut self, id: PodId, index: Option<u32>) -> Result<(), JobError> {
        let template = &self.manifest.spec.template.spec;
        let identity = Identity::new(&self.story.name, id, index);
        let dir = self.scratch.path().join("pods").join(&identity.name);
        let folders = Folders::make(&template.volumes, &dir)?;
        let containers = setup::containers(template).enumerate();
        self.story.pods.push(PodStory {
            id,
            name: identity.name.clone(),
            index,
            phase: PodPhase::Running,
            started_at: now(),
            finished_at: None,
            containers: containers
                .map(|(i, container)| ContainerStory {
                    name: container.name.clone(),
                    init: i < template.init_containers.len(),
                    command: crate::run::task::command_line(
                        container.command.iter().chain(&container.args),
                    ),
                    attempts: Vec::new(),
                    log: Log::default(),
                })
                .collect(),
        });
        let pod = LivePod {
            machine: Pod::new(setup::shape(template, &self.spec)),
            identity,
            dir,
            folders,
        };
        self.pods.insert(id, pod);
        self.work.push_back(Work::Pod(id, pod::Event::Tick));
        Ok(())
    }

    fn pod(&mut self, id: PodId, event: pod::Event) -> Result<(), JobError> {
        let now = self.now();
        let Some(pod) = self.pods.get_mut(&id) else {
            return Ok(());
        };
        for effect in pod.machine.apply(now, event) {
            match effect {
                Effect::Start(container) => self.start(id, container)?,
                Effect::Stop(container) => self.stop(id, container),
                Effect::Ready => self.work.push_back(Work::Job(plan::Event::Ready(id))),
                Effect::Restarting(_) => {
                    self.work.push_back(Work::Job(plan::Event::Restarted(id)));
                }
                Effect::Over { success } => self.over(id, success),
            }
        }
        Ok(())
    }

    fn start(&mut self, id: PodId, index: usize) -> Result<(), JobError> {
        let template = &self.manifest.spec.template.spec;
        let spec = setup::containers(template).nth(index);
        let story = self
            .story
            .pod_mut(id)
            .and_then(|p| p.containers.get_mut(index));
        let (Some(pod), Some(spec), Some(story)) = (self.pods.get(&id), spec, story) else {
            return Ok(());
        };
        let step_dir = setup::step_dir(&pod.dir, index, story.attempts.len());
        fs::create_dir_all(&step_dir).map_err(io_error("make a container's folder"))?;
        let site = Site {
            scratch: &pod.dir,
            folders: &pod.folders,
            env: self.options.env,
            base: self.base,
        };
        let setup = setup::setup(template, spec, &pod.identity, step_dir.clone(), &site)?;
        let action = "make a pipe for a container's output";
        let (ours, theirs) = io::pipe().map_err(io_error(action))?;
        let mut command = setup.command(theirs).map_err(io_error(action))?;
        self.starts += 1;
        let number = self.starts;
        let spawned = self.children.spawn(number, &mut command);
        // The command holds the pipe's other end.
        drop(command);
        spawned.map_err(io_error("start a container's entrypoint"))?;
        let tell = self.tell.clone();
        let reader = Reader::start(vec![(number, ours)], move |news| {
            let _ = tell.send(match news {
                News::Printed { number, bytes } => Message::Printed { number, bytes },
                News::Said(()) => Message::Drained { number },
            });
        });
        let reader = reader.map_err(io_error("start the thread that reads the output"))?;
        self.screen.started(
            number,
            id,
            &pod.identity,
            spec,
            story.attempts.len(),
            self.terminal,
        );
        story.attempts.push(Attempt {
            started_at: now(),
            record: None,
        });
        let container = LiveContainer {
            pod: id,
            container: index,
            reader,
            step_dir,
            how: None,
        };
        self.live.insert(number, container);
        Ok(())
    }

    fn stop(&self, id: PodId, index: usize) {
        for (number, container) in &self.live {
            if container.pod == id && container.container == index {
                self.children.terminate(*number);
            }
        }
    }

    /// A container is over, and all that it printed was shown.
    fn ended(&mut self, number: u32) {
        let Some(container) = self.live.remove(&number) else {
            return;
        };
        container.reader.join();
        let pod = self.story.pod_mut(container.pod);
        let story = pod.and_then(|p| p.containers.get_mut(container.container));
        let attempt = story.and_then(|c| c.attempts.last_mut());
        let now = now();
        let started_at = attempt.as_ref().map_or(now, |a| a.started_at);
        let record = facts_file::record(&container.step_dir, container.how, started_at, now);
        self.screen.ended(number, &record, self.terminal);
        let success = record.reason.is_success();
        if let Some(attempt) = attempt {
            attempt.record = Some(record);
        }
        let event = pod::Event::Ended {
            container: container.container,
            success,
        };
        self.work.push_back(Work::Pod(container.pod, event));
    }

    fn over(&mut self, id: PodId, success: bool) {
        let pod = self.pods.remove(&id);
        let deleted = pod.is_some_and(|p| p.machine.is_stopping() && !p.machine.is_late());
        if let Some(story) = self.story.pod_mut(id) {
            story.finished_at = Some(now());
            story.phase = match success {
                true => PodPhase::Succeeded,
                false if deleted => PodPhase::Deleted,
                false => PodPhase::Failed,
            };
        }
        let event = plan::Event::Ended { pod: id, success };
        self.work.push_back(Work::Job(event));
    }

    fn show_status(&mut self) {
        let waits = match self.pods.is_empty() {
            true => self.next_wake().map(|at| at.saturating_sub(self.now())),
            false => None,
        };
        let active = self.planner.active();
        let status = self.screen.status(self.story, active, waits);
        self.terminal.set_status(status);
        self.terminal.flush();
    }
}
