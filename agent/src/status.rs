//! `baton-agent status`: how the agent on this node stands, for a person there.
//!
//! The agent answers each connection to a socket in its state folder with one JSON document; only the
//! folder's owner can connect.

use std::fmt::Write as _;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use baton_protocol::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use crate::deliver::Reach;
use crate::turns::PodView;

/// The socket, in the state folder.
pub const SOCKET: &str = "status.sock";
/// Longest that either side waits for the other.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest answer that is read, in bytes.
const MAX_ANSWER_BYTES: u64 = 16 << 20;

/// How an agent stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Its node.
    pub node: String,
    /// Its version.
    pub version: String,
    /// When this was asked.
    pub at: Timestamp,
    /// Whether the kubelet knows the CSI driver.
    pub registered: bool,
    /// Why the API server cannot be watched; `None` where it is.
    pub api_server_error: Option<String>,
    /// How the coordinator was found last.
    pub coordinator: Reach,
    /// What waits for the coordinator.
    pub spool: SpoolStatus,
    /// The pods whose order is kept here.
    pub pods: Vec<PodStatus>,
}

/// What waits for the coordinator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SpoolStatus {
    /// Events that wait.
    pub events: u64,
    /// Their bytes on the disk.
    pub bytes: u64,
    /// Age of the oldest, in milliseconds.
    pub oldest_ms: u64,
    /// Events that a full spool dropped since the agent was started.
    pub dropped: u64,
    /// Why events cannot be kept, while that is so.
    pub error: Option<String>,
}

/// How a pod stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodStatus {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Where its order is: in its `volume` or in its `annotation`.
    pub carrier: String,
    /// Its order, as the file or annotation holds it.
    pub order: String,
    /// How many steps and `finally` steps there are.
    pub steps: u32,
    /// The step that has its turn.
    pub step: Option<String>,
    /// Since when the order is what it is.
    pub since: Timestamp,
    /// How the task ended.
    pub outcome: Option<String>,
}

impl PodStatus {
    /// What is shown of a pod.
    pub fn of(view: &PodView, carrier: &str) -> PodStatus {
        let name = |turn| view.plan.name(turn).to_owned();
        PodStatus {
            namespace: view.pod.namespace.clone(),
            name: view.pod.name.clone(),
            uid: view.pod.uid.clone(),
            carrier: carrier.to_owned(),
            order: view.order.to_string(),
            steps: view.plan.last(),
            step: view.turn.map(name),
            since: view.since,
            outcome: view.outcome.as_ref().map(|o| o.phase.to_string()),
        }
    }
}

impl Status {
    /// All of it as people read it.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, f: &mut String) -> std::fmt::Result {
        let ago = |at: Timestamp| format!("{} ago", short(self.at.since(at)));
        let registered = match self.registered {
            true => "known to the kubelet",
            false => "NOT known to the kubelet",
        };
        writeln!(
            f,
            "agent        {} on {}, {registered}",
            self.version, self.node
        )?;
        match &self.api_server_error {
            None => writeln!(f, "api server   watched")?,
            Some(error) => writeln!(f, "api server   NOT watched: {error}")?,
        }
        match &self.coordinator {
            Reach::Unknown => writeln!(f, "coordinator  nothing was sent yet")?,
            Reach::Reached { at } => writeln!(f, "coordinator  took events {}", ago(*at))?,
            Reach::Lost { since, error } => {
                writeln!(f, "coordinator  NOT reached since {}: {error}", ago(*since))?;
            }
        }
        let SpoolStatus {
            events,
            bytes,
            oldest_ms,
            dropped,
            error,
        } = &self.spool;
        match events {
            0 => writeln!(f, "spool        no events wait, {dropped} dropped")?,
            _ => {
                let oldest = short(Duration::from_millis(*oldest_ms));
                writeln!(
                    f,
                    "spool        {events} events in {bytes} bytes wait, the oldest {oldest} old, {dropped} dropped"
                )?;
            }
        }
        if let Some(error) = error {
            writeln!(f, "             events are being LOST: {error}")?;
        }
        writeln!(f)?;
        if self.pods.is_empty() {
            return writeln!(f, "No pods.");
        }
        let head = ["POD", "ORDER", "STEP", "SINCE", "OUTCOME", "CARRIER"].map(str::to_owned);
        let rows: Vec<_> = std::iter::once(head)
            .chain(self.pods.iter().map(|pod| self.row(pod)))
            .collect();
        for row in &rows {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let width = rows
                    .iter()
                    .filter_map(|r| Some(r.get(column)?.chars().count()))
                    .max();
                write!(line, "{cell:<width$}  ", width = width.unwrap_or(0))?;
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }

    fn row(&self, pod: &PodStatus) -> [String; 6] {
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        [
            format!("{}/{}", pod.namespace, pod.name),
            format!("{} of {}", pod.order, pod.steps),
            or_dash(&pod.step),
            short(self.at.since(pod.since)),
            or_dash(&pod.outcome),
            pod.carrier.clone(),
        ]
    }
}

/// A time in its two largest units.
fn short(time: Duration) -> String {
    let secs = time.as_secs();
    match secs {
        0 => format!("{}ms", time.as_millis()),
        1..=59 => format!("{secs}s"),
        60..=3599 => format!("{}m{}s", secs / 60, secs % 60),
        3600..=86_399 => format!("{}h{}m", secs / 3600, secs / 60 % 60),
        _ => format!("{}d{}h", secs / 86_400, secs / 3600 % 24),
    }
}

/// Makes the socket in the state folder; one that an earlier life left is replaced.
///
/// # Errors
/// Where it cannot be made.
pub fn listen(state_dir: &Path) -> io::Result<UnixListener> {
    let path = state_dir.join(SOCKET);
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Answers everybody who connects, one after the other, for ever.
pub async fn serve(listener: UnixListener, status: impl Fn() -> Status) {
    loop {
        match listener.accept().await {
            Ok((mut stream, _)) => {
                let answer = serde_json::to_vec(&status()).unwrap_or_default();
                // Who hangs up before the end has had enough.
                let _ = tokio::time::timeout(PATIENCE, stream.write_all(&answer)).await;
            }
            Err(e) => {
                tracing::warn!(error = %e, "a connection for the status cannot be taken");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// Why the state of an agent is not known.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// Nobody answers there.
    #[error("no agent answers at {}: {source}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It answers, and not in time or not in full.
    #[error("the agent at {} does not answer in time", path.display())]
    Slow {
        /// The socket.
        path: PathBuf,
    },
    /// It answers something else.
    #[error("the agent at {} answers what this program cannot read: {source}", path.display())]
    Answer {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}

/// Asks the agent that has this state folder.
///
/// # Errors
/// Where none answers.
pub async fn ask(state_dir: &Path) -> Result<Status, StatusError> {
    let path = state_dir.join(SOCKET);
    let answer = tokio::time::timeout(PATIENCE, async {
        let stream = UnixStream::connect(&path).await?;
        let mut answer = Vec::new();
        stream
            .take(MAX_ANSWER_BYTES)
            .read_to_end(&mut answer)
            .await?;
        Ok(answer)
    })
    .await;
    let answer = match answer {
        Ok(Ok(answer)) => answer,
        Ok(Err(source)) => return Err(StatusError::Io { path, source }),
        Err(_) => return Err(StatusError::Slow { path }),
    };
    serde_json::from_slice(&answer).map_err(|source| StatusError::Answer { path, source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    fn example() -> Status {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100_000);
        let ago = |secs| Timestamp(now - Duration::from_secs(secs));
        Status {
            node: "n1".into(),
            version: "0.1.0".into(),
            at: Timestamp(now),
            registered: true,
            api_server_error: None,
            coordinator: Reach::Lost {
                since: ago(75),
                error: "connecting: refused".into(),
            },
            spool: SpoolStatus {
                events: 12,
                bytes: 3456,
                oldest_ms: 74_000,
                dropped: 0,
                error: None,
            },
            pods: vec![PodStatus {
                namespace: "ci".into(),
                name: "build-1".into(),
                uid: "u".into(),
                carrier: "volume".into(),
                order: "2".into(),
                steps: 5,
                step: Some("compile".into()),
                since: ago(7384),
                outcome: None,
            }],
        }
    }

    #[test]
    fn a_person_sees_what_goes_on() {
        let text = example().to_text();
        for line in [
            "agent        0.1.0 on n1, known to the kubelet",
            "coordinator  NOT reached since 1m15s ago: connecting: refused",
            "spool        12 events in 3456 bytes wait, the oldest 1m14s old, 0 dropped",
            "POD         ORDER   STEP     SINCE  OUTCOME  CARRIER",
            "ci/build-1  2 of 5  compile  2h3m   -        volume",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[tokio::test]
    async fn the_agent_answers_over_its_socket() {
        let folder = tempfile::tempdir().unwrap();
        let refused = ask(folder.path()).await.unwrap_err().to_string();
        assert!(refused.starts_with("no agent answers at"), "{refused}");
        drop(listen(folder.path()).unwrap());
        let listener = listen(folder.path()).unwrap();
        let mode = std::fs::metadata(folder.path().join(SOCKET)).unwrap();
        assert_eq!(mode.permissions().mode() & 0o777, 0o600);
        let serving = tokio::spawn(serve(listener, example));
        for _ in 0..3 {
            assert_eq!(ask(folder.path()).await.unwrap(), example());
        }
        serving.abort();
    }
}
