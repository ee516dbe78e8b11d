//! The events that wait for the coordinator, on the host's disk.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use baton_events::{MissingResult, Told, What};
use baton_spool::{Entry, Importance, Options, Spool, SpoolError, Stats};
use tokio::sync::Notify;

use super::gather::Gather;
use crate::metrics::{EventOutcome, Metrics};
use crate::turns::Sink;

/// Time from an event to the disk at most, unless a pod's volume goes before.
const SYNC_AFTER: Duration = Duration::from_millis(100);
/// Most bytes of events that are read for one batch; a longer event goes alone.
const MAX_READ_BYTES: usize = 512 << 10;

/// The queue. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Queue {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    spool: Mutex<Spool>,
    /// When the next batch is due. Locked after the spool where both are.
    gather: Mutex<Gather>,
    /// Something was appended.
    news: Notify,
    /// Something was appended that is to be synced.
    unsynced: Notify,
    metrics: Metrics,
    /// What the disk refused to do last, while it does.
    trouble: Mutex<Option<String>>,
}

/// The oldest events.
#[derive(Debug, Default, PartialEq)]
pub struct Batch {
    /// The events, in order.
    pub events: Vec<Told>,
    /// What to acknowledge once they are delivered; `None` where there is nothing.
    pub position: Option<u64>,
}

/// How the queue stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Depth {
    /// Events that wait.
    pub events: u64,
    /// Bytes on the disk.
    pub bytes: u64,
    /// Age of the oldest event.
    pub oldest: Duration,
    /// Events that a full spool dropped in this life.
    pub dropped: u64,
}

impl Queue {
    /// Opens the queue in this folder, or makes one, of at most `max_bytes` on the disk.
    ///
    /// # Errors
    /// Where the spool cannot be opened.
    pub fn open(dir: &Path, max_bytes: u64, metrics: Metrics) -> Result<Queue, SpoolError> {
        let spool = Spool::open(dir, Options { max_bytes })?;
        let found = spool.recovery();
        if found.damaged > 0 {
            tracing::warn!(
                places = found.damaged,
                bytes = found.damaged_bytes,
                "the spool was damaged; the events there are lost"
            );
        }
        let mut gather = Gather::default();
        gather.again(Instant::now());
        let shared = Shared {
            spool: Mutex::new(spool),
            gather: Mutex::new(gather),
            news: Notify::new(),
            unsynced: Notify::new(),
            metrics,
            trouble: Mutex::default(),
        };
        Ok(Queue {
            shared: Arc::new(shared),
        })
    }

    /// Keeps these events. What the disk does not take is lost, counted, and said so.
    pub fn append(&self, told: &[Told]) {
        let before = self.stats();
        let (mut kept, mut lost, mut failure) = (0, 0, None);
        {
            let mut spool = self.spool();
            let mut gather = lock(&self.shared.gather);
            for event in told {
                match append(&mut spool, event) {
                    Ok(()) => {
                        kept += 1;
                        gather.appended(Instant::now(), &event.what);
                    }
                    Err(e) => {
                        lost += 1;
                        failure = Some(e.to_string());
                    }
                }
            }
        }
        let metrics = &self.shared.metrics;
        metrics.count_events(EventOutcome::Spooled, kept);
        if let (Some(before), Some(after)) = (before, self.stats()) {
            let dropped = total_dropped(&after) - total_dropped(&before);
            metrics.count_events(EventOutcome::Dropped, dropped);
            if dropped > 0 && total_dropped(&before) == 0 {
                tracing::warn!(dropped, "the spool is full: its oldest events make room");
            }
        }
        self.note(failure, lost);
        if kept > 0 {
            self.shared.news.notify_one();
            self.shared.unsynced.notify_one();
        }
    }

    /// Returns once all that was appended survives whatever becomes of the machine.
    pub fn sync(&self) {
        if let Err(e) = self.spool().sync() {
            tracing::error!(error = %e, "events are not safe on the disk");
        }
    }

    /// Syncs what is appended, in batches, for ever. Nobody waits for it.
    pub async fn keep_synced(&self) {
        loop {
            self.shared.unsynced.notified().await;
            tokio::time::sleep(SYNC_AFTER).await;
            let queue = self.clone();
            // It can fail only where the sync panics, which is told then.
            let _ = tokio::task::spawn_blocking(move || queue.sync()).await;
        }
    }

