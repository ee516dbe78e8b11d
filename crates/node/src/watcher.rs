//! Any number of pods, watched from one thread by one inotify instance.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use baton_protocol::Timestamp;
use baton_protocol::layout::{self, EVENTS, EXIT};
use baton_steps::{Death, Event, Plan, Run};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use nix::sys::stat::Mode;

use crate::clock::Clock;
use crate::node::Deaths;
use crate::notice::{NodeError, Notice};
use crate::pod::Pod;
use crate::untrusted;

/// How often a pod is looked at that cannot be watched, because inotify is used up.
pub const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Reads of inotify before the rest of the work has its turn, so that a flood starves nobody.
const MAX_READS: u32 = 64;

/// Most times that [`Watcher::hand_offs`] gives.
pub const MAX_HAND_OFFS: usize = 1024;

/// A pod of a [`Watcher`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodId(u64);

/// Watches pods and drives their runs. It has no thread and never waits: its owner polls
/// [`fd`](Watcher::fd) for at most [`timeout`](Watcher::timeout) and calls
/// [`dispatch`](Watcher::dispatch).
///
/// Dropping it closes its inotify descriptor, which can block for 20 ms.
#[derive(Debug)]
pub struct Watcher {
    inotify: Result<Inotify, Errno>,
    watches: HashMap<WatchDescriptor, Watch>,
    pods: BTreeMap<PodId, Watched>,
    next: u64,
    clock: Clock,
    hand_offs: Vec<Duration>,
    /// Pods with news: they alone are looked after at a wake-up, however many there are.
    news: Vec<PodId>,
    /// When each pod is due that waits for time.
    due: BTreeSet<(Timestamp, PodId)>,
}

#[derive(Debug)]
struct Watched {
    pod: Pod,
    path: PathBuf,
    /// Not every folder could be watched.
    polled: bool,
    /// Event files with news.
    looks: Vec<u32>,
    /// Its watches, as far as they were ever made.
    watches: Vec<WatchDescriptor>,
    /// When everything is looked at again, because not all could be watched or read.
    look_again: Option<Timestamp>,
    /// Its time among all that are due.
    due: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy)]
struct Watch {
    pod: PodId,
    number: u32,
    of: Of,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Of {
    Folder,
    Events,
}

impl Default for Watcher {
    fn default() -> Self {
        Watcher::new()
    }
}

impl Watcher {
    /// A watcher of no pods yet. Where no inotify instance can be had, its pods are looked at every
    /// [`POLL_INTERVAL`], and say so.
    pub fn new() -> Watcher {
        Watcher {
            inotify: Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK),
            watches: HashMap::new(),
            pods: BTreeMap::new(),
            next: 0,
            clock: Clock::start(),
            hand_offs: Vec::new(),
            news: Vec::new(),
            due: BTreeSet::new(),
        }
    }

    /// A watcher that has no inotify, as on a machine where it is used up.
    #[cfg(test)]
    pub(crate) fn without_inotify() -> Watcher {
        Watcher {
            inotify: Err(Errno::EMFILE),
            ..Watcher::new()
        }
    }

    /// Takes a pod whose folder [`prepare`](crate::prepare) made, and goes on where its files stand.
    /// What it has to tell at once is told by the next [`dispatch`](Watcher::dispatch).
    ///
    /// # Errors
    /// Where the plan is past its bounds, or the folder cannot be used.
    pub fn add(&mut self, root: &Path, plan: Plan, deaths: Deaths) -> Result<PodId, NodeError> {
        let id = PodId(self.next);
        self.next += 1;
        // Armed first and looked at afterwards, so that nothing falls between.
        let mut watches = Vec::new();
        let armed = self.arm(id, root, plan.total(), &mut watches);
        let mut pod = match Pod::open(root, plan, deaths, self.clock.now()) {
            Ok(pod) => pod,
            Err(e) => {
                self.disarm(id, &watches);
                return Err(e);
            }
        };
        if let Err(e) = &armed {
            pod.tell(
                "watch",
                format!(
                    "cannot watch {} by inotify ({e}); it is looked at every {} ms",
                    root.display(),
                    POLL_INTERVAL.as_millis()
                ),
            );
        }
        let watched = Watched {
            pod,
            path: root.to_owned(),
            polled: armed.is_err(),
            looks: Vec::new(),
            watches,
            look_again: None,
            due: None,
        };
        self.pods.insert(id, watched);
        self.news.push(id);
        // What it has to tell is told by the next dispatch, which comes at once.
        self.schedule(id);
        Ok(id)
    }

    /// Forgets a pod. Removing watches can block: this is no part of a hand-off.
    pub fn remove(&mut self, id: PodId) {
        if let Some(watched) = self.pods.remove(&id) {
            self.disarm(id, &watched.watches);
            if let Some(at) = watched.due {
                self.due.remove(&(at, id));
            }
        }
    }

    /// The run of a pod, for displays.
    pub fn run(&self, id: PodId) -> Option<&Run> {
        self.pods.get(&id).map(|w| w.pod.run())
    }

