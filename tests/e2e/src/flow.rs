//! JobFlows as the tests have them, and what became of their Jobs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::Namespace;
use crate::system::Running;
use baton_api::flow_status::{FlowNodeStatus, JobFlowPhase, JobFlowStatus};
use baton_flow::NodePhase;
use serde_json::Value;

/// Long enough for a few pods, on a machine that does much else.
pub const SOON: Duration = Duration::from_secs(120);

/// A container that runs `script`, as a JobSpec's or a step's fields.
pub fn container(script: &str) -> String {
    let script = Value::from(script);
    format!("image: busybox, imagePullPolicy: IfNotPresent, command: [sh, -c, {script}]")
}

/// A JobSpec whose one pod runs `script`.
pub fn job_spec(script: &str) -> String {
    let container = container(script);
    format!(
        "{{backoffLimit: 0, template: {{spec: {{terminationGracePeriodSeconds: 1, \
         containers: [{{name: main, {container}}}]}}}}}}"
    )
}

/// A node that runs a Job; `more` are further fields of it, each followed by a comma.
pub fn node(name: &str, needs: &str, more: &str, script: &str) -> String {
    let job = job_spec(script);
    format!("{{name: {name}, dependencies: [{needs}], {more} jobTemplate: {job}}}")
}

/// A JobFlow's YAML: its nodes, and further lines of its spec.
pub fn yaml(name: &str, nodes: &[String], more: &str) -> String {
    let mut yaml = format!(
        "apiVersion: baton.dev/v1alpha1\nkind: JobFlow\nmetadata: {{name: {name}}}\nspec:\n"
    );
    for line in more.lines() {
        let _ = writeln!(yaml, "  {line}");
    }
    yaml.push_str("  flows:\n");
    for node in nodes {
        let _ = writeln!(yaml, "  - {node}");
    }
    yaml
}

/// A JobFlow in a namespace.
#[derive(Debug)]
pub struct Flow<'a> {
    ns: &'a Namespace,
    name: &'a str,
}

impl<'a> Flow<'a> {
    /// Of this name, there or not.
    pub fn of(ns: &'a Namespace, name: &'a str) -> Self {
        Self { ns, name }
    }

    /// Applied.
    pub fn apply(ns: &'a Namespace, name: &'a str, nodes: &[String], more: &str) -> Self {
        ns.apply(&yaml(name, nodes, more));
        Self::of(ns, name)
    }

    /// Waits until its status is as `condition` says, and gives it.
    pub fn until(
        &self,
        limit: Duration,
        what: &str,
        condition: impl Fn(&JobFlowStatus) -> bool,
    ) -> JobFlowStatus {
        let met = |object: &Value| condition(&status(object));
        status(&self.ns.wait("jobflow", self.name, limit, what, met))
    }

    /// Waits until a node stands so.
    pub fn until_node(&self, name: &str, phase: NodePhase) -> JobFlowStatus {
        let what = format!("{name} is {phase:?}");
        self.until(SOON, &what, |it| {
            it.node(name).is_some_and(|n| n.state == phase)
        })
    }

    /// Waits until a node's Job runs, and gives its pod. One that ends by itself may be over before it is looked at.
    pub fn until_runs(&self, name: &str) -> Running {
        let label = format!("job-name={}-{name}", self.name);
        crate::until(SOON, &format!("the pod of {name} runs"), || {
            self.ns.list("pods", &label).iter().find_map(Running::of)
        })
    }

    /// Waits for its end.
    pub fn over(&self, limit: Duration) -> JobFlowStatus {
        self.until(limit, "its end", |it| it.phase.is_over())
    }

    /// Waits for its success.
    pub fn succeeded(&self, limit: Duration) -> JobFlowStatus {
        let status = self.over(limit);
        assert_eq!(status.phase, JobFlowPhase::Succeeded, "{status:?}");
        status
    }

    /// Merges this into its spec.
    pub fn patch(&self, spec: &str) {
        let patch = format!("{{\"spec\": {spec}}}");
        let args = ["patch", "jobflow", self.name, "--type=merge", "-p", &patch];
        self.ns.kubectl(&args).success("patch");
    }

    /// Asks for a re-run.
    pub fn rerun(&self, token: &str) {
        let annotation = format!("baton.dev/rerun={token}");
        let args = ["annotate", "--overwrite", "jobflow", self.name, &annotation];
        self.ns.kubectl(&args).success("annotate");
    }
}

/// The status in a JobFlow's object; the empty one where there is none.
pub fn status(object: &Value) -> JobFlowStatus {
    match object.get("status") {
        Some(status) => serde_json::from_value(status.clone())
            .unwrap_or_else(|e| panic!("a status that cannot be read: {e}: {status}")),
        None => JobFlowStatus::default(),
    }
}

/// What is said of a node.
pub fn of<'a>(status: &'a JobFlowStatus, name: &str) -> &'a FlowNodeStatus {
    let node = status.node(name);
    node.unwrap_or_else(|| panic!("there is no node {name}: {status:?}"))
}

/// How each node stands, in their order.
pub fn phases(status: &JobFlowStatus) -> Vec<NodePhase> {
    status.nodes.iter().map(|node| node.state).collect()
}

/// The condition of this type: its status and message.
pub fn condition(status: &JobFlowStatus, kind: &str) -> (String, String) {
    let found = status.conditions.iter().find(|c| c.kind == kind);
    let said = found.map(|c| (c.status.clone(), c.message.clone()));
    said.unwrap_or_default()
}

/// The nodes of the seed's example, each with the script that `script` has for its name.
pub fn seed_with(script: impl Fn(&str) -> String) -> Vec<String> {
    [
        ("job1", ""),
        ("job2", "job1"),
        ("job3", "job1, job2"),
        ("job4", ""),
        ("job5", "job4, job2"),
    ]
    .map(|(name, needs)| node(name, needs, "", &script(name)))
    .into()
}

/// Sees that the seed's Jobs ran one after the other as they had to, each in one pod. By what the kubelet says of their
/// containers: a Job controller whose API server was away may say once more, and later, when a Job was over.
pub fn ran_in_order(ns: &Namespace, flow: &str) {
    let ran = |name: &str| {
        let pods = ns.list("pods", &format!("job-name={flow}-{name}"));
        assert_eq!(pods.len(), 1, "{flow}-{name} has one pod");
        let state = &pods[0]["status"]["containerStatuses"][0]["state"]["terminated"];
        let at = |field: &str| state[field].as_str().map(str::to_owned);
        let ran = at("startedAt").zip(at("finishedAt"));
        ran.unwrap_or_else(|| panic!("{flow}-{name} ran: {}", pods[0]["status"]))
    };
    let names = ["job1", "job2", "job3", "job4", "job5"];
    let ran: BTreeMap<&str, (String, String)> = names.map(|name| (name, ran(name))).into();
    for (before, after) in [
        ("job1", "job2"),
        ("job2", "job3"),
        ("job4", "job5"),
        ("job2", "job5"),
    ] {
        // Times have whole seconds.
        assert!(
            ran[before].1 <= ran[after].0,
            "{flow}: {after} starts after {before}: {ran:?}"
        );
    }
}
