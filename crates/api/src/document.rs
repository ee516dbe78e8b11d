//! Texts to documents.

use std::sync::Arc;

use crate::daemon::DaemonJob;
use crate::decode::decode;
use crate::diagnostic::{
    Diagnostic, FieldPath, MAX_DIAGNOSTICS, Origin, Position, diagnostic, excerpt, one_of,
};
use crate::flow::{self, JobFlow, JobTemplate};
use crate::job::{self, Job};
use crate::report::Report;
use crate::task::{self, Task};
use crate::tree::{self, Node, Value};
use crate::validate;

/// Longest source, in bytes.
pub const MAX_SOURCE_BYTES: usize = 4 << 20;
/// Most documents of one source.
pub const MAX_DOCUMENTS: usize = 1000;

/// Most nodes of a source, aliases counted as often as they are used.
pub const MAX_NODES: usize = 100_000;
/// Most text in a source's scalars, aliases counted as often as they are used, in bytes.
pub const MAX_SCALAR_BYTES: usize = 8 << 20;
/// Deepest nesting.
pub const MAX_DEPTH: usize = 64;

/// The kinds that are understood, with their `apiVersion`.
const KINDS: [(&str, &str); 5] = [
    ("Task", task::API_VERSION),
    ("Job", job::API_VERSION),
    ("JobFlow", flow::API_VERSION),
    ("JobTemplate", flow::API_VERSION),
    ("DaemonJob", flow::API_VERSION),
];

/// A text and its name.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The name that messages give it: a file's, or `-`.
    pub name: &'a str,
    /// YAML or JSON, one document or several.
    pub text: &'a [u8],
}

/// A document that nothing is wrong with.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Where it begins.
    pub position: Position,
    /// What it is.
    pub object: Object,
}

/// What a document can be.
#[derive(Debug, Clone, PartialEq)]
pub enum Object {
    /// Ordered steps in one pod.
    Task(Box<Task>),
    /// A native Job.
    Job(Box<Job>),
    /// A graph of Jobs and Tasks.
    JobFlow(Box<JobFlow>),
    /// A Job's spec that JobFlows refer to.
    JobTemplate(Box<JobTemplate>),
    /// A Job on every node.
    DaemonJob(Box<DaemonJob>),
}

/// Reads the documents of a source, and validates them.
///
/// # Errors
/// Where a document is not understood: one mistake where the text is no YAML or passes a bound
/// ([`MAX_SOURCE_BYTES`], [`MAX_DEPTH`], [`MAX_NODES`], [`MAX_SCALAR_BYTES`]), or else every mistake of
/// every document, in the order of their places.
pub fn parse(source: Source<'_>) -> Result<Vec<Document>, Vec<Diagnostic>> {
    let name: Arc<str> = excerpt(source.name).into();
    let text = text(source, &name)?;
    let roots = tree::read(text).map_err(|e| vec![one(&name, text, Some(e.at), e.message)])?;
    if roots.is_empty() {
        return Err(vec![one(
            &name,
            "",
            None,
            "there is no document in it".to_owned(),
        )]);
    }
    if roots.len() > MAX_DOCUMENTS {
        let message = format!("there are more than {MAX_DOCUMENTS} documents in it");
        return Err(vec![one(&name, "", None, message)]);
    }
    let shared: Arc<str> = text.into();
    let mut documents = Vec::new();
    let mut mistakes = Vec::new();
    for root in roots {
        if mistakes.len() >= MAX_DIAGNOSTICS {
            break;
        }
        match document(&name, &shared, root) {
            Ok(document) => documents.push(document),
            Err(found) => mistakes.extend(found),
        }
    }
    if mistakes.is_empty() {
        Ok(documents)
    } else {
        Err(mistakes)
    }
}

pub(crate) fn one(
    name: &Arc<str>,
    text: &str,
    at: Option<Position>,
    message: String,
) -> Diagnostic {
    diagnostic(name.clone(), text, at, FieldPath::default(), message)
}

