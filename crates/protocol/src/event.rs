//! A step's event file: what its entrypoint saw, as JSON lines, appended as it happens. The init of a
//! workspace writes the same form; its facts are those that name a service, `Seeding` and `Stopped`.
//!
//! ```text
//! {"at":"2026-03-01T09:30:00.000512Z","type":"Waiting"}
//! {"at":"2026-03-01T09:30:01.204101Z","type":"Started","attempt":1}
//! ```
//! The file tells a reader what goes on; what decides the step is its final [`Record`], which stands
//! in a file of its own and is made last.

use serde::{Deserialize, Serialize};

use crate::layout::{MAX_CAUSE_BYTES, MAX_EVENT_LINE};
use crate::record::{Reason, Record};
use crate::text::cut;
use crate::time::Timestamp;

/// One line of an event file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepEvent {
    /// When the entrypoint saw it, by the node's clock.
    pub at: Timestamp,
    /// What it saw.
    #[serde(flatten)]
    pub fact: Fact,
}

/// What an entrypoint can see, or a workspace's init.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum Fact {
    /// The entrypoint runs and waits for its turn.
    Waiting,
    /// The command was started.
    Started {
        /// Which attempt this is, from 1.
        attempt: u32,
    },
    /// A sidecar answered its readiness probe; of a workspace: its main service is ready.
    Ready {
        /// Where a workspace is reached.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<u16>,
    },
    /// An attempt failed, and another follows.
    Retrying {
        /// The attempt that failed, from 1.
        attempt: u32,
        /// How it failed.
        reason: Reason,
        /// Its exit code, 128+n for signal n.
        exit_code: i32,
        /// How long the entrypoint waits before the next attempt.
        #[serde(deserialize_with = "crate::record::bounded")]
        delay_ms: u64,
    },
    /// The command was told to stop.
    Stopping {
        /// Why.
        reason: Reason,
    },
    /// What the image brings is being put into the user's volume.
    Seeding,
    /// A service is being started.
    Starting {
        /// Its name.
        service: String,
    },
    /// A service is ready: those that need it may start.
    ServiceReady {
        /// Its name.
        service: String,
        /// The port that it answered on, where its probe asked one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<u16>,
    },
    /// A service's process ended.
    ServiceDied {
        /// Its name.
        service: String,
        /// Its exit code, 128+n for signal n.
        exit_code: i32,
        /// The signal that ended it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signal: Option<i32>,
    },
    /// A service will be started again.
    Restarting {
        /// Its name.
        service: String,
        /// How long that takes.
        delay_ms: u64,
    },
    /// A service died too often and is not started again.
    GaveUp {
        /// Its name.
        service: String,
    },
    /// The workspace is over, and nothing of it runs.
    Stopped {
        /// Its exit code.
        exit_code: i32,
    },
    /// The step is over. The final record says the same, and is the one that counts.
    Finished(Record),
    /// A fact that a newer entrypoint reports and this reader does not know.
    #[serde(other)]
    Unknown,
}

impl StepEvent {
    /// Writes the event as one line, with its newline.
    pub fn to_line(&self) -> Vec<u8> {
        // Every field is a number, a flag or a string: there is nothing that JSON cannot write.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

/// Why a line of an event file is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// Longer than [`MAX_EVENT_LINE`].
    #[error("line {line} of the event file is longer than {MAX_EVENT_LINE} bytes")]
    TooLong {
        /// Which line, from 1.
        line: u64,
    },
    /// No event.
    #[error("line {line} of the event file is not an event: {cause}")]
    Malformed {
        /// Which line, from 1.
        line: u64,
        /// What is wrong with it.
        cause: String,
    },
}

/// Reads an event file that grows, piece by piece. A line counts once its newline is there; a bad
/// line is reported once and harms no other.
#[derive(Debug, Default)]
pub struct EventReader {
    partial: Vec<u8>,
    skipping: bool,
    line: u64,
}

impl EventReader {
    /// Takes the next piece of the file and gives what it completes, in order.
    pub fn feed(&mut self, piece: &[u8]) -> Vec<Result<StepEvent, EventError>> {
        let mut found = Vec::new();
        let mut lines = piece.split(|b| *b == b'\n').peekable();
        while let Some(part) = lines.next() {
            if !self.skipping {
                if self.partial.len() + part.len() > MAX_EVENT_LINE {
                    found.push(Err(EventError::TooLong {
                        line: self.line + 1,
                    }));
                    self.partial = Vec::new();
                    self.skipping = true;
                } else {
                    self.partial.extend_from_slice(part);
                }
            }
            if lines.peek().is_some() {
                self.line += 1;
                if !self.skipping && !self.partial.trim_ascii().is_empty() {
                    found.push(self.parse());
                }
                self.partial.clear();
                self.skipping = false;
            }
        }
        found
    }

