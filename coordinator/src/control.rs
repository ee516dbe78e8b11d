//! What all controllers have in common: one task that owns everything; watches, time and the answers to
//! calls come in, and calls of the API server run beside it.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};

use crate::clock::now;
use crate::metrics::Work;
use crate::queue::Queue;
use crate::watching::{Change, Changes, Lists, Scope};

/// How long calls that are under way at the end are waited for.
const DRAIN: Duration = Duration::from_secs(3);
/// Longest time without a look at the wall clock, by which things are due: it may be set, and goes on while the machine
/// sleeps.
pub(crate) const LOOK: Duration = Duration::from_secs(30);

/// What a controller is told at its start.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The namespaces whose objects are looked after; all where there is none.
    pub namespaces: Vec<String>,
    /// The name of this replica, for the Kubernetes Events that it writes.
    pub replica: String,
}

/// What every controller owns: `K` are the kinds that it watches, `C` what its calls come to.
pub(crate) struct Shell<K, C> {
    /// What the watches' lists hold.
    pub(crate) lists: Lists<K>,
    /// What is to be looked at.
    pub(crate) queue: Queue,
    /// What is counted.
    pub(crate) work: Work,
    /// The right to call the API server.
    permits: Arc<Semaphore>,
    calls: JoinSet<C>,
}

impl<K: Clone + Eq + Hash, C: Send + 'static> Shell<K, C> {
    /// One that knows nothing yet, and makes so many calls at once at most; `waiting` is how many
    /// objects are to be looked at.
    pub(crate) fn new(lists: Lists<K>, most_calls: usize, work: Work, waiting: Gauge) -> Self {
        Shell {
            lists,
            queue: Queue::new(waiting),
            work,
            permits: Arc::new(Semaphore::new(most_calls)),
            calls: JoinSet::new(),
        }
    }

    /// Makes a call beside everything else, once not too many others are under way.
    pub(crate) fn call(&mut self, call: impl Future<Output = C> + Send + 'static) {
        let permits = self.permits.clone();
        self.call_by(permits, call);
    }

    /// As [`Shell::call`], by permits that other calls do not need.
    pub(crate) fn call_by(
        &mut self,
        permits: Arc<Semaphore>,
        call: impl Future<Output = C> + Send + 'static,
    ) {
        self.calls.spawn(async move {
            // The semaphore is never closed.
            let _permit = permits.acquire_owned().await.ok();
            call.await
        });
    }

    /// How long nothing is due, [`LOOK`] at most; `None` where nothing ever is.
    pub(crate) fn wait(&self) -> Option<Duration> {
        self.queue.due().map(|at| at.since(now()).min(LOOK))
    }

    /// Whether calls wait for others.
    pub(crate) fn is_crowded(&self) -> bool {
        self.permits.available_permits() == 0
    }
}

/// What a controller knows by its watches.
pub(crate) trait Known {
    /// The kinds that are watched.
    type Kind: Clone + Debug + Eq + Hash + Send + 'static;
    /// An object of one of them.
    type Thing: Send + 'static;

    /// An object is there, like this. Gives what its kind is listed by: its UID, or its name.
    fn put(&mut self, thing: Self::Thing) -> Option<String>;

    /// An object is gone.
    fn gone(&mut self, thing: Self::Thing);

    /// A watch was begun anew: what it covers and its list does not hold is gone.
    fn keep(&mut self, scope: &Scope<Self::Kind>, list: &BTreeSet<String>);
}

/// A controller: what its loop calls. What is the same for all is provided.
pub(crate) trait Control: Known {
    /// What came of a call, and which one it was.
    type Called: Send + 'static;

    /// What it owns as every controller does.
    fn shell(&mut self) -> &mut Shell<Self::Kind, Self::Called>;

    /// The UIDs of all objects that are looked after.
    fn uids(&self) -> Vec<String>;

    /// Does what is to be done for an object that something changed for.
    fn reconcile(&mut self, uid: &str);

    /// Takes what came of a call.
    fn called(&mut self, called: Self::Called);

    /// How long nothing is due, as far as can be said now; `None` where nothing ever is.
    fn wait(&mut self) -> Option<Duration> {
        self.shell().wait()
    }

    /// Has everything looked at again whose time has come.
    fn tick(&mut self) {
        self.shell().queue.tick(now());
    }

    /// Has everything looked at again.
    fn look_at_all(&mut self) {
        let uids = self.uids();
        uids.iter().for_each(|uid| self.shell().queue.push(uid));
    }

    /// Does what is to be done for every object that something changed for, once everything was read.
    fn work(&mut self) {
        if !self.shell().lists.is_read() {
            return;
        }
        // What a look queues is looked at next time, so that other things have their turn.
        for _ in 0..self.shell().queue.len() {
            let Some(uid) = self.shell().queue.pop() else {
                return;
            };
            let began = Instant::now();
            self.reconcile(&uid);
            self.shell().work.looked(began.elapsed());
        }
    }

    /// Works until `stop` resolves, and waits for calls that are under way then.
    async fn run(
        &mut self,
        mut changes: Changes<Self::Kind, Self::Thing>,
        stop: impl Future<Output = ()>,
    ) {
        let mut stop = std::pin::pin!(stop);
        loop {
            self.work();
            tokio::select! {
                () = &mut stop => break,
                () = self.turn(&mut changes) => {}
            }
        }
        self.drain().await;
    }

