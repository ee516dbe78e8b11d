//! Flows against a cluster in memory that loses writes, forgets Jobs, and changes its mind.

use std::collections::BTreeMap;
use std::time::SystemTime;

use baton_api::flow_status::FlowJobState;
use k8s_openapi::api::batch::v1::Job;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::child::controller;
use crate::flow::object::JobFlowObject;

mod edges;

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

#[test]
fn the_seeds_flow() {
    let mut world = World::new(seed());
    world.settle();
    assert_eq!(world.live(), ["f-job1", "f-job4"]);
    assert_eq!(world.stored.phase, JobFlowPhase::Running);
    world.succeed("f-job1");
    world.succeed("f-job4");
    assert_eq!(world.live(), ["f-job2"]);
    assert_eq!(world.stored.progress, "2/5");
    world.succeed("f-job2");
    assert_eq!(world.live(), ["f-job3", "f-job5"]);
    world.succeed("f-job3");
    world.succeed("f-job5");
    assert_eq!(world.stored.phase, JobFlowPhase::Succeeded);
    assert_eq!(world.stored.progress, "5/5");
    assert_eq!(
        world.condition("Succeeded"),
        ("True".into(), "Completed".into())
    );
    assert_eq!(world.notes.last().unwrap().reason, "Succeeded");
    // Each node: its start, that it runs, its end; and what goes together is written together.
    assert!(world.writes <= 15, "{} writes", world.writes);
}

#[test]
fn a_failure_skips_what_depends_on_it() {
    let mut world = World::new(seed());
    world.settle();
    world.fail("f-job1");
    assert_eq!(world.stored.phase, JobFlowPhase::Running);
    world.succeed("f-job4");
    assert_eq!(
        world.states(),
        [
            "job1 Failed BackoffLimitExceeded",
            "job2 Skipped DependencyNotMet",
            "job3 Skipped DependencyNotMet",
            "job4 Succeeded",
            "job5 Skipped DependencyNotMet",
        ]
    );
    assert_eq!(world.stored.phase, JobFlowPhase::Failed);
    assert_eq!(world.stored.reason, "BackoffLimitExceeded");
    assert!(
        world.stored.message.contains("\"job1\""),
        "{}",
        world.stored.message
    );

    // Run again from there: what succeeded is kept, names are new.
    world.restart();
    world.change(seed(), "again");
    assert_eq!(world.live(), ["f-job1-r2"]);
    assert_eq!(world.stored.run, 2);
    world.succeed("f-job1-r2");
    world.succeed("f-job2");
    world.succeed("f-job3");
    world.succeed("f-job5");
    assert_eq!(world.stored.phase, JobFlowPhase::Succeeded);
    world.change(seed(), "once-more");
    assert!(world.notes.iter().any(|n| n.reason == "NothingToRun"));
    assert_eq!(world.live(), Vec::<String>::new());
    world.children.clear();
    world.change(seed(), "all-1");
    assert_eq!(world.live(), ["f-job1-r3", "f-job4-r2"]);
}

#[test]
fn a_template_may_come_later_and_its_mistakes_are_waited_for() {
    let mut world = World::new(json!({"flows": [{"name": "a", "jobTemplateRef": "t"}]}));
    world.settle();
    assert_eq!(
        world.condition("Progressing"),
        ("False".into(), "JobTemplateMissing".into())
    );
    assert_eq!(world.states(), ["a Waiting JobTemplateMissing"]);
    let template = |spec| Template {
        version: "t@1".to_owned(),
        spec,
    };
    world
        .templates
        .insert("t".into(), template(Err("bad".into())));
    world.settle();
    assert_eq!(world.states(), ["a Waiting JobTemplateInvalid"]);
    let spec = serde_json::from_value(json!({"jobTemplate": job()})).unwrap();
    world
        .templates
        .insert("t".into(), template(Ok(Arc::new(spec))));
    world.settle();
    assert_eq!(world.live(), ["f-a"]);
    world.templates.clear();
    world.succeed("f-a");
    assert_eq!(world.stored.phase, JobFlowPhase::Succeeded);
}

