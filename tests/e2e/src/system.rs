//! Baton's own pods, and how they are hurt.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use crate::{Cluster, Kubectl, Parts, until};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::Value;

/// The namespace that Baton is installed in.
pub const SYSTEM: &str = "baton-system";

/// The control of the cluster's parts.
pub fn parts(cluster: &Cluster) -> Parts {
    cluster
        .parts()
        .expect("these tests need a cluster of tests/cluster/cluster")
}

/// A pod of one container that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// The pod's name.
    pub pod: String,
    /// Its address.
    pub ip: String,
    /// The number of its node, from 1.
    pub node: u32,
    /// The container, as the pod's status has it.
    pub container: String,
    /// Whether its readiness probe says so.
    pub ready: bool,
}

impl Running {
    /// By the pod's object, where its container runs and it is not going.
    pub fn of(pod: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let container = &pod["status"]["containerStatuses"][0];
        let going = pod["metadata"]["deletionTimestamp"].is_string();
        if going || !container["state"]["running"].is_object() {
            return None;
        }
        Some(Self {
            pod: text(&pod["metadata"]["name"])?,
            ip: text(&pod["status"]["podIP"])?,
            node: number(pod["spec"]["nodeName"].as_str()?),
            container: text(&container["containerID"])?,
            ready: container["ready"] == true,
        })
    }

    /// Its first process, as the machine knows it.
    pub fn process(&self, parts: &Parts) -> Pid {
        parts.process(self.node, &self.container)
    }
}

/// The pods of a component that run.
pub fn running(kubectl: &Kubectl, component: &str) -> Vec<Running> {
    let label = format!("app.kubernetes.io/component={component}");
    let out = kubectl.run(&["get", "pods", "-n", SYSTEM, "-l", &label, "-o", "json"]);
    // The API server may be away; whoever asks has a deadline.
    let list: Value = serde_json::from_str(&out.stdout).unwrap_or_default();
    let pods = list["items"].as_array().cloned().unwrap_or_default();
    pods.iter().filter_map(Running::of).collect()
}

/// The number at the end of a node's name.
pub fn number(node: &str) -> u32 {
    let digits = node.trim_start_matches(|c: char| !c.is_ascii_digit());
    digits.parse().expect("a node's name ends with its number")
}

/// Waits until the agent of a node is ready, as another container than `last` where there is one.
pub fn agent(kubectl: &Kubectl, node: u32, last: Option<&Running>) -> Running {
    until(Duration::from_secs(60), "the agent is ready", || {
        running(kubectl, "agent").into_iter().find(|it| {
            it.node == node && it.ready && last.is_none_or(|l| l.container != it.container)
        })
    })
}

/// The name of the coordinator's pod that leads.
pub fn leader(kubectl: &Kubectl) -> String {
    let path = "jsonpath={.spec.holderIdentity}";
    let lease = ["get", "lease", "baton-coordinator", "-o", path];
    kubectl.run(&[&["-n", SYSTEM], &lease[..]].concat()).stdout
}

/// `kill -9`.
pub fn kill(parts: &Parts, it: &Running) {
    parts.signal(it.node, &it.container, Signal::SIGKILL);
}

/// Waits until every node is ready.
pub fn ready(kubectl: &Kubectl) {
    kubectl
        .run(&[
            "wait",
            "--for=condition=Ready",
            "nodes",
            "--all",
            "--timeout=90s",
        ])
        .success("every node is ready");
}

/// Waits until everything of Baton's is there and ready, as it was before the test.
pub fn whole(kubectl: &Kubectl) {
    ready(kubectl);
    for what in ["daemonset/baton-agent", "deployment/baton-coordinator"] {
        let out = kubectl.run(&["-n", SYSTEM, "rollout", "status", what, "--timeout", "120s"]);
        out.success("Baton is whole again");
    }
}

/// Does `undo` at the end, however the test ends.
pub struct Undo<F: FnMut()>(pub F);

impl<F: FnMut()> Drop for Undo<F> {
    fn drop(&mut self) {
        // A second panic would end the tests that are still to run.
        let undone = catch_unwind(AssertUnwindSafe(&mut self.0));
        if let Err(panic) = undone
            && !std::thread::panicking()
        {
            resume_unwind(panic);
        }
    }
}

/// Random numbers, the same ones for the same seed.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// The clock is the seed; it is printed, for failures that depend on it.
    pub fn by_clock() -> Self {
        let now = std::time::SystemTime::now();
        let since = now.duration_since(std::time::UNIX_EPOCH);
        let seed = u64::from(since.expect("after 1970").subsec_nanos()) | 1;
        println!("seed {seed}");
        Self(seed)
    }

    /// Below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}
