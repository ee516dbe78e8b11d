//! One task's run: every entrypoint is started, [`baton_node`] hands them their turns, and what happens
//! is shown.
//!
//! Four threads: this one starts the processes and shows; the node's hands over and never waits for a
//! slow screen; one reads all output; one takes signals (see [`Children`]).

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, SystemTime};

use baton_api::{Places, Rendered, environments, invocations, plan};
use baton_callbacks::Sink;
use baton_node::{Access, Deaths, Node, NodeError};
use baton_pid1::Ended;
use baton_protocol::{Timestamp, layout};
use baton_steps::{Death, Plan};

use super::callbacks::{self, CallbackError, Callbacks};
use super::children::{Children, Told};
use super::container::{Container, Setup, SetupError, Site, setup};
use super::folders::{FolderError, Folders, Scratch};
use super::notes::notes;
use super::output::{Handle, News, Reader};
use super::story::Story;
use crate::show::style::{FAINT, Palette, YELLOW};
use crate::show::terminal::{Terminal, To};
use crate::show::text::{Look, Screen};

/// How often the status line moves.
const TICK: Duration = Duration::from_millis(100);
/// How long entrypoints whose task is over may take to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is asked for on the command line.
#[derive(Debug)]
pub struct Options<'a> {
    /// Variables for every step.
    pub env: &'a [(String, String)],
    /// Keep the scratch folder.
    pub keep: bool,
    /// Show output and failures alone.
    pub quiet: bool,
    /// Keep what the steps print, for a report.
    pub logs: bool,
}

/// Why a task could not be run. Its steps were not started, or not to their end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A step's surroundings.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// A callback.
    #[error(transparent)]
    Callback(#[from] CallbackError),
    /// The pod's folder.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// A process.
    #[error("cannot start the entrypoint of step {step} ({program}): {source}")]
    Spawn {
        /// The step.
        step: String,
        /// The program.
        program: String,
        /// Why not.
        source: std::io::Error,
    },
    /// TODO: the Job loop is another module's.
    #[error("Jobs cannot be run yet")]
    Job,
    /// Something that every run needs.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
}

fn io(action: &'static str) -> impl FnOnce(std::io::Error) -> RunError {
    move |source| RunError::Io { action, source }
}

/// What the node's thread has to say.
enum Said {
    Notice(baton_node::Notice),
    Failed(NodeError),
}

/// A task that can be started.
struct Ready {
    plan: Plan,
    scratch: Scratch,
    setups: Vec<Setup>,
    sinks: Vec<Sink>,
    story: Story,
}

/// Runs a task and tells its story. `base` is the folder that its steps start in.
///
/// # Errors
/// Where it cannot be set up, or the machinery fails; nothing of it runs then any more.
pub fn run(
    task: &Rendered,
    source: &str,
    base: &Path,
    options: &Options<'_>,
    children: &Children,
    terminal: &mut Terminal,
) -> Result<Story, RunError> {
    let ready = prepare(task, source, base, options)?;
    let name = ready.story.task.clone();
    let callbacks = match ready.sinks.is_empty() {
        true => None,
        false => {
            let run = callbacks::run_id();
            Some(Callbacks::start(ready.sinks, &name, &run, &ready.plan)?)
        }
    };
    if !options.quiet {
        introduce(&ready.story, &ready.plan, terminal);
    }
    let root = ready.scratch.root();
    let live = start(&root, &ready.plan, &ready.setups, children)?;
    let mut shown = Shown {
        screen: Screen::new(&ready.plan, look(terminal, options.quiet)),
        story: ready.story,
        logs: options.logs,
        failed: None,
    };
    let callbacks = follow(live, children, callbacks, &mut shown, terminal)?;
    let mut story = shown.story;
    if let Some(e) = shown.failed {
        return Err(e.into());
    }
    collect_results(&root, &mut story);
    if let Some(callbacks) = callbacks {
        story.notes.extend(callbacks.finish());
    }
    if options.keep {
        story
            .notes
            .push(format!("kept: {}", ready.scratch.path().display()));
    }
    if let Err(e) = ready.scratch.remove() {
        story.notes.push(e.to_string());
    }
    Ok(story)
}

fn look(terminal: &Terminal, quiet: bool) -> Look {
    Look {
        steps: terminal.steps,
        baton: terminal.baton,
        tty: terminal.steps_on_tty,
        quiet,
    }
}

