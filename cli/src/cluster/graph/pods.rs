//! The logs of the pods of a JobFlow's or DaemonJob's Jobs and Tasks, read as they are printed.

use std::collections::{BTreeMap, HashMap, HashSet};

use baton_pod::label_value;
use baton_pod::names::{DAEMON_LABEL, FLOW_LABEL, TASK_LABEL, TOOLS_CONTAINER};
use futures::stream::{BoxStream, SelectAll, StreamExt};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::Api;
use kube::runtime::{WatchStreamExt, watcher};
use tokio::sync::mpsc;

use super::super::act::Target;
use super::super::connect::Cluster;
use super::super::kind::Kind;
use super::super::logs::{Piece, Reader, Source, Standing};
use super::super::watching::Patient;
use crate::run::shown::warn;
use crate::show::lines::Lines;
use crate::show::style::{of_step, width};
use crate::show::terminal::{Terminal, To};
use crate::show::text::{Look, aligned, prefix, write_line};

/// Most logs that are read at one time; each is a connection.
const MAX_OPEN: usize = 64;
/// Most pieces that wait to be shown.
const MAX_WAITING: usize = 64;
/// Widest name that is shown whole.
const MAX_NAME: usize = 40;

/// What a kubelet says in place of a log that is gone: a Job that is stopped has its pods deleted.
pub(super) const NO_LOG: &[u8] = b"unable to retrieve container logs for ";

/// The label that a Job's pods carry, put there by Kubernetes itself.
const JOB_LABEL: &str = "job-name";

/// The logs of all pods that are wanted.
pub(super) struct Pods {
    api: Api<Pod>,
    kind: Kind,
    events: SelectAll<BoxStream<'static, watcher::Result<watcher::Event<Pod>>>>,
    tasks: HashSet<String>,
    children: HashMap<String, Child>,
    logs: BTreeMap<u32, Log>,
    numbers: HashMap<(String, String), u32>,
    columns: usize,
    /// The colours of the names.
    hues: HashMap<String, u32>,
    look: Look,
    tell: mpsc::Sender<(u32, Piece)>,
    pieces: mpsc::Receiver<(u32, Piece)>,
}

/// A Job or Task whose pods are wanted.
struct Child {
    label: String,
    /// Its place among the colours.
    hue: u32,
    /// Its pods, in the order in which they were seen.
    pods: Vec<String>,
    /// Its containers run one after the other.
    in_order: bool,
}

struct Log {
    name: String,
    hue: u32,
    pod: String,
    container: String,
    lines: Lines,
    /// The log that is shown before it.
    before: Option<u32>,
    state: State,
    reader: Reader,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Open,
    Done,
}

/// What happened.
pub(super) enum Happened {
    /// To a pod.
    Pod(Box<watcher::Result<watcher::Event<Pod>>>),
    /// A piece of a log.
    Piece(u32, Piece),
}

/// The selector of an object's pods, but for those of its Tasks.
pub(super) fn selector(kind: Kind, name: &str) -> String {
    let label = match kind {
        Kind::DaemonJob => DAEMON_LABEL,
        Kind::JobFlow => FLOW_LABEL,
        Kind::Task => TASK_LABEL,
    };
    format!("{label}={}", label_value(name))
}

/// The Job or Task that a pod belongs to: by its owner, or else by its label.
pub(super) fn child_of(pod: &Pod) -> Option<&str> {
    let owners = pod.metadata.owner_references.iter().flatten();
    let owner = owners.into_iter().find(|o| o.controller == Some(true));
    let labels = pod.metadata.labels.as_ref();
    let by_label = || labels.and_then(|l| l.get(JOB_LABEL)).map(String::as_str);
    owner.map(|o| o.name.as_str()).or_else(by_label)
}

