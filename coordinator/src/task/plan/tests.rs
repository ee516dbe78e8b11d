//! A world in which the planner's calls take effect: pods that run, end, vanish, and an agent that tells.

use super::*;
use crate::clock::later;
use crate::task::object::TaskObject;
use baton_api::status::TaskPhase;
use baton_events::What;
use baton_protocol::{Reason, Record};
use baton_steps::{Cause, Death, Outcome, Phase, StepState, StopReason};
use k8s_openapi::api::core::v1::{Node, PodStatus};
use k8s_openapi::api::storage::v1::CSINode;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};

mod cases;
mod endings;
mod moves;

use moves::Happens;

struct World {
    now: Timestamp,
    task: TaskObject,
    view: TaskView,
    memory: Memory,
    pods: BTreeMap<String, Arc<Pod>>,
    cluster: Cluster,
    settings: Settings,
    uids: u32,
    /// Pods that were made, with what the Task asked for then.
    made: Vec<(String, String)>,
    /// What the run was begun for that was over for good, until something else is asked for.
    finals: Option<(String, String)>,
    notes: Vec<Note>,
    writes: Vec<Timestamp>,
    deleted: bool,
    refuse: bool,
}

fn settings() -> Settings {
    Settings {
        namespaces: Vec::new(),
        tools_image: "tools".into(),
        tools_pull_policy: None,
        user: Some(1000),
        replica: "r".into(),
    }
}

fn spec(steps: u32) -> Value {
    let step = |n| json!({ "name": format!("s{n}"), "image": "i", "command": ["true"] });
    json!({ "steps": (1..=steps).map(step).collect::<Vec<_>>() })
}

