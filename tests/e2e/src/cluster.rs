//! The cluster, shared by tests or held by one alone.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::fcntl::{Flock, FlockArg};

use crate::{Kubectl, Namespace, Parts};

/// The namespace that Baton is installed in.
pub(crate) const SYSTEM: &str = "baton-system";

fn locked(path: &Path, kind: FlockArg) -> Flock<File> {
    let file = File::open(path).expect("the kubeconfig can be read");
    let lock = Flock::lock(file, kind).map_err(|(_, e)| e);
    lock.expect("the kubeconfig can be locked")
}

/// A running cluster with Baton in it, for the length of one test.
#[derive(Debug)]
pub struct Cluster {
    kubectl: Kubectl,
    _lock: Flock<File>,
}

impl Cluster {
    /// For a test that others may run beside.
    pub fn shared() -> Self {
        Self::lock(FlockArg::LockShared)
    }

    /// For a test that stops or breaks parts that others need. It waits until all others are over.
    pub fn alone() -> Self {
        Self::lock(FlockArg::LockExclusive)
    }

    fn lock(kind: FlockArg) -> Self {
        let kubectl = Kubectl::new();
        // Across threads and test binaries alike: each lock has a description of its own. Whoever waits keeps
        // those that come later behind it, by the folder: else one that wants the cluster alone would wait for
        // as long as others come.
        let folder = std::path::absolute(kubectl.kubeconfig()).expect("there is a folder");
        let folder = folder.parent().expect("a file is in a folder");
        let turn = locked(folder, FlockArg::LockExclusive);
        let lock = locked(kubectl.kubeconfig(), kind);
        drop(turn);
        Self {
            kubectl,
            _lock: lock,
        }
    }

    /// Its `kubectl`.
    pub fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    /// A new namespace `e2e-NAME-...`, removed at the end.
    pub fn namespace(&self, name: &str) -> Namespace {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("e2e-{name}-{}-{number}", std::process::id());
        Namespace::create(self.kubectl.clone(), name)
    }

    /// The control of its parts, where it is a cluster of `tests/cluster/cluster`.
    pub fn parts(&self) -> Option<Parts> {
        Parts::of(&self.kubectl)
    }

    /// Whether the server is at least Kubernetes 1.`minor`.
    pub fn at_least(&self, minor: u32) -> bool {
        let text = self
            .kubectl
            .run(&["version", "-o", "json"])
            .success("version");
        let version: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let server = version["serverVersion"]["minor"].as_str().unwrap_or("");
        server
            .trim_end_matches('+')
            .parse::<u32>()
            .expect("a number")
            >= minor
    }

    /// The agent's pod on a node.
    pub fn agent_on(&self, node: &str) -> Option<String> {
        let field = format!("spec.nodeName={node}");
        let out = self.kubectl.run(&[
            "get",
            "pods",
            "-n",
            SYSTEM,
            "-l",
            "app.kubernetes.io/component=agent",
            "--field-selector",
            &field,
            "-o",
            "name",
        ]);
        out.stdout.lines().next().map(str::to_owned)
    }

    /// How many nodes there are, those among them that are not ready just now: as for some seconds after their kubelet
    /// was started again.
    pub fn size(&self) -> usize {
        let out = self.kubectl.run(&["get", "nodes", "-o", "name"]);
        out.success("the nodes").lines().count()
    }

    /// The names of the nodes that are ready.
    pub fn nodes(&self) -> Vec<String> {
        let text = self
            .kubectl
            .run(&["get", "nodes", "--no-headers"])
            .success("the nodes");
        text.lines()
            .filter(|line| line.split_whitespace().nth(1) == Some("Ready"))
            .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
            .collect()
    }
}
