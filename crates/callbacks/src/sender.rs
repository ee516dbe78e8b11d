//! Delivery on a thread of its own, for programs that run no tokio.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::event::Event;
use crate::lane::{Client, ClientError, DeliveryReport, Lane};
use crate::message::Sink;
use crate::retry::Policy;

/// Most events that wait for one sink.
pub const CAPACITY: usize = 1024;

/// Sends events to any number of sinks, each in order and none waiting for another.
///
/// Dropping it without [`finish`](Sender::finish) gives up what waits.
#[derive(Debug)]
pub struct Sender {
    lanes: Vec<Arc<Lane>>,
    worker: Option<Worker>,
}

#[derive(Debug)]
struct Worker {
    thread: JoinHandle<()>,
    deadline: oneshot::Sender<Instant>,
}

/// Why nothing can be sent.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The client could not be built.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The thread or its runtime could not be started.
    #[error("starting the thread that sends callbacks: {0}")]
    Thread(#[from] std::io::Error),
}

impl Sender {
    /// Starts a thread that sends to `sinks`; none where there are no sinks.
    ///
    /// # Errors
    /// Where TLS, the HTTP client, the thread or its runtime cannot be set up.
    pub fn start(sinks: Vec<Sink>, policy: Policy) -> Result<Sender, StartError> {
        let lanes: Vec<_> = sinks
            .into_iter()
            .map(|sink| Arc::new(Lane::new(sink, CAPACITY)))
            .collect();
        if lanes.is_empty() {
            return Ok(Sender {
                lanes,
                worker: None,
            });
        }
        let client = Client::new(policy)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (deadline, until) = oneshot::channel();
        let running = lanes.clone();
        let thread = std::thread::Builder::new()
            .name("callbacks".into())
            .spawn(move || {
                runtime.block_on(run(running, client, until));
                // A name lookup that hangs must not hold us.
                runtime.shutdown_background();
            })?;
        Ok(Sender {
            lanes,
            worker: Some(Worker { thread, deadline }),
        })
    }

    /// Queues an event for every sink that wants it. Never blocks: a full queue drops the newest
    /// event that is not final, and the report counts it.
    pub fn send(&self, event: &Event) {
        for lane in &self.lanes {
            lane.push(event);
        }
    }

    /// What became of the events so far, one report per sink.
    pub fn reports(&self) -> Vec<DeliveryReport> {
        self.lanes.iter().map(|lane| lane.report()).collect()
    }

    /// Waits until everything was accepted or given up, at most `patience`, and says what became
    /// of it, one report per sink.
    pub fn finish(self, patience: Duration) -> Vec<DeliveryReport> {
        for lane in &self.lanes {
            lane.close();
        }
        if let Some(worker) = self.worker {
            // Both fail only where the thread is gone already; the reports then tell what it left.
            let _ = worker.deadline.send(Instant::now() + patience);
            let _ = worker.thread.join();
        }
        self.lanes.iter().map(|lane| lane.report()).collect()
    }
}

async fn run(lanes: Vec<Arc<Lane>>, client: Client, until: oneshot::Receiver<Instant>) {
    let mut running = JoinSet::new();
    for lane in lanes {
        let client = client.clone();
        running.spawn(async move { lane.run(&client).await });
    }
    let time_is_up = async {
        // A sender that was dropped unfinished leaves no deadline: stop at once.
        if let Ok(at) = until.await {
            tokio::time::sleep_until(at.into()).await;
        }
    };
    tokio::select! {
        () = time_is_up => {}
        () = async { while running.join_next().await.is_some() {} } => {}
    }
}
