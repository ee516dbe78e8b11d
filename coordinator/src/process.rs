//! The process: everything wired together, from its start to its end.

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use baton_api::Source;
use baton_api::sinks::{ClusterSink, parse_sinks};
use kube::client::ClientBuilder;
use kube::{Api, Client};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;

use crate::callbacks::guard::Guard;
use crate::config::Config;
use crate::control::Settings;
use crate::inbox::{Batch, inbox};
use crate::lease::{self, Candidate};
use crate::metrics::Metrics;
use crate::server::identity::Identities;
use crate::server::intake::Intake;
use crate::server::keeper::{Places, keep};
use crate::server::tls::Serving;
use crate::server::{admission, http, serve};
use crate::{callbacks, daemon, flow, schedule, task};

/// The name of the Lease, the Service and the webhook configuration.
const NAME: &str = "baton-coordinator";
/// Stories and progress under way between the controller and the callbacks.
const CHANNEL: usize = 256;
/// How long the work may take to end once the lease was lost: it ends before another replica may
/// begin (the lease lasts five seconds longer than we lead).
const LOST: Duration = Duration::from_secs(3);
/// How long the work may take to end once we are told to stop; the lease is kept meanwhile.
const DRAIN: Duration = Duration::from_secs(15);
/// Longest list of receivers, in bytes.
const MAX_SINKS_BYTES: u64 = 1 << 20;

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// Where something is missing without which there is nothing to do: a cluster, an address to listen
/// on, a list of receivers that can be read.
pub fn run(config: Config) -> Result<()> {
    // Whatever asks for "the" provider gets this one. It fails where there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let ended = runtime.block_on(start(config));
    // A name lookup that hangs must not hold us.
    runtime.shutdown_background();
    ended
}

async fn start(config: Config) -> Result<()> {
    let sinks = match &config.sinks_file {
        Some(path) => read_sinks(path)?,
        None => Vec::new(),
    };
    let metrics = Metrics::new();
    let client = client(&metrics).await?;
    let stop = on_signal()?;
    let secure = listen(config.listen).await?;
    let plain = listen(config.listen_metrics).await?;

    let serving = Arc::new(Serving::default());
    let tls = serving.config().context("setting up TLS")?;
    let places = Places {
        namespace: config.own_namespace.clone(),
        secret: format!("{NAME}-tls"),
        config_map: "baton-ca".to_owned(),
        webhook: NAME.to_owned(),
        service: NAME.to_owned(),
    };
    let keeper = keep(client.clone(), places, serving.clone(), metrics.clone());
    tokio::spawn(keeper);

    let (inbox_tx, inbox_rx) = watch::channel(None);
    let identities = Identities::new(client.clone(), &config.own_namespace);
    let routes = Intake::new(identities, inbox_rx, metrics.clone())
        .routes()
        .merge(admission::routes(crate::review::review, metrics.clone()));
    let (end_servers, servers_end) = watch::channel(false);
    let secure = tokio::spawn(serve(
        secure,
        Some(TlsAcceptor::from(tls)),
        routes,
        servers_end.clone(),
    ));
    let syncing = Arc::new(AtomicBool::new(false));
    let readiness = readiness(&serving, &syncing, &stop);
    let plain_routes = http::routes(metrics.clone(), readiness);
    let plain = tokio::spawn(serve(plain, None, plain_routes, servers_end));

    let (leading_tx, leading) = watch::channel(false);
    let candidate = Candidate {
        name: NAME.to_owned(),
        identity: config.pod_name.clone(),
        timing: lease::decide::Timing::default(),
    };
    let (end_lease, lease_ends) = watch::channel(false);
    let leases = Api::namespaced(client.clone(), &config.own_namespace);
    let lease = tokio::spawn(lease::run(
        leases,
        candidate,
        leading_tx,
        until(lease_ends, true),
    ));

    let leader = Leader {
        client,
        settings: task::Settings {
            namespaces: config.namespaces,
            tools_image: config.tools_image,
            tools_pull_policy: config.tools_pull_policy,
            user: config.run_as_user.0,
            replica: config.pod_name,
        },
        callbacks: callbacks::Settings::new(sinks, Guard::new(config.callback_allow)),
        inbox: inbox_tx,
        metrics,
        syncing,
    };
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "started");
    let ended = leader.run(leading, stop).await;

    // The lease goes first, so that another replica takes over; then what still asks is answered.
    let _ = end_lease.send(true);
    let _ = lease.await;
    let _ = end_servers.send(true);
    let _ = tokio::join!(secure, plain);
    tracing::info!("stopped");
    ended
}