    /// Waits for what happens next, and takes it: a watch tells, a call is over, or something is due.
    /// Nothing is lost where this is given up before.
    async fn turn(&mut self, changes: &mut Changes<Self::Kind, Self::Thing>) {
        let wait = self.wait();
        tokio::select! {
            Some((scope, change)) = changes.next() => self.change(&scope, change),
            Some(called) = self.shell().calls.join_next() => self.finished(called),
            () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => self.tick(),
            else => std::future::pending().await,
        }
    }

    /// Waits for calls that are under way, for a few seconds.
    async fn drain(&mut self) {
        let all = async {
            while let Some(called) = self.shell().calls.join_next().await {
                self.finished(called);
            }
        };
        if tokio::time::timeout(DRAIN, all).await.is_err() {
            tracing::warn!("calls of the API server were under way at the end, and were given up");
        }
    }

    /// Takes what a watch tells.
    fn change(&mut self, scope: &Scope<Self::Kind>, change: Change<Self::Thing>) {
        match change {
            Change::Put(thing) => {
                if let Some(id) = self.put(thing) {
                    self.shell().lists.told(scope, id);
                }
            }
            Change::Gone(thing) => self.gone(thing),
            Change::ListBegins => self.shell().lists.begin(scope),
            Change::ListEnds => {
                let was_read = self.shell().lists.is_read();
                let list = self.shell().lists.end(scope);
                self.keep(scope, &list);
                if !was_read && self.shell().lists.is_read() {
                    self.look_at_all();
                }
            }
        }
    }

    /// Takes what came of a call, or that it broke off.
    fn finished(&mut self, called: Result<Self::Called, JoinError>) {
        match called {
            Ok(called) => self.called(called),
            Err(e) => tracing::error!(error = %e, "a call of the API server broke off"),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::stream::{self, SelectAll};
    use tokio::sync::mpsc;

    use super::*;

    /// Looks at each object by a call.
    struct Toy {
        shell: Shell<char, String>,
        there: BTreeSet<String>,
        told: mpsc::UnboundedSender<String>,
    }

    impl Known for Toy {
        type Kind = char;
        type Thing = &'static str;

        fn put(&mut self, thing: &'static str) -> Option<String> {
            self.there.insert(thing.to_owned());
            self.shell.queue.push(thing);
            Some(thing.to_owned())
        }

        fn gone(&mut self, thing: &'static str) {
            self.there.remove(thing);
        }

        fn keep(&mut self, _: &Scope<char>, list: &BTreeSet<String>) {
            self.there.retain(|thing| list.contains(thing));
        }
    }

    impl Control for Toy {
        type Called = String;

        fn shell(&mut self) -> &mut Shell<char, String> {
            &mut self.shell
        }

        fn uids(&self) -> Vec<String> {
            self.there.iter().cloned().collect()
        }

        fn reconcile(&mut self, uid: &str) {
            if self.there.contains(uid) {
                let uid = uid.to_owned();
                self.shell.call(async move {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    uid
                });
            }
        }

        fn called(&mut self, uid: String) {
            let _ = self.told.send(uid);
        }
    }

    #[tokio::test]
    async fn what_lists_hold_is_looked_at_and_calls_are_waited_for() {
        let scope = |kind| Scope {
            kind,
            namespace: None,
        };
        let watch = |changes: Vec<(char, Change<&'static str>)>| {
            let changes = changes.into_iter().map(move |(k, c)| (scope(k), c));
            stream::iter(changes).chain(stream::pending()).boxed()
        };
        let mut changes = SelectAll::new();
        changes.push(watch(vec![
            ('a', Change::ListBegins),
            ('a', Change::Put("lost")),
            ('a', Change::ListEnds),
            ('a', Change::ListBegins),
            ('a', Change::Put("kept")),
            ('a', Change::ListEnds),
            ('b', Change::ListBegins),
            ('b', Change::ListEnds),
            ('b', Change::ListBegins),
            ('b', Change::Put("kept")),
            ('b', Change::ListEnds),
        ]));
        let (told, mut heard) = mpsc::unbounded_channel();
        let waiting = Gauge::default();
        let lists = Lists::new(vec![scope('a'), scope('b')]);
        let mut toy = Toy {
            shell: Shell::new(lists, 1, Work::default(), waiting.clone()),
            there: BTreeSet::new(),
            told,
        };
        // Nothing is looked at before everything was read.
        for _ in 0..7 {
            toy.work();
            toy.turn(&mut changes).await;
        }
        assert_eq!((toy.shell.queue.len(), waiting.get()), (2, 2));
        assert_eq!(toy.uids(), ["kept"]);
        for _ in 0..4 {
            toy.work();
            toy.turn(&mut changes).await;
        }
        // It is told to stop, and waits for what is under way.
        toy.run(changes, async {}).await;
        drop(toy);
        let mut all = Vec::new();
        while let Some(uid) = heard.recv().await {
            all.push(uid);
        }
        assert!(
            !all.is_empty() && all.iter().all(|uid| uid == "kept"),
            "{all:?}"
        );
    }
}
