//! Follows a Task until it is over.

use std::time::Duration;

use baton_api::status::TaskStatus;
use futures::stream::{BoxStream, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::runtime::utils::Backoff;
use kube::runtime::{WatchStreamExt, watcher};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use super::act::{Target, missing};
use super::connect::Cluster;
use super::error::{ClusterError, cause, is_final};
use super::kind::Kind;
use super::logs::Piece;
use super::object::Object;
use super::once::runs_itself;
use super::shown::{Shown, Wanted};
use super::states;
use super::waiting;
use crate::run::shown::{introduce, warn};
use crate::run::story::Story;
use crate::show::terminal::Terminal;

/// How often the status line moves.
const TICK: Duration = Duration::from_millis(100);
/// How long a Task may stand without a status before a person is told what may be wrong.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the logs of a Task that is over may stand still.
const LOGS_PATIENCE: Duration = Duration::from_secs(10);

/// Which runs of a Task are followed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Since {
    /// Runs up to this one are of the past.
    pub run: u32,
    /// What statuses of earlier generations say is of the past.
    pub generation: i64,
}

impl Since {
    /// Whether a status is of a run that is meant. One that says that the spec cannot be run is of no
    /// run at all.
    fn is_met(self, status: &TaskStatus) -> bool {
        let observed = status.observed_generation.unwrap_or(i64::MAX);
        let refused =
            status.phase.is_over() && status.run <= self.run && status.reason == "Invalid";
        status.run > self.run || (refused && observed >= self.generation)
    }
}

/// What is to be followed.
pub struct Followed<'a> {
    /// Where.
    pub cluster: &'a Cluster,
    /// The Task's namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Where it was read from, for reports.
    pub source: &'a str,
    /// Which run of it.
    pub since: Since,
    /// Ctrl-C cancels the Task, and is not simply this program's end.
    pub cancels: bool,
}

/// How following ended.
pub enum End {
    /// The Task is over.
    Over(Box<Over>),
    /// Somebody had enough of it; the Task goes on.
    Left,
}

/// A Task that is over.
pub struct Over {
    /// Its last status.
    pub status: TaskStatus,
    /// Its story.
    pub story: Story,
}

/// Follows a Task, and shows what happens.
///
/// # Errors
/// Where the Task is gone, or must not be seen. Lost connections are waited out.
pub async fn follow(
    followed: &Followed<'_>,
    wanted: &Wanted,
    terminal: &mut Terminal,
) -> Result<End, ClusterError> {
    let cluster = followed.cluster;
    let tasks = watcher::watch_object(
        cluster.objects(Kind::Task, followed.namespace),
        followed.name,
    );
    let interrupts = followed
        .cancels
        .then(|| signal(SignalKind::interrupt()))
        .transpose()
        .map_err(|e| ClusterError::Other(format!("cannot listen for Ctrl-C: {e}")))?;
    let mut following = Following {
        followed,
        wanted,
        terminal,
        tasks: tasks.backoff(Patient::default()).boxed(),
        pods: Api::namespaced(cluster.client.clone(), followed.namespace),
        pod: None,
        seen: false,
        status: TaskStatus::default(),
        shown: None,
        interrupts,
        stops: 0,
        lost: false,
        waiting: waiting::Waiting::default(),
        quiet_since: Instant::now(),
        hinted: false,
    };
    let end = following.run().await;
    following.terminal.set_status(String::new());
    following.terminal.flush();
    end
}

struct Following<'a, 'b> {
    followed: &'a Followed<'a>,
    wanted: &'a Wanted,
    terminal: &'b mut Terminal,
    tasks: BoxStream<'static, watcher::Result<Option<Object>>>,
    pods: Api<Pod>,
    pod: Option<(String, BoxStream<'static, watcher::Result<Option<Pod>>>)>,
    /// The Task was seen.
    seen: bool,
    status: TaskStatus,
    shown: Option<Shown>,
    interrupts: Option<Signal>,
    stops: u32,
    /// The connection is known to be lost.
    lost: bool,
    waiting: waiting::Waiting,
    /// When something happened last.
    quiet_since: Instant,
    hinted: bool,
}

enum Happened {
    Task(watcher::Result<Option<Box<Object>>>),
    Pod(watcher::Result<Option<Box<Pod>>>),
    Piece(u32, Piece),
    Interrupt,
    Tick,
}

impl Following<'_, '_> {
    async fn run(&mut self) -> Result<End, ClusterError> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut slow = tokio::time::interval(Duration::from_secs(1));
        let mut frame = 0;
        loop {
            let live = self.terminal.is_live();
            let happened = tokio::select! {
                task = self.tasks.next() => {
                    Happened::Task(task.unwrap_or(Ok(None)).map(|t| t.map(Box::new)))
                }
                pod = next_pod(&mut self.pod) => Happened::Pod(pod.map(|p| p.map(Box::new))),
                (number, piece) = next_piece(&mut self.shown) => Happened::Piece(number, piece),
                () = next_interrupt(&mut self.interrupts) => Happened::Interrupt,
                _ = tick.tick(), if live => Happened::Tick,
                _ = slow.tick(), if !live => Happened::Tick,
            };
            match happened {
                Happened::Tick => {
                    frame += 1;
                    self.hint();
                    if let Some(shown) = &mut self.shown {
                        shown.begin(self.terminal);
                    }
                }
                Happened::Task(task) => self.task(task)?,
                Happened::Pod(pod) => self.pod(pod),
                Happened::Piece(number, piece) => self.pieces(number, piece),
                Happened::Interrupt => {
                    self.stops += 1;
                    if self.stops > 1 {
                        return Ok(End::Left);
                    }
                    self.cancel().await;
                }
            }
            if let Some(end) = self.end() {
                return Ok(end);
            }
            if live {
                let columns = self.terminal.columns();
                let line = self.shown.as_ref().map(|s| s.line(frame, columns));
                self.terminal.set_status(line.unwrap_or_default());
            }
            self.terminal.flush();
        }
    }