    /// What to poll for readability; `None` where only [`timeout`](Watcher::timeout) counts.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().ok().map(|i| i.as_fd())
    }

    /// The time that each hand-off took since this was last asked for, from the wake-up by a final record
    /// to the order; at most [`MAX_HAND_OFFS`].
    pub fn hand_offs(&mut self) -> Vec<Duration> {
        std::mem::take(&mut self.hand_offs)
    }

    /// After what time [`dispatch`](Watcher::dispatch) is due though nothing can be read.
    pub fn timeout(&self) -> Option<Duration> {
        if !self.news.is_empty() {
            return Some(Duration::ZERO);
        }
        let (at, _) = self.due.first()?;
        Some(at.since(self.clock.now()))
    }

    /// Takes a fact from outside the pod's folder: begin, cancel, kill.
    pub fn apply(&mut self, id: PodId, event: Event, tell: &mut dyn FnMut(PodId, Notice)) {
        let now = self.clock.now();
        if let Some(watched) = self.pods.get_mut(&id) {
            watched.pod.apply(now, event);
            watched.finish(id, now, tell);
            self.schedule(id);
        }
    }

    /// Takes the news that an entrypoint is gone. Where it left a final record, that counts.
    pub fn died(
        &mut self,
        id: PodId,
        number: u32,
        how: Death,
        tell: &mut dyn FnMut(PodId, Notice),
    ) {
        let now = self.clock.now();
        if let Some(watched) = self.pods.get_mut(&id) {
            watched.pod.died(now, number, how);
            watched.finish(id, now, tell);
            self.schedule(id);
        }
    }

    /// Does what is to be done now. `tell` is called once the orders of all pods are written.
    pub fn dispatch(&mut self, tell: &mut dyn FnMut(PodId, Notice)) {
        let (woken, mut lost) = (Instant::now(), false);
        for _ in 0..MAX_READS {
            let Ok(events) = self.inotify.as_ref().map_err(|e| *e).and_then(read) else {
                break;
            };
            lost |= self.take(&events, woken);
        }
        let now = self.clock.now();
        let mut news = std::mem::take(&mut self.news);
        if lost {
            news.extend(self.pods.keys().copied());
        }
        let due = self.due.iter().take_while(|(at, _)| *at <= now);
        news.extend(due.map(|(_, id)| *id));
        news.sort_unstable();
        news.dedup();
        for id in &news {
            if let Some(watched) = self.pods.get_mut(id) {
                watched.look_after(now, lost);
            }
        }
        for id in news {
            if let Some(watched) = self.pods.get_mut(&id) {
                watched.finish(id, now, tell);
                self.schedule(id);
            }
        }
    }

    /// Notes when a pod is due next.
    fn schedule(&mut self, id: PodId) {
        let Some(watched) = self.pods.get_mut(&id) else {
            return;
        };
        let running = watched.pod.outcome().is_none();
        watched.look_again = if running && (watched.polled || watched.pod.again()) {
            let later = || self.clock.after(POLL_INTERVAL);
            Some(watched.look_again.unwrap_or_else(later))
        } else {
            None
        };
        let wake = watched.pod.wake_at().filter(|_| running);
        let due = wake.into_iter().chain(watched.look_again).min();
        if due != watched.due {
            if let Some(at) = watched.due.take() {
                self.due.remove(&(at, id));
            }
            watched.due = due;
            self.due.extend(due.map(|at| (at, id)));
        }
    }

    /// Hands over where steps ended, and notes the rest. Tells whether events were lost.
    fn take(&mut self, events: &[InotifyEvent], woken: Instant) -> bool {
        let now = self.clock.now();
        let (mut lost, mut made) = (false, Vec::new());
        let mut closed = Vec::new();
        for event in events {
            lost |= event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW);
            if event.mask.contains(AddWatchFlags::IN_IGNORED) {
                self.watches.remove(&event.wd);
            }
            let Some(watch) = self.watches.get(&event.wd).copied() else {
                continue;
            };
            let Some(watched) = self.pods.get_mut(&watch.pod) else {
                continue;
            };
            self.news.push(watch.pod);
            let name = event.name.as_deref();
            let is = |flags| event.mask.intersects(flags);
            if watch.of == Of::Events {
                if is(AddWatchFlags::IN_MODIFY) {
                    watched.looks.push(watch.number);
                }
                if is(AddWatchFlags::IN_CLOSE_WRITE) {
                    closed.push(watch);
                }
            } else if name == Some(OsStr::new(EXIT)) && is(AddWatchFlags::IN_MOVED_TO) {
                watched.pod.end(now, watch.number);
                if let Some(at) = watched.pod.take_written()
                    && self.hand_offs.len() < MAX_HAND_OFFS
                {
                    self.hand_offs.push(at.saturating_duration_since(woken));
                }
            } else if name == Some(OsStr::new(EVENTS)) {
                if is(AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO) {
                    made.push(watch);
                }
                if is(AddWatchFlags::IN_CLOSE_WRITE) {
                    closed.push(watch);
                }
            }
        }
        for watch in made {
            if let Some(watched) = self.pods.get_mut(&watch.pod) {
                let step = open_root(&watched.path).and_then(|r| open_step(&r, watch.number));
                let armed = step.and_then(|step| {
                    arm_events(&self.inotify, &mut self.watches, watch, &by_fd(&step))
                });
                watched
                    .watches
                    .extend(armed.as_ref().ok().copied().flatten());
                watched.polled |= armed.is_err();
                watched.looks.push(watch.number);
            }
        }
        // An entrypoint holds its event file open as long as it lives, and makes its record before.
        for Watch { pod, number, .. } in closed {
            if let Some(watched) = self.pods.get_mut(&pod) {
                watched.pod.closed(now, number);
            }
        }
        lost
    }

    fn arm(
        &mut self,
        pod: PodId,
        root: &Path,
        total: u32,
        made: &mut Vec<WatchDescriptor>,
    ) -> Result<(), Errno> {
        let folder = AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_ONLYDIR;
        // Only where the event file is not there yet is it worth to be woken by other files.
        let all = folder | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_CLOSE_WRITE;
        let root = open_root(root)?;
        for number in 1..=total {
            let step = open_step(&root, number)?;
            let path = by_fd(&step);
            let of = Of::Folder;
            let watch = Watch { pod, number, of };
            let there = arm_events(&self.inotify, &mut self.watches, watch, &path)?;
            made.extend(there);
            let inotify = self.inotify.as_ref().map_err(|e| *e)?;
            let wd = inotify.add_watch(&path, if there.is_some() { folder } else { all })?;
            self.watches.insert(wd, watch);
            made.push(wd);
        }
        Ok(())
    }

    fn disarm(&mut self, id: PodId, watches: &[WatchDescriptor]) {
        for wd in watches {
            // The kernel may have dropped one with its folder.
            if self.watches.get(wd).is_some_and(|watch| watch.pod == id) {
                self.watches.remove(wd);
                if let Ok(inotify) = &self.inotify {
                    let _ = inotify.rm_watch(*wd);
                }
            }
        }
    }
}