/// The containers of a pod in their order and how they stand, but for the one that brings Baton's tools.
pub(super) fn containers(pod: &Pod) -> Vec<(String, Standing)> {
    let spec = pod.spec.as_ref();
    let init = spec.and_then(|s| s.init_containers.as_deref());
    let main = spec.map(|s| s.containers.as_slice());
    let names = init.into_iter().chain(main).flatten().map(|c| &c.name);
    let names = names.filter(|name| *name != TOOLS_CONTAINER);
    let status = pod.status.as_ref();
    let init = status.and_then(|s| s.init_container_statuses.as_deref());
    let main = status.and_then(|s| s.container_statuses.as_deref());
    let statuses: HashMap<_, _> = init
        .into_iter()
        .chain(main)
        .flatten()
        .map(|c| (&c.name, c))
        .collect();
    let standing = |c: &ContainerStatus| match c.state.as_ref() {
        Some(s) if s.terminated.is_some() => Standing::Ended,
        Some(s) if s.running.is_some() => Standing::Running,
        _ => Standing::Waiting,
    };
    let of = |name| {
        statuses
            .get(name)
            .map_or(Standing::Waiting, |c| standing(c))
    };
    names.map(|name| (name.clone(), of(name))).collect()
}

impl Pods {
    pub(super) fn new(cluster: &Cluster, target: Target<'_>, look: Look) -> Pods {
        let api = Api::namespaced(cluster.client.clone(), target.namespace);
        let (tell, pieces) = mpsc::channel(MAX_WAITING);
        let mut pods = Pods {
            api,
            kind: target.kind,
            events: SelectAll::new(),
            tasks: HashSet::new(),
            children: HashMap::new(),
            logs: BTreeMap::new(),
            numbers: HashMap::new(),
            columns: 0,
            hues: HashMap::new(),
            look,
            tell,
            pieces,
        };
        pods.watch(&selector(pods.kind, target.name));
        pods
    }

    fn watch(&mut self, selector: &str) {
        let config = watcher::Config::default().labels(selector);
        let events = watcher(self.api.clone(), config);
        self.events.push(events.backoff(Patient::default()).boxed());
    }

    /// Makes room for a name, and gives it a colour, before any of its logs is shown.
    pub(super) fn make_room(&mut self, label: &str) {
        self.columns = self.columns.max(width(label)).min(MAX_NAME);
        if !self.hues.contains_key(label) {
            let hue = u32::try_from(self.hues.len() + 1).unwrap_or(u32::MAX);
            self.hues.insert(label.to_owned(), hue);
        }
    }

    /// A name in its colour, as wide as all.
    pub(super) fn aligned(&self, label: &str) -> String {
        let hue = self.hues.get(label).copied().unwrap_or_default();
        let name = aligned(label, self.columns);
        self.look.baton.paint(of_step(hue), name).to_string()
    }

    /// The pods of this Job or Task are wanted.
    pub(super) fn want(&mut self, child: &str, label: &str, is_task: bool) {
        self.make_room(label);
        let hue = self.hues.get(label).copied().unwrap_or_default();
        self.children.entry(child.to_owned()).or_insert(Child {
            label: label.to_owned(),
            hue,
            pods: Vec::new(),
            in_order: is_task,
        });
        // A Task's pod carries the Task's label alone.
        if is_task && self.tasks.insert(child.to_owned()) {
            self.watch(&selector(Kind::Task, child));
        }
    }

    /// What happens next.
    pub(super) async fn next(&mut self) -> Happened {
        tokio::select! {
            Some(event) = self.events.next() => Happened::Pod(Box::new(event)),
            Some((number, piece)) = self.pieces.recv() => Happened::Piece(number, piece),
            else => std::future::pending().await,
        }
    }

    /// A pod stands so.
    pub(super) fn pod(&mut self, event: watcher::Event<Pod>) {
        match event {
            watcher::Event::Apply(pod) | watcher::Event::InitApply(pod) => self.seen(&pod),
            watcher::Event::Delete(pod) => {
                let name = pod.metadata.name.unwrap_or_default();
                for log in self.logs.values().filter(|log| log.pod == name) {
                    log.reader.stands(Standing::Gone);
                }
            }
            watcher::Event::Init | watcher::Event::InitDone => {}
        }
        self.advance();
    }