    fn task(&mut self, task: watcher::Result<Option<Box<Object>>>) -> Result<(), ClusterError> {
        let Followed { cluster, name, .. } = *self.followed;
        let task = match task {
            Ok(task) => task,
            Err(e) => return self.trouble(e),
        };
        self.found();
        self.quiet_since = Instant::now();
        let Some(task) = task else {
            if self.is_over() {
                // Its time to live was short: how it ended is known, and no more of its logs will come.
                if let Some(shown) = &mut self.shown {
                    shown.give_up(self.terminal);
                }
                return Ok(());
            }
            if self.seen {
                let said = format!("task {name} was deleted, and its pods and logs with it");
                return Err(ClusterError::Other(said));
            }
            return Err(missing(cluster, self.target()));
        };
        self.seen = true;
        runs_itself(&task)?;
        let status = task.status().map_err(|source| ClusterError::Status {
            kind: Kind::Task,
            name: name.to_owned(),
            source,
        })?;
        let taken_up = task.status.is_some() && self.followed.since.is_met(&status);
        if taken_up || self.shown.is_none() {
            let nothing = TaskStatus::default();
            self.begin(&task, if taken_up { &status } else { &nothing });
        }
        if taken_up {
            self.take(status);
        }
        Ok(())
    }

    /// Sees that the run that the status tells of is the one that is shown.
    fn begin(&mut self, task: &Object, status: &TaskStatus) {
        let plan = states::plan(&task.spec, status);
        let of_run = |s: &Shown| s.run == status.run && s.plan == plan;
        if self.shown.as_ref().is_some_and(of_run) {
            return;
        }
        let earlier = self.shown.as_ref().map(|s| (s.run, s.plan.clone()));
        let shown = Shown::new(
            task.name(),
            self.followed.source,
            status.run,
            plan,
            self.wanted,
        );
        match earlier {
            Some((run, _)) if run > 0 => self.say_again(status),
            Some((0, plan)) if plan == shown.plan => {}
            _ if self.wanted.look.quiet => {}
            _ => introduce(&shown.story, &shown.plan, self.terminal),
        }
        self.pod = None;
        self.shown = Some(shown);
    }

    fn say_again(&mut self, status: &TaskStatus) {
        let before = status.runs.first();
        let why = before.map(|r| format!(": run {} ended as {:?} {}", r.run, r.phase, r.reason));
        let said = format!("run {} begins{}", status.run, why.unwrap_or_default());
        warn(self.terminal, said.trim_end());
    }

    fn take(&mut self, status: TaskStatus) {
        if let Some(pod) = status.pod.as_ref().filter(|p| !p.name.is_empty())
            && self.pod.as_ref().is_none_or(|(name, _)| *name != pod.name)
        {
            let stream = watcher::watch_object(self.pods.clone(), &pod.name);
            let stream = stream.backoff(Patient::default()).boxed();
            self.pod = Some((pod.name.clone(), stream));
        }
        if let Some(shown) = &mut self.shown {
            shown.status(&status, self.terminal);
        }
        for said in self.waiting.status(&status) {
            warn(self.terminal, &said);
        }
        self.status = status;
        self.advance();
    }

    fn pod(&mut self, pod: watcher::Result<Option<Box<Pod>>>) {
        let Ok(pod) = pod else {
            // The Task's own watch tells of it.
            return;
        };
        self.quiet_since = Instant::now();
        if let Some(pod) = &pod {
            for said in self.waiting.pod(pod) {
                warn(self.terminal, &said);
            }
        }
        if let Some(shown) = &mut self.shown {
            shown.reading.pod(pod.as_deref());
            shown.reading.status(&self.status);
            shown.refresh(self.terminal);
        }
        self.advance();
    }

    fn advance(&mut self) {
        if let (Some(shown), Some((pod, _))) = (&mut self.shown, &self.pod) {
            shown.advance(&self.pods, pod);
        }
    }

    fn pieces(&mut self, number: u32, piece: Piece) {
        self.quiet_since = Instant::now();
        let Some(shown) = &mut self.shown else {
            return;
        };
        shown.piece(number, piece, self.terminal);
        for _ in 0..32 {
            let Some((number, piece)) = shown.reading.try_next() else {
                break;
            };
            shown.piece(number, piece, self.terminal);
        }
        self.advance();
    }

