//! Publish, unpublish, and what a restart of this program finds.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use baton_events::{PodRef, Told, What};
use baton_node::{Access, Deaths, Watcher, prepare};
use baton_protocol::Timestamp;
use baton_protocol::layout::BIN;
use baton_steps::{Cause, Death, Event, Outcome, Phase};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use tokio::sync::Mutex;

use super::mounts::{Found, Kubelet};
use super::records::{Record, Records};
use super::{DRIVER, Options, Publish, Request, Target, VolumeError, tools};
use crate::turns::Turns;

mod left;

pub use left::Left;

/// Longest time that the last events of a pod may take to be kept.
const LAST_WORDS: Duration = Duration::from_secs(30);
/// Files and folders of ours for each step, and for the pod.
const OWN_FILES: (u64, u64) = (8, 32);
/// Time that another agent of this node has to end.
const ANOTHER: Duration = Duration::from_secs(2);
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The pods' folders on this node. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Volumes {
    inner: Arc<Inner>,
    turns: Turns,
}

#[derive(Debug)]
struct Inner {
    options: Options,
    kubelet: Kubelet,
    records: Records,
    /// The folder of the tools, relative to the kubelet's.
    tools: PathBuf,
    boot: String,
    /// No other agent serves this node as long as this is held.
    _alone: Flock<File>,
    /// One call at a time for each pod; pods share these.
    calls: [Mutex<()>; 64],
}

/// A folder that is there, and what its pod may do.
#[derive(Debug, PartialEq)]
enum Made {
    /// It was made now.
    New,
    /// It was there.
    Again,
    /// The pod had begun, and the folder that it had is lost: in this one nobody has a turn.
    Lost,
    /// So it was before, and that was told.
    LostBefore,
}

impl Volumes {
    /// Finds the kubelet's folder and the records, and puts the tools in their place.
    ///
    /// # Errors
    /// Where one of these cannot be used.
    pub fn open(options: Options, turns: Turns) -> Result<Volumes, VolumeError> {
        let kubelet = Kubelet::open(&options.kubelet_dir)?;
        let records = Records::open(&options.state_dir)?;
        let alone = be_alone(&kubelet)?;
        let tools = tools::install(&kubelet, &options.tools_dir)?;
        let boot = fs::read_to_string(BOOT_ID)
            .map_err(|e| VolumeError::io("read the id of the boot from", BOOT_ID, e))?;
        let inner = Inner {
            options,
            kubelet,
            records,
            tools,
            boot: boot.trim().to_owned(),
            _alone: alone,
            calls: std::array::from_fn(|_| Mutex::new(())),
        };
        let inner = Arc::new(inner);
        Ok(Volumes { inner, turns })
    }

    /// Goes on with the pods that were here before this program was started, and forgets those that are
    /// gone. One that cannot be used is told of and harms no other.
    ///
    /// # Errors
    /// Where the folder of the records cannot be read.
    pub async fn resume(&self) -> Result<(), VolumeError> {
        for uid in self.inner.records.uids()? {
            if let Err(e) = self.resume_one(&uid).await {
                tracing::error!(pod.uid = uid, "cannot go on with a pod: {e}");
            }
        }
        Ok(())
    }

    async fn resume_one(&self, uid: &str) -> Result<(), VolumeError> {
        let _call = self.inner.call(uid).lock().await;
        let Some(record) = self.inner.records.read(uid)? else {
            return Ok(());
        };
        let Record { publish, .. } = &record;
        if !self.inner.kubelet.exists(&Path::new("pods").join(uid)) {
            tracing::info!(pod = %publish.pod, pod.uid = uid, "forgetting a pod that is gone");
            return self.inner.records.remove(uid);
        }
        // Where its folder is lost, the kubelet asks for it again if it still wants the pod to run.
        if self.inner.is_whole(&record)? && !record.lost {
            let path = self.inner.path(&publish.target);
            let (pod, plan) = (publish.pod.clone(), publish.plan.clone());
            self.turns.add(pod, path, plan).await?;
            tracing::info!(pod = %publish.pod, pod.uid = uid, "going on with a pod");
        }
        Ok(())
    }

