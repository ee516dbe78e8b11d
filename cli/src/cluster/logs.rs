//! The logs of a pod's containers.

use std::time::Duration;

use futures::AsyncReadExt;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use super::error::{cause, is_final};
use super::resume::Resume;

/// Largest piece, in bytes.
const PIECE: usize = 32 << 10;
/// How long a log that has ended may belong to a container that runs, as far as is known.
const LAG: Duration = Duration::from_secs(3);
/// Time to the next attempt after one that failed, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(300), Duration::from_secs(5));

/// How a container stands, as far as its log goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It has no log yet.
    Waiting,
    /// It runs.
    Running,
    /// It has ended: its log is whole.
    Ended,
    /// Its pod is gone.
    Gone,
}

/// What is read of a log.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// What was printed next.
    Printed(Vec<u8>),
    /// Nothing more comes, as far as can be seen; the container is not known to have ended.
    Pause,
    /// A person should know this of it.
    Warning(String),
    /// Its end.
    End,
}

/// A log to read.
pub struct Source {
    /// The pods of its namespace.
    pub pods: Api<Pod>,
    /// Its pod.
    pub pod: String,
    /// Its container.
    pub container: String,
    /// Whom its pieces are told as.
    pub number: u32,
    /// Go on until the container has ended.
    pub follow: bool,
}

/// The reading of one log, which ends with this.
#[derive(Debug)]
pub struct Reader {
    standing: watch::Sender<Standing>,
    task: Option<AbortHandle>,
}

impl Default for Reader {
    fn default() -> Reader {
        Reader {
            standing: watch::Sender::new(Standing::Waiting),
            task: None,
        }
    }
}

impl Reader {
    /// How the container stands, as far as is known.
    pub fn standing(&self) -> Standing {
        *self.standing.borrow()
    }

    /// What is known of the container can only grow.
    pub fn stands(&self, now: Standing) {
        self.standing.send_if_modified(|was| {
            let more = now > *was;
            if more {
                *was = now;
            }
            more
        });
    }

    /// Begins to read.
    pub fn read(&mut self, source: Source, tell: Tell) {
        let reading = source.read(self.standing.subscribe(), tell);
        self.task = Some(tokio::spawn(reading).abort_handle());
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Source {
    /// Reads the log to its end, whatever becomes of the connections. Ends early where nobody wants
    /// the pieces any more.
    pub async fn read(self, mut standing: watch::Receiver<Standing>, tell: Tell) {
        let ended = self.try_read(&mut standing, &tell).await;
        if ended.is_some() {
            let _ = tell.send((self.number, Piece::End)).await;
        }
    }

    /// `None` where nobody listens.
    async fn try_read(&self, standing: &mut watch::Receiver<Standing>, tell: &Tell) -> Option<()> {
        let mut resume = Resume::default();
        let mut delay = RETRY.0;
        loop {
            let was = *standing.wait_for(|s| *s != Standing::Waiting).await.ok()?;
            if was == Standing::Gone {
                return Some(());
            }
            resume.again();
            match self.once(&mut resume, tell).await? {
                Reading::Whole if was == Standing::Ended || !self.follow => return Some(()),
                Reading::Whole => {
                    self.tell(tell, Piece::Pause).await?;
                    let ended = standing.wait_for(|s| *s >= Standing::Ended);
                    if tokio::time::timeout(LAG, ended).await.is_ok() {
                        return Some(());
                    }
                    delay = RETRY.0;
                }
                Reading::Refused(why) => {
                    let said = format!("the log of {} cannot be read: {why}", self.container);
                    self.tell(tell, Piece::Warning(said)).await?;
                    return Some(());
                }
                Reading::NotYet if was == Standing::Ended => return Some(()),
                Reading::NotYet | Reading::Broken => {
                    tokio::time::sleep(delay).await;
                    delay = (delay * 2).min(RETRY.1);
                }
            }
        }
    }

    /// Reads the log once, from its beginning.
    async fn once(&self, resume: &mut Resume, tell: &Tell) -> Option<Reading> {
        let params = LogParams {
            container: Some(self.container.clone()),
            follow: self.follow,
            ..LogParams::default()
        };
        let stream = match self.pods.log_stream(&self.pod, &params).await {
            Ok(stream) => stream,
            // The container has none yet, or had none ever.
            Err(kube::Error::Api(status)) if matches!(status.code, 400 | 404) => {
                return Some(Reading::NotYet);
            }
            Err(e) if is_final(&e) => return Some(Reading::Refused(cause(&e))),
            Err(_) => return Some(Reading::Broken),
        };
        let mut stream = std::pin::pin!(stream);
        let mut buffer = vec![0; PIECE];
        loop {
            let read = match stream.read(&mut buffer).await {
                Ok(0) => return Some(Reading::Whole),
                Ok(read) => buffer.get(..read).unwrap_or_default(),
                Err(_) => return Some(Reading::Broken),
            };
            let new = resume.take(read);
            if resume.was_rotated() {
                let said = format!(
                    "the log of {} was rotated while the connection was away: a part of it may be \
                     missing here",
                    self.container
                );
                self.tell(tell, Piece::Warning(said)).await?;
            }
            if !new.is_empty() {
                self.tell(tell, Piece::Printed(new.to_vec())).await?;
            }
        }
    }

    async fn tell(&self, tell: &Tell, piece: Piece) -> Option<()> {
        tell.send((self.number, piece)).await.ok()
    }
}

/// Takes pieces, with the numbers of their steps.
pub type Tell = mpsc::Sender<(u32, Piece)>;

/// How one reading ended.
enum Reading {
    /// At the log's end, or so it seems.
    Whole,
    /// There is no log yet.
    NotYet,
    /// It must not be read.
    Refused(String),
    /// The connection was lost, or there was none.
    Broken,
}