#[test]
fn a_change_that_rewrites_history_is_refused_and_cancel_is_not() {
    let mut world = World::new(seed());
    world.settle();
    world.succeed("f-job1");
    let mut other = seed();
    other["flows"][0]["retries"] = json!(2);
    world.change(other.clone(), "");
    assert_eq!(
        world.condition("Accepted"),
        ("False".into(), "ChangeRefused".into())
    );
    world.succeed("f-job2");
    assert_eq!(world.live(), ["f-job4"], "nothing new is let go");
    // It is recorded, so its Job may go.
    world
        .children
        .remove(&(ChildKind::Job, "f-job2".to_owned()));
    world.settle();
    world.restart();
    world.settle();
    assert_eq!(world.live(), ["f-job4"]);
    world.change(seed(), "");
    assert_eq!(
        world.condition("Accepted"),
        ("True".into(), "Accepted".into())
    );
    assert_eq!(world.live(), ["f-job3", "f-job4"]);

    other["cancel"] = json!(true);
    world.change(other, "");
    assert_eq!(world.stored.phase, JobFlowPhase::Cancelled);
    assert_eq!(world.live(), Vec::<String>::new());
}

#[test]
fn what_is_over_is_kept_as_long_as_is_said() {
    let mut spec = seed();
    spec["flows"] = json!([node("a", &[]), node("b", &["a"])]);
    spec["flows"][0]["jobTemplate"]["ttlSecondsAfterFinished"] = json!(0);
    spec["ttlSecondsAfterFinished"] = json!(60);
    spec["retainPolicy"] = json!("DeleteOnSuccess");
    let mut world = World::new(spec);
    world.settle();
    world.succeed("f-a");
    assert_eq!(
        world
            .children
            .keys()
            .map(|k| k.1.as_str())
            .collect::<Vec<_>>(),
        ["f-b"]
    );
    world.restart();
    world.settle();
    assert_eq!(
        world.made,
        ["f-a", "f-b"],
        "what is recorded never runs again"
    );
    world.succeed("f-b");
    assert!(world.children.is_empty());
    assert!(!world.deleted_flow);
    let wake = world.plan().wake.unwrap();
    assert!(wake > at(world.now) && wake <= at(world.now + 60));
    world.now += 60;
    let ops = world.plan().ops;
    assert_eq!(ops, [Op::DeleteFlow]);
}

#[test]
fn a_foreign_object_of_the_name_is_waited_for() {
    let mut world = World::new(json!({"flows": [node("a", &[])]}));
    let mut creates = 0;
    for _ in 0..20 {
        world.now += 1;
        for op in world.plan().ops {
            match op {
                Op::Create(key, _) => {
                    creates += 1;
                    let now = at(world.now);
                    world
                        .memory
                        .failed(key, "NameTaken", "there is another", now);
                }
                op => world.apply(op),
            }
        }
    }
    assert!((2..=6).contains(&creates), "{creates}");
    assert_eq!(world.states(), ["a Running NameTaken"]);
    assert_eq!(
        world.condition("Progressing"),
        ("False".into(), "NameTaken".into())
    );
    world.now += 60;
    world.settle();
    assert_eq!(world.live(), ["f-a"]);
}

#[test]
fn names_of_elements_and_nodes_stay_apart() {
    let mut spec = json!({"flows": [node("a", &[]), node("a-0", &[])]});
    spec["flows"][0]["forEach"] = json!({"items": ["x", "y"]});
    let mut world = World::new(spec);
    world.settle();
    assert_eq!(world.live(), ["f-a--0", "f-a--1", "f-a-0"]);
    let of = |name: &str| world.children[&(ChildKind::Job, name.to_owned())].index;
    assert_eq!((of("f-a--1"), of("f-a-0")), (1, 0));
}

#[derive(Debug, Clone)]
enum Move {
    /// Plan, and do so many of the planned calls.
    Work(usize),
    /// Plan, and lose what was planned: the calls never reach the server.
    Lose,
    /// Plan by a view in which nothing has ended, and do what is planned.
    Stale,
    /// The controller dies and another one begins.
    Restart,
    Succeed(usize),
    Fail(usize),
    Delete(usize),
    Wait(u64),
    Suspend(bool),
    Cancel,
}

