//! A batch of events on the wire: CloudEvents 1.0 in JSON batch format.

use baton_protocol::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::Told;

/// The media type of a batch.
pub const CONTENT_TYPE: &str = "application/cloudevents-batch+json";
/// Most events of one batch.
pub const MAX_BATCH_EVENTS: usize = 256;
/// Longest batch, in bytes. One event can hold all results of a Task.
pub const MAX_BATCH_BYTES: usize = 4 << 20;

const TYPE: &str = "dev.baton.agent.event";

/// Why a batch is refused as a whole.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// It is longer than [`MAX_BATCH_BYTES`].
    #[error("the batch has {0} bytes, more than {MAX_BATCH_BYTES}")]
    TooLong(usize),
    /// It has more than [`MAX_BATCH_EVENTS`] events.
    #[error("the batch has {0} events, more than {MAX_BATCH_EVENTS}")]
    TooMany(usize),
    /// It is no JSON array.
    #[error("the batch is no JSON array: {0}")]
    Json(#[source] serde_json::Error),
}

#[derive(Serialize)]
struct Written<'a> {
    specversion: &'static str,
    id: String,
    source: &'a str,
    r#type: &'static str,
    time: Timestamp,
    datacontenttype: &'static str,
    data: &'a Told,
}

#[derive(Deserialize)]
struct Read {
    specversion: String,
    id: String,
    r#type: String,
    data: Told,
}

/// Writes a batch. `source` names the teller, as a URI reference: `/baton/nodes/NAME`.
pub fn write_batch<'a>(source: &str, events: impl IntoIterator<Item = &'a Told>) -> Vec<u8> {
    let written: Vec<_> = events
        .into_iter()
        .map(|told| Written {
            specversion: "1.0",
            id: told.id(),
            source,
            r#type: TYPE,
            time: told.at,
            datacontenttype: "application/json",
            data: told,
        })
        .collect();
    // Numbers, strings and flags alone: there is nothing that JSON cannot write.
    serde_json::to_vec(&written).unwrap_or_default()
}

/// Reads a batch. Each event is given, or what is wrong with it: a bad one does the others no harm.
///
/// # Errors
/// Where the batch as a whole is out of bounds or no array.
pub fn read_batch(bytes: &[u8]) -> Result<Vec<Result<Told, String>>, BatchError> {
    if bytes.len() > MAX_BATCH_BYTES {
        return Err(BatchError::TooLong(bytes.len()));
    }
    let events: Vec<&RawValue> = serde_json::from_slice(bytes).map_err(BatchError::Json)?;
    if events.len() > MAX_BATCH_EVENTS {
        return Err(BatchError::TooMany(events.len()));
    }
    Ok(events.into_iter().map(|raw| read(raw.get())).collect())
}

fn read(text: &str) -> Result<Told, String> {
    let read: Read = serde_json::from_str(text).map_err(|e| format!("it is no event: {e}"))?;
    if read.specversion != "1.0" || read.r#type != TYPE {
        let Read {
            specversion,
            r#type,
            ..
        } = read;
        return Err(format!(
            "it is of type {type:?} and CloudEvents {specversion:?}, not {TYPE:?} and \"1.0\""
        ));
    }
    if read.id != read.data.id() {
        return Err("its id is not that of what it tells".to_owned());
    }
    Ok(read.data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PodRef, What};
    use std::time::SystemTime;

    fn told(what: What) -> Told {
        Told {
            pod: PodRef {
                namespace: "ns".into(),
                name: "pod".into(),
                uid: "u-1".into(),
            },
            at: Timestamp(SystemTime::UNIX_EPOCH),
            what,
        }
    }

    #[test]
    fn a_batch_reads_back() {
        let events = [
            told(What::TaskStarted),
            told(What::StepStarted {
                number: 1,
                attempt: 2,
            }),
        ];
        let bytes = write_batch("/baton/nodes/n", &events);
        let read: Vec<_> = read_batch(&bytes)
            .unwrap()
            .into_iter()
            .map(Result::unwrap)
            .collect();
        assert_eq!(read, events);
        assert_eq!(events[1].id(), "u-1-step-1-started-2");
    }

    #[test]
    fn a_bad_event_does_the_others_no_harm() {
        let good = write_batch("/baton/nodes/n", &[told(What::TaskStarted)]);
        let good = String::from_utf8(good).unwrap();
        let one = good.trim_matches(['[', ']']);
        let forged = one.replace("\"u-1-task-started\"", "\"u-2-task-started\"");
        let batch = format!("[{{\"x\":1}},{one},{forged}]");
        let read = read_batch(batch.as_bytes()).unwrap();
        assert_eq!(
            read.iter().map(Result::is_ok).collect::<Vec<_>>(),
            [false, true, false]
        );
        assert!(read_batch(b"{}").is_err());
        assert!(matches!(
            read_batch(&vec![b' '; MAX_BATCH_BYTES + 1]),
            Err(BatchError::TooLong(_))
        ));
        let many = format!("[{}]", vec!["1"; MAX_BATCH_EVENTS + 1].join(","));
        assert!(matches!(
            read_batch(many.as_bytes()),
            Err(BatchError::TooMany(_))
        ));
    }
}