    /// Makes a pod's folder and lets the pod begin. Where that was done before, it is not done again.
    ///
    /// # Errors
    /// Where the request is refused, or a file or mount cannot be made; nothing is left behind then.
    pub async fn publish(&self, request: Request) -> Result<(), VolumeError> {
        let publish = Publish::check(&self.inner.options.kubelet_dir, request)?;
        let _call = self.inner.call(publish.target.uid()).lock().await;
        let (inner, wanted) = (Arc::clone(&self.inner), publish.clone());
        let made = on_disk(move || inner.make(&wanted)).await?;
        match made {
            Made::New | Made::Again => {
                let path = self.inner.path(&publish.target);
                let (pod, plan) = (publish.pod.clone(), publish.plan.clone());
                if let Err(e) = self.turns.add(pod, path, plan).await {
                    if made == Made::New {
                        let inner = Arc::clone(&self.inner);
                        on_disk(move || inner.forget(&publish.target)).await?;
                    }
                    return Err(e.into());
                }
            }
            Made::Lost => {
                tracing::warn!(
                    pod = %publish.pod, pod.uid = publish.pod.uid,
                    "the pod had begun, and its folder is lost: it is ended, not begun again"
                );
                self.tell_lost(&publish.pod);
                // What the record says was told has to outlive this program.
                self.last_words(&publish.pod.uid).await?;
                let (inner, pod) = (Arc::clone(&self.inner), publish.clone());
                on_disk(move || inner.note(&pod, true)).await?;
            }
            Made::LostBefore => {}
        }
        tracing::debug!(pod = %publish.pod, pod.uid = publish.pod.uid, ?made, "published");
        Ok(())
    }

    /// Looks at a pod's folder for the last time, and removes it. What is gone already is no error.
    ///
    /// # Errors
    /// Where the path is no target, the last events cannot be kept in time, or a mount does not go.
    pub async fn unpublish(&self, volume_id: &str, target_path: &str) -> Result<(), VolumeError> {
        let target = Target::parse(&self.inner.options.kubelet_dir, target_path)?;
        let uid = target.uid();
        let _call = self.inner.call(uid).lock().await;
        let record = match self.inner.records.read(uid) {
            Ok(record) => record,
            Err(e) => {
                tracing::error!(pod.uid = uid, "{e}; it is removed with the pod's folder");
                None
            }
        };
        let mine = record.as_ref().is_none_or(|r| r.publish.target == target);
        if mine {
            self.last_words(uid).await?;
        }
        let inner = Arc::clone(&self.inner);
        let gone = target.clone();
        on_disk(move || match mine {
            true => inner.forget(&gone),
            false => inner.kubelet.unmount(&gone.folder(), "mount"),
        })
        .await?;
        tracing::debug!(pod.uid = uid, volume_id, "unpublished");
        Ok(())
    }

    /// Looks at a pod's folder for the last time, if there is one; what is to be told is kept when this returns.
    async fn last_words(&self, uid: &str) -> Result<(), VolumeError> {
        match tokio::time::timeout(LAST_WORDS, self.turns.remove(uid)).await {
            Ok(removed) => Ok(removed?),
            Err(_) => Err(VolumeError::NotNow(format!(
                "the last events of the pod could not be kept within {} s",
                LAST_WORDS.as_secs()
            ))),
        }
    }

    /// The order does not start anew, so that no step runs twice; and the task is told to be over.
    fn tell_lost(&self, pod: &PodRef) {
        let at = Timestamp(SystemTime::now());
        let how = Death::FolderLost;
        let outcome = Outcome {
            phase: Phase::Failed,
            exit_code: how.exit_code(),
            cause: Some(Cause::Died {
                number: 0,
                name: String::new(),
                how,
            }),
            started_at: None,
            finished_at: at,
        };
        let (pod, what) = (pod.clone(), What::TaskFinished { outcome });
        self.turns.tell(Told { pod, at, what });
    }
}

impl Inner {
    /// What keeps other calls for this pod out.
    fn call(&self, uid: &str) -> &Mutex<()> {
        let mut hasher = DefaultHasher::new();
        uid.hash(&mut hasher);
        let [first, ..] = &self.calls;
        let index = usize::try_from(hasher.finish() % 64).unwrap_or(0);
        self.calls.get(index).unwrap_or(first)
    }

    fn path(&self, target: &Target) -> PathBuf {
        self.kubelet.path(&target.mount())
    }

    /// The folder of this pod is the one that it had when it began.
    fn is_whole(&self, record: &Record) -> Result<bool, VolumeError> {
        let found = self
            .kubelet
            .find(&record.publish.target.folder(), "mount")?;
        Ok(record.boot == self.boot && matches!(found, Found::Tmpfs { .. }))
    }

