//! One task's run: every entrypoint is started, [`baton_node`] hands them their turns, and what happens
//! is shown.
//!
//! Four threads: this one starts the processes and shows; the node's hands over and never waits for a
//! slow screen; one reads all output; one takes signals (see [`Children`]).

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use baton_api::Rendered;
use baton_node::{Deaths, Node, NodeError};
use baton_pid1::Ended;
use baton_steps::{Death, Plan};

use super::callbacks::{self, CallbackError, Callbacks};
use super::children::{Children, Told, abandon};
use super::container::{Setup, SetupError};
use super::folders::FolderError;
use super::output::{Handle, News, Reader};
pub(crate) use super::ready::command_line;
use super::ready::prepare;
use super::shown::{Said, Shown, introduce, look, show, warn};
use super::story::Story;
use crate::show::terminal::Terminal;
use crate::show::text::Screen;

/// How long entrypoints whose task is over may take to end.
const PATIENCE: Duration = Duration::from_secs(5);
/// A wait that is longer is explained.
const SOON: Duration = Duration::from_secs(1);

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
    /// It is a part of something larger, on whose screen it is shown.
    pub part: Option<Part>,
}

/// How a part of something larger is shown beside its other parts.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    /// Columns of the names before lines.
    pub columns: usize,
    /// Number of the colour.
    pub colour: u32,
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
    /// A Job.
    #[error(transparent)]
    Job(#[from] crate::job::JobError),
    /// A JobFlow.
    #[error(transparent)]
    Flow(#[from] crate::flow::FlowError),
    /// A DaemonJob.
    #[error(transparent)]
    Daemon(#[from] crate::flow::daemon::DaemonError),
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

/// A task that is over.
#[derive(Debug)]
pub struct Over {
    /// Its story.
    pub story: Story,
    /// What still has to be told to others: for [`deliver`].
    pub callbacks: Option<Callbacks>,
}

/// Runs a task to its end. `base` is the folder that its steps start in.
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
) -> Result<Over, RunError> {
    // Until its processes run there is nothing to cancel, but something to tidy up.
    children.tell(|told| {
        if let Told::Stop { nth: 3.., .. } = told {
            abandon();
        }
    });
    let ran = run_to_its_end(task, source, base, options, children, terminal);
    children.tell_nobody();
    ran
}

fn run_to_its_end(
    task: &Rendered,
    source: &str,
    base: &Path,
    options: &Options<'_>,
    children: &Children,
    terminal: &mut Terminal,
) -> Result<Over, RunError> {
    let ready = prepare(task, source, base, options)?;
    let name = ready.story.task.clone();
    let callbacks = match ready.sinks.is_empty() {
        true => None,
        false => {
            let run = callbacks::run_id();
            Some(Callbacks::start(ready.sinks, &name, &run, &ready.plan)?)
        }
    };
    if !options.quiet && options.part.is_none() {
        introduce(&ready.story, &ready.plan, terminal);
    }
    let root = ready.scratch.root();
    let live = start(&root, &ready.plan, &ready.setups, children)?;
    let mut screen = Screen::new(&ready.plan, look(terminal, options.quiet));
    if let Some(part) = options.part {
        screen.be_part(&name, part.columns, part.colour);
    }
    let mut shown = Shown {
        screen,
        story: ready.story,
        logs: options.logs,
        failed: None,
    };
    let callbacks = follow(live, &root, children, callbacks, &mut shown, terminal)?;
    let mut story = shown.story;
    if let Some(e) = shown.failed {
        return Err(e.into());
    }
    let told = story.notes.len();
    collect_results(&root, &mut story);
    if options.keep {
        story
            .notes
            .push(format!("kept: {}", ready.scratch.path().display()));
    }
    if let Err(e) = ready.scratch.remove() {
        story.notes.push(e.to_string());
    }
    for note in story.notes.iter().skip(told) {
        warn(terminal, note);
    }
    Ok(Over { story, callbacks })
}

/// Waits until the callbacks are delivered, or somebody has enough of it. Says and gives what did not
/// arrive.
pub fn deliver(callbacks: Callbacks, children: &Children, terminal: &mut Terminal) -> Vec<String> {
    enum Over {
        Delivered(Vec<String>),
        Enough,
    }
    let (over, news) = channel();
    let enough = over.clone();
    children.tell(move |told| {
        if let Told::Stop { .. } = told {
            let _ = enough.send(Over::Enough);
        }
    });
    // On a thread of its own, which this program does not wait for where it is told to go.
    std::thread::spawn(move || over.send(Over::Delivered(callbacks.finish())));
    let first = news.recv_timeout(SOON).or_else(|_| {
        warn(
            terminal,
            "waiting for callbacks to be accepted; Ctrl-C gives them up",
        );
        terminal.flush();
        news.recv()
    });
    children.tell_nobody();
    let complaints = match first {
        Ok(Over::Delivered(complaints)) => complaints,
        Ok(Over::Enough) | Err(_) => vec!["callbacks were given up".to_owned()],
    };
    for complaint in &complaints {
        warn(terminal, complaint);
    }
    terminal.flush();
    complaints
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
        // Somebody asked three times.
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

/// Drives the run to its end, and shows it.
fn follow(
    live: Live,
    root: &Path,
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
    let theirs = (root.to_owned(), say.clone(), children.clone());
    let driver = std::thread::Builder::new()
        .name("node".into())
        .spawn(move || {
            let (root, say, children) = theirs;
            drive(&mut node, &root, &say, &children, callbacks.as_ref());
            callbacks
        })
        .map_err(io("start the thread that hands over"))?;
    show(&news, &say, shown, terminal);
    // Both have ended: the news end with the reader, and the node's thread stops that last.
    reader.join();
    Ok(driver.join().unwrap_or_default())
}

/// The node's thread: hands over until the task is over, then sees that nothing is left of it.
fn drive(
    node: &mut Node,
    root: &Path,
    say: &Handle<Said>,
    children: &Children,
    callbacks: Option<&Callbacks>,
) {
    let handle = node.handle();
    let ended = node.run(|notice| {
        match &notice {
            baton_node::Notice::Kill { number } => children.kill(*number),
            baton_node::Notice::Run(notice) => {
                if let Some(callbacks) = callbacks {
                    callbacks.tell(notice);
                }
            }
            // The node tries again, for ever; but a folder that a step removed does not come back.
            baton_node::Notice::Trouble { .. } if is_gone(root) => handle.stop(),
            baton_node::Notice::Bad { .. } | baton_node::Notice::Trouble { .. } => {}
        }
        say.say(Said::Notice(notice));
    });
    let ended = ended.map_err(|e| match e {
        NodeError::Stopped if is_gone(root) => NodeError::Io {
            action: "go on without the scratch folder",
            path: root.to_owned(),
            source: std::io::Error::other("it was removed, maybe by a step"),
        },
        other => other,
    });
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

fn is_gone(root: &Path) -> bool {
    !root.join(baton_protocol::layout::TURNS).is_dir()
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
