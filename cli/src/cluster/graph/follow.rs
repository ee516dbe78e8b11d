//! Follows a JobFlow or DaemonJob until it is over.

use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::Value;
use tokio::time::Instant;

use super::super::act::{Target, missing};
use super::super::connect::Cluster;
use super::super::error::ClusterError;
use super::super::kind::Kind;
use super::super::logs::Piece;
use super::super::object::Object;
use super::super::once::runs_itself;
use super::super::standing::Standing;
use super::super::watching::{
    Connection, Interrupts, LOGS_PATIENCE, PATIENCE, Patient, cancel_aloud,
};
use super::kept::Kept;
use super::pods::{Happened, NO_LOG, Pods, selector};
use super::status::{Status, is_of, task_nodes};
use super::telling::{News, State, Telling};
use crate::run::shown::warn;
use crate::show::style::{FAINT, GREEN, RED, YELLOW, fit, one_line, span};
use crate::show::terminal::{Terminal, To};
use crate::show::text::Look;

/// How often the status line moves.
const TICK: Duration = Duration::from_millis(250);
/// How long pods that were not seen are waited for once all is over.
const PODS_PATIENCE: Duration = Duration::from_secs(2);

/// Longest sentence that is said of a part, in columns.
const MAX_SAID: usize = 300;

/// Which run is followed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Since {
    /// Runs up to this one are of the past.
    pub(crate) run: u32,
    /// The re-run that was asked for, where one was.
    pub(crate) rerun: Option<String>,
    /// How the object stood before, where what it went through is not to be told again.
    pub(crate) past: Option<Box<Object>>,
}

/// What is to be followed.
pub(crate) struct Followed<'a> {
    /// Where.
    pub(crate) cluster: &'a Cluster,
    /// The object.
    pub(crate) target: Target<'a>,
    /// Which run of it.
    pub(crate) since: Since,
    /// Ctrl-C cancels it, and is not simply this program's end.
    pub(crate) cancels: bool,
    /// Those of these parts alone; all where none is named.
    pub(crate) only: &'a [String],
    /// How it looks.
    pub(crate) look: Look,
    /// Keep what its pods and Tasks went through, for a report.
    pub(crate) keep: bool,
}

/// An object that is over.
pub(crate) struct Over {
    /// As it was last.
    pub(crate) object: Object,
    /// Its last status.
    pub(crate) status: Status,
    /// What its pods and Tasks went through, where it was to be kept.
    pub(crate) kept: Kept,
}

/// Follows an object, and shows what happens. `None` where somebody had enough of it; it goes on.
///
/// # Errors
/// Where it is gone, must not be seen, or does not run again as was asked. Lost connections are waited
/// out.
pub(crate) async fn follow(
    followed: &Followed<'_>,
    terminal: &mut Terminal,
) -> Result<Option<Over>, ClusterError> {
    let Followed {
        cluster, target, ..
    } = followed;
    let objects = cluster.objects(target.kind, target.namespace);
    let objects = watcher::watch_object(objects, target.name);
    let mut telling = Telling::default();
    if let Some(past) = &followed.since.past {
        telling.past(&Status::of(past)?.parts());
    }
    let mut following = Following {
        followed,
        terminal,
        objects: objects.backoff(Patient::default()).boxed(),
        tasks: tasks(followed),
        kept: followed.keep.then(Kept::default),
        pods: Pods::new(cluster, *target, followed.look),
        telling,
        latest: None,
        over: None,
        interrupts: Interrupts::listen(followed.cancels)?,
        connection: Connection::new(cluster, *target),
        quiet_since: Instant::now(),
        waits: String::new(),
    };
    let end = following.run().await;
    following.terminal.set_status(String::new());
    following.terminal.flush();
    end
}

