//! Follows a Task until it is over.

use std::time::Duration;

use baton_api::status::TaskStatus;
use futures::stream::{BoxStream, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::runtime::{WatchStreamExt, watcher};
use tokio::time::Instant;

use super::act::{Target, missing};
use super::connect::Cluster;
use super::error::ClusterError;
use super::kind::Kind;
use super::logs::Piece;
use super::object::Object;
use super::once::runs_itself;
use super::shown::{Shown, Wanted};
use super::since::Since;
use super::states;
use super::waiting;
use super::watching::{Connection, Interrupts, LOGS_PATIENCE, PATIENCE, Patient, cancel_aloud};
use crate::run::shown::{introduce, warn};
use crate::run::story::Story;
use crate::show::terminal::Terminal;

/// How often the status line moves.
const TICK: Duration = Duration::from_millis(100);

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

impl<'a> Followed<'a> {
    fn target(&self) -> Target<'a> {
        Target {
            kind: Kind::Task,
            namespace: self.namespace,
            name: self.name,
        }
    }
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
        interrupts: Interrupts::listen(followed.cancels)?,
        connection: Connection::new(cluster, followed.target()),
        waiting: waiting::Waiting::default(),
        quiet_since: Instant::now(),
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
    interrupts: Interrupts,
    connection: Connection<'a>,
    waiting: waiting::Waiting,
    /// When something happened last.
    quiet_since: Instant,
}

enum Happened {
    Task(watcher::Result<Option<Box<Object>>>),
    Pod(watcher::Result<Option<Box<Pod>>>),
    Piece(u32, Piece),
    Interrupt { nth: u32 },
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
                nth = self.interrupts.next() => Happened::Interrupt { nth },
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
                Happened::Interrupt { nth: 1 } => {
                    let Followed { cluster, .. } = *self.followed;
                    cancel_aloud(cluster, self.followed.target(), self.terminal).await;
                }
                Happened::Interrupt { .. } => return Ok(End::Left),
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
            Err(e) => return self.connection.trouble(e, self.seen, self.terminal),
        };
        self.connection.found(self.terminal);
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
                return Err(self.connection.deleted());
            }
            return Err(missing(cluster, self.followed.target()));
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
        if self.seen && self.status.run == 0 && self.quiet_since.elapsed() > PATIENCE {
            self.connection.hint(self.terminal);
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
