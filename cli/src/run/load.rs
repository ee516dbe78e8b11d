//! From files to what is to be run, all of it checked before anything starts.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use baton_api::{
    DaemonJob, Diagnostic, Job, JobFlow, JobTemplate, MAX_SOURCE_BYTES, Object, ParamValue,
    Rendered, Source, parse, parse_param, render,
};

use crate::flow::Templates;

/// A document that can be run.
#[derive(Debug)]
pub struct Loaded {
    /// Its file as messages name it; `-` for standard input.
    pub source: String,
    /// The folder of its file; the current one for standard input.
    pub folder: PathBuf,
    /// What it is.
    pub what: What,
}

/// What can be run.
#[derive(Debug)]
pub enum What {
    /// Ordered steps, their parameters in place; and as they were written, with the parameters that
    /// were given.
    Task(Box<Rendered>, Box<Written>),
    /// A native Job.
    Job(Box<Job>),
    /// A graph of Jobs and Tasks.
    JobFlow(Box<JobFlow>),
    /// What flows refer to; it does not run by itself.
    JobTemplate(Box<JobTemplate>),
    /// A Job on every node.
    DaemonJob(Box<DaemonJob>),
}

/// A Task as it was written.
#[derive(Debug)]
pub struct Written {
    /// The Task.
    pub task: baton_api::Task,
    /// Its parameters that the command line gives.
    pub given: BTreeMap<String, ParamValue>,
}

impl Loaded {
    /// `task build`, `job pi`.
    pub fn label(&self) -> String {
        match &self.what {
            What::Task(task, _) => format!("task {}", task.task().metadata.display_name()),
            What::Job(job) => format!("job {}", job.metadata.display_name()),
            What::JobFlow(flow) => format!("jobflow {}", flow.metadata.display_name()),
            What::JobTemplate(template) => {
                format!("jobtemplate {}", template.metadata.display_name())
            }
            What::DaemonJob(job) => format!("daemonjob {}", job.metadata.display_name()),
        }
    }

    /// Whether it runs by itself.
    pub fn runs(&self) -> bool {
        !matches!(self.what, What::JobTemplate(_))
    }
}

/// Why nothing is run.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file cannot be read.
    #[error("cannot read {name}: {source}")]
    Read {
        /// The file.
        name: String,
        /// Why not.
        source: std::io::Error,
    },
    /// Standard input can be read but once.
    #[error("standard input is named twice")]
    StdinTwice,
    /// A parameter of the command line.
    #[error("--param {0}")]
    Param(String),
    /// The documents have mistakes.
    #[error("{}", lines(.0))]
    Invalid(Vec<Diagnostic>),
}

fn lines(diagnostics: &[Diagnostic]) -> String {
    let lines: Vec<_> = diagnostics.iter().map(|d| format!("{d:#}")).collect();
    lines.join("\n")
}

/// Reads all files, and puts the parameters in their places.
///
/// # Errors
/// Everything that is wrong with them, as far as it can be found at once.
pub fn load(files: &[PathBuf], params: &[String]) -> Result<Vec<Loaded>, LoadError> {
    let params = read_params(params)?;
    if files.iter().filter(|f| is_stdin(f)).count() > 1 {
        return Err(LoadError::StdinTwice);
    }
    let mut mistakes = Vec::new();
    let mut documents = Vec::new();
    for file in files {
        let name = file.display().to_string();
        let text = read(file).map_err(|source| LoadError::Read {
            name: name.clone(),
            source,
        })?;
        let folder = if is_stdin(file) {
            PathBuf::from(".")
        } else {
            file.parent().unwrap_or(Path::new(".")).to_owned()
        };
        let source = Source {
            name: &name,
            text: &text,
        };
        match parse(source) {
            Ok(found) => documents.extend(
                found
                    .into_iter()
                    .map(|d| (name.clone(), folder.clone(), d.object)),
            ),
            Err(found) => mistakes.extend(found),
        }
    }
    if !mistakes.is_empty() {
        return Err(LoadError::Invalid(mistakes));
    }
    let given = Given::new(&documents, params)?;
    let mut loaded = Vec::new();
    for (source, folder, object) in documents {
        let what = match object {
            Object::Job(job) => What::Job(job),
            Object::JobFlow(flow) => What::JobFlow(flow),
            Object::JobTemplate(template) => What::JobTemplate(template),
            Object::DaemonJob(job) => What::DaemonJob(job),
            Object::Task(task) => {
                let given = given.of(&task);
                match render(&task, &given) {
                    Ok(rendered) => {
                        let written = Written { task: *task, given };
                        What::Task(Box::new(rendered), Box::new(written))
                    }
                    Err(found) => {
                        mistakes.extend(found);
                        continue;
                    }
                }
            }
        };
        loaded.push(Loaded {
            source,
            folder,
            what,
        });
    }
    if mistakes.is_empty() {
        Ok(loaded)
    } else {
        Err(LoadError::Invalid(mistakes))
    }
}

/// The JobTemplates among documents.
pub fn templates(documents: &[Loaded]) -> Templates {
    let mut templates = Templates::default();
    for document in documents {
        if let What::JobTemplate(template) = &document.what {
            templates.add(template);
        }
    }
    templates
}

/// The parameters of the command line, for several tasks: each gets those that it declares. One that
/// no task declares goes to the first task, which then says what it may have meant.
struct Given {
    params: BTreeMap<String, ParamValue>,
    declared: BTreeSet<String>,
}

impl Given {
    fn new(
        documents: &[(String, PathBuf, Object)],
        params: BTreeMap<String, ParamValue>,
    ) -> Result<Given, LoadError> {
        let mut tasks = documents.iter().filter_map(|(_, _, object)| match object {
            Object::Task(task) => Some(task),
            _ => None,
        });
        let declared: BTreeSet<String> = tasks
            .clone()
            .flat_map(|task| task.spec.params.iter().map(|p| p.name.clone()))
            .collect();
        match params.keys().find(|name| !declared.contains(*name)) {
            Some(name) if tasks.next().is_none() => Err(LoadError::Param(format!(
                "{name}: there is no task that could take it"
            ))),
            _ => Ok(Given { params, declared }),
        }
    }

    fn of(&self, task: &baton_api::Task) -> BTreeMap<String, ParamValue> {
        let takes = |name: &String| {
            !self.declared.contains(name) || task.spec.params.iter().any(|p| p.name == *name)
        };
        let mine = self.params.iter().filter(|(name, _)| takes(name));
        mine.map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }
}

fn read_params(params: &[String]) -> Result<BTreeMap<String, ParamValue>, LoadError> {
    let mut read = BTreeMap::new();
    for text in params {
        let (name, value) = parse_param(text).map_err(|e| LoadError::Param(e.to_string()))?;
        if read.contains_key(&name) {
            return Err(LoadError::Param(format!("{name}: it is given twice")));
        }
        read.insert(name, value);
    }
    Ok(read)
}

fn is_stdin(file: &Path) -> bool {
    file == Path::new("-")
}

/// Reads at most one byte more than may be: the parser refuses what is longer.
fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    let limit = MAX_SOURCE_BYTES as u64 + 1;
    let mut text = Vec::new();
    if is_stdin(file) {
        std::io::stdin().lock().take(limit).read_to_end(&mut text)?;
    } else {
        std::fs::File::open(file)?
            .take(limit)
            .read_to_end(&mut text)?;
    }
    Ok(text)
}