impl World {
    fn new(spec: Value) -> World {
        let task: TaskObject = serde_json::from_value(json!({
            "metadata": { "name": "t", "namespace": "ns", "uid": "task-uid", "generation": 1 },
            "spec": spec,
        }))
        .unwrap();
        let mut world = World {
            now: Timestamp(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000)),
            view: TaskView::read(&task, None),
            task,
            memory: Memory::new(TaskStatus::default()),
            pods: BTreeMap::new(),
            cluster: Cluster::default(),
            settings: settings(),
            uids: 0,
            made: Vec::new(),
            finals: None,
            notes: Vec::new(),
            writes: Vec::new(),
            deleted: false,
            refuse: false,
        };
        world.node(true, true);
        world
    }

    /// One whose pod was told to go, as its node has no agent.
    fn misplaced() -> World {
        let mut world = World::new(spec(1));
        world.work();
        world.bind();
        world.node(true, false);
        world.pass(12);
        assert!(world.only_pod().metadata.deletion_timestamp.is_some());
        world
    }

    fn node(&mut self, ready: bool, driver: bool) {
        let node: Node = serde_json::from_value(json!({
            "metadata": { "name": "n" },
            "status": { "conditions": [{ "type": "Ready", "status": if ready { "True" } else { "False" } }] },
        }))
        .unwrap();
        let drivers = match driver {
            true => json!([{ "name": DRIVER, "nodeID": "n" }]),
            false => json!([]),
        };
        let csi: CSINode = serde_json::from_value(
            json!({ "metadata": { "name": "n" }, "spec": { "drivers": drivers } }),
        )
        .unwrap();
        self.cluster.put_node(&node);
        self.cluster.put_drivers(&csi);
    }

    fn change(&mut self, change: impl FnOnce(&mut Value)) {
        change(&mut self.task.spec);
        let generation = self.task.metadata.generation.unwrap_or_default() + 1;
        self.task.metadata.generation = Some(generation);
        self.take_task();
    }

    fn take_task(&mut self) {
        let before = self.asked();
        self.view = TaskView::read(&self.task, Some(&self.view));
        if self.asked() != before {
            self.finals = None;
        }
    }

    fn rerun(&mut self, value: &str) {
        let annotations = self.task.metadata.annotations.get_or_insert_default();
        annotations.insert("baton.dev/rerun".into(), value.into());
        self.take_task();
    }

    fn asked(&self) -> (String, String) {
        (self.view.digest.clone(), self.view.rerun.clone())
    }

    /// Does everything that is to be done now.
    fn work(&mut self) {
        for _ in 0..200 {
            let seen = Seen {
                task: &self.view,
                pods: &self.pods,
                cluster: &self.cluster,
                settings: &self.settings,
            };
            let next = plan(&mut self.memory, &seen, self.now);
            match next.op {
                Some(op) => self.apply(op),
                None if next.wake.is_some_and(|at| at <= self.now) => {}
                None => return,
            }
        }
        panic!("it never has enough: {:?}", self.memory.status);
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::CreatePod(_) if self.refuse => {
                self.memory.failed(true, "CreateFailed", "quota", self.now);
            }
            Op::CreatePod(pod) => self.create(*pod),
            Op::DeletePod { name, uid, grace } => {
                self.memory.went_well();
                let Some(pod) = self
                    .pods
                    .get(&name)
                    .filter(|p| p.metadata.uid.as_ref() == Some(&uid))
                else {
                    return;
                };
                let phase = pod.status.as_ref().and_then(|s| s.phase.clone());
                let over = matches!(phase.as_deref(), Some("Succeeded" | "Failed"));
                if over || grace == Some(0) || pod.spec.as_ref().unwrap().node_name.is_none() {
                    self.memory.saw_last(pod.clone());
                    self.pods.remove(&name);
                } else {
                    let at = later(self.now, Duration::from_secs(15));
                    self.edit(&name, |pod| {
                        pod.metadata.deletion_timestamp = Some(time(at))
                    });
                }
            }
            Op::Annotate {
                name, annotations, ..
            } => {
                self.memory.went_well();
                self.edit(&name, |pod| {
                    pod.metadata
                        .annotations
                        .get_or_insert_default()
                        .extend(annotations);
                });
            }
            Op::WriteStatus(status) => {
                assert_eq!(*status, self.memory.status);
                self.memory.take_token(self.now);
                self.writes.push(self.now);
                self.memory.wrote(*status);
                if self.memory.is_final() {
                    let status = &self.memory.status;
                    self.finals = Some((status.spec_digest.clone(), status.rerun.clone()));
                }
            }
            Op::DeleteTask => {
                assert!(self.memory.is_final());
                self.deleted = true;
                self.task.metadata.deletion_timestamp = Some(time(self.now));
                self.view = TaskView::read(&self.task, Some(&self.view));
            }
            Op::Emit(note) => self.notes.push(note),
        }
    }

    fn create(&mut self, mut pod: Pod) {
        assert!(
            self.pods.is_empty(),
            "a second pod beside {:?}",
            self.pods.keys()
        );
        let asked = self.asked();
        assert_ne!(
            self.finals.as_ref(),
            Some(&asked),
            "a finished run began again"
        );
        self.uids += 1;
        pod.metadata.uid = Some(format!("pod-{}", self.uids));
        pod.status = Some(status("Pending", &[]));
        self.memory.made(&pod);
        self.made.push(asked);
        let name = pod.metadata.name.clone().unwrap();
        self.pods.insert(name, Arc::new(pod));
    }

    fn edit(&mut self, name: &str, edit: impl FnOnce(&mut Pod)) {
        if let Some(pod) = self.pods.get_mut(name) {
            edit(Arc::make_mut(pod));
        }
    }

    fn edit_all(&mut self, mut edit: impl FnMut(&mut Pod)) {
        self.pods
            .values_mut()
            .for_each(|pod| edit(Arc::make_mut(pod)));
    }

    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now = later(self.now, Duration::from_secs(1));
            self.work();
        }
    }

    /// Does one thing that is to be done now, and gives it.
    fn next(&mut self) -> Option<Op> {
        let seen = Seen {
            task: &self.view,
            pods: &self.pods,
            cluster: &self.cluster,
            settings: &self.settings,
        };
        plan(&mut self.memory, &seen, self.now).op
    }

    fn restart(&mut self) {
        self.memory = Memory::new(self.memory.durable.clone());
    }

    /// The scheduler and the kubelet do their part.
    fn bind(&mut self) {
        self.edit_all(|pod| {
            pod.spec.as_mut().unwrap().node_name = Some("n".into());
        });
    }

    /// What the agent tells of the pod; only of one that is there or was seen last.
    fn tell(&mut self, what: What) {
        let now = self.now;
        fold::fold(&mut self.memory.status, now, &what);
    }

    /// The pod runs all steps, the last of them ends with this code, and the agent tells.
    fn run(&mut self, code: i32) {
        let steps = u32::try_from(self.memory.status.steps.len()).unwrap();
        self.bind();
        self.tell(What::TaskStarted);
        for number in 1..=steps {
            let code = if number == steps { code } else { 0 };
            self.tell(What::StepStarted { number, attempt: 1 });
            self.step_finished(number, code);
        }
        let cause = (code != 0).then(|| Cause::Step {
            number: steps,
            name: format!("s{steps}"),
            reason: Reason::Error,
            exit_code: code,
            message: String::new(),
        });
        self.finish(cause);
        self.edit_all(|pod| pod.status = Some(status("Succeeded", &[])));
    }

    fn step_finished(&mut self, number: u32, code: i32) {
        let record = record(code, self.now);
        self.tell(What::StepFinished {
            number,
            state: StepState::Done { record },
            results: Vec::new(),
            missing: Vec::new(),
        });
    }

    fn finish(&mut self, cause: Option<Cause>) {
        let outcome = Outcome {
            phase: cause.as_ref().map_or(Phase::Succeeded, Cause::phase),
            exit_code: cause.as_ref().map_or(0, Cause::exit_code),
            cause,
            started_at: Some(self.now),
            finished_at: self.now,
        };
        self.tell(What::TaskFinished { outcome });
    }

    fn phase(&self) -> TaskPhase {
        self.memory.durable.phase
    }

    fn reason(&self) -> &str {
        &self.memory.durable.reason
    }

    fn only_pod(&self) -> &Pod {
        assert_eq!(self.pods.len(), 1);
        self.pods.values().next().unwrap()
    }
}

