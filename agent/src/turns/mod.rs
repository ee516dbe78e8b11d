//! The order of every pod on this node whose volume is ours: one thread that hands over, and one that
//! tells.
//!
//! The first does nothing but wait for inotify and commands, and write orders
//! ([`baton_node::Watcher`]). What it has to tell goes into a queue that never makes it wait; the second
//! thread takes it from there, reads the results of ended steps, and gives it to a [`Sink`], which may
//! take its time. The queue is bounded by what it leaves out: ends are always kept (a plan has so many
//! and no more); of lesser news at most [`MAX_WAITING`] a pod.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use baton_events::{PodRef, Told};
use baton_node::NodeError;
use baton_protocol::{Order, Timestamp};
use baton_steps::{Death, Event, Outcome, Plan};
use nix::sys::eventfd::{EfdFlags, EventFd};
use tokio::sync::{oneshot, watch};

mod keeper;
mod outbox;
mod tell;

use outbox::{Item, Outbox};

/// Most events of one pod that wait for the sink, ends of steps and of the task not counted. What is
/// past it is left out, and one warning says so.
pub const MAX_WAITING: usize = 512;

/// Where told events go. It is called on a thread of its own, never on the hand-off's path, and may
/// block; it must not lose what it was given, unless by its own bounds.
pub trait Sink: Send + 'static {
    /// Takes these events, which are in order. After a restart of this program, those of pods that are
    /// still here are told again, each with the id that it had.
    fn keep(&mut self, told: Vec<Told>);

    /// Returns once everything that was taken survives a crash of this program. It is called before a
    /// pod's volume goes, which is what the events could be told from again.
    fn sync(&mut self);

    /// Takes the time from the wake-up by a step's final record to the order that followed from it.
    fn handed_over(&mut self, took: Duration);
}

/// A pod whose order is kept here, as it stands.
#[derive(Debug, Clone)]
pub struct PodView {
    /// Which pod.
    pub pod: Arc<PodRef>,
    /// What it runs.
    pub plan: Arc<Plan>,
    /// What its order file says.
    pub order: Order,
    /// The step that has its turn and has not ended; `None` before the first, and at the end.
    pub turn: Option<u32>,
    /// Since when the order is what it is; after a restart of this program, since then.
    pub since: Timestamp,
    /// How the task ended; `None` while it has not.
    pub outcome: Option<Outcome>,
}

/// Keeps the order of pods. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Turns {
    shared: Arc<Shared>,
}

impl Turns {
    /// Starts both threads. No pod is known yet: [`add`](Turns::add) them.
    ///
    /// # Errors
    /// Where a thread or an eventfd cannot be had.
    pub fn start(sink: impl Sink) -> io::Result<Turns> {
        let shared = Arc::new(Shared {
            commands: Mutex::default(),
            wake: EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?,
            views: Mutex::default(),
            changed: watch::Sender::new(0),
            outbox: Outbox::default(),
            threads: Mutex::default(),
        });
        let turns = Turns { shared };
        let (keeper, teller) = (Arc::clone(&turns.shared), Arc::clone(&turns.shared));
        let spawn = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let threads = vec![
            spawn("teller").spawn(move || tell::run(&teller.outbox, sink))?,
            spawn("turns").spawn(move || keeper::run(keeper))?,
        ];
        *lock(&turns.shared.threads) = threads;
        Ok(turns)
    }

