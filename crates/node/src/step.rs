//! One step's folder, read as what it is: a tenant's.

use std::fs::File;
use std::path::Path;

use baton_protocol::Record;
use baton_protocol::event::{EventError, EventReader, Fact, StepEvent};
use baton_protocol::layout::{
    EVENTS, EXIT, MAX_CAUSE_BYTES, MAX_EVENTS_BYTES, MAX_RECORD_BYTES, STEPS,
};
use baton_protocol::text::cut;
use baton_steps::{Death, Event};

use crate::untrusted::{self, ReadError};

/// Most bad lines of one event file that are told of.
const MAX_COMPLAINTS: u32 = 8;
/// Event files are read in pieces of this size.
const PIECE: usize = 64 << 10;

/// Whether an entrypoint of this pod lives, of the steps and sidecars from 1 to `total`: each holds its event
/// file open. False where the folder is not there, and where that cannot be told: the look takes a lease, as
/// that of [`Deaths::ByClose`](crate::Deaths::ByClose) does.
pub fn is_in_use(root: &Path, total: u32) -> bool {
    let Ok(dir) = File::open(root) else {
        return false;
    };
    (1..=total).any(|number| StepDir::new(number).is_being_written(&dir))
}

/// What was read of a step's folder so far.
#[derive(Debug)]
pub(crate) struct StepDir {
    number: u32,
    /// Paths below the pod's root. The folder itself is Baton's: only what is in it is the tenant's.
    exit: String,
    events: String,
    reader: EventReader,
    offset: u64,
    inode: Option<u64>,
    complaints: u32,
    /// The event file is past its bound, or not the one it was: no more of it is read.
    closed: bool,
}

/// What a look at an event file brought.
#[derive(Debug, Default)]
pub(crate) struct Look {
    pub(crate) facts: Vec<Event>,
    pub(crate) bad: Vec<String>,
    pub(crate) trouble: Option<std::io::Error>,
}

impl StepDir {
    pub(crate) fn new(number: u32) -> StepDir {
        StepDir {
            number,
            exit: format!("{STEPS}/{number}/{EXIT}"),
            events: format!("{STEPS}/{number}/{EVENTS}"),
            reader: EventReader::default(),
            offset: 0,
            inode: None,
            complaints: 0,
            closed: false,
        }
    }

    /// The step's end, where its final record is there.
    pub(crate) fn end(&self, root: &File) -> Result<Option<Event>, std::io::Error> {
        let number = self.number;
        let bad = |cause: String| Event::Died {
            number,
            how: Death::BadRecord(cut(&cause, MAX_CAUSE_BYTES)),
        };
        let end = match untrusted::read(root, self.exit.as_str(), MAX_RECORD_BYTES) {
            Ok(json) => match Record::from_json(&json) {
                Ok(record) => Event::Finished { number, record },
                Err(e) => bad(e.to_string()),
            },
            Err(ReadError::Absent) => return Ok(None),
            Err(ReadError::Trouble(e)) => return Err(e),
            Err(e @ (ReadError::Bad(_) | ReadError::TooLong(_))) => bad(e.to_string()),
        };
        Ok(Some(end))
    }

    /// Whether its entrypoint lives: it holds the event file open as long as it does. `None` where that
    /// cannot be told, or where no entrypoint has written anything yet.
    pub(crate) fn is_alive(&self, root: &File) -> Option<bool> {
        let opened = untrusted::open(root, self.events.as_str()).ok()?;
        untrusted::is_being_written(&opened.file).filter(|_| opened.len > 0)
    }

    /// Whether anybody has the event file open for writing.
    pub(crate) fn is_being_written(&self, root: &File) -> bool {
        let opened = untrusted::open(root, self.events.as_str());
        opened.is_ok_and(|opened| untrusted::is_being_written(&opened.file) == Some(true))
    }

    /// The facts that were appended to the event file since the last look.
    pub(crate) fn look(&mut self, root: &File) -> Look {
        let mut look = Look::default();
        if !self.closed
            && let Err(e) = self.read_on(root, &mut look)
        {
            match e {
                ReadError::Absent => {}
                ReadError::Trouble(e) => look.trouble = Some(e),
                e @ (ReadError::Bad(_) | ReadError::TooLong(_)) => {
                    self.close(e.to_string(), &mut look);
                }
            }
        }
        look
    }

    fn read_on(&mut self, root: &File, look: &mut Look) -> Result<(), ReadError> {
        let opened = untrusted::open(root, self.events.as_str())?;
        if *self.inode.get_or_insert(opened.inode) != opened.inode {
            return Err(ReadError::Bad("it was replaced by another file".to_owned()));
        }
        loop {
            let room = usize::try_from(MAX_EVENTS_BYTES.saturating_sub(self.offset));
            let most = room.unwrap_or(PIECE).min(PIECE);
            if most == 0 {
                if opened.len > MAX_EVENTS_BYTES {
                    let cause =
                        format!("it is longer than {MAX_EVENTS_BYTES} bytes; the rest is ignored");
                    self.close(cause, look);
                }
                return Ok(());
            }
            let piece = untrusted::piece(&opened.file, self.offset, most)?;
            if piece.is_empty() {
                return Ok(());
            }
            self.offset += piece.len() as u64;
            for event in self.reader.feed(&piece) {
                match event {
                    Ok(event) => look.facts.extend(fact(self.number, event)),
                    Err(e) => self.complain(&e, look),
                }
            }
        }
    }

    fn complain(&mut self, e: &EventError, look: &mut Look) {
        self.complaints += 1;
        if self.complaints < MAX_COMPLAINTS {
            look.bad.push(e.to_string());
        } else if self.complaints == MAX_COMPLAINTS {
            look.bad
                .push(format!("{e}; further bad lines are not told of"));
        }
    }

    fn close(&mut self, cause: String, look: &mut Look) {
        self.closed = true;
        look.bad.push(cause);
    }
}

/// What an event means to the run. The final record alone ends a step, so `Finished` means nothing.
fn fact(number: u32, event: StepEvent) -> Option<Event> {
    let at = event.at;
    match event.fact {
        Fact::Started { attempt } => Some(Event::Started {
            number,
            attempt,
            at,
        }),
        Fact::Retrying {
            attempt,
            reason,
            exit_code,
            delay_ms,
        } => Some(Event::Retrying {
            number,
            attempt,
            reason,
            exit_code,
            delay_ms,
            at,
        }),
        Fact::Ready { .. } => Some(Event::Ready { number }),
        Fact::Waiting | Fact::Stopping { .. } | Fact::Finished(_) | Fact::Unknown => None,
        // A workspace's: it is no step.
        Fact::Seeding
        | Fact::Starting { .. }
        | Fact::ServiceReady { .. }
        | Fact::ServiceDied { .. }
        | Fact::Restarting { .. }
        | Fact::GaveUp { .. }
        | Fact::Stopped { .. } => None,
    }
}
