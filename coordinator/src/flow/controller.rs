//! The loop: watches and time in, calls of the API server out.
//!
//! One task owns everything; calls run beside it: of each flow one write of its status at a time, and
//! one call about each child.
//!
//! ```text
//! changes   watches tell: flows, templates and children come, change and go
//! outcomes  calls begin, and what came of them
//! telling   callbacks are told, and tell how far they came
//! ```

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use baton_api::flow_status::JobFlowPhase;
use kube::Client;
use tokio::sync::{Semaphore, mpsc};

use super::calls::{Caller, Done, What};
use super::children::{Children, OfFlow};
use super::memory::Memory;
use super::object::{FlowView, Template};
use super::plan::{Busy, Seen, plan};
use super::watches::Kind;
use crate::callbacks::{Story, Telling};
use crate::child::recorder;
use crate::clock::{later, now};
use crate::control::{Control, Settings, Shell};
use crate::metrics::Metrics;
use crate::watching::Lists;

/// Most calls of the API server at once.
const MAX_CALLS: usize = 32;
/// When a full channel is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// Most Kubernetes Events that are written at once; they do not keep other calls.
const MAX_EVENTS: usize = 2;

mod changes;
mod outcomes;
mod telling;

/// A flow, and what is under way for it.
struct Entry {
    view: FlowView,
    memory: Memory,
    busy: Busy,
    phase: Option<JobFlowPhase>,
    /// UIDs of children that went while calls were under way: their answers come late.
    gone: HashSet<String>,
    /// Since when the end of a child is known that something may follow from.
    turn: Option<Instant>,
    telling: Telling,
}

/// What came of a call about the flow of this UID.
type Called = (String, What, Done);

/// Everything that the loop owns.
pub(super) struct Controller {
    shell: Shell<Kind, Called>,
    caller: Caller,
    metrics: Metrics,
    flows: HashMap<String, Entry>,
    children: Children,
    /// By namespace and name.
    templates: HashMap<(String, String), Template>,
    event_permits: Arc<Semaphore>,
    stories: mpsc::Sender<Story>,
}

impl Controller {
    pub(super) fn new(
        client: Client,
        settings: &Settings,
        metrics: Metrics,
        lists: Lists<Kind>,
        stories: mpsc::Sender<Story>,
    ) -> Controller {
        let work = metrics.flow_work.clone();
        let recorder = recorder(&client, &settings.replica);
        Controller {
            shell: Shell::new(lists, MAX_CALLS, work, metrics.queue("JobFlow")),
            caller: Caller { client, recorder },
            metrics,
            flows: HashMap::new(),
            children: Children::default(),
            templates: HashMap::new(),
            event_permits: Arc::new(Semaphore::new(MAX_EVENTS)),
            stories,
        }
    }

    /// Keeps the number of flows by phase.
    fn count(&mut self, uid: &str) {
        let entry = self.flows.get_mut(uid);
        let Some(entry) = entry.filter(|e| !e.view.is_scheduled) else {
            return;
        };
        let new = Some(entry.memory.status.phase);
        let old = std::mem::replace(&mut entry.phase, new);
        self.metrics.flows.moved(old, new);
    }
}

impl Control for Controller {
    type Called = Called;

    fn shell(&mut self) -> &mut Shell<Kind, Called> {
        &mut self.shell
    }

    fn uids(&self) -> Vec<String> {
        self.flows.keys().cloned().collect()
    }

    fn reconcile(&mut self, uid: &str) {
        if self.flows.get(uid).is_some_and(|e| e.telling.is_late()) {
            self.tell(uid);
        }
        let none = OfFlow::new();
        let Some(entry) = self.flows.get_mut(uid) else {
            return;
        };
        let templates = &self.templates;
        let namespace = entry.view.namespace.clone();
        let template = |name: &str| {
            templates
                .get(&(namespace.clone(), name.to_owned()))
                .cloned()
        };
        let seen = Seen {
            flow: &entry.view,
            children: self.children.of(uid).unwrap_or(&none),
            template: &template,
            busy: &entry.busy,
            is_crowded: self.shell.is_crowded(),
        };
        let next = plan(&mut entry.memory, &seen, now());
        let again = entry.telling.is_late().then(|| later(now(), AGAIN));
        let wake = next.wake.into_iter().chain(again).min();
        self.shell.queue.wake_at(uid, wake);
        self.count(uid);
        for op in next.ops {
            self.start(uid, op);
        }
        if let Some(entry) = self.flows.get_mut(uid) {
            let rests = !entry.busy.flow && entry.busy.children.is_empty();
            // Nothing follows from the end that was seen.
            entry.turn.take_if(|_| rests);
        }
    }

    fn called(&mut self, (uid, what, done): Called) {
        self.done(&uid, &what, done);
    }
}

#[cfg(test)]
mod tests;
