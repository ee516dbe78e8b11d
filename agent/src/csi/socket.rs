//! A gRPC server at a unix socket.

use std::fs;
use std::future::Future;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::server::Router;

use crate::volume::VolumeError;

/// A socket that is served; dropping it ends that, too.
#[derive(Debug)]
pub(super) struct Served {
    path: PathBuf,
    /// The socket's file, so that no other's is taken for it.
    inode: u64,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

/// A socket that is listened on, and not served yet.
pub(super) struct Listening {
    listener: UnixListener,
    path: PathBuf,
    stopped: oneshot::Receiver<()>,
}

impl Listening {
    /// Serves until it is stopped.
    pub(super) async fn run(self, router: Router) {
        let incoming = UnixListenerStream::new(self.listener);
        let stopped = async {
            // An error means that the other end was dropped, which says the same.
            let _ = self.stopped.await;
        };
        let served = router.serve_with_incoming_shutdown(incoming, stopped);
        if let Err(e) = served.await {
            tracing::error!("cannot serve {}: {e}", self.path.display());
        }
    }
}

impl Served {
    /// Listens at `path`, in place of whatever an earlier life left there, and serves with `serve`.
    pub(super) fn start<F>(
        path: PathBuf,
        serve: impl FnOnce(Listening) -> F,
    ) -> Result<Served, VolumeError>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (listener, inode) = listen(&path).map_err(|source| VolumeError::Io {
            action: "listen at",
            path: path.clone(),
            source,
        })?;
        let (stop, stopped) = oneshot::channel();
        let listening = Listening {
            listener,
            path: path.clone(),
            stopped,
        };
        let task = tokio::spawn(serve(listening));
        Ok(Served {
            path,
            inode,
            stop: Some(stop),
            task,
        })
    }

    pub(super) fn is_alive(&self) -> bool {
        !self.task.is_finished()
    }

    /// Whether the socket's file is still the one that is served.
    pub(super) fn is_there(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|meta| meta.ino() == self.inode)
    }

    /// Removes the socket and gives running calls some time to end.
    pub(super) async fn stop(mut self, time: Duration) {
        if self.is_there()
            && let Err(e) = fs::remove_file(&self.path)
        {
            tracing::warn!("cannot remove {}: {e}", self.path.display());
        }
        drop(self.stop.take());
        if tokio::time::timeout(time, &mut self.task).await.is_err() {
            tracing::warn!("calls at {} did not end in time", self.path.display());
            self.task.abort();
        }
    }
}

fn listen(path: &Path) -> io::Result<(UnixListener, u64)> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    // Root alone: whoever reaches it could have folders made and removed.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok((listener, fs::symlink_metadata(path)?.ino()))
}