    fn make(&self, publish: &Publish) -> Result<Made, VolumeError> {
        let target = &publish.target;
        let known = self.records.read(target.uid())?;
        if let Some(record) = &known
            && record.publish != *publish
        {
            return Err(VolumeError::Refused(
                if record.publish.target == publish.target {
                    "the volume is there already, for another plan or pod".to_owned()
                } else {
                    format!(
                        "the pod has a baton volume already, {:?}; it can have one",
                        record.publish.target.volume()
                    )
                },
            ));
        }
        let found = self.kubelet.find(&target.folder(), "mount")?;
        if found == Found::Other {
            return Err(VolumeError::Refused(format!(
                "something else is mounted at {}",
                self.path(target).display()
            )));
        }
        let Some(record) = known else {
            // Nothing has begun: what is there was made by halves.
            self.kubelet.unmount(&target.folder(), "mount")?;
            let made = self
                .fill(publish, Made::New)
                .and_then(|made| self.note(publish, false).map(|()| made));
            if made.is_err()
                && let Err(e) = self.forget(target)
            {
                tracing::warn!("cannot clean up after a failed publish: {e}");
            }
            return made;
        };
        match (self.is_whole(&record)?, record.lost) {
            (true, false) => self.fill(publish, Made::Again),
            (_, true) => self.fill(publish, Made::LostBefore),
            (false, false) => self.fill(publish, Made::Lost),
        }
    }

    /// Brings the folder to what it has to be, from wherever it stands.
    fn fill(&self, publish: &Publish, made: Made) -> Result<Made, VolumeError> {
        let (target, plan) = (&publish.target, &publish.plan);
        let (folder, mount) = (target.folder(), target.mount());
        let is_new = !matches!(self.kubelet.find(&folder, "mount")?, Found::Tmpfs { .. });
        if is_new {
            self.kubelet.make_dir(&folder, "mount", 0o750)?;
            let own = OWN_FILES.0 * u64::from(plan.total()) + OWN_FILES.1;
            let options = format!(
                "size={},nr_inodes={},mode=0755",
                self.options.volume_bytes,
                self.options.volume_files.saturating_add(own)
            );
            self.kubelet.mount_tmpfs(&mount, &options)?;
        }
        self.kubelet.make_dir(&mount, BIN, 0o755)?;
        if self.kubelet.find(&mount, BIN)? == Found::Plain {
            self.kubelet.bind(&self.tools, &mount.join(BIN))?;
        }
        // What a running pod may write in is not gone through again.
        if !is_new && matches!(made, Made::Again | Made::LostBefore) {
            return Ok(made);
        }
        let path = self.path(target);
        prepare(&path, plan, Access::Everyone)?;
        if matches!(made, Made::Lost | Made::LostBefore) {
            // Its order goes past every step, `finally` steps included: any of them may have run. What
            // is told of a lost run is told elsewhere.
            let mut watcher = Watcher::new();
            let pod = watcher.add(&path, plan.clone(), Deaths::Told)?;
            watcher.apply(pod, Event::Kill, &mut |_, _| {});
        }
        Ok(made)
    }

    fn note(&self, publish: &Publish, lost: bool) -> Result<(), VolumeError> {
        self.records.write(&Record {
            publish: publish.clone(),
            boot: self.boot.clone(),
            lost,
        })
    }

    /// The record goes first: without it, what is left of the folder is nothing that has begun.
    fn forget(&self, target: &Target) -> Result<(), VolumeError> {
        self.records.remove(target.uid())?;
        self.kubelet.unmount(&target.folder(), "mount")
    }
}

/// Two agents would write the same orders and take the sockets from each other without end.
fn be_alone(kubelet: &Kubelet) -> Result<Flock<File>, VolumeError> {
    kubelet.make_dir(Path::new("."), "plugins", 0o750)?;
    kubelet.make_dir(Path::new("plugins"), DRIVER, 0o755)?;
    let path = kubelet.path(&tools::plugin_dir()).join("lock");
    let failed = |e| VolumeError::io("lock for this agent alone", &path, e);
    let mut open = File::options();
    let open = open.write(true).create(true).truncate(false).mode(0o600);
    let mut file = open.open(&path).map_err(failed)?;
    // One that ends just now has a moment for it.
    let until = Instant::now() + ANOTHER;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(locked) => return Ok(locked),
            Err((back, Errno::EAGAIN | Errno::EINTR)) if Instant::now() < until => {
                file = back;
                std::thread::sleep(ANOTHER / 100);
            }
            Err((_, Errno::EAGAIN)) => {
                return Err(failed(std::io::Error::other(
                    "another agent serves this node",
                )));
            }
            Err((_, e)) => return Err(failed(e.into())),
        }
    }
}

async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, VolumeError> + Send + 'static,
) -> Result<T, VolumeError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(e) => Err(VolumeError::NotNow(format!(
            "the call could not be finished: {e}"
        ))),
    }
}
