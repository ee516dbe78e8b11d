//! What a run asked to remember: JSON lines in the pod's root, where no tenant writes.
//!
//! It outlives this process, not the machine: a pod does not outlive its machine either, so nothing is
//! synced to the disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use baton_protocol::Timestamp;
use baton_steps::Event;
use serde::{Deserialize, Serialize};

/// Largest journal that is read: one final record for each step, and some room.
const MAX_JOURNAL_BYTES: u64 = 256 << 20;

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    at: Timestamp,
    #[serde(flatten)]
    event: Event,
}

#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    /// The last line may have been written in part.
    cut: bool,
}

impl Journal {
    /// Opens the journal, and makes it where there is none. Gives what it holds.
    pub(crate) fn open(path: &Path) -> io::Result<(Journal, Vec<(Timestamp, Event)>)> {
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o644)
            .custom_flags(libc::O_NOFOLLOW)
            .open(path)?;
        let mut text = Vec::new();
        (&file).take(MAX_JOURNAL_BYTES).read_to_end(&mut text)?;
        if text.last().is_some_and(|b| *b != b'\n') {
            // We died while we wrote the last line; the next one is not to join it.
            file.write_all(b"\n")?;
        }
        // A line that is cut says nothing that the step's folder does not say, too.
        let lines = text.split(|b| *b == b'\n');
        let known = lines.filter_map(|line| serde_json::from_slice::<Line>(line).ok());
        let known = known.map(|line| (line.at, line.event)).collect();
        Ok((Journal { file, cut: false }, known))
    }

    pub(crate) fn append(&mut self, at: Timestamp, event: Event) -> io::Result<()> {
        let mut line = if self.cut { vec![b'\n'] } else { Vec::new() };
        serde_json::to_writer(&mut line, &Line { at, event })?;
        line.push(b'\n');
        let written = self.file.write_all(&line);
        self.cut = written.is_err();
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_protocol::{Reason, Record};
    use std::time::SystemTime;

    #[test]
    fn a_line_that_was_cut_harms_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("facts");
        let at = Timestamp(SystemTime::UNIX_EPOCH);
        let record = Record::new(Reason::Completed, 0, at);
        let events = [
            Event::Begin,
            Event::Finished { number: 1, record },
            Event::Ready { number: 4 },
        ];
        let (mut journal, known) = Journal::open(&path).unwrap();
        assert_eq!(known, []);
        journal.append(at, events[0].clone()).unwrap();
        journal.file.write_all(b"{\"at\":\"1970-").unwrap();
        let (mut journal, _) = Journal::open(&path).unwrap();
        journal.append(at, events[1].clone()).unwrap();
        journal.append(at, events[2].clone()).unwrap();
        let (_, known) = Journal::open(&path).unwrap();
        assert_eq!(known, events.map(|e| (at, e)));
    }
}