async fn client(metrics: &Metrics) -> Result<Client> {
    let config = kube::Config::infer()
        .await
        .context("finding the cluster: neither a service account nor a kubeconfig can be used")?;
    let builder = ClientBuilder::try_from(config).context("setting up the cluster's client")?;
    Ok(builder.with_layer(&metrics.layer()).build())
}

async fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("listening on {address}"))
}

fn read_sinks(path: &Path) -> Result<Vec<ClusterSink>> {
    use std::io::Read;
    let name = path.display().to_string();
    let mut text = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_SINKS_BYTES + 1).read_to_end(&mut text))
        .with_context(|| format!("reading {name}"))?;
    if text.len() as u64 > MAX_SINKS_BYTES {
        return Err(anyhow!(
            "reading {name}: it has more than {MAX_SINKS_BYTES} bytes"
        ));
    }
    let source = Source {
        name: &name,
        text: &text,
    };
    parse_sinks(source).map_err(|mistakes| {
        let lines: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
        anyhow!("{}", lines.join("\n"))
    })
}

/// Becomes true at the first SIGTERM or SIGINT.
fn on_signal() -> Result<watch::Receiver<bool>> {
    let mut terminate = signal(SignalKind::terminate()).context("waiting for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("waiting for SIGINT")?;
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("told to stop");
        let _ = stop.send(true);
        // The receiver sees a value, not a closed channel.
        std::future::pending::<()>().await;
    });
    Ok(stopped)
}

fn readiness(
    serving: &Arc<Serving>,
    syncing: &Arc<AtomicBool>,
    stop: &watch::Receiver<bool>,
) -> http::Readiness {
    let (serving, syncing, stop) = (serving.clone(), syncing.clone(), stop.clone());
    Arc::new(move || {
        [
            (!serving.is_ready(), "the certificate"),
            (syncing.load(Ordering::Relaxed), "the caches"),
            (*stop.borrow(), "it stops"),
        ]
        .into_iter()
        .filter_map(|(is, what)| is.then_some(what))
        .collect()
    })
}

/// Resolves once the value is `want`, or nobody can change it any more.
async fn until(mut value: watch::Receiver<bool>, want: bool) {
    let _ = value.wait_for(|value| *value == want).await;
}

/// What the leader alone does.
struct Leader {
    client: Client,
    settings: task::Settings,
    callbacks: callbacks::Settings,
    inbox: watch::Sender<Option<mpsc::Sender<Batch>>>,
    metrics: Metrics,
    /// The controller reads what there is.
    syncing: Arc<AtomicBool>,
}

impl Leader {
    /// Works whenever we lead, until `stop` is true.
    async fn run(&self, leading: watch::Receiver<bool>, stop: watch::Receiver<bool>) -> Result<()> {
        loop {
            tokio::select! {
                () = until(stop.clone(), true) => return Ok(()),
                () = until(leading.clone(), true) => {}
            }
            self.metrics.leader.set(1);
            let ended = self.term(leading.clone(), stop.clone()).await;
            self.metrics.leads_no_more();
            self.inbox.send_replace(None);
            self.syncing.store(false, Ordering::Relaxed);
            ended?;
            if *stop.borrow() {
                return Ok(());
            }
            tracing::warn!("leading no more");
        }
    }

