//! A flow from its manifest to its story.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::channel;
use std::time::Duration;

use baton_api::flow::{Flow, JobFlow};
use baton_api::flow_status::JobFlowStatus;
use baton_flow::{InstanceId, State};

use super::drive::{Event, Run, Site, now};
use super::make::{Made, Maker, Templates};
use super::screen;
use super::story::FlowStory;
use crate::job;
use crate::run::callbacks::{self, CallbackError, Callbacks};
use crate::run::children::{self, Children, abandon};
use crate::run::notes;
use crate::run::task::Options;
use crate::show::style::width;
use crate::show::terminal::Terminal;

/// How long entrypoints may take to end once the flow is over.
const PATIENCE: Duration = Duration::from_secs(5);
/// Widest name before a line.
const MAX_NAME: usize = 40;

/// Why a flow is not run.
#[derive(Debug, thiserror::Error)]
pub enum FlowError {
    /// A node cannot be run here.
    #[error("flow {node:?}: {why}")]
    Node {
        /// Its name.
        node: String,
        /// Why not.
        why: String,
    },
    /// The graph has mistakes.
    #[error("{0}")]
    Graph(String),
    /// A callback.
    #[error(transparent)]
    Callback(#[from] CallbackError),
}

/// Whether a flow can be run here at all, and what a person should know before it is.
///
/// # Errors
/// Where it cannot, though it may be fit for a cluster.
pub fn check(
    flow: &JobFlow,
    templates: &Templates,
    env: &[(String, String)],
) -> Result<Vec<String>, FlowError> {
    callbacks::sinks_of(&flow.spec.callbacks)?;
    let maker = Maker::new(flow, templates);
    let mut all = maker.notes();
    for (place, node) in flow.spec.nodes().enumerate() {
        let name = || node.name.clone();
        let wrong = |why: String| FlowError::Node { node: name(), why };
        let Some((made, overruled)) = maker.preview(place).map_err(wrong)? else {
            continue;
        };
        all.extend(
            overruled
                .iter()
                .map(|said| format!("flow {}: {said}", name())),
        );
        let checked = match &made {
            Made::Job(job) => job::check(job).map_err(|e| e.to_string()),
            Made::Task(task) => crate::run::check_task(task, env).map_err(|e| e.to_string()),
        };
        checked.map_err(wrong)?;
        let of_made = match &made {
            Made::Job(job) => job::notes(job),
            Made::Task(task) => notes::notes(task),
        };
        for note in of_made {
            if !all.contains(&note) {
                all.push(note);
            }
        }
    }
    Ok(all)
}

/// A flow that is over.
#[derive(Debug)]
pub struct Over {
    /// Its story.
    pub story: FlowStory,
    /// What still has to be told to others: for [`deliver`](crate::run::task::deliver).
    pub callbacks: Option<Callbacks>,
}

/// Runs a flow and tells its story. `base` is the folder that its containers and steps start in.
///
/// # Errors
/// Where it cannot be begun; nothing of it ran then.
pub fn run(
    flow: &JobFlow,
    templates: &Templates,
    source: &str,
    base: &Path,
    options: &Options<'_>,
    children: &Children,
    terminal: &mut Terminal,
) -> Result<Over, FlowError> {
    let graph = flow.spec.graph().map_err(|errors| {
        let all: Vec<_> = errors.iter().map(ToString::to_string).collect();
        FlowError::Graph(all.join("; "))
    })?;
    let notes = check(flow, templates, options.env)?;
    let name = flow.metadata.display_name().to_owned();
    let receivers = &flow.spec.callbacks;
    let callbacks = Callbacks::of_flow(receivers, &name, &callbacks::run_id())?;
    if !options.quiet {
        screen::introduce(&name, &graph, &notes, terminal);
    }
    let (tell, told) = channel();
    let stops = tell.clone();
    children.tell(move |what| match what {
        children::Told::Stop { nth: 3.., .. } => abandon(),
        children::Told::Stop { nth, .. } => {
            let _ = stops.send(Event::Stop { nth });
        }
        children::Told::Ended { .. } => {}
    });
    if children.stops() > 0 {
        let _ = tell.send(Event::Stop {
            nth: children.stops(),
        });
    }
    let began = now();
    let maker = Maker::new(flow, templates);
    let mut run = Run {
        flow,
        graph: &graph,
        columns: columns(flow, &maker),
        maker,
        state: State::new(graph.len()),
        status: JobFlowStatus::default(),
        live: BTreeMap::new(),
        telling: BTreeMap::new(),
        over: BTreeMap::new(),
        attempts: BTreeMap::new(),
        notes,
        callbacks,
        cancelled: false,
        killed: false,
        site: Site {
            source,
            base,
            options,
            children,
        },
        tell,
        terminal,
    };
    std::thread::scope(|scope| run.drive(scope, &told));
    run.terminal.set_status(String::new());
    children.tell_nobody();
    children.settle(PATIENCE);
    let Run {
        status,
        attempts,
        notes,
        callbacks,
        cancelled,
        ..
    } = run;
    let over = Over {
        story: FlowStory {
            name,
            source: source.to_owned(),
            started_at: status.started_at.unwrap_or(began),
            finished_at: status.finished_at.unwrap_or_else(now),
            status,
            attempts,
            notes,
            cancelled,
            graph,
        },
        callbacks,
    };
    Ok(over)
}

/// Columns for the names of all containers and steps.
fn columns(flow: &JobFlow, maker: &Maker<'_>) -> usize {
    let widths = flow.spec.nodes().enumerate().map(|(node, spec)| {
        // The last element of a list and the second attempt have longer names than the first ones.
        let list = spec.for_each.as_ref().map(|l| l.items.len());
        let index = list.unwrap_or(0).saturating_sub(1);
        let id = InstanceId { node, index };
        width(&maker.name(id, 1 + spec.retries.min(1))) + room(spec)
    });
    widths.max().unwrap_or(0).min(MAX_NAME)
}

/// Columns for what stands behind the name of a node's Job or Task.
fn room(node: &Flow) -> usize {
    let steps = node.task_template.as_ref().map(|task| {
        let steps = task.steps.iter().chain(&task.finally).map(|s| &s.name);
        let all = steps.chain(task.sidecars.iter().map(|s| &s.name));
        all.map(|name| width(name)).max().unwrap_or(0) + 1
    });
    let containers = node.job_template.as_ref().map(|job| {
        let pod = &job.template.spec;
        let all = || pod.init_containers.iter().chain(&pod.containers);
        match all().count() {
            0 | 1 => 2,
            _ => all().map(|c| width(&c.name)).max().unwrap_or(0) + 3,
        }
    });
    steps.or(containers).unwrap_or(2)
}