    /// Takes a pod whose folder [`baton_node::prepare`] made, and lets it begin, or go on where its files
    /// stand. One that is known already stays as it is.
    ///
    /// # Errors
    /// Where the folder cannot be used; [`NodeError::Stopped`] after [`stop`](Turns::stop).
    pub async fn add(&self, pod: PodRef, root: PathBuf, plan: Plan) -> Result<(), NodeError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Add {
            pod,
            root,
            plan,
            reply,
        });
        answer.await.unwrap_or(Err(NodeError::Stopped))
    }

    /// Looks at a pod for the last time and forgets it: what had a turn and left no record has died, and
    /// the task is over. Returns once all that was to be told is kept and synced, also where the pod is not
    /// known.
    ///
    /// # Errors
    /// [`NodeError::Stopped`] after [`stop`](Turns::stop): the pod's folder is still needed.
    pub async fn remove(&self, uid: &str) -> Result<(), NodeError> {
        let (reply, answer) = oneshot::channel();
        let uid = uid.to_owned();
        self.send(Command::Remove { uid, reply });
        answer.await.map_err(|_| NodeError::Stopped)
    }

    /// Tells something of a pod beside what its folder tells: the pod need not be known.
    pub fn tell(&self, told: Told) {
        self.shared.outbox.push(Item::Told(Box::new(told)));
    }

    /// The task is to stop: the running step gets its grace, `finally` steps run.
    pub fn cancel(&self, uid: &str) {
        self.apply(uid, Event::Cancel);
    }

    /// The task is to be over now: no grace, no `finally` steps.
    pub fn kill(&self, uid: &str) {
        self.apply(uid, Event::Kill);
    }

    /// The entrypoint of this step or sidecar is gone. Where it left a final record, that counts, so
    /// this may be told of every container that ends.
    pub fn died(&self, uid: &str, number: u32, how: Death) {
        let uid = uid.to_owned();
        self.send(Command::Died { uid, number, how });
    }

    /// All pods, by UID.
    pub fn pods(&self) -> Vec<PodView> {
        lock(&self.shared.views).values().cloned().collect()
    }

    /// The pod with this UID.
    pub fn pod(&self, uid: &str) -> Option<PodView> {
        lock(&self.shared.views).get(uid).cloned()
    }

    /// Changes whenever a pod came or went, or its order or end changed; see [`pods`](Turns::pods) for
    /// what is now.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changed.subscribe()
    }

    /// Events that wait for the sink.
    pub fn waiting(&self) -> usize {
        self.shared.outbox.len()
    }

    /// Whether both threads run.
    pub fn is_alive(&self) -> bool {
        let threads = lock(&self.shared.threads);
        !threads.is_empty() && threads.iter().all(|t| !t.is_finished())
    }

    /// Ends both threads and leaves the pods as they are. Blocks until the sink has what was waiting.
    pub fn stop(&self) {
        self.send(Command::Stop);
        for thread in std::mem::take(&mut *lock(&self.shared.threads)) {
            if thread.join().is_err() {
                tracing::error!("a thread of the turns panicked");
            }
        }
    }

    fn apply(&self, uid: &str, event: Event) {
        let uid = uid.to_owned();
        self.send(Command::Apply { uid, event });
    }

    fn send(&self, command: Command) {
        self.shared.send(command);
    }
}

/// What both threads and all handles share.
#[derive(Debug)]
struct Shared {
    commands: Mutex<Commands>,
    wake: EventFd,
    views: Mutex<BTreeMap<String, PodView>>,
    changed: watch::Sender<u64>,
    outbox: Outbox,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Commands {
    queue: VecDeque<Command>,
    closed: bool,
}

#[derive(Debug)]
enum Command {
    Add {
        pod: PodRef,
        root: PathBuf,
        plan: Plan,
        reply: oneshot::Sender<Result<(), NodeError>>,
    },
    Remove {
        uid: String,
        reply: oneshot::Sender<()>,
    },
    Apply {
        uid: String,
        event: Event,
    },
    Died {
        uid: String,
        number: u32,
        how: Death,
    },
    Stop,
}

impl Shared {
    fn send(&self, command: Command) {
        let mut commands = lock(&self.commands);
        if !commands.closed {
            commands.queue.push_back(command);
            // It can fail only where its counter is full, and then the thread is woken already.
            let _ = self.wake.write(1);
        }
    }

    fn take(&self) -> VecDeque<Command> {
        let mut commands = lock(&self.commands);
        if !commands.queue.is_empty() {
            // Nothing to read means that it was read before.
            let _ = self.wake.read();
        }
        std::mem::take(&mut commands.queue)
    }

    /// What is asked for from now on is answered with [`NodeError::Stopped`].
    fn close(&self) {
        let mut commands = lock(&self.commands);
        commands.closed = true;
        commands.queue.clear();
    }
}

/// What a thread that panicked left behind is still good: nothing here is changed in halves.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
