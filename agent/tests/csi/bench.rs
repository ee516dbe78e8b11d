//! A node for one test: a kubelet's folder, tools, the plugin, and a client in the kubelet's place.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use baton_agent::csi::{self, Plugin, proto};
use baton_agent::turns::{Sink, Turns};
use baton_agent::volume::{self, DRIVER, PLAN, VolumeError, Volumes};
use baton_events::{Told, What};
use baton_protocol::layout::{self, EXIT, RESULTS};
use baton_protocol::{Reason, Record, Timestamp};
use baton_steps::{Outcome, Plan};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use proto::csi::node_client::NodeClient;
use proto::registration::registration_client::RegistrationClient;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Runs a test in a mount namespace of its own: what it leaves mounted goes with it.
pub(crate) fn on_a_node<F: Future<Output = ()>>(test: impl FnOnce(Bench) -> F) {
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let (none, private) = (None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE);
    mount(none, "/", none, private, none).unwrap();
    // Threads begin in the namespace of the one that starts them.
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
    let bench = Bench::new();
    runtime.block_on(test(bench));
}

pub(crate) struct Bench {
    dir: tempfile::TempDir,
    pub(crate) told: Kept,
}

/// What was told.
#[derive(Clone, Default)]
pub(crate) struct Kept {
    told: Arc<Mutex<Vec<Told>>>,
    /// Nothing is taken as long as this is so.
    pub(crate) held: Arc<AtomicBool>,
}

impl Sink for Kept {
    fn keep(&mut self, told: Vec<Told>) {
        while self.held.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.told.lock().unwrap().extend(told);
    }
    fn sync(&mut self) {}
    fn handed_over(&mut self, took: Duration) {
        assert!(took < DEADLINE);
    }
}

impl Kept {
    pub(crate) fn all(&self) -> Vec<Told> {
        self.told.lock().unwrap().clone()
    }

    /// How the tasks ended, each time that it was told.
    pub(crate) fn outcomes(&self) -> Vec<Outcome> {
        let outcome = |told: Told| match told.what {
            What::TaskFinished { outcome } => Some(outcome),
            _ => None,
        };
        self.all().into_iter().filter_map(outcome).collect()
    }
}

/// The agent's node side, as one process has it.
pub(crate) struct Agent {
    pub(crate) plugin: Plugin,
    pub(crate) turns: Turns,
    pub(crate) volumes: Volumes,
}

impl Agent {
    pub(crate) async fn stop(self) {
        drop(self.volumes);
        self.plugin.stop().await;
        tokio::task::spawn_blocking(move || self.turns.stop())
            .await
            .unwrap();
    }
}

