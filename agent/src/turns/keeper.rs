//! The thread that hands over: it waits for inotify, commands and deadlines, and for nothing else.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use baton_events::PodRef;
use baton_node::{Deaths, NodeError, Notice, PodId, Watcher};
use baton_protocol::{Order, Timestamp};
use baton_steps::{Death, Event, Plan, Run};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::outbox::{Item, Kept};
use super::{Command, PodView, Shared, lock};

struct Keeper {
    watcher: Watcher,
    held: BTreeMap<PodId, Held>,
    ids: HashMap<String, PodId>,
    shared: Arc<Shared>,
}

/// A pod, and what was last shown of it.
struct Held {
    kept: Arc<Kept>,
    shown: (Order, Option<u32>, bool),
}

pub(super) fn run(shared: Arc<Shared>) {
    let mut keeper = Keeper {
        watcher: Watcher::new(),
        held: BTreeMap::new(),
        ids: HashMap::new(),
        shared,
    };
    while keeper.turn() {
        keeper.wait();
    }
    keeper.shared.close();
    keeper.shared.outbox.close();
}

impl Keeper {
    /// Does what is to be done now; false once told to stop.
    fn turn(&mut self) -> bool {
        self.with(|watcher, tell| watcher.dispatch(tell));
        let mut go_on = true;
        for command in self.shared.take() {
            match command {
                Command::Add {
                    pod,
                    root,
                    plan,
                    reply,
                } => {
                    // Who asked may have given up; the pod is taken all the same.
                    let _ = reply.send(self.add(pod, root, plan));
                }
                Command::Remove { uid, reply } => {
                    let id = self.ids.remove(&uid);
                    let gone = id.and_then(|id| self.remove(&uid, id));
                    // Of one that is not known, something may wait to be told, too: who asked before gave up.
                    self.shared.outbox.push(Item::Sync(gone, reply));
                }
                Command::Apply { uid, event } => {
                    if let Some(id) = self.ids.get(&uid).copied() {
                        self.with(|watcher, tell| watcher.apply(id, event, tell));
                    }
                }
                Command::Died { uid, number, how } => {
                    if let Some(id) = self.ids.get(&uid).copied() {
                        self.with(|watcher, tell| watcher.died(id, number, how, tell));
                    }
                }
                Command::Stop => go_on = false,
            }
        }
        self.shared.outbox.push_times(self.watcher.hand_offs());
        self.show();
        go_on
    }

    fn with(&mut self, work: impl FnOnce(&mut Watcher, &mut dyn FnMut(PodId, Notice))) {
        let (held, outbox) = (&self.held, &self.shared.outbox);
        work(&mut self.watcher, &mut |id, notice| {
            if let Some(held) = held.get(&id) {
                let kept = Arc::clone(&held.kept);
                outbox.push(Item::Notice(kept, now(), Box::new(notice)));
            }
        });
    }

    fn add(&mut self, pod: PodRef, root: PathBuf, plan: Plan) -> Result<(), NodeError> {
        if self.ids.contains_key(&pod.uid) {
            return Ok(());
        }
        let id = self.watcher.add(&root, plan.clone(), Deaths::ByClose)?;
        self.ids.insert(pod.uid.clone(), id);
        let kept = Arc::new(Kept::new(pod, plan, root));
        let shown = self
            .watcher
            .run(id)
            .map_or((Order::HOLD, None, false), seen);
        let view = PodView {
            pod: Arc::clone(&kept.pod),
            plan: Arc::clone(&kept.plan),
            order: shown.0,
            turn: shown.1,
            since: now(),
            outcome: self.watcher.run(id).and_then(Run::outcome).cloned(),
        };
        lock(&self.shared.views).insert(kept.pod.uid.clone(), view);
        self.shared.changed.send_modify(|n| *n = n.wrapping_add(1));
        self.held.insert(id, Held { kept, shown });
        // No waiting for the other containers: whose turn comes late starts late, and nobody else does.
        self.with(|watcher, tell| watcher.apply(id, Event::Begin, tell));
        Ok(())
    }

    fn remove(&mut self, uid: &str, id: PodId) -> Option<Arc<Kept>> {
        // What happened before this is in the queue of inotify, and told by now or here.
        self.with(|watcher, tell| watcher.dispatch(tell));
        let run = self.watcher.run(id);
        if run.is_some_and(|run| run.outcome().is_none()) {
            // The pod's containers are gone: nobody will record anything any more.
            let numbers: Vec<_> = run.map_or(Vec::new(), |run| {
                let open = run.steps().filter(|s| has_turn(&s.state));
                open.map(|s| s.number).collect()
            });
            for number in numbers {
                self.with(|watcher, tell| watcher.died(id, number, Death::Gone, tell));
            }
            self.with(|watcher, tell| watcher.apply(id, Event::Kill, tell));
        }
        self.watcher.remove(id);
        lock(&self.shared.views).remove(uid);
        self.shared.changed.send_modify(|n| *n = n.wrapping_add(1));
        self.held.remove(&id).map(|held| held.kept)
    }

    /// Shows what changed, now that the orders are written.
    fn show(&mut self) {
        let mut changed = false;
        for (id, held) in &mut self.held {
            let Some(run) = self.watcher.run(*id) else {
                continue;
            };
            let seen = seen(run);
            if seen == held.shown {
                continue;
            }
            let mut views = lock(&self.shared.views);
            if let Some(view) = views.get_mut(&held.kept.pod.uid) {
                if view.order != seen.0 {
                    view.since = now();
                }
                (view.order, view.turn) = (seen.0, seen.1);
                view.outcome = run.outcome().cloned();
            }
            held.shown = seen;
            changed = true;
        }
        if changed {
            self.shared.changed.send_modify(|n| *n = n.wrapping_add(1));
        }
    }

    fn wait(&self) {
        let timeout = self
            .watcher
            .timeout()
            .map_or(PollTimeout::NONE, poll_timeout);
        let wake = PollFd::new(self.shared.wake.as_fd(), PollFlags::POLLIN);
        let inotify = self.watcher.fd();
        let inotify = inotify.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        let mut fds: Vec<_> = inotify.into_iter().chain([wake]).collect();
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(e) => {
                // Out of kernel memory, for a moment: everything is looked at again then.
                tracing::error!("cannot wait for inotify: {e}");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

fn seen(run: &Run) -> (Order, Option<u32>, bool) {
    (run.order(), run.turn(), run.outcome().is_some())
}

fn has_turn(state: &baton_steps::StepState) -> bool {
    use baton_steps::StepState::{Released, Running};
    matches!(state, Released { .. } | Running { .. })
}

/// In whole milliseconds, rounded up, so that a deadline is not met too early and in a spin.
fn poll_timeout(time: Duration) -> PollTimeout {
    let millis = time.as_millis().saturating_add(1);
    let millis = i32::try_from(millis).unwrap_or(i32::MAX);
    PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
}

fn now() -> Timestamp {
    Timestamp(SystemTime::now())
}