    /// The oldest events, `most` of them at most; waits until one is due.
    ///
    /// # Errors
    /// Where the spool cannot be read.
    pub async fn next(&self, most: usize) -> Result<Batch, SpoolError> {
        loop {
            let news = self.shared.news.notified();
            let due = lock(&self.shared.gather).due();
            let now = Instant::now();
            if due.is_none_or(|at| at > now) {
                match due {
                    None => news.await,
                    Some(at) => {
                        // What comes meanwhile may be due before.
                        let _ = tokio::time::timeout_at(at.into(), news).await;
                    }
                }
                continue;
            }
            let queue = self.clone();
            let read = tokio::task::spawn_blocking(move || queue.read(most)).await;
            match read {
                Ok(Ok(batch)) if batch.position.is_none() => news.await,
                Ok(read) => return read,
                Err(e) => {
                    tracing::error!(error = %e, "a read of the spool broke off");
                    news.await;
                }
            }
        }
    }

    /// What was taken is due again: it was not delivered.
    pub fn again(&self) {
        lock(&self.shared.gather).again(Instant::now());
    }

    fn read(&self, most: usize) -> Result<Batch, SpoolError> {
        let entries = {
            let mut spool = self.spool();
            let entries = spool.peek(most, MAX_READ_BYTES)?;
            let records = entries.iter().filter(|e| matches!(e, Entry::Record { .. }));
            let all = spool.stats()?.records <= records.count() as u64;
            lock(&self.shared.gather).took(Instant::now(), all);
            entries
        };
        let mut batch = Batch::default();
        for entry in entries {
            batch.position = Some(entry.position());
            match entry {
                Entry::Record { content, .. } => match serde_json::from_slice(&content) {
                    Ok(told) => batch.events.push(told),
                    Err(e) => {
                        tracing::warn!(error = %e, "an event of the spool cannot be read; it is dropped");
                    }
                },
                Entry::Missing { count, .. } => {
                    tracing::warn!(
                        count,
                        "events are missing here: the spool was full or damaged"
                    );
                }
            }
        }
        Ok(batch)
    }

    /// Removes everything up to this position.
    pub async fn ack(&self, position: u64) {
        let queue = self.clone();
        let acked = tokio::task::spawn_blocking(move || queue.spool().ack(position)).await;
        match acked {
            Ok(Ok(())) => {}
            // They are delivered again, which does no harm.
            Ok(Err(e)) => tracing::error!(error = %e, "delivered events stay in the spool"),
            Err(e) => tracing::error!(error = %e, "an acknowledgement broke off"),
        }
    }

    /// How it stands.
    pub fn depth(&self) -> Depth {
        let Some(stats) = self.stats() else {
            return Depth::default();
        };
        let age = |at: SystemTime| SystemTime::now().duration_since(at).unwrap_or_default();
        Depth {
            events: stats.records,
            bytes: stats.bytes,
            oldest: stats.oldest.map(age).unwrap_or_default(),
            dropped: total_dropped(&stats),
        }
    }

    /// What the disk refuses to do, while it does.
    pub fn trouble(&self) -> Option<String> {
        lock(&self.shared.trouble).clone()
    }

    fn note(&self, failure: Option<String>, lost: u64) {
        self.shared
            .metrics
            .count_events(EventOutcome::Dropped, lost);
        let mut trouble = lock(&self.shared.trouble);
        match (&failure, trouble.is_some()) {
            (Some(error), false) => {
                tracing::error!(error = %error, "events cannot be kept, and are lost until they can");
            }
            (None, true) => tracing::info!("events are kept again"),
            _ => {}
        }
        *trouble = failure;
    }

    fn stats(&self) -> Option<Stats> {
        self.spool().stats().ok()
    }

    fn spool(&self) -> MutexGuard<'_, Spool> {
        lock(&self.shared.spool)
    }
}

/// The turns' events go into the queue, their hand-offs into the metrics.
impl Sink for Queue {
    fn keep(&mut self, told: Vec<Told>) {
        self.append(&told);
    }

    fn sync(&mut self) {
        Queue::sync(self);
    }

    fn handed_over(&mut self, took: Duration) {
        self.shared.metrics.observe_hand_off(took);
    }
}

fn append(spool: &mut Spool, told: &Told) -> Result<(), SpoolError> {
    let importance = match told.is_lifecycle_end() {
        true => Importance::Keep,
        false => Importance::Normal,
    };
    let written = |told: &Told| serde_json::to_vec(told).unwrap_or_default();
    match spool.append(&written(told), importance) {
        Err(SpoolError::TooLong { .. }) => spool
            .append(&written(&without_results(told.clone())), importance)
            .map(|_| ()),
        appended => appended.map(|_| ()),
    }
}

