//! The loop that tells receivers.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use baton_api::sinks::ClusterSink;
use baton_callbacks::{Client, ClientError, Policy, Reply};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::guard::Guard;
use super::lane::{Next, POLICY, Settled};
use super::runs::{Job, LaneKey, RunKey, Runs};
use super::secrets::Secrets;
use super::{Progress, Story};
use crate::metrics::{CallbackOutcome, Metrics};

/// Most attempts under way.
const MAX_ATTEMPTS: usize = 64;
/// Most attempts under way to one host: one that hangs leaves room for the others.
const MAX_ATTEMPTS_PER_HOST: usize = 16;
/// How long attempts may take to end once we stop.
const DRAIN: Duration = Duration::from_secs(2);

/// How callbacks are sent.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Receivers of every Task's events.
    pub cluster: Vec<ClusterSink>,
    /// Where callbacks may go.
    pub guard: Guard,
    /// How patient they are.
    pub policy: Policy,
}

impl Settings {
    /// With the coordinator's patience: attempts from a second to five minutes apart, for about an hour.
    pub fn new(cluster: Vec<ClusterSink>, guard: Guard) -> Settings {
        Settings {
            cluster,
            guard,
            policy: POLICY,
        }
    }
}

/// Tells receivers what stories say, until `stop` resolves; then attempts under way have a moment to
/// end, and the controller is told of them.
///
/// # Errors
/// Where no HTTP client can be set up.
pub async fn run(
    client: kube::Client,
    settings: Settings,
    stories: &mut mpsc::Receiver<Story>,
    progress: mpsc::Sender<Progress>,
    metrics: Metrics,
    stop: impl Future<Output = ()>,
) -> Result<(), ClientError> {
    let http = Client::guarded(settings.policy, Arc::new(settings.guard.clone()))?;
    let mut engine = Engine {
        shared: Arc::new(Shared {
            http,
            guard: settings.guard.clone(),
            secrets: Secrets::new(client),
        }),
        settings,
        metrics,
        runs: Runs::default(),
        ready: VecDeque::new(),
        timers: BTreeMap::new(),
        hosts: HashMap::new(),
        attempts: JoinSet::new(),
        news: HashSet::new(),
    };
    let mut stop = std::pin::pin!(stop);
    loop {
        engine.start();
        engine
            .metrics
            .callbacks_waiting
            .set(i64::try_from(engine.runs.waiting()).unwrap_or(i64::MAX));
        let wake = engine.timers.keys().next().map(|(at, _)| *at);
        tokio::select! {
            () = &mut stop => break,
            story = stories.recv() => match story {
                Some(story) => engine.take(story),
                None => break,
            },
            Some(ended) = engine.attempts.join_next() => engine.ended(ended),
            () = sleep_until(wake) => engine.wake(Instant::now()),
            permit = progress.reserve(), if !engine.news.is_empty() => match permit {
                Ok(permit) => if let Some(progress) = engine.tell() {
                    permit.send(progress);
                },
                Err(_) => break,
            },
        }
    }
    engine.drain(&progress).await;
    Ok(())
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

struct Shared {
    http: Client,
    guard: Guard,
    secrets: Secrets,
}

/// An attempt that ended.
struct Ended {
    key: LaneKey,
    host: String,
    event: String,
    reply: Reply,
}

struct Engine {
    shared: Arc<Shared>,
    settings: Settings,
    metrics: Metrics,
    runs: Runs,
    /// Lanes that may have something to send.
    ready: VecDeque<LaneKey>,
    /// Lanes that wait.
    timers: BTreeMap<(Instant, LaneKey), ()>,
    /// Attempts under way, by host.
    hosts: HashMap<String, usize>,
    attempts: JoinSet<Ended>,
    /// Runs that the controller may have to be told of.
    news: HashSet<RunKey>,
}

impl Engine {
    fn take(&mut self, story: Story) {
        let key = (story.task.clone(), story.run);
        let lanes = self.runs.take(story, &self.settings.cluster);
        self.ready.extend(lanes);
        // One without receivers is settled as it is.
        self.news.insert(key);
    }

    /// Starts what may be started.
    fn start(&mut self) {
        let now = Instant::now();
        for _ in 0..self.ready.len() {
            if self.attempts.len() >= MAX_ATTEMPTS {
                return;
            }
            let Some(key) = self.ready.pop_front() else {
                return;
            };
            let (job, next, given_up) = self.runs.next(&key, now);
            if given_up > 0 {
                self.metrics
                    .count_callbacks(CallbackOutcome::GivenUp, given_up);
            }
            match (job, next) {
                (Some(job), _) => self.attempt(job),
                (None, Next::Wait(at)) => {
                    self.timers.insert((at, key), ());
                }
                (None, _) => {
                    self.news.insert(key.0);
                }
            }
        }
    }

    fn attempt(&mut self, job: Job) {
        let host = job
            .to
            .sink()
            .url()
            .host_str()
            .unwrap_or_default()
            .to_owned();
        let busy = self.hosts.entry(host.clone()).or_insert(0);
        if *busy >= MAX_ATTEMPTS_PER_HOST {
            self.ready.push_back(job.key);
            return;
        }
        *busy += 1;
        self.runs.begin(&job.key);
        let shared = self.shared.clone();
        self.attempts.spawn(async move {
            let reply = send(&shared, &job).await;
            Ended {
                key: job.key,
                host,
                event: job.event.id,
                reply,
            }
        });
    }

    fn ended(&mut self, ended: Result<Ended, tokio::task::JoinError>) {
        let Ended {
            key,
            host,
            event,
            reply,
        } = match ended {
            Ok(ended) => ended,
            Err(error) => {
                tracing::error!(error = %error, "an attempt at a callback was lost");
                return;
            }
        };
        if let Some(busy) = self.hosts.get_mut(&host) {
            *busy -= 1;
            if *busy == 0 {
                self.hosts.remove(&host);
            }
        }
        let policy = self.settings.policy;
        let settled = self
            .runs
            .settle(&key, &event, &reply, policy, Instant::now());
        let outcome = match settled {
            Some(Settled::Delivered) => CallbackOutcome::Delivered,
            Some(Settled::GivenUp) => CallbackOutcome::GivenUp,
            Some(Settled::Retried) | None => CallbackOutcome::Retried,
        };
        self.metrics.count_callbacks(outcome, 1);
        self.news.insert(key.0.clone());
        self.ready.push_back(key);
    }

    fn wake(&mut self, now: Instant) {
        while let Some(first) = self.timers.first_entry()
            && first.key().0 <= now
        {
            let ((_, key), ()) = first.remove_entry();
            self.ready.push_back(key);
        }
    }

    /// The next thing to tell the controller; `None` where what there was is no news.
    fn tell(&mut self) -> Option<Progress> {
        let key = self.news.iter().next().cloned()?;
        self.news.remove(&key);
        self.runs.news(&key)
    }

    async fn drain(&mut self, progress: &mpsc::Sender<Progress>) {
        let _ = tokio::time::timeout(DRAIN, async {
            while let Some(ended) = self.attempts.join_next().await {
                self.ended(ended);
            }
        })
        .await;
        while !self.news.is_empty() {
            if let Some(told) = self.tell()
                && progress.try_send(told).is_err()
            {
                return;
            }
        }
    }
}

async fn send(shared: &Shared, job: &Job) -> Reply {
    if let Err(refused) = shared.guard.url(job.to.sink().url()) {
        return Reply::Refused(refused.to_string());
    }
    let secret = match shared.secrets.get(&job.namespace, &job.to.key).await {
        Ok(secret) => secret,
        // It may be there later: as if the receiver could not be reached.
        Err(why) => return Reply::Unreachable(why),
    };
    let sink = match job.to.signed(secret) {
        Ok(sink) => sink,
        Err(why) => return Reply::Refused(why),
    };
    match sink.message(std::slice::from_ref(&job.event)) {
        Some(message) => shared.http.attempt(&message).await,
        None => Reply::Refused("there is nothing to send".to_owned()),
    }
}
