//! What following a Task and following a graph have in common: lost connections, Ctrl-C, and what is
//! said where nothing happens.

use std::time::Duration;

use kube::runtime::utils::Backoff;
use kube::runtime::watcher;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::act::{Target, cancel};
use super::connect::Cluster;
use super::error::{ClusterError, cause, is_final};
use crate::run::shown::warn;
use crate::show::terminal::Terminal;

/// How long an object may stand without a status before a person is told what may be wrong.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// How long the logs of an object that is over may stand still.
pub(super) const LOGS_PATIENCE: Duration = Duration::from_secs(10);

/// The delays of a watch that fails: 300 ms at first and 3 s at most, as a person sits before it.
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

/// Ctrl-C, where it is not simply this program's end.
pub(super) struct Interrupts {
    signal: Option<Signal>,
    count: u32,
}

impl Interrupts {
    /// Listens for it, where it is `wanted`.
    ///
    /// # Errors
    /// Where the machine does not let this listen.
    pub(super) fn listen(wanted: bool) -> Result<Interrupts, ClusterError> {
        let signal = wanted.then(|| signal(SignalKind::interrupt())).transpose();
        let signal =
            signal.map_err(|e| ClusterError::Other(format!("cannot listen for Ctrl-C: {e}")))?;
        Ok(Interrupts { signal, count: 0 })
    }

    /// Waits for the next one, and gives how many there were. Loses none where it is dropped before.
    pub(super) async fn next(&mut self) -> u32 {
        if let Some(signal) = &mut self.signal
            && signal.recv().await.is_some()
        {
            self.count += 1;
            return self.count;
        }
        std::future::pending().await
    }
}

/// Cancels an object, and says so.
pub(super) async fn cancel_aloud(cluster: &Cluster, target: Target<'_>, terminal: &mut Terminal) {
    let Target { kind, name, .. } = target;
    let said = match cancel(cluster, target).await {
        Ok(_) => format!(
            "cancelling {kind} {name}: what runs gets its grace; Ctrl-C once more leaves it to itself"
        ),
        Err(e) => format!("{e}\nCtrl-C once more leaves it running"),
    };
    for line in said.lines() {
        warn(terminal, line);
    }
}

/// The connection to the API server, as far as the watch of the followed object tells.
pub(super) struct Connection<'a> {
    cluster: &'a Cluster,
    target: Target<'a>,
    is_lost: bool,
    hinted: bool,
}

impl<'a> Connection<'a> {
    /// One of which nothing is known yet.
    pub(super) fn new(cluster: &'a Cluster, target: Target<'a>) -> Connection<'a> {
        Connection {
            cluster,
            target,
            is_lost: false,
            hinted: false,
        }
    }

    /// The watch brought something.
    pub(super) fn found(&mut self, terminal: &mut Terminal) {
        if std::mem::take(&mut self.is_lost) {
            warn(terminal, "connected again");
        }
    }

    /// The watch failed. `seen` is whether the object was ever seen.
    ///
    /// # Errors
    /// Where waiting will not mend it.
    pub(super) fn trouble(
        &mut self,
        error: watcher::Error,
        seen: bool,
        terminal: &mut Terminal,
    ) -> Result<(), ClusterError> {
        let (watcher::Error::InitialListFailed(e) | watcher::Error::WatchStartFailed(e)) = error
        else {
            // What the watcher mends by itself: a version that is too old, an event cut off.
            return Ok(());
        };
        let Target { kind, name, .. } = self.target;
        if !seen || is_final(&e) {
            return Err(self.cluster.cannot(format!("follow {kind} {name}"))(e));
        }
        if !std::mem::replace(&mut self.is_lost, true) {
            let (place, why) = (&self.cluster.place, cause(&e));
            let said = format!(
                "{place} does not answer: {why}; the {kind} goes on without, and this waits"
            );
            warn(terminal, &said);
        }
        Ok(())
    }

    /// Says once what may be wrong where nothing takes the object up.
    pub(super) fn hint(&mut self, terminal: &mut Terminal) {
        if self.is_lost || std::mem::replace(&mut self.hinted, true) {
            return;
        }
        let Target { kind, name, .. } = self.target;
        let said = format!(
            "nothing has taken {kind} {name} up yet; does the coordinator run? \
             `kubectl get deployment -A -l app.kubernetes.io/name=baton` tells"
        );
        warn(terminal, &said);
    }

    /// What is said of an object that is gone.
    pub(super) fn deleted(&self) -> ClusterError {
        let Target { kind, name, .. } = self.target;
        ClusterError::Other(format!(
            "{kind} {name} was deleted, and its pods and logs with it"
        ))
    }
}
