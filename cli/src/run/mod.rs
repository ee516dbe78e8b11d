//! `baton run`: manifests as local processes.

pub mod callbacks;
pub mod children;
pub mod container;
pub mod facts;
pub mod folders;
pub mod load;
pub mod notes;
pub mod output;
mod ready;
pub(crate) mod shown;
pub mod story;
pub mod task;
pub mod volumes;

use std::path::{Path, PathBuf};

use baton_protocol::exit;
use serde_json::Value;

use self::children::Children;
use self::load::{Loaded, What, load, templates};
use self::story::Story;
use self::task::{Options, RunError};
use crate::args;
use crate::flow::{self, Templates, daemon};
use crate::job;
use crate::report;
use crate::show::conclusion::{Wanted, conclusion};
use crate::show::style::Palette;
use crate::show::terminal::{Terminal, To};
use crate::show::{json, words};

/// Runs what the command line names, and gives the exit code.
pub fn run(args: &args::Run, children: &Children) -> i32 {
    let json_wanted = args.output == args::Output::Json;
    let mut terminal = Terminal::new(args.color, !json_wanted);
    let documents = match load(&args.files, &args.params) {
        Ok(documents) => documents,
        Err(e) => {
            complain(&mut terminal, &e.to_string());
            return exit::USAGE;
        }
    };
    let templates = templates(&documents);
    for document in &documents {
        let checked = match &document.what {
            What::Job(job) => job::check(job).map_err(RunError::from),
            What::Task(task, _) => ready::check(task, &args.env),
            What::JobFlow(flow) => flow::check(flow, &templates, &args.env)
                .map(drop)
                .map_err(RunError::from),
            What::JobTemplate(_) => Ok(()),
            What::DaemonJob(job) => daemon::check(job).map_err(RunError::from),
        };
        if let Err(e) = checked {
            complain(
                &mut terminal,
                &format!("{}: {}: {e}", document.source, document.label()),
            );
            return exit::USAGE;
        }
    }
    let mut session = Session {
        args,
        children,
        terminal: &mut terminal,
        templates,
        runs: Vec::new(),
        count: documents.iter().filter(|d| d.runs()).count(),
    };
    if let Err(e) = session.try_reports() {
        complain(&mut terminal, &format!("cannot write the report: {e:#}"));
        return exit::FAILED;
    }
    let (exit_code, not_run) = session.run_all(&documents);
    let runs = session.runs;
    if json_wanted {
        let document = json::Document {
            exit_code,
            runs,
            not_run,
        };
        if let Err(e) = print_json(&document) {
            complain(&mut terminal, &format!("cannot write the JSON: {e}"));
            // What was asked for and is not there is a failure, if the only one.
            return if exit_code == 0 {
                exit::FAILED
            } else {
                exit_code
            };
        }
    }
    exit_code
}

/// Checks what the command line names, and gives the exit code.
pub fn validate(args: &args::Validate) -> i32 {
    let mut terminal = Terminal::new(args::Color::Auto, true);
    match load(&args.files, &args.params) {
        Ok(documents) => {
            for document in &documents {
                let line = format!("{}: {}: OK\n", document.source, document.label());
                terminal.put(To::Steps, line.as_bytes());
            }
            0
        }
        Err(e) => {
            complain(&mut terminal, &e.to_string());
            exit::USAGE
        }
    }
}

/// Checks what a task takes from its surroundings; see [`task::run`].
pub(crate) fn check_task(
    task: &baton_api::Rendered,
    env: &[(String, String)],
) -> Result<(), RunError> {
    ready::check(task, env)
}

pub(crate) fn complain(terminal: &mut Terminal, what: &str) {
    terminal.put(To::Baton, format!("{what}\n").as_bytes());
    terminal.flush();
}

