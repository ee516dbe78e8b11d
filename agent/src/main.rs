//! `baton-agent`: the parts of the agent, put together.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use baton_agent::cluster::{self, CaMap, ClusterView};
use baton_agent::config::{Cli, Command, Output, RunArgs, StatusArgs};
use baton_agent::csi::{self, Plugin};
use baton_agent::deliver::{self, CaSource, DeliveryView, Queue, Reach, Target};
use baton_agent::leftovers;
use baton_agent::metrics::{Metrics, Now};
use baton_agent::server::{self, Health};
use baton_agent::status::{self, PodStatus, SpoolStatus, Status};
use baton_agent::turns::Turns;
use baton_agent::volume::{self, Volumes};
use baton_daemon::logs;
use baton_protocol::Timestamp;
use clap::Parser;
use kube::client::ClientBuilder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Longest that the last requests over HTTP are waited for at the end.
const LAST_REQUESTS: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(8)
        .enable_all()
        .build();
    let done = runtime.context("starting the runtime").and_then(|runtime| {
        let done = runtime.block_on(async {
            match cli.command {
                None => run(cli.run).await,
                Some(Command::Run(args)) => run(*args).await,
                Some(Command::Status(args)) => show(&args).await,
            }
        });
        // A name lookup that hangs must not hold us.
        runtime.shutdown_background();
        done
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            let why = cluster::explain(e.as_ref());
            let _ = writeln!(std::io::stderr(), "baton-agent: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn show(args: &StatusArgs) -> anyhow::Result<()> {
    let status = status::ask(&args.state_dir).await?;
    let text = match args.output {
        Output::Text => status.to_text(),
        Output::Json => serde_json::to_string_pretty(&status)? + "\n",
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(e.into()),
        _ => Ok(()),
    }
}

async fn run(args: RunArgs) -> anyhow::Result<()> {
    logs::init(args.log_format, &args.log_level)?;
    if args.node_name.is_empty() {
        bail!("the node's name is not known: give --node-name, or NODE_NAME");
    }
    // Before anything that takes time: a SIGTERM during the start ends it just as well.
    let mut terminated = signal(SignalKind::terminate()).context("taking SIGTERM")?;
    let mut interrupted = signal(SignalKind::interrupt()).context("taking SIGINT")?;
    let parts = Parts::start(&args).await?;
    tracing::info!(
        node = %args.node_name,
        version = env!("CARGO_PKG_VERSION"),
        "the agent serves this node"
    );
    let failed = tokio::select! {
        _ = terminated.recv() => None,
        _ = interrupted.recv() => None,
        name = parts.broken() => Some(name),
    };
    parts.stop().await;
    match failed {
        None => Ok(()),
        Some(name) => bail!("{name} ended by itself"),
    }
}

/// The parts that run.
struct Parts {
    view: Arc<View>,
    stop: watch::Sender<bool>,
    tasks: tokio::sync::Mutex<JoinSet<&'static str>>,
}

/// What is asked of the parts.
struct View {
    node: String,
    metrics: Metrics,
    queue: Queue,
    turns: Turns,
    cluster: ClusterView,
    delivery: DeliveryView,
    registered: watch::Receiver<bool>,
    /// Taken when it is stopped.
    plugin: Mutex<Option<Plugin>>,
}

impl Parts {
    async fn start(args: &RunArgs) -> anyhow::Result<Parts> {
        let metrics = Metrics::new();
        let config = kube::Config::infer()
            .await
            .context("finding the API server")?;
        let client = ClientBuilder::try_from(config)
            .context("setting up the client of the API server")?
            .with_layer(&metrics.layer())
            .build();
        let target = target(args, &client)?;

        let spool = args.state_dir.join("spool");
        let queue = Queue::open(&spool, args.spool_bytes, metrics.clone())
            .with_context(|| format!("opening the spool {}", spool.display()))?;
        let turns = Turns::start(queue.clone()).context("starting the threads of the turns")?;
        let options = volume::Options {
            kubelet_dir: args.kubelet_dir.clone(),
            state_dir: args.state_dir.clone(),
            tools_dir: args.tools_dir.clone(),
            volume_bytes: args.volume_bytes,
            volume_files: args.volume_files,
        };
        let volumes = Volumes::open(options, turns.clone()).context("finding the pods' folders")?;
        let http = tokio::net::TcpListener::bind(args.listen)
            .await
            .with_context(|| format!("listening on {}", args.listen))?;
        let asked = status::listen(&args.state_dir)
            .with_context(|| format!("making the status socket in {}", args.state_dir.display()))?;
        let options = csi::Options {
            kubelet_dir: args.kubelet_dir.clone(),
            node_name: args.node_name.clone(),
        };
        let plugin = Plugin::start(options, volumes.clone())
            .await
            .context("starting the CSI plugin")?;

        let view = Arc::new(View {
            node: args.node_name.clone(),
            metrics,
            queue,
            turns,
            cluster: ClusterView::default(),
            delivery: DeliveryView::default(),
            registered: plugin.registered(),
            plugin: Mutex::new(Some(plugin)),
        });
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let (seen, until, asks) = (Arc::clone(&view), ended(&stopped), client.clone());
        let gone_after = args.gone_after;
        tasks.spawn(async move {
            let cluster = seen.cluster.clone();
            leftovers::run(asks, &seen.node, volumes, cluster, gone_after, until).await;
            "the search for folders of pods that are gone"
        });
        let (seen, until) = (Arc::clone(&view), ended(&stopped));
        tasks.spawn(async move {
            let (turns, cluster) = (seen.turns.clone(), seen.cluster.clone());
            cluster::run(client, &seen.node, turns, cluster, until).await;
            "the watch of the API server"
        });
        let (seen, until) = (Arc::clone(&view), ended(&stopped));
        tasks.spawn(async move {
            let View {
                node,
                queue,
                delivery,
                metrics,
                ..
            } = &*seen;
            deliver::run(target, node, queue, delivery, metrics, until).await;
            "the delivery of events"
        });
        let (seen, until) = (Arc::clone(&view), ended(&stopped));
        tasks.spawn(async move {
            tokio::select! {
                () = seen.queue.keep_synced() => {}
                () = status::serve(asked, || seen.status()) => {}
                () = until => {}
            }
            "the status socket"
        });
        let seen = Answers(Arc::clone(&view));
        tasks.spawn(async move {
            server::serve(http, seen, stopped).await;
            "the HTTP server"
        });
        Ok(Parts {
            view,
            stop,
            tasks: tokio::sync::Mutex::new(tasks),
        })
    }

    /// The part that ended by itself, once one does.
    async fn broken(&self) -> &'static str {
        match self.tasks.lock().await.join_next().await {
            Some(Ok(name)) => name,
            Some(Err(_)) | None => "a part of the agent",
        }
    }

    /// Stops everything, and leaves the pods as they are: first the kubelet's requests, then what is
    /// told, and last the disk gets it all.
    async fn stop(self) {
        tracing::info!("the agent stops; its pods stay as they are");
        let plugin = self.view.plugin().take();
        if let Some(plugin) = plugin {
            plugin.stop().await;
        }
        self.stop.send_replace(true);
        let mut tasks = self.tasks.into_inner();
        let all = async { while tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(LAST_REQUESTS, all).await;
        let (turns, queue) = (self.view.turns.clone(), self.view.queue.clone());
        let last = tokio::task::spawn_blocking(move || {
            turns.stop();
            queue.sync();
        });
        if let Err(e) = last.await {
            tracing::error!(error = %e, "the last events may not be on the disk");
        }
    }
}

fn target(args: &RunArgs, client: &kube::Client) -> anyhow::Result<Target> {
    Ok(Target {
        url: deliver::coordinator_url(&args.coordinator)?,
        token_file: args.token_file.clone(),
        ca: match &args.ca_file {
            Some(file) => CaSource::File(file.clone()),
            None => CaSource::Map(Box::new(CaMap::new(client.clone(), &args.namespace))),
        },
        service: args.coordinator_address,
        patience: deliver::PATIENCE,
    })
}

/// Done once the agent stops.
fn ended(stopped: &watch::Receiver<bool>) -> impl Future<Output = ()> + Send + 'static {
    let mut stopped = stopped.clone();
    async move {
        // It fails where the sender is gone, which is an end, too.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    }
}

impl View {
    fn plugin(&self) -> MutexGuard<'_, Option<Plugin>> {
        self.plugin.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn status(&self) -> Status {
        let depth = self.queue.depth();
        let volume = self.turns.pods();
        let annotated = self.cluster.annotated();
        let volume = volume.iter().map(|view| PodStatus::of(view, "volume"));
        let annotated = annotated
            .iter()
            .map(|view| PodStatus::of(view, "annotation"));
        Status {
            node: self.node.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            at: Timestamp(SystemTime::now()),
            registered: *self.registered.borrow(),
            api_server_error: self.cluster.error(),
            coordinator: self.delivery.reach(),
            spool: SpoolStatus {
                events: depth.events,
                bytes: depth.bytes,
                oldest_ms: u64::try_from(depth.oldest.as_millis()).unwrap_or(u64::MAX),
                dropped: depth.dropped,
                error: self.queue.trouble(),
            },
            pods: volume.chain(annotated).collect(),
        }
    }
}

/// The answers over HTTP.
struct Answers(Arc<View>);

impl Health for Answers {
    fn metrics(&self) -> String {
        let View {
            queue,
            turns,
            cluster,
            delivery,
            registered,
            ..
        } = &*self.0;
        let depth = queue.depth();
        self.0.metrics.text(Now {
            volume_pods: turns.pods().len(),
            annotated_pods: cluster.annotated().len(),
            spool_events: depth.events,
            spool_bytes: depth.bytes,
            spool_oldest: depth.oldest,
            coordinator_reachable: matches!(delivery.reach(), Reach::Reached { .. }),
            registered: *registered.borrow(),
        })
    }

    fn alive(&self) -> Result<(), String> {
        if !self.0.turns.is_alive() {
            return Err("the threads of the turns do not run".to_owned());
        }
        match self.0.plugin().as_ref().is_some_and(Plugin::is_alive) {
            true => Ok(()),
            false => Err("the CSI plugin does not serve its sockets".to_owned()),
        }
    }

    fn ready(&self) -> Result<(), String> {
        self.alive()?;
        match *self.0.registered.borrow() {
            true => Ok(()),
            false => Err("the kubelet does not know the CSI driver yet".to_owned()),
        }
    }
}