/// Everything that can fail before a process is started.
fn prepare(
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
        wait: vec![root.join(layout::ORDER)],
        root,
        termination_message: None,
    };
    let setups = containers(task)
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
            None => {
                let words: Vec<_> = command.iter().chain(args).map(|w| quoted(w)).collect();
                words.join(" ")
            }
        })
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

fn introduce(story: &Story, plan: &Plan, terminal: &mut Terminal) {
    let palette = terminal.baton;
    let count = |n: usize, what: &str| match n {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    };
    let mut parts = vec![count(plan.steps.len(), "step")];
    if !plan.finally.is_empty() {
        parts.push(format!("{} finally", plan.finally.len()));
    }
    if !plan.sidecars.is_empty() {
        parts.push(count(plan.sidecars.len(), "sidecar"));
    }
    let title = palette.paint(crate::show::style::BOLD, format!("task {}", story.task));
    let mut text = format!("{title}: {}\n", parts.join(", "));
    for note in &story.notes {
        text.push_str(&format!("{}\n", palette.paint(FAINT, format!("  {note}"))));
    }
    terminal.put(To::Baton, text.as_bytes());
    terminal.flush();
}

/// A run whose processes are started.
struct Live {
    node: Node,
    reader: Reader<Said>,
    news: Receiver<News<Said>>,
}

fn start(
    root: &Path,
    plan: &Plan,
    setups: &[Setup],
    children: &Children,
) -> Result<Live, RunError> {
    let node = Node::open(root, plan.clone(), Deaths::Told)?;
    let handle = node.handle();
    let told = handle.clone();
    children.tell(move |what| match what {
        Told::Stop { nth: 1, .. } => told.cancel(),
        Told::Stop { nth: 2, .. } => told.kill(),
        Told::Stop { .. } => abandon(),
        Told::Ended { number, how } => {
            let death = match how {
                Ended::Exited(code) => Death::Exited(code),
                Ended::Killed(signal) => Death::Signal(signal),
            };
            told.died(number, death);
        }
    });
    let pipes = match spawn_all(plan, setups, children) {
        Ok(pipes) => pipes,
        Err(e) => {
            children.tell_nobody();
            children.kill_all();
            children.settle(PATIENCE);
            return Err(e);
        }
    };
    let (tell, news): (Sender<News<Said>>, _) = channel();
    let started = Reader::start(pipes, move |item| {
        // Nobody listens any more only where this program ends.
        let _ = tell.send(item);
    });
    let reader = started.map_err(io("start the thread that reads the output"))?;
    handle.begin();
    if children.stops() > 0 {
        handle.cancel();
    }
    Ok(Live { node, reader, news })
}

fn spawn_all(
    plan: &Plan,
    setups: &[Setup],
    children: &Children,
) -> Result<Vec<(u32, std::io::PipeReader)>, RunError> {
    let mut pipes = Vec::with_capacity(setups.len());
    for ((number, _, name), setup) in plan.numbered().zip(setups) {
        let (ours, theirs) = std::io::pipe().map_err(io("make a pipe for a step's output"))?;
        let mut command = setup
            .command(theirs)
            .map_err(io("make a pipe for a step's output"))?;
        children
            .spawn(number, &mut command)
            .map_err(|source| RunError::Spawn {
                step: name.to_owned(),
                program: command.get_program().to_string_lossy().into_owned(),
                source,
            })?;
        pipes.push((number, ours));
    }
    Ok(pipes)
}

/// Somebody asked three times: everything is killed, and nothing is tidied up.
fn abandon() {
    baton_pid1::tree::kill_all();
    // SAFETY: it ends the process at once, which is what is wanted; no destructor has to run.
    unsafe { libc::_exit(baton_steps::CANCELLED_EXIT_CODE) };
}

/// What is shown, and what is known.
struct Shown {
    screen: Screen,
    story: Story,
    logs: bool,
    failed: Option<NodeError>,
}

/// Drives the run to its end, and shows it.
fn follow(
    live: Live,
    children: &Children,
    callbacks: Option<Callbacks>,
    shown: &mut Shown,
    terminal: &mut Terminal,
) -> Result<Option<Callbacks>, RunError> {
    let Live {
        mut node,
        reader,
        news,
    } = live;
    let say = reader.handle();
    let theirs = (say.clone(), children.clone());
    let driver = std::thread::Builder::new()
        .name("node".into())
        .spawn(move || {
            let (say, children) = theirs;
            drive(&mut node, &say, &children, callbacks.as_ref());
            callbacks
        })
        .map_err(io("start the thread that hands over"))?;
    show(&news, &say, shown, terminal);
    // Both have ended: the news end with the reader, and the node's thread stops that last.
    reader.join();
    Ok(driver.join().unwrap_or_default())
}