pub(crate) fn print_json(document: &impl serde::Serialize) -> std::io::Result<()> {
    use std::io::{ErrorKind, Write};
    let mut text = serde_json::to_vec_pretty(document).unwrap_or_default();
    text.push(b'\n');
    let mut out = std::io::stdout();
    match out.write_all(&text).and_then(|()| out.flush()) {
        // A reader that has gone does not want it.
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// The runs of all documents.
struct Session<'a> {
    args: &'a args::Run,
    children: &'a Children,
    terminal: &'a mut Terminal,
    templates: Templates,
    runs: Vec<Value>,
    count: usize,
}

impl Session<'_> {
    /// Runs the documents in order until one fails. Gives the exit code, and what was not run.
    fn run_all(&mut self, documents: &[Loaded]) -> (i32, Vec<String>) {
        let documents: Vec<_> = documents.iter().filter(|d| d.runs()).collect();
        for (index, document) in documents.iter().enumerate() {
            let code = self.run_one(index, document);
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

    fn run_one(&mut self, index: usize, document: &Loaded) -> i32 {
        let base = self.args.workdir.as_deref().unwrap_or(&document.folder);
        let ran = task::absolute(base).and_then(|base| match &document.what {
            What::Task(task, _) => self.run_task(index, task, &document.source, &base),
            What::Job(job) => self.run_job(index, job, &document.source, &base),
            What::JobFlow(flow) => self.run_flow(index, flow, &document.source, &base),
            What::DaemonJob(job) => self.run_daemon(index, job, &document.source, &base),
            What::JobTemplate(_) => Ok(0),
        });
        ran.unwrap_or_else(|e| {
            complain(self.terminal, &format!("{}: {e}", document.label()));
            exit::FAILED
        })
    }

    fn run_task(
        &mut self,
        index: usize,
        task: &baton_api::Rendered,
        source: &str,
        base: &Path,
    ) -> Result<i32, RunError> {
        let options = options(self.args);
        let (children, terminal) = (self.children, &mut *self.terminal);
        let over = task::run(task, source, base, &options, children, terminal)?;
        let mut story = over.story;
        let code = story.exit_code();
        // First of all how it went: others may let themselves be waited for.
        self.conclude(&story);
        if let Some(callbacks) = over.callbacks {
            let lost = task::deliver(callbacks, self.children, self.terminal);
            story.notes.extend(lost);
        }
        self.runs.push(json::task(&story));
        Ok(self.report(index, code, || facts::facts(&story)))
    }

    fn run_job(
        &mut self,
        index: usize,
        job: &baton_api::Job,
        source: &str,
        base: &Path,
    ) -> Result<i32, RunError> {
        let options = options(self.args);
        let (children, terminal) = (self.children, &mut *self.terminal);
        let story = job::run(job, source, base, &options, children, terminal)?;
        self.print(|palette, table, quiet| job::conclusion(&story, palette, table, quiet));
        self.runs.push(job::json(&story));
        Ok(self.report(index, story.exit_code(), || Some(job::facts(&story))))
    }

    fn run_flow(
        &mut self,
        index: usize,
        flow: &baton_api::JobFlow,
        source: &str,
        base: &Path,
    ) -> Result<i32, RunError> {
        let options = options(self.args);
        let (children, terminal) = (self.children, &mut *self.terminal);
        let templates = &self.templates;
        let over = flow::run(flow, templates, source, base, &options, children, terminal)?;
        let mut story = over.story;
        // First of all how it went: others may let themselves be waited for.
        self.print(|palette, table, quiet| flow::conclusion(&story, palette, table, quiet));
        if let Some(callbacks) = over.callbacks {
            let lost = task::deliver(callbacks, self.children, self.terminal);
            story.notes.extend(lost);
        }
        self.runs.push(flow::json(&story));
        Ok(self.report(index, story.exit_code(), || Some(flow::facts(&story))))
    }

    fn run_daemon(
        &mut self,
        index: usize,
        job: &baton_api::DaemonJob,
        source: &str,
        base: &Path,
    ) -> Result<i32, RunError> {
        let options = options(self.args);
        let (children, terminal) = (self.children, &mut *self.terminal);
        let story = daemon::run(job, source, base, &options, children, terminal)?;
        self.print(|palette, table, quiet| daemon::conclusion(&story, palette, table, quiet));
        self.runs.push(daemon::json(&story));
        Ok(self.report(index, story.exit_code(), || daemon::facts(&story)))
    }

    /// Prints how a run ended.
    fn print(&mut self, text: impl FnOnce(Palette, bool, bool) -> String) {
        let with_table = self.args.output == args::Output::Text;
        let text = text(self.terminal.baton, with_table, self.args.quiet);
        self.terminal.put(To::Baton, text.as_bytes());
        self.terminal.flush();
    }

    /// Makes sure that the reports can be written, before hours are spent on what they are to tell.
    fn try_reports(&self) -> anyhow::Result<()> {
        use anyhow::Context;
        let Some(file) = &self.args.report else {
            return Ok(());
        };
        for index in 0..self.count {
            let file = numbered(file, index, self.count);
            let mut open = std::fs::OpenOptions::new();
            open.append(true).create(true);
            open.open(&file)
                .with_context(|| file.display().to_string())?;
        }
        Ok(())
    }

    /// Writes the report, where one is asked for, and gives the exit code.
    fn report(
        &mut self,
        index: usize,
        code: i32,
        facts: impl FnOnce() -> Option<report::Facts>,
    ) -> i32 {
        let Some(file) = &self.args.report else {
            return code;
        };
        let file = numbered(file, index, self.count);
        match write_report(facts(), &file) {
            Ok(()) => code,
            Err(e) => {
                complain(self.terminal, &format!("cannot write the report: {e:#}"));
                // A page that was asked for and is not there is a failure, if the only one.
                if code == 0 { exit::FAILED } else { code }
            }
        }
    }

    fn conclude(&mut self, story: &Story) {
        let wanted = Wanted {
            palette: self.terminal.baton,
            table: self.args.output == args::Output::Text,
            quiet: self.args.quiet,
        };
        let text = conclusion(story, &story.headline(), wanted, |record| {
            words::advice(record).map(str::to_owned)
        });
        self.terminal.put(To::Baton, text.as_bytes());
        self.terminal.flush();
    }
}

/// The report's file of one of several documents: `r.html`, `r-2.html`, ...
pub(crate) fn numbered(file: &Path, index: usize, count: usize) -> PathBuf {
    if count < 2 || index == 0 {
        return file.to_owned();
    }
    let stem = file.file_stem().unwrap_or_default();
    let mut name = stem.to_owned();
    name.push(format!("-{}", index + 1));
    if let Some(extension) = file.extension() {
        name.push(".");
        name.push(extension);
    }
    file.with_file_name(name)
}

pub(crate) fn write_report(facts: Option<report::Facts>, file: &Path) -> anyhow::Result<()> {
    use anyhow::Context;
    let page = report::render(&facts.context("the run has no end")?)?;
    std::fs::write(file, page).with_context(|| file.display().to_string())
}

/// What the command line asks for, as each run takes it.
fn options(args: &args::Run) -> Options<'_> {
    Options {
        env: &args.env,
        keep: args.keep,
        quiet: args.quiet,
        logs: args.report.is_some(),
        part: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_document_has_a_report_of_its_own() {
        let file = Path::new("out/r.html");
        assert_eq!(numbered(file, 0, 1), file);
        assert_eq!(numbered(file, 0, 3), file);
        assert_eq!(numbered(file, 2, 3), Path::new("out/r-3.html"));
        assert_eq!(numbered(Path::new("r"), 1, 2), Path::new("r-2"));
    }
}