    /// The work, from when we lead until we lead no more or are told to stop.
    async fn term(
        &self,
        leading: watch::Receiver<bool>,
        stop: watch::Receiver<bool>,
    ) -> Result<()> {
        // One end is kept: the controller's inbox must not close before the controller is told to end.
        let (inbox_tx, mut inbox_rx) = inbox();
        let _open = inbox_tx.clone();
        let (stories_tx, mut stories_rx) = mpsc::channel(CHANNEL);
        let (progress_tx, mut progress_rx) = mpsc::channel(CHANNEL);
        let (of_tasks_tx, mut of_tasks_rx) = mpsc::channel(CHANNEL);
        let (of_flows_tx, mut of_flows_rx) = mpsc::channel(CHANNEL);
        let (end_callbacks, callbacks_end) = watch::channel(false);
        let daemons_end = callbacks_end.clone();
        let schedules_end = callbacks_end.clone();
        let (end_controller, controller_ends) = watch::channel(false);
        let flows_end = controller_ends.clone();
        self.syncing.store(true, Ordering::Relaxed);
        self.inbox.send_replace(Some(inbox_tx));

        let callbacks = async {
            let ended = callbacks::run(
                self.client.clone(),
                self.callbacks.clone(),
                &mut stories_rx,
                progress_tx,
                self.metrics.clone(),
                until(callbacks_end, true),
            );
            ended.await.context("sending callbacks")
        };
        let progress = async {
            // Each looks for its own among them.
            while let Some(progress) = progress_rx.recv().await {
                let _ = of_flows_tx
                    .send(callbacks::Progress::clone(&progress))
                    .await;
                let _ = of_tasks_tx.send(progress).await;
            }
            // What callbacks came to is written before the controllers end.
            let _ = end_controller.send(true);
            Ok(())
        };
        let settings = Settings {
            namespaces: self.settings.namespaces.clone(),
            replica: self.settings.replica.clone(),
        };
        let wires = task::Wires {
            inbox: &mut inbox_rx,
            stories: stories_tx.clone(),
            progress: &mut of_tasks_rx,
        };
        let flow_wires = flow::Wires {
            stories: stories_tx,
            progress: &mut of_flows_rx,
        };
        let controller = async {
            task::run(
                self.client.clone(),
                self.settings.clone(),
                wires,
                self.metrics.clone(),
                || self.syncing.store(false, Ordering::Relaxed),
                until(controller_ends, true),
            )
            .await
            .context("running Tasks")
        };
        let daemons = async {
            let (client, metrics) = (self.client.clone(), self.metrics.clone());
            daemon::run(client, &settings, metrics, until(daemons_end, true)).await;
            Ok(())
        };
        let flows = async {
            let (client, metrics) = (self.client.clone(), self.metrics.clone());
            let stop = until(flows_end, true);
            let ended = flow::run(client, &settings, flow_wires, metrics, stop);
            ended.await.context("running JobFlows")
        };
        let schedules = async {
            let (client, metrics) = (self.client.clone(), self.metrics.clone());
            schedule::run(client, &settings, metrics, until(schedules_end, true)).await;
            Ok(())
        };
        let all =
            async { tokio::try_join!(callbacks, progress, controller, daemons, flows, schedules) };
        let mut work = pin!(all);
        let limit = tokio::select! {
            ended = &mut work => return ended.map(|_| ()),
            () = until(leading, false) => LOST,
            () = until(stop, true) => DRAIN,
        };
        // Agents are told to go elsewhere before anything ends.
        self.inbox.send_replace(None);
        let _ = end_callbacks.send(true);
        ended_within(limit, work).await
    }
}

async fn ended_within<T>(limit: Duration, work: impl Future<Output = Result<T>>) -> Result<()> {
    match tokio::time::timeout(limit, work).await {
        Ok(ended) => ended.map(|_| ()),
        Err(_) => {
            tracing::warn!(?limit, "what was under way did not end in time");
            Ok(())
        }
    }
}