    fn seen(&mut self, pod: &Pod) {
        let name = pod.metadata.name.clone().unwrap_or_default();
        let Some(child) = child_of(pod).and_then(|c| self.children.get_mut(c)) else {
            return;
        };
        if !child.pods.contains(&name) {
            child.pods.push(name.clone());
        }
        let mut label = child.label.clone();
        if child.pods.first() != Some(&name) {
            let suffix = name.rsplit('-').next().unwrap_or_default();
            label = format!("{label}~{suffix}");
        }
        let hue = child.hue;
        let all = containers(pod);
        // The steps of a Task are shown one after the other.
        let in_order = child.in_order;
        let mut before = None;
        for (container, standing) in &all {
            if *standing == Standing::Waiting {
                match in_order {
                    true => break,
                    false => continue,
                }
            }
            let key = (name.clone(), container.clone());
            let next = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX);
            let number = *self.numbers.entry(key).or_insert(next);
            let shown = match all.len() {
                1 => label.clone(),
                _ => format!("{label}/{container}"),
            };
            self.columns = self.columns.max(width(&shown)).min(MAX_NAME);
            let log = self.logs.entry(number).or_insert_with(|| Log {
                name: shown,
                hue,
                pod: name.clone(),
                container: container.clone(),
                lines: Lines::default(),
                before,
                state: State::New,
                reader: Reader::default(),
            });
            log.reader.stands(*standing);
            before = in_order.then_some(number);
        }
    }

    /// Begins to read what can be read now.
    fn advance(&mut self) {
        let open = self
            .logs
            .values()
            .filter(|l| l.state == State::Open)
            .count();
        let done: HashSet<u32> = self
            .logs
            .iter()
            .filter(|(_, l)| l.state == State::Done)
            .map(|(number, _)| *number)
            .collect();
        let new = self.logs.iter_mut().filter(|(_, l)| {
            let is_next = l.before.is_none_or(|before| done.contains(&before));
            l.state == State::New && is_next
        });
        for (number, log) in new.take(MAX_OPEN.saturating_sub(open)) {
            log.state = State::Open;
            let source = Source {
                pods: self.api.clone(),
                pod: log.pod.clone(),
                container: log.container.clone(),
                number: *number,
                follow: true,
            };
            log.reader.read(source, self.tell.clone());
        }
    }

    /// The pod and the container of a log.
    pub(super) fn place(&self, number: u32) -> Option<(&str, &str)> {
        let log = self.logs.get(&number)?;
        Some((&log.pod, &log.container))
    }

    /// Shows a piece of a log.
    pub(super) fn piece(&mut self, number: u32, piece: Piece, terminal: &mut Terminal) {
        let Some(log) = self.logs.get_mut(&number) else {
            return;
        };
        let prefix = prefix(&self.look, log.hue, &log.name, self.columns);
        let (look, mut out) = (&self.look, Vec::new());
        match piece {
            Piece::Printed(bytes) if bytes.starts_with(NO_LOG) => {
                warn(terminal, &format!("the log of {} is gone", log.name));
            }
            Piece::Printed(bytes) => {
                let line = |line: &[u8]| write_line(look, &prefix, line, &mut out);
                log.lines.feed(&bytes, line);
            }
            Piece::Pause => {}
            Piece::Warning(text) => warn(terminal, &text),
            Piece::End => {
                log.lines
                    .finish(|line| write_line(look, &prefix, line, &mut out));
                log.state = State::Done;
                self.advance();
            }
        }
        terminal.put(To::Steps, &out);
    }

    /// Whether all that is wanted was shown: every log that was seen, of every Job and Task.
    pub(super) fn is_drained(&self) -> bool {
        self.logs.values().all(|log| log.state == State::Done)
    }

    /// Whether every Job and Task that is wanted has a pod that was seen.
    pub(super) fn are_all_seen(&self) -> bool {
        self.children.values().all(|child| !child.pods.is_empty())
    }
}
