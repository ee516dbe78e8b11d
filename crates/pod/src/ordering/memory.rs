//! What a run is to remember, as an annotation of its pod.

use baton_protocol::Timestamp;
use baton_steps::Event;

use super::is_memorable;

/// Longest annotation that is read, in bytes.
const MAX_BYTES: usize = 4096;
/// Most facts of one: a run begins, stops and is killed once.
const MAX_FACTS: usize = 8;

/// The facts that do not follow from the pod's status.
#[derive(Debug, Default)]
pub(super) struct Memory(Vec<(Timestamp, Event)>);

impl Memory {
    /// Reads what [`write`](Memory::write) wrote. Anything else is nothing remembered: the order and
    /// the status still tell most of it.
    pub(super) fn read(text: &str) -> Memory {
        if text.len() > MAX_BYTES {
            return Memory::default();
        }
        let mut facts: Vec<(Timestamp, Event)> = serde_json::from_str(text).unwrap_or_default();
        facts.retain(|(_, event)| is_memorable(event));
        facts.truncate(MAX_FACTS);
        Memory(facts)
    }

    /// One line of JSON; `None` where there is nothing to remember.
    pub(super) fn write(&self) -> Option<String> {
        serde_json::to_string(&self.0)
            .ok()
            .filter(|_| !self.0.is_empty())
    }

    pub(super) fn add(&mut self, at: Timestamp, event: &Event) {
        let is_known = self.0.iter().any(|(_, known)| known == event);
        if is_memorable(event) && !is_known && self.0.len() < MAX_FACTS {
            self.0.push((at, event.clone()));
        }
    }

    pub(super) fn has_begun(&self) -> bool {
        self.0.iter().any(|(_, event)| *event == Event::Begin)
    }

    pub(super) fn events(&self) -> Vec<(Timestamp, Event)> {
        self.0.clone()
    }
}
