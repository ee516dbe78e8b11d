//! Callbacks against a real HTTP receiver.
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use baton_api::sinks::ClusterSink;
use baton_api::status::CallbackStatus;
use baton_api::task::{Callback, CallbackEvent, Secret};
use baton_callbacks::event::StepRef;
use baton_callbacks::{Event, Happening, Policy, Source, TaskEnd, TaskOutcome};
use baton_coordinator::callbacks::guard::Guard;
use baton_coordinator::callbacks::{Progress, Settings, Story, run};
use baton_coordinator::metrics::Metrics;
use baton_protocol::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

const PATIENCE: Duration = Duration::from_secs(30);

type Request = (HeaderMap, Vec<u8>);
type Answer = dyn Fn(usize) -> StatusCode + Send + Sync;

#[derive(Clone)]
struct Seen {
    requests: Arc<Mutex<Vec<Request>>>,
    answer: Arc<Answer>,
}

/// A receiver that answers its n-th request (from 0) as it is told.
struct Receiver {
    url: String,
    seen: Seen,
}

impl Receiver {
    async fn start(answer: impl Fn(usize) -> StatusCode + Send + Sync + 'static) -> Receiver {
        let seen = Seen {
            requests: Arc::default(),
            answer: Arc::new(answer),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let routes = Router::new()
            .route("/hook", post(receive))
            .with_state(seen.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Receiver { url, seen }
    }

    fn ids(&self) -> Vec<String> {
        let requests = self.seen.requests.lock().unwrap();
        let id = |(headers, _): &Request| headers["webhook-id"].to_str().unwrap().to_owned();
        requests.iter().map(id).collect()
    }
}

async fn receive(
    State(seen): State<Seen>,
    headers: HeaderMap,
    body: axum::body::Bytes,
) -> StatusCode {
    let mut requests = seen.requests.lock().unwrap();
    requests.push((headers, body.to_vec()));
    (seen.answer)(requests.len() - 1)
}

/// The loop that sends, with its ends.
struct Teller {
    stories: mpsc::Sender<Story>,
    progress: mpsc::Receiver<Progress>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
    metrics: Metrics,
}

impl Teller {
    fn start(allow: &[&str], cluster: Vec<ClusterSink>) -> Teller {
        let (stories, mut story_rx) = mpsc::channel(16);
        let (progress_tx, progress) = mpsc::channel(16);
        let (stop, stopped) = oneshot::channel::<()>();
        let guard = Guard::new(allow.iter().map(|a| a.parse().unwrap()).collect());
        let settings = Settings {
            policy: Policy {
                base: Duration::from_millis(20),
                cap: Duration::from_millis(100),
                attempts: 5,
                timeout: Duration::from_secs(30),
            },
            ..Settings::new(cluster, guard)
        };
        let metrics = Metrics::new();
        let counted = metrics.clone();
        // No API server answers there: Secrets cannot be read.
        let config = kube::Config::new("http://127.0.0.1:9".parse().unwrap());
        let client = kube::Client::try_from(config).unwrap();
        let task = tokio::spawn(async move {
            let stop = async {
                let _ = stopped.await;
            };
            run(client, settings, &mut story_rx, progress_tx, counted, stop)
                .await
                .unwrap();
        });
        Teller {
            stories,
            progress,
            stop,
            task,
            metrics,
        }
    }

    /// The first progress that is as wanted.
    async fn until(&mut self, want: impl Fn(&[CallbackStatus]) -> bool) -> Vec<CallbackStatus> {
        let wait = async {
            loop {
                let progress = self.progress.recv().await.expect("it runs");
                if want(&progress.callbacks) {
                    return progress.callbacks;
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("in time")
    }

    /// Ends it in order; gives the last that it told.
    async fn end(mut self, last: Vec<CallbackStatus>) -> Vec<CallbackStatus> {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
        let mut last = last;
        while let Ok(progress) = self.progress.try_recv() {
            last = progress.callbacks;
        }
        last
    }
}

fn events(steps: u32) -> Vec<Event> {
    let now = Timestamp(SystemTime::UNIX_EPOCH);
    let source = Source::new("run-1", "build", "build-1");
    let mut events = vec![source.event(now, Happening::TaskStarted)];
    events.extend((1..=steps).map(|number| {
        let name = format!("step-{number}");
        let what = Happening::StepStarted {
            step: StepRef { name, number },
        };
        source.event(now, what)
    }));
    let end = TaskEnd {
        outcome: TaskOutcome::Succeeded,
        exit_code: 0,
        failed_step: None,
        started_at: now,
        finished_at: now,
        message: String::new(),
    };
    events.push(source.event(now, Happening::TaskFinished(end)));
    events
}

fn story(sinks: Vec<Callback>, events: &[Event], known: Vec<CallbackStatus>) -> Story {
    Story {
        task: "u-1".to_owned(),
        namespace: "ns".to_owned(),
        name: "build".to_owned(),
        run: 1,
        sinks,
        events: events.to_vec(),
        known,
    }
}

fn to(receiver: &Receiver) -> Callback {
    Callback {
        url: receiver.url.clone(),
        ..Callback::default()
    }
}

fn settled(count: usize) -> impl Fn(&[CallbackStatus]) -> bool {
    move |all| all.iter().all(|one| one.settled as usize >= count)
}

fn ids(events: &[Event]) -> Vec<String> {
    events.iter().map(|e| e.id.clone()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_event_once_and_in_order_across_restarts() {
    let receiver = Receiver::start(|_| StatusCode::OK).await;
    let all = events(6);
    let mut known = Vec::new();
    // The story grows, and whoever tells it is replaced after each part.
    for count in [1, 3, 4, 8] {
        let mut teller = Teller::start(&["127.0.0.0/8"], Vec::new());
        let part = story(vec![to(&receiver)], &all[..count], known);
        teller.stories.send(part.clone()).await.unwrap();
        known = teller.until(settled(count)).await;
        // Told again with an old status: nothing is sent again.
        teller.stories.send(part).await.unwrap();
        known = teller.end(known).await;
        assert_eq!(receiver.ids(), ids(&all[..count]));
    }
    assert_eq!((known[0].delivered, known[0].waiting), (8, 0));
    assert_eq!(known[0].last_error, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_fails_is_tried_again_and_said_so() {
    let receiver = Receiver::start(|n| match n {
        0 | 1 => StatusCode::SERVICE_UNAVAILABLE,
        4 => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    })
    .await;
    let all = events(2);
    let mut teller = Teller::start(&["127.0.0.1"], Vec::new());
    let part = story(vec![to(&receiver)], &all, Vec::new());
    teller.stories.send(part).await.unwrap();
    let failing = teller.until(|all| all[0].last_error.is_some()).await;
    let error = failing[0].last_error.as_deref().unwrap();
    assert!(error.contains("503"), "{error}");
    assert_eq!((failing[0].settled, failing[0].waiting), (0, 4));
    let end = teller.until(settled(4)).await;
    assert_eq!((end[0].delivered, end[0].given_up), (3, 1));
    let mut want = ids(&all);
    want.splice(0..0, [want[0].clone(), want[0].clone()]);
    assert_eq!(receiver.ids(), want);
    let text = teller.metrics.text();
    for line in [
        "baton_coordinator_callback_events_total{outcome=\"delivered\"} 3",
        "baton_coordinator_callback_events_total{outcome=\"retried\"} 2",
        "baton_coordinator_callback_events_total{outcome=\"given_up\"} 1",
        "baton_coordinator_callback_events_waiting 0",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_public_is_not_called() {
    let receiver = Receiver::start(|_| StatusCode::OK).await;
    let by_name = receiver.url.replace("127.0.0.1", "localhost");
    let all = events(1);
    let sinks = vec![
        to(&receiver),
        Callback {
            url: by_name.clone(),
            ..Callback::default()
        },
    ];
    let mut teller = Teller::start(&["10.0.0.0/8"], Vec::new());
    let part = story(sinks, &all, Vec::new());
    teller.stories.send(part).await.unwrap();
    let end = teller.until(settled(3)).await;
    for status in &end {
        assert_eq!((status.delivered, status.given_up), (0, 3));
        let error = status.last_error.as_deref().unwrap();
        assert!(
            error.contains("a loopback address") && error.contains("--callback-allow"),
            "{error}"
        );
    }
    assert!(receiver.ids().is_empty());

    let mut teller = Teller::start(&["localhost"], Vec::new());
    let sinks = vec![Callback {
        url: by_name,
        ..Callback::default()
    }];
    let part = story(sinks, &all, Vec::new());
    teller.stories.send(part).await.unwrap();
    let end = teller.until(settled(3)).await;
    assert_eq!(end[0].delivered, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clusters_receivers_are_told_and_keys_are_where_they_are_said_to_be() {
    let receiver = Receiver::start(|_| StatusCode::OK).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    let cluster = vec![ClusterSink {
        url: receiver.url.clone(),
        events: vec![CallbackEvent::TaskFinished],
        secret_file: Some(file.display().to_string()),
        ..ClusterSink::default()
    }];
    let env = Callback {
        url: "https://hooks.example/x".to_owned(),
        secret: Some(Secret {
            env: Some("KEY".to_owned()),
            ..Secret::default()
        }),
        ..Callback::default()
    };
    let all = events(1);
    let mut teller = Teller::start(&["127.0.0.1"], cluster);
    teller
        .stories
        .send(story(vec![env], &all, Vec::new()))
        .await
        .unwrap();
    // The key is missing at first: that is said, and tried again.
    let waiting = teller.until(|all| all[1].last_error.is_some()).await;
    let error = waiting[1].last_error.clone().unwrap();
    assert!(error.starts_with("reading the file "), "{error}");
    std::fs::write(&file, "a key of some length\n").unwrap();
    let end = teller.until(settled(3)).await;
    assert!(
        end[0]
            .last_error
            .as_deref()
            .unwrap()
            .contains("secret.valueFrom")
    );
    assert_eq!((end[0].given_up, end[1].delivered), (3, 1));
    assert_eq!(receiver.ids(), ids(&all[2..]));
    let requests = receiver.seen.requests.lock().unwrap();
    let (headers, body) = &requests[0];
    let header = |name: &str| headers[name].to_str().unwrap();
    let key: baton_callbacks::Secret = "a key of some length".parse().unwrap();
    let time = header("webhook-timestamp").parse().unwrap();
    assert_eq!(
        header("webhook-signature"),
        key.sign(header("webhook-id"), time, body)
    );
}
