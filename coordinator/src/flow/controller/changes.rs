//! What watches tell: flows, templates and children come, change and go.

use std::collections::{BTreeSet, HashSet};
use std::time::Instant;

use baton_flow::Seen as End;

use super::{Controller, Entry};
use crate::callbacks::Telling;
use crate::child::is_older;
use crate::control::Known;
use crate::flow::children::{Child, ChildKey, ChildKind, OfFlow};
use crate::flow::memory::Memory;
use crate::flow::object::{FlowView, JobFlowObject, Template};
use crate::flow::plan::Busy;
use crate::flow::watches::{Kind, Thing};
use crate::watching::Scope;

impl Known for Controller {
    type Kind = Kind;
    type Thing = Thing;

    fn put(&mut self, thing: Thing) -> Option<String> {
        match thing {
            Thing::Flow(flow) => {
                self.put_flow(&flow);
                flow.metadata.uid
            }
            Thing::Template(object) => {
                let key = (
                    object.metadata.namespace.clone()?,
                    object.metadata.name.clone()?,
                );
                self.templates.insert(key.clone(), Template::read(&object));
                self.enqueue_users(&key);
                Some(template_id(&key))
            }
            Thing::Child(child) => {
                let uid = child.uid.clone();
                self.put_child(*child);
                Some(uid)
            }
            Thing::Nothing => None,
        }
    }

    fn gone(&mut self, thing: Thing) {
        match thing {
            Thing::Flow(flow) => {
                if let Some(uid) = &flow.metadata.uid {
                    self.drop_flow(uid);
                }
            }
            Thing::Template(object) => {
                let meta = object.metadata;
                if let (Some(namespace), Some(name)) = (meta.namespace, meta.name) {
                    self.templates.remove(&(namespace, name));
                }
            }
            Thing::Child(child) => self.drop_child(&child.owner, &child.key(), &child.uid),
            Thing::Nothing => {}
        }
    }

    fn keep(&mut self, scope: &Scope<Kind>, list: &BTreeSet<String>) {
        match scope.kind {
            Kind::JobFlow => {
                let flows = self.flows.iter();
                let gone = flows
                    .filter(|(uid, e)| scope.covers(&e.view.namespace) && !list.contains(*uid));
                let gone: Vec<_> = gone.map(|(uid, _)| uid.clone()).collect();
                gone.iter().for_each(|uid| self.drop_flow(uid));
            }
            Kind::JobTemplate => self
                .templates
                .retain(|key, _| !scope.covers(&key.0) || list.contains(&template_id(key))),
            Kind::Job | Kind::Task => {
                let kind = match scope.kind {
                    Kind::Task => ChildKind::Task,
                    _ => ChildKind::Job,
                };
                for child in self.children.missing_from(kind, list, |n| scope.covers(n)) {
                    self.drop_child(&child.owner, &child.key(), &child.uid);
                }
            }
        }
    }
}

impl Controller {
    /// Flows that are not over and refer to a template.
    fn enqueue_users(&mut self, (namespace, name): &(String, String)) {
        let uses = |entry: &Entry| {
            let spec = entry.view.spec.as_ref();
            entry.view.namespace == *namespace
                && entry.memory.durable.finished_at.is_none()
                && spec.is_ok_and(|s| s.templates.contains(name))
        };
        let users = self.flows.iter().filter(|(_, entry)| uses(entry));
        users.for_each(|(uid, _)| self.shell.queue.push(uid));
    }

    pub(super) fn put_flow(&mut self, flow: &JobFlowObject) {
        let Some(uid) = flow.metadata.uid.clone() else {
            return;
        };
        match self.flows.get_mut(&uid) {
            Some(entry) => {
                let version = flow.metadata.resource_version.as_deref();
                if is_older(version, &entry.view.resource_version) {
                    return;
                }
                entry.view = FlowView::read(flow, Some(&entry.view));
            }
            None => {
                let entry = Entry {
                    view: FlowView::read(flow, None),
                    memory: Memory::new(flow.read_status()),
                    busy: Busy::default(),
                    phase: None,
                    gone: HashSet::new(),
                    turn: None,
                    telling: Telling::default(),
                };
                self.flows.insert(uid.clone(), entry);
                self.count(&uid);
                self.tell_again(&uid);
            }
        }
        self.shell.queue.push(&uid);
    }

    pub(super) fn put_child(&mut self, child: Child) {
        let is_over = child.seen != End::Live;
        let key = child.key();
        let was_live = |known: &OfFlow| known.get(&key).is_some_and(|c| c.seen == End::Live);
        let ends = is_over && self.children.of(&child.owner).is_some_and(was_live);
        if let Some(owner) = self.children.put(child) {
            if let (true, Some(entry)) = (ends, self.flows.get_mut(&owner)) {
                entry.turn.get_or_insert_with(Instant::now);
            }
            self.shell.queue.push(&owner);
        }
    }

    fn drop_child(&mut self, owner: &str, key: &ChildKey, uid: &str) {
        if let Some(entry) = self.flows.get_mut(owner) {
            entry.memory.deleted.remove(uid);
            if !entry.busy.children.is_empty() {
                entry.gone.insert(uid.to_owned());
            }
        }
        if self.children.remove(owner, key, uid) {
            self.shell.queue.push(owner);
        }
    }

    fn drop_flow(&mut self, uid: &str) {
        let Some(entry) = self.flows.remove(uid) else {
            return;
        };
        self.shell.queue.wake_at(uid, None);
        self.metrics.flows.moved(entry.phase, None);
    }
}

/// By what lists know a JobTemplate: names may be the same in several namespaces.
fn template_id((namespace, name): &(String, String)) -> String {
    format!("{namespace}/{name}")
}