impl Watched {
    /// Does what time or trouble asks for.
    fn look_after(&mut self, now: Timestamp, lost: bool) {
        if self.pod.wake_at().is_some_and(|at| at <= now) {
            self.pod.apply(now, Event::Tick);
        }
        let again = self.look_again.map_or(self.pod.again(), |at| at <= now);
        if self.pod.outcome().is_none() && (lost || again) {
            self.look_again = None;
            self.pod.rescan(now);
        }
    }

    fn finish(&mut self, id: PodId, now: Timestamp, tell: &mut dyn FnMut(PodId, Notice)) {
        let mut notices = self.pod.finish(now);
        if !self.looks.is_empty() {
            self.looks.sort_unstable();
            self.looks.dedup();
            for number in std::mem::take(&mut self.looks) {
                self.pod.look(now, number);
            }
            notices.extend(self.pod.finish(now));
        }
        for notice in notices {
            tell(id, notice);
        }
    }
}

/// Watches an event file, if it is there, and gives the watch: the folder's watch does not tell what is written, so that
/// captured output, which is in the same folder, wakes nobody.
fn arm_events(
    inotify: &Result<Inotify, Errno>,
    watches: &mut HashMap<WatchDescriptor, Watch>,
    watch: Watch,
    folder: &Path,
) -> Result<Option<WatchDescriptor>, Errno> {
    let flags =
        AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_DONT_FOLLOW;
    let inotify = inotify.as_ref().map_err(|e| *e)?;
    match inotify.add_watch(&folder.join(EVENTS), flags) {
        Ok(wd) => {
            let of = Of::Events;
            watches.entry(wd).or_insert(Watch { of, ..watch });
            Ok(Some(wd))
        }
        // What is not there will be made; what a tenant hides is the tenant's loss.
        Err(Errno::ENOSPC | Errno::ENOMEM) => Err(Errno::ENOSPC),
        Err(_) => Ok(None),
    }
}

fn open_root(root: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    open(root, flags, Mode::empty())
}

/// A step's folder. No link leads to it: one could lead to another pod's, whose watch would then be taken.
fn open_step(root: &OwnedFd, number: u32) -> Result<OwnedFd, Errno> {
    let below = layout::step_dir(Path::new(""), number);
    untrusted::open_below(root, &below, OFlag::O_PATH | OFlag::O_DIRECTORY)
}

/// A path that leads to just what was opened, for inotify takes paths alone.
fn by_fd(fd: &OwnedFd) -> PathBuf {
    format!("/proc/self/fd/{}", fd.as_raw_fd()).into()
}

fn read(inotify: &Inotify) -> Result<Vec<InotifyEvent>, Errno> {
    loop {
        match inotify.read_events() {
            Err(Errno::EINTR) => {}
            events => return events,
        }
    }
}
