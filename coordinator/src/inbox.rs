//! The way of agents' events from the intake, which knows who speaks, to the controller, which knows
//! what they speak of.

use baton_events::Told;
use tokio::sync::{mpsc, oneshot};

/// Most batches that wait for the controller; what comes on top is told to come back later.
pub const INBOX_BATCHES: usize = 64;

/// Events that one agent tells.
#[derive(Debug)]
pub struct Batch {
    /// The agent's node, as its token proves it.
    pub node: String,
    /// What it tells.
    pub events: Vec<Told>,
    /// Answered once everything in the batch is durable (in a Task's status) or is of nobody's
    /// concern. Dropped where that could not be reached: the agent tells it again.
    pub answer: oneshot::Sender<Answer>,
}

/// What became of a [`Batch`].
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Events that were refused, by id, each with the reason: they are about pods of another node.
    pub refused: Vec<(String, String)>,
}

/// Makes an inbox: the sender for the intake (use `try_send`, so that a flood is refused and not
/// queued), the receiver for the controller.
pub fn inbox() -> (mpsc::Sender<Batch>, mpsc::Receiver<Batch>) {
    mpsc::channel(INBOX_BATCHES)
}