/// The Tasks of a JobFlow as they go on, where they are to be kept.
fn tasks(followed: &Followed<'_>) -> BoxStream<'static, watcher::Result<watcher::Event<Object>>> {
    let Target {
        kind,
        namespace,
        name,
    } = followed.target;
    if !followed.keep || kind != Kind::JobFlow {
        return stream::pending().boxed();
    }
    let config = watcher::Config::default().labels(&selector(kind, name));
    let tasks = watcher(followed.cluster.objects(Kind::Task, namespace), config);
    tasks.backoff(Patient::default()).boxed()
}

struct Following<'a, 'b> {
    followed: &'a Followed<'a>,
    terminal: &'b mut Terminal,
    objects: BoxStream<'static, watcher::Result<Option<Object>>>,
    /// The Tasks of a JobFlow, where they are kept.
    tasks: BoxStream<'static, watcher::Result<watcher::Event<Object>>>,
    kept: Option<Kept>,
    pods: Pods,
    telling: Telling,
    /// The object as it was seen last.
    latest: Option<(Object, Standing)>,
    /// The end, while logs are still read.
    over: Option<Over>,
    interrupts: Interrupts,
    connection: Connection<'a>,
    /// When something happened last.
    quiet_since: Instant,
    /// What it was said to wait for.
    waits: String,
}

impl Following<'_, '_> {
    async fn run(&mut self) -> Result<Option<Over>, ClusterError> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                object = self.objects.next() => self.object(object.unwrap_or(Ok(None)))?,
                happened = self.pods.next() => self.pods(happened),
                Some(event) = self.tasks.next() => self.of_task(event),
                nth = self.interrupts.next() => {
                    if nth > 1 {
                        return Ok(None);
                    }
                    let Followed { cluster, target, .. } = *self.followed;
                    cancel_aloud(cluster, target, self.terminal).await;
                }
                _ = tick.tick() => self.hint(),
            }
            if self.is_shown()
                && let Some(mut over) = self.over.take()
            {
                over.kept = self.kept.take().unwrap_or_default();
                return Ok(Some(over));
            }
            self.show_line();
            self.terminal.flush();
        }
    }

    fn object(&mut self, object: watcher::Result<Option<Object>>) -> Result<(), ClusterError> {
        let target = self.followed.target;
        let object = match object {
            Ok(object) => object,
            Err(e) => {
                let seen = self.latest.is_some();
                return self.connection.trouble(e, seen, self.terminal);
            }
        };
        self.connection.found(self.terminal);
        let Some(object) = object else {
            // Its time to live was short: how it ended is known.
            return match (&self.over, &self.latest) {
                (Some(_), _) => Ok(()),
                (None, None) => Err(missing(self.followed.cluster, target)),
                (None, Some(_)) => Err(self.connection.deleted()),
            };
        };
        self.quiet_since = Instant::now();
        let standing = Standing::of(&object).map_err(|source| ClusterError::Status {
            kind: target.kind,
            name: target.name.to_owned(),
            source,
        })?;
        if self.over.is_none() {
            self.take(&object, &standing)?;
        }
        self.latest = Some((object, standing));
        Ok(())
    }

    fn take(&mut self, object: &Object, standing: &Standing) -> Result<(), ClusterError> {
        let since = &self.followed.since;
        runs_itself(object)?;
        let refused = standing.is_over() && standing.reason == "Invalid";
        if standing.run <= since.run && !(refused && standing.is_over_for(object)) {
            return self.not_again(object, standing);
        }
        let status = Status::of(object)?;
        let parts = status.parts();
        let tasks = task_nodes(&object.spec);
        for part in &parts {
            self.pods.make_room(&part.label);
        }
        for news in self.telling.news(&parts) {
            self.tell(news, &tasks);
        }
        if !standing.is_over() {
            self.tell_waits(&status);
        }
        if standing.is_over_for(object) {
            self.over = Some(Over {
                object: object.clone(),
                status,
                kept: Kept::default(),
            });
        }
        Ok(())
    }

    /// A re-run that was asked for, and that there is none of.
    fn not_again(&self, object: &Object, standing: &Standing) -> Result<(), ClusterError> {
        let asked = self.followed.since.rerun.as_deref();
        let taken = object.status.as_ref().and_then(|s| s.get("rerun"));
        let is_taken = asked.is_some() && taken.and_then(Value::as_str) == asked;
        if !is_taken || !standing.is_over() {
            return Ok(());
        }
        let conditions = object.status.as_ref().and_then(|s| s.get("conditions"));
        let conditions = conditions.and_then(Value::as_array).into_iter().flatten();
        let field = |c: &Value, name: &str| Some(c.get(name)?.as_str()?.to_owned());
        let refused = conditions
            .filter(|c| field(c, "reason").as_deref() == Some("RerunRefused"))
            .find_map(|c| field(c, "message"));
        let (kind, name) = (object.kind(), object.name());
        Err(ClusterError::Other(match refused {
            Some(message) => format!("{kind} {name}: {message}"),
            None => format!(
                "{kind} {name} has nothing to run again: nothing of it failed; `baton rerun --all \
                 {kind}/{name}` runs everything again"
            ),
        }))
    }

    fn tell(&mut self, news: News, tasks: &[String]) {
        match news {
            News::Started {
                label,
                child,
                attempt,
            } => {
                let only = self.followed.only;
                if only.is_empty() || only.iter().any(|name| is_of(&label, name)) {
                    let is_task = tasks.iter().any(|name| is_of(&label, name));
                    self.pods.want(&child, &label, is_task);
                }
                if !self.followed.look.quiet {
                    let said = match attempt {
                        1 => format!("started: {child}"),
                        n => format!("started again (attempt {n}): {child}"),
                    };
                    self.say(&label, "▶", FAINT, &said);
                }
            }
            News::Ended(part) => {
                let (mark, style, word) = match part.state {
                    State::Succeeded => ("✔", GREEN, "succeeded"),
                    State::Failed => ("✘", RED, "failed"),
                    State::Cancelled => ("✘", YELLOW, "cancelled"),
                    State::Skipped | State::Waiting | State::Running => ("○", FAINT, "skipped"),
                };
                if self.followed.look.quiet && part.state != State::Failed {
                    return;
                }
                let mut said = word.to_owned();
                if let Some(ran) = part.ran {
                    said.push_str(&format!(" after {}", span(ran)));
                }
                if !part.why.is_empty() && part.why != "Completed" {
                    said.push_str(&format!(": {}", part.why));
                }
                self.say(&part.label, mark, style, &said);
            }
        }
    }

    fn say(&mut self, label: &str, mark: &str, style: crate::show::style::Style, said: &str) {
        let name = self.pods.aligned(label);
        let palette = self.followed.look.baton;
        let mark = palette.paint(style, mark);
        let said = palette.paint(FAINT, fit(&one_line(said), MAX_SAID));
        let line = format!("{name} {mark} {said}\n");
        self.terminal.put(To::Baton, line.as_bytes());
    }

    /// Tells what it waits for that somebody has to do.
    fn tell_waits(&mut self, status: &Status) {
        let conditions = match status {
            Status::Flow(status) => &status.conditions,
            Status::Daemon(status) => &status.conditions,
        };
        let waits = conditions
            .iter()
            .filter(|c| {
                c.status == "False" && matches!(c.kind.as_str(), "Progressing" | "Accepted")
            })
            .map(|c| format!("{}: {}", c.reason, one_line(&c.message)));
        let waits: Vec<_> = waits.collect();
        let waits = waits.join("; ");
        if waits != self.waits && !waits.is_empty() {
            warn(self.terminal, &waits);
        }
        self.waits = waits;
    }

    fn pods(&mut self, happened: Happened) {
        match happened {
            // The object's own watch tells of trouble.
            Happened::Pod(event) => {
                if let Ok(event) = *event {
                    if let Some(kept) = &mut self.kept {
                        kept.pod(&event);
                    }
                    self.pods.pod(event);
                    self.quiet_since = Instant::now();
                }
            }
            Happened::Piece(number, piece) => {
                if let (Some(kept), Piece::Printed(bytes)) = (&mut self.kept, &piece)
                    && let Some((pod, container)) = self.pods.place(number)
                    && !bytes.starts_with(NO_LOG)
                {
                    kept.printed(pod, container, bytes);
                }
                self.pods.piece(number, piece, self.terminal);
                self.quiet_since = Instant::now();
            }
        }
    }

    fn of_task(&mut self, event: watcher::Result<watcher::Event<Object>>) {
        // The object's own watch tells of trouble.
        if let (Some(kept), Ok(event)) = (&mut self.kept, event) {
            kept.task(&event);
            self.quiet_since = Instant::now();
        }
    }

    /// Whether the ends of all Tasks that are to be kept were seen.
    fn are_tasks_kept(&self) -> bool {
        let (Some(kept), Some(over)) = (&self.kept, &self.over) else {
            return true;
        };
        let tasks = task_nodes(&over.object.spec);
        let is_task = |label: &str| tasks.iter().any(|name| is_of(label, name));
        let parts = over.status.parts();
        let mut all = parts.iter().filter(|p| is_task(&p.label));
        all.all(|p| p.child.is_empty() || kept.is_over(&p.child))
    }

    /// Whether everything that there is to show was shown, and all that is to be kept was seen.
    fn is_shown(&self) -> bool {
        let quiet = self.quiet_since.elapsed();
        match self.pods.is_drained() {
            true => {
                let seen = self.pods.are_all_seen() && self.are_tasks_kept();
                seen || quiet > PODS_PATIENCE
            }
            false => self.over.is_some() && quiet > LOGS_PATIENCE,
        }
    }

    fn show_line(&mut self) {
        if !self.terminal.is_live() {
            return;
        }
        let Some((object, standing)) = &self.latest else {
            return;
        };
        let mut parts = vec![standing.word(object)];
        if !standing.progress.is_empty() {
            parts.push(format!("{} over", standing.progress));
        }
        let line = format!("{} {}: {}", object.kind(), object.name(), parts.join(" · "));
        let line = self.terminal.baton.paint(FAINT, line).to_string();
        self.terminal.set_status(line);
    }

    /// Tells what may be wrong where nothing happens.
    fn hint(&mut self) {
        let idle = matches!(&self.latest, Some((object, _)) if object.status.is_none());
        if idle && self.quiet_since.elapsed() > PATIENCE {
            self.connection.hint(self.terminal);
        }
    }
}
