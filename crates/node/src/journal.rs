//! What a run asked to remember: JSON lines in the pod's root, where no tenant writes.
//!
//! It outlives this process, not the machine: a pod does not outlive its machine either, so nothing is
//! synced to the disk.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use baton_protocol::Timestamp;
use baton_protocol::layout::MAX_RECORD_BYTES;
use baton_steps::Event;
use serde::{Deserialize, Serialize};

/// Largest journal that is read: one final record for each step, and some room.
const MAX_JOURNAL_BYTES: u64 = 256 << 20;
/// Longest line that is read: a final record.
const MAX_LINE_BYTES: u64 = 2 * MAX_RECORD_BYTES;

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
    /// Opens the journal, and makes it where there is none. Gives what it holds: `most` events at most, as a
    /// pod that was given the whole volume can write here, too.
    pub(crate) fn open(path: &Path, most: usize) -> io::Result<(Journal, Vec<(Timestamp, Event)>)> {
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o644)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        let (mut known, mut line) = (Vec::new(), Vec::new());
        let mut lines = BufReader::new((&file).take(MAX_JOURNAL_BYTES));
        let mut is_cut = false;
        while known.len() < most {
            line.clear();
            (&mut lines)
                .take(MAX_LINE_BYTES)
                .read_until(b'\n', &mut line)?;
            let Some(last) = line.last() else { break };
            is_cut = *last != b'\n';
            // A line that is cut says nothing that the step's folder does not say, too.
            let read = serde_json::from_slice::<Line>(&line);
            known.extend(read.ok().map(|line| (line.at, line.event)));
        }
        if is_cut {
            // We died while we wrote the last line; the next one is not to join it.
            file.write_all(b"\n")?;
        }
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
        let (mut journal, known) = Journal::open(&path, 100).unwrap();
        assert_eq!(known, []);
        journal.append(at, events[0].clone()).unwrap();
        journal.file.write_all(b"{\"at\":\"1970-").unwrap();
        let (mut journal, _) = Journal::open(&path, 100).unwrap();
        journal.append(at, events[1].clone()).unwrap();
        journal.append(at, events[2].clone()).unwrap();
        let (_, known) = Journal::open(&path, 100).unwrap();
        assert_eq!(known, events.map(|e| (at, e)));
    }
    #[test]
    fn a_journal_that_a_pod_wrote_fills_no_memory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("facts");
        std::fs::File::create(&path)
            .and_then(|file| file.set_len(MAX_JOURNAL_BYTES))
            .unwrap();
        let before = peak();
        let (_, known) = Journal::open(&path, 100).unwrap();
        assert_eq!(known, []);
        let grown = peak() - before;
        assert!(grown < 32 << 20, "{grown} bytes");
        let line = r#"{"at":"1970-01-01T00:00:00Z","type":"Begin"}"#.to_owned() + "\n";
        std::fs::write(&path, line.repeat(1000)).unwrap();
        let (_, known) = Journal::open(&path, 100).unwrap();
        assert_eq!(known.len(), 100);
    }

    /// The largest that this process ever was, in bytes.
    fn peak() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status
            .lines()
            .find_map(|l| l.strip_prefix("VmHWM:"))
            .unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }
}