/// The node's thread: hands over until the task is over, then sees that nothing is left of it.
fn drive(node: &mut Node, say: &Handle<Said>, children: &Children, callbacks: Option<&Callbacks>) {
    let ended = node.run(|notice| {
        match &notice {
            baton_node::Notice::Kill { number } => children.kill(*number),
            baton_node::Notice::Run(notice) => {
                if let Some(callbacks) = callbacks {
                    callbacks.tell(notice);
                }
            }
            baton_node::Notice::Bad { .. } | baton_node::Notice::Trouble { .. } => {}
        }
        say.say(Said::Notice(notice));
    });
    children.tell_nobody();
    match ended {
        Ok(_) => children.settle(PATIENCE),
        Err(e) => {
            children.kill_all();
            say.say(Said::Failed(e));
            children.settle(Duration::ZERO)
        }
    };
    say.stop();
}

/// Shows the news until there are no more.
fn show(
    news: &Receiver<News<Said>>,
    say: &Handle<Said>,
    shown: &mut Shown,
    terminal: &mut Terminal,
) {
    let mut frame = 0;
    loop {
        let first = if terminal.is_live() {
            news.recv_timeout(TICK)
        } else {
            news.recv().map_err(|_| RecvTimeoutError::Disconnected)
        };
        match first {
            Ok(first) => {
                shown.take(first, say, terminal);
                // What has come in the meantime, but not without end: the status line wants to move.
                for item in news.try_iter().take(64) {
                    shown.take(item, say, terminal);
                }
            }
            Err(RecvTimeoutError::Timeout) => frame += 1,
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if terminal.is_live() {
            let now = Timestamp(SystemTime::now());
            let status = shown.screen.status(now, frame, terminal.columns());
            terminal.set_status(status);
        }
        terminal.flush();
    }
    terminal.set_status(String::new());
    terminal.flush();
}

impl Shown {
    fn take(&mut self, news: News<Said>, say: &Handle<Said>, terminal: &mut Terminal) {
        match news {
            News::Printed { number, bytes } => {
                self.screen.printed(number, &bytes, terminal);
                if self.logs
                    && let Some(step) = self.story.step_mut(number)
                {
                    step.log.push(&bytes);
                }
                say.shown(bytes.len());
            }
            News::Said(Said::Failed(e)) => self.failed = Some(e),
            News::Said(Said::Notice(notice)) => self.notice(notice, terminal),
        }
    }

    fn notice(&mut self, notice: baton_node::Notice, terminal: &mut Terminal) {
        let note = match notice {
            baton_node::Notice::Run(notice) => {
                self.screen.notice(&notice, terminal);
                self.story.apply(&notice);
                return;
            }
            baton_node::Notice::Kill { .. } => return,
            baton_node::Notice::Bad {
                number,
                file,
                cause,
            } => {
                let name = self.story.step(number).map_or("?", |s| s.name.as_str());
                format!("step {name}: its file {file} is not used: {cause}")
            }
            baton_node::Notice::Trouble { message } => message,
        };
        let line = format!("{}\n", warning(terminal.baton, &note));
        terminal.put(To::Baton, line.as_bytes());
        self.story.notes.push(note);
    }
}

fn warning(palette: Palette, text: &str) -> String {
    palette
        .paint(YELLOW, crate::show::style::one_line(text))
        .to_string()
}

fn collect_results(root: &Path, story: &mut Story) {
    let mut bad = Vec::new();
    for step in &mut story.steps {
        match baton_node::results(root, step.number) {
            Ok(results) => {
                for (name, value) in results {
                    match value {
                        Ok(value) => step.results.push((name, value)),
                        Err(e) => bad.push(format!("result {name} of step {}: {e}", step.name)),
                    }
                }
            }
            Err(e) => bad.push(format!("results of step {}: {e}", step.name)),
        }
    }
    story.notes.extend(bad);
}

/// Makes a folder's path one that holds wherever a step stands.
pub fn absolute(folder: &Path) -> Result<PathBuf, RunError> {
    let folder = match folder.as_os_str().is_empty() {
        true => Path::new("."),
        false => folder,
    };
    folder.canonicalize().map_err(|e| {
        let message = format!("{}: {e}", folder.display());
        io("use the steps' working folder")(std::io::Error::new(e.kind(), message))
    })
}
