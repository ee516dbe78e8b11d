//! The parts of a cluster of `tests/cluster/cluster`, for tests that break them.

use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::kubectl::output;
use crate::{Kubectl, Output};

/// The control of a cluster's parts: `apiserver`, `etcd`, `kubelet1`, `containerd2`, ...
#[derive(Debug, Clone)]
pub struct Parts {
    state: PathBuf,
}

impl Parts {
    pub(crate) fn of(kubectl: &Kubectl) -> Option<Self> {
        let state = kubectl.kubeconfig().parent()?.to_owned();
        state.join("mounts1.pid").exists().then_some(Self { state })
    }

    fn cluster(&self, args: &[&str]) -> Output {
        self.cluster_with(args, &[])
    }

    fn cluster_with(&self, args: &[&str], env: &[(&str, &str)]) -> Output {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../cluster/cluster");
        output(
            Command::new(script)
                .args(args)
                .env("CLUSTER_STATE", &self.state)
                .envs(env.iter().copied()),
            "",
        )
    }

    /// Stops a part with a signal (`TERM`, `KILL`), and waits for its end.
    pub fn stop(&self, part: &str, signal: &str) {
        self.cluster(&["stop", part, signal]).success("stop");
    }

    /// Starts a part again.
    pub fn start(&self, part: &str) {
        self.cluster(&["start", part]).success("start");
    }

    /// Starts the API server with further admission plugins (`PodSecurityPolicy`).
    pub fn start_apiserver_with(&self, admission: &str) {
        self.cluster_with(&["start", "apiserver"], &[("ADMISSION", admission)])
            .success("start");
    }

    /// Runs a command in a node's mounts and network: node 1, 2, ...
    pub fn in_node(&self, node: u32, command: &[&str]) -> Output {
        let node = node.to_string();
        self.cluster(&[&["in", &node], command].concat())
    }

    /// The process of a container's PID 1, by the container's ID as a pod's status has it.
    pub fn process(&self, node: u32, container_id: &str) -> Pid {
        let id = container_id.trim_start_matches("containerd://");
        let found = self
            .cluster(&["pid", &node.to_string(), id])
            .success("the container's process");
        Pid::from_raw(found.trim().parse().expect("a process ID"))
    }

    /// Sends a signal to PID 1 of a container.
    pub fn signal(&self, node: u32, container_id: &str, signal: Signal) {
        kill(self.process(node, container_id), signal).expect("the process can be signalled");
    }

    /// What the kernel says of PID 1 of a container: `/proc/PID/status`.
    pub fn status(&self, node: u32, container_id: &str) -> String {
        let process = self.process(node, container_id);
        std::fs::read_to_string(format!("/proc/{process}/status")).expect("the process runs")
    }
}