fn record(code: i32, at: Timestamp) -> Record {
    let reason = if code == 0 {
        Reason::Completed
    } else {
        Reason::Error
    };
    let mut record = Record::new(reason, code, at);
    record.attempts = 1;
    record
}

fn time(at: Timestamp) -> Time {
    serde_json::from_value(Value::String(at.to_string())).unwrap()
}

fn status(phase: &str, containers: &[Value]) -> PodStatus {
    serde_json::from_value(json!({ "phase": phase, "containerStatuses": containers })).unwrap()
}

impl World {
    /// Pods that are to go are gone, and the watch tells.
    fn gone(&mut self) {
        let stays = |p: &Arc<Pod>| p.metadata.deletion_timestamp.is_none();
        for pod in self.pods.values().filter(|p| !stays(p)) {
            self.memory.saw_last(pod.clone());
        }
        self.pods.retain(|_, p| stays(p));
    }

    /// Whether the pod of the run is there and may do something.
    fn may_run(&self) -> bool {
        let uid = self.memory.status.pod.as_ref().map(|p| p.uid.clone());
        let carrier = self.memory.status.pod.as_ref().map(|p| p.carrier);
        carrier == Some(Carrier::Volume)
            && !self.memory.status.phase.is_over()
            && self.pods.values().any(|p| p.metadata.uid == uid)
    }
}

/// Every container of a pod ended with 0.
fn ended(pod: &Pod, now: Timestamp) -> PodStatus {
    under_way(pod, usize::MAX, now)
}

/// The first containers of a pod ended with 0, so many; the others run.
fn under_way(pod: &Pod, over: usize, now: Timestamp) -> PodStatus {
    let now = now.to_string();
    let ended = json!({ "terminated": {
        "exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now,
    } });
    let runs = json!({ "running": { "startedAt": now } });
    let names = pod
        .spec
        .as_ref()
        .unwrap()
        .containers
        .iter()
        .map(|c| &c.name);
    let containers: Vec<_> = names
        .enumerate()
        .map(|(i, name)| {
            json!({
                "name": name, "image": "", "imageID": "", "ready": i >= over, "restartCount": 0,
                "state": if i < over { &ended } else { &runs },
            })
        })
        .collect();
    match over < containers.len() {
        true => status("Running", &containers),
        false => status("Succeeded", &containers),
    }
}