    /// Whether the run that is shown is over.
    fn is_over(&self) -> bool {
        let shown = self.shown.as_ref();
        self.status.phase.is_over() && shown.is_some_and(|s| s.run == self.status.run)
    }

    /// Whether this is the end.
    fn end(&mut self) -> Option<End> {
        if !self.is_over() {
            return None;
        }
        let shown = self.shown.as_mut()?;
        if !shown.is_over() && self.quiet_since.elapsed() > LOGS_PATIENCE {
            shown.give_up(self.terminal);
        }
        if !shown.is_over() {
            return None;
        }
        let status = std::mem::take(&mut self.status);
        let story = self.shown.take()?.conclude(&status);
        Some(End::Over(Box::new(Over { status, story })))
    }

    /// Tells what may be wrong where nothing happens.
    fn hint(&mut self) {
        let idle = self.seen && self.status.run == 0 && self.quiet_since.elapsed() > PATIENCE;
        if idle && !self.lost && !std::mem::replace(&mut self.hinted, true) {
            let said = format!(
                "nothing has taken task {} up yet; does the coordinator run? \
                 `kubectl get deployment -A -l app.kubernetes.io/name=baton` tells",
                self.followed.name
            );
            warn(self.terminal, &said);
        }
    }

    fn target(&self) -> Target<'_> {
        Target {
            kind: Kind::Task,
            namespace: self.followed.namespace,
            name: self.followed.name,
        }
    }

    async fn cancel(&mut self) {
        let Followed { cluster, name, .. } = *self.followed;
        let said = match super::act::cancel(cluster, self.target()).await {
            Ok(_) => format!(
                "cancelling task {name}: its step gets its grace; Ctrl-C once more leaves it to itself"
            ),
            Err(e) => format!("{e}\nCtrl-C once more leaves the task running"),
        };
        for line in said.lines() {
            warn(self.terminal, line);
        }
    }

    fn trouble(&mut self, error: watcher::Error) -> Result<(), ClusterError> {
        let (watcher::Error::InitialListFailed(e) | watcher::Error::WatchStartFailed(e)) = error
        else {
            // What the watcher mends by itself: a version that is too old, an event cut off.
            return Ok(());
        };
        let doing = format!("follow task {}", self.followed.name);
        if !self.seen || is_final(&e) {
            return Err(self.followed.cluster.cannot(doing)(e));
        }
        if !std::mem::replace(&mut self.lost, true) {
            let place = &self.followed.cluster.place;
            let said = format!(
                "{place} does not answer: {}; the task goes on without, and this \
                                waits",
                cause(&e)
            );
            warn(self.terminal, &said);
        }
        Ok(())
    }

    fn found(&mut self) {
        if std::mem::take(&mut self.lost) {
            warn(self.terminal, "connected again");
        }
    }
}

async fn next_pod(
    pod: &mut Option<(String, BoxStream<'static, watcher::Result<Option<Pod>>>)>,
) -> watcher::Result<Option<Pod>> {
    match pod {
        Some((_, stream)) => match stream.next().await {
            Some(pod) => pod,
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

async fn next_piece(shown: &mut Option<Shown>) -> (u32, Piece) {
    if let Some(shown) = shown
        && let Some(piece) = shown.reading.next().await
    {
        return piece;
    }
    std::future::pending().await
}

async fn next_interrupt(interrupts: &mut Option<Signal>) {
    if let Some(signal) = interrupts
        && signal.recv().await.is_some()
    {
        return;
    }
    std::future::pending().await
}

/// Waits 300 ms at first and 3 s at most: a person sits before it.
#[derive(Debug, Default)]
pub(super) struct Patient {
    tried: u32,
}

impl Iterator for Patient {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let delay = Duration::from_millis(300) * 2u32.pow(self.tried.min(4));
        self.tried = self.tried.saturating_add(1);
        Some(delay.min(Duration::from_secs(3)))
    }
}

impl Backoff for Patient {
    fn reset(&mut self) {
        self.tried = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_api::status::TaskPhase;

    #[test]
    fn runs_of_the_past_are_not_shown() {
        let since = Since {
            run: 2,
            generation: 5,
        };
        let status = |run, phase, observed, reason: &str| TaskStatus {
            run,
            phase,
            observed_generation: Some(observed),
            reason: reason.to_owned(),
            ..TaskStatus::default()
        };
        assert!(!since.is_met(&status(2, TaskPhase::Succeeded, 4, "Completed")));
        assert!(!since.is_met(&status(2, TaskPhase::Succeeded, 5, "Completed")));
        assert!(since.is_met(&status(3, TaskPhase::Pending, 5, "")));
        assert!(!since.is_met(&status(2, TaskPhase::Failed, 4, "Invalid")));
        assert!(since.is_met(&status(2, TaskPhase::Failed, 5, "Invalid")));
        assert!(Since::default().is_met(&status(1, TaskPhase::Succeeded, 1, "")));
    }
}