fn a_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        8 => (0usize..4).prop_map(Move::Work),
        1 => Just(Move::Lose),
        2 => Just(Move::Stale),
        2 => Just(Move::Restart),
        6 => any::<usize>().prop_map(Move::Succeed),
        2 => any::<usize>().prop_map(Move::Fail),
        1 => any::<usize>().prop_map(Move::Delete),
        1 => (0u64..100).prop_map(Move::Wait),
        1 => any::<bool>().prop_map(Move::Suspend),
        1 => prop_oneof![9 => Just(Move::Work(1)), 1 => Just(Move::Cancel)],
    ]
}

fn a_spec() -> impl Strategy<Value = Value> {
    let one = (
        proptest::collection::vec(any::<prop::sample::Index>(), 0..3),
        0u32..3,
        proptest::option::weighted(0.2, 0usize..3),
    );
    let nodes = proptest::collection::vec(one, 1..7);
    (nodes, proptest::option::of(1u32..3), any::<bool>()).prop_map(|(nodes, most, fast)| {
        let flows: Vec<Value> = nodes
            .iter()
            .enumerate()
            .map(|(i, (needs, retries, list))| {
                let needs: BTreeSet<String> = match i {
                    0 => BTreeSet::new(),
                    i => needs.iter().map(|n| format!("n{}", n.index(i))).collect(),
                };
                let mut node = json!({
                    "name": format!("n{i}"), "jobTemplate": job(), "dependencies": needs, "retries": retries,
                });
                if let Some(count) = list {
                    let items: Vec<_> = (0..=*count).map(|i| i.to_string()).collect();
                    node["forEach"] = json!({ "items": items });
                }
                node
            })
            .collect();
        let mut spec = json!({ "flows": flows });
        if let Some(most) = most {
            spec["maxParallel"] = json!(most);
        }
        if fast {
            spec["failurePolicy"] = json!("FailFast");
        }
        spec
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn whatever_happens_each_node_has_one_job_and_it_ends(
        spec in a_spec(),
        moves in proptest::collection::vec(a_move(), 0..60),
    ) {
        let mut spec = spec;
        let mut world = World::new(spec.clone());
        for m in moves {
            world.now += 1;
            let live = world.live();
            let some = |which: usize| live.get(which % live.len().max(1)).cloned();
            match m {
                Move::Work(most) => {
                    let ops = world.plan().ops;
                    ops.into_iter().take(most).for_each(|op| world.apply(op));
                }
                Move::Lose => drop(world.plan()),
                Move::Stale => world.stale(),
                Move::Restart => world.restart(),
                Move::Succeed(which) => if let Some(name) = some(which) {
                    world.end(&name, End::Succeeded);
                },
                Move::Fail(which) => if let Some(name) = some(which) {
                    world.end(&name, End::Failed("Error".into()));
                },
                Move::Delete(which) => if let Some(name) = some(which) {
                    // Whoever deletes a Job before it is seen has it made again; not after.
                    let known = world.stored.nodes.iter().flat_map(|n| &n.jobs);
                    let seen = known.into_iter().any(|j| j.name == name && j.state == FlowJobState::Running);
                    if seen {
                        world.children.remove(&(ChildKind::Job, name));
                    }
                },
                Move::Wait(seconds) => world.now += seconds,
                Move::Suspend(on) => {
                    spec["suspend"] = json!(on);
                    world.view = flow(spec.clone(), "", world.view.generation.unwrap() + 1);
                }
                Move::Cancel => {
                    spec["cancel"] = json!(true);
                    world.view = flow(spec.clone(), "", world.view.generation.unwrap() + 1);
                }
            }
        }
        spec["suspend"] = json!(false);
        world.view = flow(spec, "", world.view.generation.unwrap() + 1);
        let mut rounds = 0;
        while world.stored.finished_at.is_none() {
            world.settle();
            if let Some(name) = world.live().first().cloned() {
                world.end(&name, End::Succeeded);
            }
            world.now += 400;
            rounds += 1;
            prop_assert!(rounds < 200, "it does not end: {:?}", world.stored);
        }
        world.settle();
        prop_assert_eq!(world.live(), Vec::<String>::new());
        prop_assert!(world.stored.phase.is_over());
        let over = |n: &baton_api::flow_status::FlowNodeStatus| n.state.is_over();
        prop_assert!(world.stored.nodes.iter().all(over));
    }
}