/// An end is worth more than its results.
fn without_results(mut told: Told) -> Told {
    if let What::StepFinished {
        results, missing, ..
    } = &mut told.what
    {
        missing.extend(results.drain(..).map(|result| MissingResult {
            name: result.name,
            why: "the step's results are too long for the agent's spool".to_owned(),
        }));
    }
    told
}

fn total_dropped(stats: &Stats) -> u64 {
    stats.dropped_normal + stats.dropped_keep
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_events::{PodRef, StepResult};
    use baton_protocol::{Reason, Record, Timestamp};
    use baton_steps::StepState;

    pub(crate) fn told(what: What) -> Told {
        Told {
            pod: PodRef {
                namespace: "ns".into(),
                name: "p".into(),
                uid: "u".into(),
            },
            at: Timestamp(SystemTime::UNIX_EPOCH),
            what,
        }
    }

    fn finished(value: String) -> Told {
        let at = Timestamp(SystemTime::UNIX_EPOCH);
        let record = Record::new(Reason::Completed, 0, at);
        told(What::StepFinished {
            number: 1,
            state: StepState::Done { record },
            results: vec![StepResult {
                name: "r".into(),
                value,
            }],
            missing: Vec::new(),
        })
    }

    #[tokio::test]
    async fn what_is_not_acknowledged_is_there_again() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Queue::open(folder.path(), 1 << 20, Metrics::new()).unwrap();
        let events: Vec<_> = (1..=5)
            .map(|attempt| told(What::StepStarted { number: 1, attempt }))
            .collect();
        let queue = open();
        queue.append(&events);
        let batch = queue.next(2).await.unwrap();
        assert_eq!(batch.events, events[..2]);
        queue.ack(batch.position.unwrap()).await;
        drop(queue);
        let queue = open();
        assert_eq!(queue.next(100).await.unwrap().events, events[2..]);
        assert_eq!(queue.depth().events, 3);
    }

    #[tokio::test]
    async fn whoever_waits_is_woken_by_the_first_event() {
        let folder = tempfile::tempdir().unwrap();
        let queue = Queue::open(folder.path(), 1 << 20, Metrics::new()).unwrap();
        let waiting = tokio::spawn({
            let queue = queue.clone();
            async move { queue.next(10).await }
        });
        tokio::task::yield_now().await;
        queue.append(&[told(What::TaskStarted)]);
        let batch = tokio::time::timeout(Duration::from_secs(60), waiting).await;
        assert_eq!(batch.unwrap().unwrap().unwrap().events.len(), 1);
    }

    #[tokio::test]
    async fn an_end_that_is_too_long_loses_its_results_alone() {
        let folder = tempfile::tempdir().unwrap();
        let queue = Queue::open(folder.path(), 16 << 20, Metrics::new()).unwrap();
        queue.append(&[finished("\u{1}".repeat(256 << 10))]);
        let batch = queue.next(10).await.unwrap();
        let What::StepFinished {
            results, missing, ..
        } = &batch.events[0].what
        else {
            panic!("{batch:?}");
        };
        assert!(results.is_empty());
        assert_eq!(missing[0].name, "r");
        assert_eq!(queue.trouble(), None);
    }

    #[tokio::test]
    async fn a_full_spool_keeps_the_ends() {
        let folder = tempfile::tempdir().unwrap();
        let metrics = Metrics::new();
        let queue = Queue::open(folder.path(), 64 << 10, metrics.clone()).unwrap();
        for attempt in 0..2000 {
            queue.append(&[told(What::StepStarted { number: 1, attempt })]);
            if attempt % 100 == 0 {
                queue.append(&[finished(attempt.to_string())]);
            }
        }
        let depth = queue.depth();
        assert!(depth.bytes <= 64 << 10 && depth.dropped > 0, "{depth:?}");
        let (mut ends, mut rest) = (0, 0);
        while queue.depth().events > 0 {
            let batch = queue.next(256).await.unwrap();
            ends += batch.events.iter().filter(|e| e.is_lifecycle_end()).count();
            rest += batch
                .events
                .iter()
                .filter(|e| !e.is_lifecycle_end())
                .count();
            queue.ack(batch.position.unwrap()).await;
        }
        assert_eq!(ends, 20);
        assert_eq!(rest as u64 + depth.dropped, 2000);
        let line = format!("outcome=\"dropped\"}} {}", depth.dropped);
        assert!(metrics.text(Default::default()).contains(&line));
    }
}