    fn parse(&self) -> Result<StepEvent, EventError> {
        serde_json::from_slice(&self.partial).map_err(|e| EventError::Malformed {
            line: self.line,
            cause: cut(&e.to_string(), MAX_CAUSE_BYTES),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::{Duration, SystemTime};

    fn at(millis: u64) -> Timestamp {
        Timestamp(SystemTime::UNIX_EPOCH + Duration::from_millis(millis))
    }

    fn some_events() -> Vec<StepEvent> {
        let record = Record::new(Reason::Completed, 0, at(9));
        [
            Fact::Waiting,
            Fact::Started { attempt: 1 },
            Fact::Retrying {
                attempt: 1,
                reason: Reason::Error,
                exit_code: 3,
                delay_ms: 1000,
            },
            Fact::Ready { port: None },
            Fact::Stopping {
                reason: Reason::Cancelled,
            },
            Fact::Seeding,
            Fact::Starting {
                service: "ide".to_owned(),
            },
            Fact::ServiceReady {
                service: "ide".to_owned(),
                port: Some(9999),
            },
            Fact::Ready { port: Some(9999) },
            Fact::ServiceDied {
                service: "ide".to_owned(),
                exit_code: 137,
                signal: Some(9),
            },
            Fact::Restarting {
                service: "ide".to_owned(),
                delay_ms: 500,
            },
            Fact::GaveUp {
                service: "ide".to_owned(),
            },
            Fact::Stopped { exit_code: 137 },
            Fact::Finished(record),
        ]
        .into_iter()
        .enumerate()
        .map(|(i, fact)| StepEvent {
            at: at(i as u64),
            fact,
        })
        .collect()
    }

    #[test]
    fn the_form_is_stable() {
        let lines: Vec<_> = some_events()
            .iter()
            .map(|e| String::from_utf8(e.to_line()).unwrap())
            .collect();
        assert_eq!(
            lines[0],
            "{\"at\":\"1970-01-01T00:00:00.000000Z\",\"type\":\"Waiting\"}\n"
        );
        assert_eq!(
            lines[2],
            "{\"at\":\"1970-01-01T00:00:00.002000Z\",\"type\":\"Retrying\",\"attempt\":1,\
             \"reason\":\"Error\",\"exitCode\":3,\"delayMs\":1000}\n"
        );
        let form = |i: usize| lines[i].split_once("\"type\":").unwrap().1;
        assert_eq!(form(3), "\"Ready\"}\n");
        assert_eq!(
            form(8),
            "\"Ready\",\"port\":9999}\n",
            "a workspace's says where"
        );
        assert_eq!(
            form(9),
            "\"ServiceDied\",\"service\":\"ide\",\"exitCode\":137,\"signal\":9}\n"
        );
        assert_eq!(form(12), "\"Stopped\",\"exitCode\":137}\n");
    }

    #[test]
    fn a_newer_fact_is_unknown_not_an_error() {
        let mut reader = EventReader::default();
        let got =
            reader.feed(b"{\"at\":\"2026-01-01T00:00:00Z\",\"type\":\"Levitating\",\"h\":3}\n");
        assert!(
            matches!(
                &got[..],
                [Ok(StepEvent {
                    fact: Fact::Unknown,
                    ..
                })]
            ),
            "{got:?}"
        );
    }

    #[test]
    fn a_bad_line_is_named_and_harms_no_other() {
        let mut file = b"garbage\n".to_vec();
        file.extend(
            StepEvent {
                at: at(1),
                fact: Fact::Waiting,
            }
            .to_line(),
        );
        file.extend(vec![b'x'; MAX_EVENT_LINE + 5]);
        file.push(b'\n');
        file.extend(
            StepEvent {
                at: at(2),
                fact: Fact::Ready { port: None },
            }
            .to_line(),
        );
        let got = EventReader::default().feed(&file);
        assert!(matches!(
            &got[0],
            Err(EventError::Malformed { line: 1, .. })
        ));
        assert!(matches!(
            &got[1],
            Ok(StepEvent {
                fact: Fact::Waiting,
                ..
            })
        ));
        assert_eq!(got[2], Err(EventError::TooLong { line: 3 }));
        assert!(matches!(
            &got[3],
            Ok(StepEvent {
                fact: Fact::Ready { port: None },
                ..
            })
        ));
        assert_eq!(got.len(), 4);
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_give_the_same_events(cuts in proptest::collection::vec(1..40_usize, 1..200)) {
            let events = some_events();
            let file: Vec<u8> = events.iter().flat_map(StepEvent::to_line).collect();
            let mut reader = EventReader::default();
            let (mut got, mut rest, mut cuts) = (Vec::new(), &file[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let (piece, tail) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                got.extend(reader.feed(piece));
                rest = tail;
            }
            prop_assert_eq!(got, events.into_iter().map(Ok).collect::<Vec<_>>());
        }

        #[test]
        fn no_file_panics(file in proptest::collection::vec(any::<u8>(), 0..2048)) {
            EventReader::default().feed(&file);
        }

        #[test]
        fn no_json_panics(text in "\\{(\"at\":\"2026-01-01T00:00:00Z\",)?\"type\":\"[A-Z][a-z]{3,9}\"(,\"[a-z]{1,8}\":(-?[0-9]{1,25}|\"x\"|null|\\[\\]))*\\}\n") {
            EventReader::default().feed(text.as_bytes());
        }
    }
}
