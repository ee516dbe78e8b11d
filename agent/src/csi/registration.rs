//! How the kubelet finds the plugin: by a socket in its `plugins_registry` folder. A kubelet that starts
//! anew finds the socket that is there; where the folder was wiped meanwhile, the socket is made again.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tonic::{Request, Response, Status};

use super::proto::registration as proto;
use super::socket::Served;
use crate::volume::{DRIVER, VolumeError};

/// Time until a socket that could not be made is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// Time after which a kubelet that could not register the plugin is asked again, by a new socket: an API
/// server that was away kept it from it, and it does not try again by itself. It doubles with each time, up to
/// [`MAX_REFUSED`], and is spread: all nodes were refused together.
const REFUSED: Duration = Duration::from_secs(5);
const MAX_REFUSED: Duration = Duration::from_secs(20);
/// The versions of the interface that the plugin speaks.
const VERSIONS: [&str; 1] = ["1.0.0"];

/// The socket, and what keeps it there.
#[derive(Debug)]
pub(super) struct Registered {
    taken: watch::Receiver<bool>,
    stop: oneshot::Sender<Duration>,
    task: JoinHandle<()>,
}

impl Registered {
    /// Makes the socket in the folder `registry`, which tells the kubelet of the plugin at `endpoint`.
    pub(super) fn start(registry: PathBuf, endpoint: PathBuf) -> Result<Registered, VolumeError> {
        let (told, taken) = watch::channel(false);
        let service = Service {
            endpoint: endpoint.to_string_lossy().into_owned(),
            taken: Arc::new(told),
            refusals: Arc::default(),
            socket: registry.join(format!("{DRIVER}-reg.sock")),
        };
        let socket = service.socket.clone();
        let events = Events::open(&registry)?;
        let served = serve(&socket, &service)?;
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(keep(socket, service, served, events, stopped));
        Ok(Registered { taken, stop, task })
    }

    pub(super) fn taken(&self) -> watch::Receiver<bool> {
        self.taken.clone()
    }

    pub(super) fn is_alive(&self) -> bool {
        !self.task.is_finished()
    }

    /// Removes the socket: the kubelet forgets the plugin.
    pub(super) async fn stop(self, time: Duration) {
        // It can fail only where the task is over already.
        let _ = self.stop.send(time);
        if let Err(e) = self.task.await {
            tracing::warn!("the registration ended badly: {e}");
        }
    }
}

fn serve(socket: &Path, service: &Service) -> Result<Served, VolumeError> {
    let service = proto::registration_server::RegistrationServer::new(service.clone());
    Served::start(socket.to_owned(), |listening| {
        listening.run(tonic::transport::Server::builder().add_service(service))
    })
}

async fn keep(
    socket: PathBuf,
    service: Service,
    served: Served,
    mut events: Events,
    mut stopped: oneshot::Receiver<Duration>,
) {
    let mut served = Some(served);
    loop {
        let retry = served.is_none();
        tokio::select! {
            time = &mut stopped => {
                if let Some(served) = served {
                    served.stop(time.unwrap_or_default()).await;
                }
                return;
            }
            () = events.next() => {}
            () = tokio::time::sleep(AGAIN), if retry => {}
        }
        if served.as_ref().is_some_and(Served::is_there) {
            continue;
        }
        if let Some(old) = served.take() {
            tracing::info!("{} is gone; it is made again", socket.display());
            service.taken.send_replace(false);
            old.stop(Duration::ZERO).await;
        }
        let folder = socket.parent().unwrap_or(&socket);
        match Events::open(folder).and_then(|e| Ok((e, serve(&socket, &service)?))) {
            Ok((anew, again)) => {
                events = anew;
                served = Some(again);
            }
            Err(e) => tracing::debug!("{e}"),
        }
    }
}

/// What happens in the registry's folder.
#[derive(Debug)]
struct Events(AsyncFd<OwnedFd>);

