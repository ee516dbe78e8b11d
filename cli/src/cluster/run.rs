//! `baton run --cluster`: applies Tasks one after the other, and follows each to its end.

use std::path::Path;

use baton_protocol::exit;
use serde_json::Value;

use super::act::Target;
use super::advice::advice;
use super::apply::apply;
use super::connect::Cluster;
use super::error::ClusterError;
use super::follow::{End, Followed, Over, Since, follow};
use super::shown::Wanted;
use super::states;
use crate::args;
use crate::run::facts::facts;
use crate::run::load::{Loaded, What, Written, load};
use crate::run::shown::{look, warn};
use crate::run::{complain, numbered, print_json, write_report};
use crate::show::conclusion::{self, conclusion};
use crate::show::json;
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
    let mut tasks = Vec::new();
    for document in &documents {
        match &document.what {
            What::Task(_, written) => tasks.push((document, &**written)),
            _ => {
                let said = "--cluster takes Tasks; give anything else to `kubectl apply`";
                complain(
                    terminal,
                    &format!("{}: {}: {said}", document.source, document.label()),
                );
                return Ok(exit::USAGE);
            }
        }
    }
    let cluster = Cluster::connect(&args.target).await?;
    let mut session = Session {
        args,
        cluster: &cluster,
        terminal,
        runs: Vec::new(),
        count: tasks.len(),
    };
    let (code, not_run) = session.run_all(&tasks).await;
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
    /// Runs the Tasks in order until one fails. Gives the exit code, and what was not run.
    async fn run_all(&mut self, tasks: &[(&Loaded, &Written)]) -> (i32, Vec<String>) {
        for (index, (document, written)) in tasks.iter().enumerate() {
            let ran = self.run_one(index, document, written).await;
            let code = ran.unwrap_or_else(|e| {
                complain(self.terminal, &e.to_string());
                exit::FAILED
            });
            if code != 0 {
                let rest = tasks.get(index + 1..).unwrap_or_default();
                let labels: Vec<_> = rest.iter().map(|(d, _)| d.label()).collect();
                if !labels.is_empty() {
                    let said = format!("not run, since {} did not succeed: ", document.label());
                    complain(self.terminal, &format!("{said}{}", labels.join(", ")));
                }
                return (code, labels);
            }
        }
        (0, Vec::new())
    }

    async fn run_one(
        &mut self,
        index: usize,
        document: &Loaded,
        written: &Written,
    ) -> Result<i32, ClusterError> {
        let applied = apply(self.cluster, written).await?;
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
            Some(file) => self.report(code, &over, &numbered(file, index, self.count)),
            None => code,
        })
    }

    fn report(&mut self, code: i32, over: &Over, file: &Path) -> i32 {
        let facts = facts(&over.story).map(|mut facts| {
            facts.headline = states::headline(&over.story, &over.status);
            facts
        });
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

/// Follows an object to its end, and gives its exit code.
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