/// The source's text, where it is one and not too long.
pub(crate) fn text<'a>(source: Source<'a>, name: &Arc<str>) -> Result<&'a str, Vec<Diagnostic>> {
    let refuse = |at, message| Err(vec![one(name, "", at, message)]);
    if source.text.len() > MAX_SOURCE_BYTES {
        let message = format!("too long: a manifest has at most {MAX_SOURCE_BYTES} bytes");
        return refuse(None, message);
    }
    match std::str::from_utf8(source.text) {
        Ok(text) if text.contains('\0') => {
            let before = text.split('\0').next().unwrap_or_default();
            refuse(Some(end_of(before)), "a NUL byte is no text".to_owned())
        }
        Ok(text) => Ok(text),
        Err(e) => {
            let before = source.text.get(..e.valid_up_to()).unwrap_or_default();
            let before = std::str::from_utf8(before).unwrap_or_default();
            refuse(Some(end_of(before)), "this is not UTF-8".to_owned())
        }
    }
}

/// The place after a text.
fn end_of(text: &str) -> Position {
    let lines = text.bytes().filter(|b| *b == b'\n').count() + 1;
    let column = text.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Position {
        line: u32::try_from(lines).unwrap_or(u32::MAX),
        column: u32::try_from(column).unwrap_or(u32::MAX),
    }
}

fn document(name: &Arc<str>, text: &Arc<str>, root: Node) -> Result<Document, Vec<Diagnostic>> {
    let position = root.at;
    let origin = Origin::new(name.clone(), text.clone(), root);
    let mut report = Report::new(origin.clone());
    let object = object(&origin, &mut report);
    match object {
        Some(object) if report.is_clean() => Ok(Document { position, object }),
        _ => Err(report.finish()),
    }
}

fn object(origin: &Origin, report: &mut Report) -> Option<Object> {
    let root = origin.root()?;
    match kind(root, report)? {
        "Task" => {
            let mut task: Task = decode(root, report)?;
            validate::task(&task, report);
            task.origin = origin.clone();
            Some(Object::Task(Box::new(task)))
        }
        "JobFlow" => {
            let mut flow: JobFlow = decode(root, report)?;
            validate::flow(&flow, report);
            flow.origin = origin.clone();
            Some(Object::JobFlow(Box::new(flow)))
        }
        "JobTemplate" => {
            let mut template: JobTemplate = decode(root, report)?;
            validate::job_template(&template, report);
            template.origin = origin.clone();
            Some(Object::JobTemplate(Box::new(template)))
        }
        "DaemonJob" => {
            let mut daemon: DaemonJob = decode(root, report)?;
            validate::daemon(&daemon, report);
            daemon.origin = origin.clone();
            Some(Object::DaemonJob(Box::new(daemon)))
        }
        _ => {
            let mut job: Job = decode(root, report)?;
            validate::job(&job, report);
            job.origin = origin.clone();
            Some(Object::Job(Box::new(job)))
        }
    }
}

/// The document's kind, where it is one of ours.
fn kind(root: &Node, report: &mut Report) -> Option<&'static str> {
    let top = FieldPath::default();
    let all: Vec<_> = KINDS.iter().map(|(kind, _)| *kind).collect();
    if !matches!(root.value, Value::Map(_)) {
        let message = format!(
            "expected an object with apiVersion and kind, found {}",
            root.describe()
        );
        report.at(&top, message);
        return None;
    }
    let Some(given) = root.text("kind") else {
        report.at(&top.key("kind"), format!("has to be {}", one_of(&all)));
        return None;
    };
    let Some((kind, version)) = KINDS.iter().find(|(kind, _)| *kind == given) else {
        report.suggest(
            &top.key("kind"),
            format!(
                "unknown kind {:?}; expected {}",
                excerpt(given),
                one_of(&all)
            ),
            given,
            all.iter().copied(),
        );
        return None;
    };
    if root.text("apiVersion") != Some(version) {
        let found = match root.entry("apiVersion") {
            Some(entry) => entry.node.describe(),
            None => "nothing".to_owned(),
        };
        let message = format!("a {kind} has apiVersion {version}, found {found}");
        report.at(&top.key("apiVersion"), message);
        return None;
    }
    Some(kind)
}
