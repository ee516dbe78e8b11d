//! Many Tasks at once, whose steps leave a mark on their node each time that they run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use baton_api::status::{Carrier, TaskPhase, TaskStatus};
use baton_e2e::{Namespace, Parts};

/// The folder on each node that the marks are in.
const MARKS: &str = "/var/lib/baton-e2e";

/// What the Tasks of a batch are like.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shape {
    /// How many Tasks.
    pub(crate) tasks: usize,
    /// How many steps each has.
    pub(crate) steps: usize,
    /// How long a step sleeps after its mark, as `sleep` takes it.
    pub(crate) sleep: &'static str,
    /// The node that all run on; any where it is empty.
    pub(crate) node: &'static str,
    /// The receiver of callbacks; none where it is empty.
    pub(crate) callback: String,
}

/// Tasks that were applied at once. Their marks are removed at the end.
#[derive(Debug)]
pub(crate) struct Batch<'a> {
    ns: &'a Namespace,
    parts: Parts,
    nodes: u32,
    shape: Shape,
}

impl<'a> Batch<'a> {
    /// Applies them.
    pub(crate) fn apply(ns: &'a Namespace, parts: &Parts, nodes: usize, shape: Shape) -> Self {
        let batch = Self {
            ns,
            parts: parts.clone(),
            nodes: u32::try_from(nodes).expect("a few nodes"),
            shape,
        };
        for node in 1..=batch.nodes {
            let made = batch
                .parts
                .in_node(node, &["mkdir", "-p", "-m", "777", &batch.folder()]);
            made.success("a folder for the marks");
        }
        let yaml = batch.names().fold(String::new(), |mut yaml, name| {
            let _ = writeln!(yaml, "---\n{}", batch.task(&name));
            yaml
        });
        ns.apply(&yaml);
        batch
    }

    fn folder(&self) -> String {
        format!("{MARKS}/{}", self.ns.name())
    }

    /// The Tasks' names.
    pub(crate) fn names(&self) -> impl Iterator<Item = String> {
        (1..=self.shape.tasks).map(|i| format!("t{i}"))
    }

    fn task(&self, name: &str) -> String {
        let folder = self.folder();
        let sleep = self.shape.sleep;
        let mut yaml = format!(
            "apiVersion: baton.dev/v1alpha1\nkind: Task\nmetadata: {{name: {name}}}\nspec:\n  \
             volumes: [{{name: marks, hostPath: {{path: {folder}}}}}]\n"
        );
        if !self.shape.node.is_empty() {
            let node = self.shape.node;
            let _ = writeln!(
                yaml,
                "  podTemplate: {{spec: {{nodeSelector: {{kubernetes.io/hostname: {node}}}}}}}"
            );
        }
        if !self.shape.callback.is_empty() {
            let _ = writeln!(yaml, "  callbacks: [{{url: \"{}\"}}]", self.shape.callback);
        }
        yaml.push_str("  steps:\n");
        for i in 1..=self.shape.steps {
            let _ = writeln!(
                yaml,
                "  - name: s{i}\n    image: busybox\n    imagePullPolicy: IfNotPresent\n    command: [sh, -c, \"echo {i} >>/marks/{name}; sleep {sleep}\"]\n    \
                 volumeMounts: [{{name: marks, mountPath: /marks}}]"
            );
        }
        yaml
    }

    /// The marks of each Task that has any, in the order in which its steps ran, from all nodes.
    pub(crate) fn marks(&self) -> BTreeMap<String, Vec<usize>> {
        let mut marks = BTreeMap::<String, Vec<usize>>::new();
        for node in 1..=self.nodes {
            let script = "cd \"$1\" && grep -H . -- * 2>/dev/null || true";
            let folder = self.folder();
            let out = self
                .parts
                .in_node(node, &["sh", "-c", script, "sh", &folder]);
            for line in out.success("the marks").lines() {
                let (task, step) = line.split_once(':').unwrap_or(("t1", line));
                let steps = marks.entry(task.to_owned()).or_default();
                steps.push(step.parse().expect("a step's number"));
            }
        }
        marks
    }

    /// How many steps have begun, of all Tasks.
    pub(crate) fn begun(&self) -> usize {
        self.marks().values().map(Vec::len).sum()
    }

    /// Whether every step of every Task has begun.
    pub(crate) fn all_begun(&self) -> bool {
        self.begun() >= self.shape.tasks * self.shape.steps
    }

    /// Waits until all Tasks have succeeded, and sees that every step of theirs ran once and in its
    /// order, in one pod that the agent ordered.
    pub(crate) fn ran_once(&self, limit: Duration) -> Vec<TaskStatus> {
        let statuses = self.ran_once_by_any(limit);
        for (name, status) in self.names().zip(&statuses) {
            assert_eq!(carrier(status), Some(Carrier::Volume), "{name}: {status:?}");
        }
        statuses
    }

    /// The same, whoever ordered their pods: where a node has no agent just then, it is the coordinator.
    pub(crate) fn ran_once_by_any(&self, limit: Duration) -> Vec<TaskStatus> {
        let deadline = Instant::now() + limit;
        let statuses: Vec<TaskStatus> = self
            .names()
            .map(|name| {
                let left = deadline.saturating_duration_since(Instant::now());
                self.ns.finished(&name, left.max(Duration::from_secs(2)))
            })
            .collect();
        let marks = self.marks();
        let want: Vec<usize> = (1..=self.shape.steps).collect();
        for (name, status) in self.names().zip(&statuses) {
            assert_eq!(status.phase, TaskPhase::Succeeded, "{name}: {status:?}");
            assert_eq!(status.run, 1, "{name}: {status:?}");
            assert_eq!(marks.get(&name), Some(&want), "{name}: its steps ran so");
        }
        let pods = self.ns.list("pods", "baton.dev/managed=true");
        assert_eq!(pods.len(), self.shape.tasks, "a Task has one pod");
        statuses
    }
}

/// What ordered a Task's pod.
pub(crate) fn carrier(status: &TaskStatus) -> Option<Carrier> {
    status.pod.as_ref().map(|pod| pod.carrier)
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        for node in 1..=self.nodes {
            self.parts.in_node(node, &["rm", "-rf", &self.folder()]);
        }
    }
}
