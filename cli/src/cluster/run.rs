//! `baton run --cluster`: applies objects one after the other, and follows each to its end.

use std::path::Path;

use baton_protocol::exit;
use serde_json::Value;

use super::act::{Target, past};
use super::advice::advice;
use super::apply::{apply, apply_graph, apply_template};
use super::connect::Cluster;
use super::error::ClusterError;
use super::follow::{End, Followed, Over, follow};
use super::kind::Kind;
use super::object::Object;
use super::shown::Wanted;
use super::since::Since;
use super::{describe, graph, once, states};
use crate::args;
use crate::flow::screen::introduce;
use crate::report;
use crate::run::facts::facts;
use crate::run::load::{Loaded, What, Written, load};
use crate::run::shown::{look, warn};
use crate::run::{complain, numbered, print_json, write_report};
use crate::show::conclusion::{self, conclusion};
use crate::show::json;
use crate::show::style::BOLD;
use crate::show::terminal::{Terminal, To};

/// What this program gives where a Task was left running: what a shell gives after Ctrl-C.
const LEFT: i32 = 130;

/// Applies and follows what the command line names, and gives the exit code.
pub(super) async fn run(args: &args::Run, terminal: &mut Terminal) -> Result<i32, ClusterError> {
    let documents = match load(&args.files, &args.params) {
        Ok(documents) => documents,
        Err(e) => {
            complain(terminal, &e.to_string());
            return Ok(exit::USAGE);
        }
    };
    if let Some(job) = documents.iter().find(|d| matches!(d.what, What::Job(_))) {
        let said = "--cluster takes Baton's own kinds; give a Job to `kubectl apply`";
        let label = job.label();
        complain(terminal, &format!("{}: {label}: {said}", job.source));
        return Ok(exit::USAGE);
    }
    let cluster = Cluster::connect(&args.target).await?;
    // What flows refer to is there before them.
    for document in &documents {
        if let What::JobTemplate(template) = &document.what {
            apply_template(&cluster, template).await?;
        }
    }
    let documents: Vec<_> = documents.iter().filter(|d| d.runs()).collect();
    let mut session = Session {
        args,
        cluster: &cluster,
        terminal,
        runs: Vec::new(),
        count: documents.len(),
    };
    let (code, not_run) = session.run_all(&documents).await;
    let document = json::Document {
        exit_code: code,
        runs: session.runs,
        not_run,
    };
    if args.output == args::Output::Json
        && let Err(e) = print_json(&document)
    {
        complain(terminal, &format!("cannot write the JSON: {e}"));
        return Ok(if code == 0 { exit::FAILED } else { code });
    }
    Ok(code)
}

struct Session<'a> {
    args: &'a args::Run,
    cluster: &'a Cluster,
    terminal: &'a mut Terminal,
    runs: Vec<Value>,
    count: usize,
}

impl Session<'_> {
    /// Runs the objects in order until one fails. Gives the exit code, and what was not run.
    async fn run_all(&mut self, documents: &[&Loaded]) -> (i32, Vec<String>) {
        for (index, document) in documents.iter().enumerate() {
            let ran = match &document.what {
                What::Task(_, written) => self.run_task(index, document, written).await,
                _ => self.run_graph(index, document).await,
            };
            let code = ran.unwrap_or_else(|e| {
                complain(self.terminal, &e.to_string());
                exit::FAILED
            });
            if code != 0 {
                let rest = documents.get(index + 1..).unwrap_or_default();
                let labels: Vec<_> = rest.iter().map(|d| d.label()).collect();
                if !labels.is_empty() {
                    let said = format!("not run, since {} did not succeed: ", document.label());
                    complain(self.terminal, &format!("{said}{}", labels.join(", ")));
                }
                return (code, labels);
            }
        }
        (0, Vec::new())
    }

    /// Runs a JobFlow or DaemonJob.
    async fn run_graph(&mut self, index: usize, document: &Loaded) -> Result<i32, ClusterError> {
        let cluster = self.cluster;
        let applied = match &document.what {
            What::JobFlow(flow) => {
                let once = once::flow(flow);
                if once.is_some() && !self.args.quiet {
                    warn(
                        self.terminal,
                        &format!("{}: {}", document.label(), once::SAID),
                    );
                }
                let flow = once.as_ref().unwrap_or(flow);
                let (metadata, cancels) = (&flow.metadata, flow.spec.cancel);
                apply_graph(cluster, Kind::JobFlow, metadata, flow, cancels).await?
            }
            What::DaemonJob(job) => {
                let (metadata, cancels) = (&job.metadata, job.spec.cancel);
                apply_graph(cluster, Kind::DaemonJob, metadata, job, cancels).await?
            }
            // Tasks run by themselves, JobTemplates are there already, and Jobs are not taken.
            What::Task(..) | What::JobTemplate(_) | What::Job(_) => return Ok(0),
        };
        let target = Target::of(&applied.object);
        if !self.args.quiet {
            match &applied.note {
                Some(note) => {
                    let said = format!("{} {}: {note}", target.kind, target.name);
                    warn(self.terminal, &said);
                }
                None => introduce_graph(&applied.object, self.terminal),
            }
        }
        let followed = graph::Followed {
            cluster,
            target,
            since: applied.since,
            cancels: true,
            only: &[],
            look: look(self.terminal, self.args.quiet),
            keep: self.args.report.is_some(),
        };
        let Some(over) = graph::follow(&followed, self.terminal).await? else {
            left_graph(target, self.terminal);
            return Ok(LEFT);
        };
        let table = self.args.output == args::Output::Text;
        let source = &document.source;
        conclude_graph(&over, source, table, self.args.quiet, self.terminal);
        self.runs.push(graph::json(&over, source));
        let code = graph::exit_code(&over);
        Ok(match &self.args.report {
            Some(file) => {
                let facts = graph::facts(&over, source);
                self.report(code, facts, &numbered(file, index, self.count))
            }
            None => code,
        })
    }

    /// Runs a Task.
    async fn run_task(
        &mut self,
        index: usize,
        document: &Loaded,
        written: &Written,
    ) -> Result<i32, ClusterError> {
        let once = once::task(written);
        if once.is_some() && !self.args.quiet {
            warn(
                self.terminal,
                &format!("{}: {}", document.label(), once::SAID),
            );
        }
        let applied = apply(self.cluster, once.as_ref().unwrap_or(written)).await?;
        if let Some(note) = &applied.note
            && !self.args.quiet
        {
            warn(self.terminal, &format!("task {}: {note}", applied.name));
        }
        let followed = Followed {
            cluster: self.cluster,
            namespace: &applied.namespace,
            name: &applied.name,
            source: &document.source,
            since: applied.since,
            cancels: true,
        };
        let wanted = Wanted {
            look: look(self.terminal, self.args.quiet),
            only: Vec::new(),
            keep: self.args.report.is_some(),
            follow: true,
        };
        let End::Over(over) = follow(&followed, &wanted, self.terminal).await? else {
            left(&followed, self.terminal);
            return Ok(LEFT);
        };
        let table = self.args.output == args::Output::Text;
        conclude(&over, table, self.args.quiet, self.terminal);
        self.runs.push(json::task(&over.story));
        let code = states::exit_code(&over.status);
        Ok(match &self.args.report {
            Some(file) => {
                let facts = facts(&over.story).map(|mut facts| {
                    facts.headline = states::headline(&over.story, &over.status);
                    facts
                });
                self.report(code, facts, &numbered(file, index, self.count))
            }
            None => code,
        })
    }

    fn report(&mut self, code: i32, facts: Option<report::Facts>, file: &Path) -> i32 {
        match write_report(facts, file) {
            Ok(()) => code,
            Err(e) => {
                complain(self.terminal, &format!("cannot write the report: {e:#}"));
                // A page that was asked for and is not there is a failure, if the only one.
                if code == 0 { exit::FAILED } else { code }
            }
        }
    }
}

