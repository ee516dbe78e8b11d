//! Agents' batches that wait until what they tell is durable.

use std::collections::HashMap;

use tokio::sync::oneshot;

use crate::inbox::Answer;

/// Most batches that wait; no more are taken before some are answered.
pub(super) const MAX_WAITING: usize = 1024;

/// A batch that waits.
#[derive(Debug)]
struct Waiting {
    answer: oneshot::Sender<Answer>,
    refused: Vec<(String, String)>,
    /// Tasks whose status is to be durable first.
    tasks: usize,
}

/// A batch, among those that wait.
pub(super) type BatchId = u64;

/// The batches that wait.
#[derive(Debug, Default)]
pub(super) struct Batches {
    waiting: HashMap<BatchId, Waiting>,
    next: BatchId,
}

impl Batches {
    /// The id of the batch that comes next.
    pub(super) fn next_id(&self) -> BatchId {
        self.next
    }

    /// Takes a batch that waits for so many Tasks.
    pub(super) fn add(
        &mut self,
        answer: oneshot::Sender<Answer>,
        refused: Vec<(String, String)>,
        tasks: usize,
    ) {
        // Those whose agent gave up: it tells them again.
        self.waiting.retain(|_, it| !it.answer.is_closed());
        let id = self.next;
        self.next = self.next.wrapping_add(1);
        let waiting = Waiting {
            answer,
            refused,
            tasks,
        };
        self.waiting.insert(id, waiting);
        if tasks == 0 {
            self.answer(id);
        }
    }

    /// One Task that these batches waited for is durable.
    pub(super) fn release(&mut self, ids: impl IntoIterator<Item = BatchId>) {
        for id in ids {
            if let Some(waiting) = self.waiting.get_mut(&id) {
                waiting.tasks = waiting.tasks.saturating_sub(1);
                if waiting.tasks == 0 {
                    self.answer(id);
                }
            }
        }
    }

    /// These batches will not be durable: their agents tell them again.
    pub(super) fn forget(&mut self, ids: impl IntoIterator<Item = BatchId>) {
        for id in ids {
            self.waiting.remove(&id);
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= MAX_WAITING
    }

    fn answer(&mut self, id: BatchId) {
        if let Some(waiting) = self.waiting.remove(&id) {
            let refused = waiting.refused;
            // Nobody waits any more where the agent gave up: it tells it again.
            let _ = waiting.answer.send(Answer { refused });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_that_nobody_waits_for_any_more_take_no_room() {
        let mut batches = Batches::default();
        for _ in 0..MAX_WAITING {
            let (answer, _) = oneshot::channel();
            batches.add(answer, Vec::new(), 1);
        }
        assert!(!batches.is_full());
        let (answer, mut waits) = oneshot::channel();
        let id = batches.next_id();
        batches.add(answer, Vec::new(), 1);
        assert!(waits.try_recv().is_err());
        batches.release([id]);
        assert!(waits.try_recv().is_ok());
    }
}