impl Events {
    fn open(folder: &Path) -> Result<Events, VolumeError> {
        let open = || -> std::io::Result<Events> {
            let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
            let flags = AddWatchFlags::IN_DELETE
                | AddWatchFlags::IN_MOVED_FROM
                | AddWatchFlags::IN_MOVED_TO
                | AddWatchFlags::IN_DELETE_SELF
                | AddWatchFlags::IN_MOVE_SELF;
            inotify.add_watch(folder, flags)?;
            let (fd, readable) = (OwnedFd::from(inotify), Interest::READABLE);
            // SAFETY: the descriptor is owned, stays open and stays the same until it is dropped.
            Ok(Events(unsafe {
                AsyncFd::register_with_interest(fd, readable)
            }?))
        };
        open().map_err(|source| VolumeError::Io {
            action: "watch the folder",
            path: folder.to_owned(),
            source,
        })
    }

    /// Waits until something happened; what it was does not matter.
    async fn next(&mut self) {
        let mut bytes = [0; 4096];
        loop {
            let Ok(mut ready) = self.0.readable().await else {
                return std::future::pending().await;
            };
            let read = ready.try_io(|fd| Ok(nix::unistd::read(fd, &mut bytes)?));
            match read {
                Ok(Ok(_)) => return,
                Ok(Err(e)) => {
                    tracing::warn!("cannot read inotify: {e}");
                    return std::future::pending().await;
                }
                Err(_would_block) => {}
            }
        }
    }
}

#[derive(Debug, Clone)]
struct Service {
    endpoint: String,
    taken: Arc<watch::Sender<bool>>,
    /// How often in a row the kubelet could not register the plugin.
    refusals: Arc<AtomicU32>,
    socket: PathBuf,
}

/// How long to wait after so many refusals in a row, with `jitter` from 0 to 1.
fn pause(refusals: u32, jitter: f64) -> Duration {
    let doubled = REFUSED.saturating_mul(1 << refusals.saturating_sub(1).min(10));
    doubled
        .min(MAX_REFUSED)
        .mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
}

#[tonic::async_trait]
impl proto::registration_server::Registration for Service {
    async fn get_info(
        &self,
        _: Request<proto::InfoRequest>,
    ) -> Result<Response<proto::PluginInfo>, Status> {
        Ok(Response::new(proto::PluginInfo {
            r#type: "CSIPlugin".to_owned(),
            name: DRIVER.to_owned(),
            endpoint: self.endpoint.clone(),
            supported_versions: VERSIONS.map(str::to_owned).to_vec(),
        }))
    }

    async fn notify_registration_status(
        &self,
        request: Request<proto::RegistrationStatus>,
    ) -> Result<Response<proto::RegistrationStatusResponse>, Status> {
        let status = request.into_inner();
        self.taken.send_replace(status.plugin_registered);
        if status.plugin_registered {
            self.refusals.store(0, Ordering::Relaxed);
            tracing::info!("the kubelet has registered the plugin");
        } else {
            let error: String = status.error.chars().take(1024).collect();
            tracing::error!("the kubelet does not register the plugin: {error}");
            let (taken, socket) = (self.taken.clone(), self.socket.clone());
            let before = self.refusals.fetch_add(1, Ordering::Relaxed);
            let pause = pause(before.saturating_add(1), fastrand::f64());
            tokio::spawn(async move {
                tokio::time::sleep(pause).await;
                if !*taken.borrow() {
                    // Once it is gone it is made again; it may be gone already.
                    let _ = std::fs::remove_file(socket);
                }
            });
        }
        Ok(Response::new(proto::RegistrationStatusResponse {}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubelet_that_refuses_is_asked_less_and_less_often() {
        let pauses: Vec<_> = (1..8).map(|n| pause(n, 1.0).as_secs()).collect();
        assert_eq!(pauses, [5, 10, 20, 20, 20, 20, 20]);
        assert_eq!(pause(1, 0.0), REFUSED / 2);
        assert_eq!(pause(u32::MAX, 1.0), MAX_REFUSED);
    }
}