impl Bench {
    fn new() -> Bench {
        let bench = Bench {
            dir: tempfile::tempdir().unwrap(),
            told: Kept::default(),
        };
        fs::create_dir_all(bench.kubelet().join("plugins_registry")).unwrap();
        fs::create_dir(bench.path("tools")).unwrap();
        bench.tools("1");
        bench
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn kubelet(&self) -> PathBuf {
        self.path("kubelet")
    }

    /// The tools of another version.
    pub(crate) fn tools(&self, version: &str) {
        for tool in ["entrypoint", "init"] {
            fs::write(self.path("tools").join(tool), format!("{tool} {version}")).unwrap();
        }
    }

    pub(crate) async fn start(&self) -> Agent {
        let turns = Turns::start(self.told.clone()).unwrap();
        let volumes = self.open(&turns).unwrap();
        let options = csi::Options {
            kubelet_dir: self.kubelet(),
            node_name: "node".into(),
        };
        let plugin = Plugin::start(options, volumes.clone()).await.unwrap();
        Agent {
            plugin,
            turns,
            volumes,
        }
    }

    pub(crate) fn open(&self, turns: &Turns) -> Result<Volumes, VolumeError> {
        let options = volume::Options {
            kubelet_dir: self.kubelet(),
            state_dir: self.path("state"),
            tools_dir: self.path("tools"),
            ..volume::Options::default()
        };
        Volumes::open(options, turns.clone())
    }

    /// Asks the registration socket for the plugin, as the kubelet does, and says that it is taken.
    pub(crate) async fn register(&self) -> NodeClient<Channel> {
        let socket = self
            .kubelet()
            .join(format!("plugins_registry/{DRIVER}-reg.sock"));
        let mut registration = RegistrationClient::new(connect(&socket).await);
        let info = registration.get_info(proto::registration::InfoRequest {});
        let info = info.await.unwrap().into_inner();
        assert_eq!(
            (info.r#type.as_str(), info.name.as_str()),
            ("CSIPlugin", DRIVER)
        );
        let taken = proto::registration::RegistrationStatus {
            plugin_registered: true,
            error: String::new(),
        };
        registration
            .notify_registration_status(taken)
            .await
            .unwrap();
        NodeClient::new(connect(Path::new(&info.endpoint)).await)
    }

    /// The folder of a pod's volume, made as the kubelet makes it.
    pub(crate) fn target(&self, uid: &str) -> PathBuf {
        let folder = format!("pods/{uid}/volumes/kubernetes.io~csi/baton");
        let folder = self.kubelet().join(folder);
        fs::create_dir_all(&folder).unwrap();
        folder.join("mount")
    }

    pub(crate) fn request(&self, uid: &str, plan: &Plan) -> proto::csi::NodePublishVolumeRequest {
        use proto::csi::volume_capability::{AccessType, MountVolume};
        let attributes = [
            ("csi.storage.k8s.io/pod.name", "pod"),
            ("csi.storage.k8s.io/pod.namespace", "ns"),
            ("csi.storage.k8s.io/pod.uid", uid),
            ("csi.storage.k8s.io/ephemeral", "true"),
            (PLAN, &plan.to_json()),
        ];
        let volume_context: HashMap<_, _> = attributes
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        proto::csi::NodePublishVolumeRequest {
            volume_id: format!("csi-{uid}"),
            target_path: self.target(uid).to_str().unwrap().to_owned(),
            volume_capability: Some(proto::csi::VolumeCapability {
                access_type: Some(AccessType::Mount(MountVolume::default())),
            }),
            volume_context,
            ..Default::default()
        }
    }

    /// Mounts below the kubelet's folder, those of the tools not counted.
    pub(crate) fn mounts(&self) -> Vec<String> {
        let table = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        let points = table.lines().filter_map(|line| line.split(' ').nth(4));
        let pods = self.kubelet().join("pods");
        points
            .filter(|p| Path::new(p).starts_with(&pods))
            .map(str::to_owned)
            .collect()
    }

    pub(crate) fn records(&self) -> usize {
        fs::read_dir(self.path("state/pods")).unwrap().count()
    }
}

pub(crate) async fn unpublish(
    node: &mut NodeClient<Channel>,
    uid: &str,
    target: &Path,
) -> Result<(), Status> {
    let request = proto::csi::NodeUnpublishVolumeRequest {
        volume_id: format!("csi-{uid}"),
        target_path: target.to_str().unwrap().to_owned(),
    };
    node.node_unpublish_volume(request).await.map(|_| ())
}

async fn connect(socket: &Path) -> Channel {
    let uri = format!("unix:{}", socket.display());
    let endpoint = Endpoint::try_from(uri).unwrap();
    let start = Instant::now();
    loop {
        // A socket is there a moment before somebody listens; the kubelet comes again, too.
        match endpoint.connect().await {
            Ok(channel) => return channel,
            Err(e) => assert!(start.elapsed() < DEADLINE, "{}: {e}", socket.display()),
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// What the entrypoint of a step leaves at its end.
pub(crate) fn finish(root: &Path, number: u32, results: &[(&str, &str)]) {
    let dir = layout::step_dir(root, number);
    for (name, value) in results {
        fs::write(dir.join(RESULTS).join(name), value).unwrap();
    }
    finish_later(root, number)();
}

/// The same, once the returned function is called.
pub(crate) fn finish_later(root: &Path, number: u32) -> impl FnOnce() + use<> {
    let dir = layout::step_dir(root, number);
    let record = Record::new(Reason::Completed, 0, Timestamp(SystemTime::now()));
    let next = dir.join(".exit");
    fs::write(&next, record.to_json()).unwrap();
    move || fs::rename(next, dir.join(EXIT)).unwrap()
}

pub(crate) fn order(root: &Path) -> String {
    fs::read_to_string(root.join("order")).unwrap_or_default()
}

/// Waits for a condition; `what` says which in a failure.
pub(crate) async fn until(what: &str, is: impl Fn() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < DEADLINE, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
