//! Reading what a container's entrypoint left.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use baton_pid1::Ended;
use baton_protocol::layout::{EXIT, MAX_RECORD_BYTES};
use baton_protocol::{Reason, Record, Timestamp, exit};

/// The final record in a container's folder; or, where its entrypoint left none, one made of how it
/// ended.
pub(super) fn record(
    step_dir: &Path,
    how: Option<Ended>,
    started_at: Timestamp,
    now: Timestamp,
) -> Record {
    read(&step_dir.join(EXIT)).unwrap_or_else(|| {
        let code = match how {
            // An entrypoint that says nothing and exits with 0 has not done its part.
            None | Some(Ended::Exited(0)) => exit::FAILED,
            Some(how) => how.code(),
        };
        let mut record = Record::new(Reason::Error, code, now);
        record.signal = match how {
            Some(Ended::Killed(signal)) => Some(signal),
            _ => None,
        };
        record.attempts = 1;
        record.started_at = Some(started_at);
        record.ran_ms = u64::try_from(now.since(started_at).as_millis()).unwrap_or(u64::MAX);
        record.message = "it ended without a record".to_owned();
        record
    })
}

fn read(path: &Path) -> Option<Record> {
    // The folder is the container's own: no link, no pipe, no endless file.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
        .ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(MAX_RECORD_BYTES + 1)
        .read_to_end(&mut bytes)
        .ok()?;
    (bytes.len() as u64 <= MAX_RECORD_BYTES)
        .then(|| Record::from_json(&bytes).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn only_a_record_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(EXIT);
        let now = Timestamp(SystemTime::now());
        let got = |how| record(dir.path(), how, now, now);
        assert_eq!(got(Some(Ended::Killed(9))).exit_code, 137);
        assert_eq!(got(Some(Ended::Killed(9))).signal, Some(9));
        assert_eq!(got(Some(Ended::Exited(0))).exit_code, exit::FAILED);
        std::fs::write(&file, Record::new(Reason::Completed, 0, now).to_json()).unwrap();
        assert_eq!(got(Some(Ended::Exited(0))).reason, Reason::Completed);
        std::fs::write(&file, vec![b' '; MAX_RECORD_BYTES as usize + 1]).unwrap();
        assert_eq!(got(Some(Ended::Exited(3))).exit_code, 3);
        std::fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &file).unwrap();
        assert_eq!(
            got(Some(Ended::Exited(3))).message,
            "it ended without a record"
        );
    }
}
