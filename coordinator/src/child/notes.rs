//! Kubernetes Events.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};

use super::MANAGER;
use crate::text::cut;

/// Longest note of a Kubernetes Event, in bytes.
const MAX_NOTE: usize = 1000;

/// A Kubernetes Event to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Something is wrong.
    pub is_warning: bool,
    /// One word.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

/// What writes Kubernetes Events in the name of a replica.
pub fn recorder(client: &Client, replica: &str) -> Recorder {
    let reporter = Reporter {
        controller: MANAGER.to_owned(),
        instance: Some(replica.to_owned()),
    };
    Recorder::new(client.clone(), reporter)
}

/// Writes a Kubernetes Event. Events are for people who look now: one that cannot be written is not
/// tried again.
pub async fn emit(recorder: &Recorder, object: &ObjectReference, note: Note) {
    let event = Event {
        type_: match note.is_warning {
            true => EventType::Warning,
            false => EventType::Normal,
        },
        reason: note.reason,
        note: Some(cut(&note.message, MAX_NOTE / 4)),
        action: "Run".to_owned(),
        secondary: None,
    };
    if let Err(e) = recorder.publish(&event, object).await {
        let (name, namespace) = (&object.name, &object.namespace);
        tracing::debug!(?name, ?namespace, error = %e, "writing an event");
    }
}