/// Follows the run of a JobFlow or DaemonJob that was asked for, and gives its exit code.
pub(super) async fn follow_again(
    cluster: &Cluster,
    before: &Object,
    asked: String,
    terminal: &mut Terminal,
) -> Result<i32, ClusterError> {
    let target = Target::of(before);
    let followed = graph::Followed {
        cluster,
        target,
        since: graph::Since {
            run: past(before).run,
            rerun: Some(asked),
            past: Some(Box::new(before.clone())),
        },
        cancels: true,
        only: &[],
        look: look(terminal, false),
        keep: false,
    };
    let Some(over) = graph::follow(&followed, terminal).await? else {
        left_graph(target, terminal);
        return Ok(LEFT);
    };
    conclude_graph(&over, target.name, true, false, terminal);
    Ok(graph::exit_code(&over))
}

/// Says what is about to run.
fn introduce_graph(object: &Object, terminal: &mut Terminal) {
    let label = format!("{} {}", object.kind(), object.name());
    match (object.kind(), describe::flow::graph(object)) {
        (Kind::JobFlow, Some(graph)) => introduce(object.name(), &graph, &[], terminal),
        _ => {
            let text = format!("{}\n", terminal.baton.paint(BOLD, label));
            terminal.put(To::Baton, text.as_bytes());
        }
    }
}

fn conclude_graph(over: &graph::Over, source: &str, table: bool, quiet: bool, to: &mut Terminal) {
    let text = graph::conclusion(over, source, to.baton, table, quiet);
    to.put(To::Baton, text.as_bytes());
    to.flush();
}

fn left_graph(target: Target<'_>, terminal: &mut Terminal) {
    let Target {
        kind,
        namespace,
        name,
    } = target;
    let said = format!("left: `baton logs -f -n {namespace} {kind}/{name}` goes on following it");
    complain(terminal, &said);
}

/// Follows a Task to its end, and gives its exit code.
pub(super) async fn follow_to_end(
    cluster: &Cluster,
    target: Target<'_>,
    since: Since,
    terminal: &mut Terminal,
) -> Result<i32, ClusterError> {
    let followed = Followed {
        cluster,
        namespace: target.namespace,
        name: target.name,
        source: target.name,
        since,
        cancels: true,
    };
    let wanted = Wanted {
        look: look(terminal, false),
        only: Vec::new(),
        keep: false,
        follow: true,
    };
    let End::Over(over) = follow(&followed, &wanted, terminal).await? else {
        left(&followed, terminal);
        return Ok(LEFT);
    };
    conclude(&over, true, false, terminal);
    Ok(states::exit_code(&over.status))
}

fn left(followed: &Followed<'_>, terminal: &mut Terminal) {
    let (name, namespace) = (followed.name, followed.namespace);
    let said = format!("left: `baton logs -f -n {namespace} {name}` goes on following it");
    complain(terminal, &said);
}

/// Tells how a Task ended.
fn conclude(over: &Over, table: bool, quiet: bool, terminal: &mut Terminal) {
    for note in &over.story.notes {
        warn(terminal, note);
    }
    let wanted = conclusion::Wanted {
        palette: terminal.baton,
        table,
        quiet,
    };
    let headline = states::headline(&over.story, &over.status);
    let text = conclusion(&over.story, &headline, wanted, advice);
    terminal.put(To::Baton, text.as_bytes());
    terminal.flush();
}
