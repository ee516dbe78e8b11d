//! Flows against a cluster in memory that loses writes, forgets Jobs, and changes its mind.

use std::collections::BTreeMap;
use std::time::SystemTime;

use baton_api::flow_status::FlowJobState;
use k8s_openapi::api::batch::v1::Job;
use serde_json::{Value, json};

use super::*;
use crate::child::controller;
use crate::flow::object::JobFlowObject;
use crate::flow::story::story;

mod cases;
mod edges;
mod moves;

fn at(seconds: u64) -> Timestamp {
    Timestamp(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

fn flow(spec: Value, rerun: &str, generation: i64) -> FlowView {
    let object: JobFlowObject = serde_json::from_value(json!({
        "metadata": {
            "name": "f", "namespace": "ci", "uid": "u", "resourceVersion": "1", "generation": generation,
            "annotations": {"baton.dev/rerun": rerun},
        },
        "spec": spec,
    }))
    .unwrap();
    FlowView::read(&object, None)
}

fn job() -> Value {
    json!({"template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}})
}

fn node(name: &str, needs: &[&str]) -> Value {
    json!({"name": name, "jobTemplate": job(), "dependencies": needs})
}

/// A controller and the API server that it works with.
struct World {
    view: FlowView,
    memory: Memory,
    busy: Busy,
    children: OfFlow,
    /// The status that the API server has.
    stored: JobFlowStatus,
    templates: BTreeMap<String, Template>,
    now: u64,
    /// Names of Jobs that were made, in order.
    made: Vec<String>,
    writes: usize,
    deleted_flow: bool,
    notes: Vec<Note>,
}

impl World {
    fn new(spec: Value) -> World {
        World {
            view: flow(spec, "", 1),
            memory: Memory::new(JobFlowStatus::default()),
            busy: Busy::default(),
            children: OfFlow::new(),
            stored: JobFlowStatus::default(),
            templates: BTreeMap::new(),
            now: 1000,
            made: Vec::new(),
            writes: 0,
            deleted_flow: false,
            notes: Vec::new(),
        }
    }

    fn plan(&mut self) -> Next {
        let templates = &self.templates;
        let template = |name: &str| templates.get(name).cloned();
        let seen = Seen {
            flow: &self.view,
            children: &self.children,
            template: &template,
            busy: &self.busy,
            is_crowded: false,
        };
        plan(&mut self.memory, &seen, at(self.now))
    }

    /// Plans and does what is planned until nothing is left to do at this time.
    fn settle(&mut self) {
        for _ in 0..100 {
            self.now += 2;
            let next = self.plan();
            let soon = next.wake.is_some_and(|wake| wake <= at(self.now + 2));
            if next.ops.is_empty() && !soon {
                return;
            }
            next.ops.into_iter().for_each(|op| self.apply(op));
        }
        panic!("it never rests: {:?}", self.memory.status);
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Create(key, Object::Job(job)) => self.create(key, &job),
            Op::Create(_, Object::Task(_)) => panic!("there are no Tasks here"),
            Op::Stop(child) => {
                self.end(&child.name.clone(), End::Failed("DeadlineExceeded".into()))
            }
            Op::Delete(child) => {
                self.children.remove(&child.key());
            }
            Op::WriteStatus(status) => {
                self.stored = *status.clone();
                self.writes += 1;
                self.memory.wrote(*status);
            }
            Op::DeleteFlow => self.deleted_flow = true,
            Op::Emit(note) => self.notes.push(note),
        }
    }

    fn create(&mut self, key: ChildKey, job: &Job) {
        let mut job = job.clone();
        job.metadata.uid = Some(format!("uid-{}", self.made.len()));
        assert_eq!(controller(&job.metadata), Some("u"));
        let child = Child::of_job(&job).unwrap();
        // Written first, then made; one live Job for each instance; none after a success.
        let stored = self.stored.node(&child.node).unwrap();
        let record = &stored.jobs[child.index];
        assert_eq!(record.attempts, child.attempt, "{}", child.name);
        let same = |c: &&Arc<Child>| c.node == child.node && c.index == child.index;
        let others = || self.children.values().filter(same);
        assert!(
            !others().any(|c| c.seen == End::Live),
            "{} is second",
            child.name
        );
        assert!(
            !others().any(|c| c.seen == End::Succeeded),
            "{} again",
            child.name
        );
        assert!(!self.made.contains(&child.name), "{} twice", child.name);
        self.made.push(child.name.clone());
        self.children.insert(key, Arc::new(child));
    }

    fn end(&mut self, name: &str, seen: End) {
        let key = (ChildKind::Job, name.to_owned());
        let mut child = (**self.children.get(&key).unwrap_or_else(|| panic!("{name}"))).clone();
        child.seen = seen;
        child.finished_at = Some(at(self.now));
        self.children.insert(key, Arc::new(child));
    }

    fn live(&self) -> Vec<String> {
        let live = self.children.values().filter(|c| c.seen == End::Live);
        live.map(|c| c.name.clone()).collect()
    }

    fn succeed(&mut self, name: &str) {
        self.end(name, End::Succeeded);
        self.settle();
    }

    fn fail(&mut self, name: &str) {
        self.end(name, End::Failed("BackoffLimitExceeded".into()));
        self.settle();
    }

    /// The controller dies, and another one begins.
    fn restart(&mut self) {
        self.memory = Memory::new(self.stored.clone());
        self.busy = Busy::default();
    }

    fn stale(&mut self) {
        let real = self.children.clone();
        for child in self.children.values_mut() {
            Arc::make_mut(child).seen = End::Live;
        }
        let ops = self.plan().ops;
        self.children = real;
        for op in ops {
            match &op {
                // The server knows that it has nothing to stop.
                Op::Stop(child) if self.children[&child.key()].seen != End::Live => {}
                Op::Delete(child) if !self.children.contains_key(&child.key()) => {}
                _ => self.apply(op),
            }
        }
    }

    fn change(&mut self, spec: Value, rerun: &str) {
        let generation = self.view.generation.unwrap_or_default() + 1;
        self.view = flow(spec, rerun, generation);
        self.settle();
    }

    fn condition(&self, kind: &str) -> (String, String) {
        let found = self.stored.conditions.iter().find(|c| c.kind == kind);
        found
            .map(|c| (c.status.clone(), c.reason.clone()))
            .unwrap_or_default()
    }

    fn states(&self) -> Vec<String> {
        let line = |n: &baton_api::flow_status::FlowNodeStatus| {
            format!("{} {:?} {}", n.name, n.state, n.reason)
                .trim_end()
                .to_owned()
        };
        self.stored.nodes.iter().map(line).collect()
    }
}

fn seed() -> Value {
    json!({"flows": [
        node("job1", &[]), node("job2", &["job1"]), node("job3", &["job1", "job2"]),
        node("job4", &[]), node("job5", &["job4", "job2"]),
    ]})
}
