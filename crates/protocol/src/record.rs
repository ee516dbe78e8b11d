//! The final record of a step, and the termination message made of it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use crate::layout::{MAX_MESSAGE_BYTES, MAX_TERMINATION_BYTES};
use crate::text::cut;
use crate::time::Timestamp;

/// Why a step ended as it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Reason {
    /// The command ended with 0 (or a code that counts as success).
    Completed,
    /// The command ended with another code, or by a signal that Baton did not send.
    Error,
    /// The command could not be started: missing, not executable, or its input could not be prepared.
    StartError,
    /// The step's time was up.
    TimedOut,
    /// The kernel killed a process of the step for want of memory.
    #[serde(rename = "OOMKilled")]
    OomKilled,
    /// The order said cancelled, or a signal told the step to stop.
    Cancelled,
    /// The step's `when` did not hold: it was not run, and that is no failure.
    Skipped,
    /// The order was already past this step, so it was not run.
    Passed,
}

impl Reason {
    /// Whether a step with this reason lets its successor start.
    pub const fn is_success(self) -> bool {
        matches!(self, Reason::Completed | Reason::Skipped)
    }
}

/// As in JSON.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::OomKilled => f.write_str("OOMKilled"),
            reason => write!(f, "{reason:?}"),
        }
    }
}

/// How a step ended: the content of its `exit` file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Why.
    pub reason: Reason,
    /// The command's exit code, 128+n for signal n; one of [`exit`](crate::exit)'s where there is
    /// no command's code.
    pub exit_code: i32,
    /// The signal that ended the command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// The step failed, and its `--on-error continue` lets the next one start all the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub continued: bool,
    /// How often the command was started.
    #[serde(default)]
    pub attempts: u32,
    /// When the last attempt's command was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When the step was over.
    pub finished_at: Timestamp,
    /// How long the step waited for its turn, in milliseconds.
    #[serde(default, deserialize_with = "crate::record::bounded")]
    pub waited_ms: u64,
    /// How long the step ran, all attempts and the delays between them, in milliseconds.
    #[serde(default, deserialize_with = "crate::record::bounded")]
    pub ran_ms: u64,
    /// CPU time in user mode of every process of the step that was waited for, in microseconds.
    #[serde(default, deserialize_with = "crate::record::bounded")]
    pub user_us: u64,
    /// The same in system mode.
    #[serde(default, deserialize_with = "crate::record::bounded")]
    pub system_us: u64,
    /// Largest resident set of any one process of the step, in bytes.
    #[serde(default, deserialize_with = "crate::record::bounded")]
    pub peak_bytes: u64,
    /// Captured output was cut at its limit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub output_cut: bool,
    /// What a person should know, where the reason alone does not tell. At most [`MAX_MESSAGE_BYTES`] of it are
    /// read.
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        deserialize_with = "short"
    )]
    pub message: String,
}

/// Reads a number that a tenant wrote, no larger than the JSON of Kubernetes can carry: there a larger
/// one is no integer any more.
pub(crate) fn bounded<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    u64::deserialize(deserializer).map(|number| number.min(i64::MAX as u64))
}

/// Reads a message that a tenant wrote, and its beginning alone where it is long: each reader keeps it, a
/// node's agent for all of its pods.
fn short<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    String::deserialize(deserializer).map(|message| cut(&message, MAX_MESSAGE_BYTES))
}

impl Record {
    /// A record of a step whose command never ran.
    pub fn new(reason: Reason, exit_code: i32, finished_at: Timestamp) -> Record {
        Record {
            reason,
            exit_code,
            signal: None,
            continued: false,
            attempts: 0,
            started_at: None,
            finished_at,
            waited_ms: 0,
            ran_ms: 0,
            user_us: 0,
            system_us: 0,
            peak_bytes: 0,
            output_cut: false,
            message: String::new(),
        }
    }

    /// Whether the next step may start.
    pub fn lets_next_start(&self) -> bool {
        self.reason.is_success() || self.continued
    }

    /// CPU time in both modes.
    pub fn cpu(&self) -> Duration {
        Duration::from_micros(self.user_us.saturating_add(self.system_us))
    }

    /// Writes the record as one line of JSON.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a record that [`to_json`](Record::to_json) wrote.
    ///
    /// # Errors
    /// Where the bytes are no record.
    pub fn from_json(bytes: &[u8]) -> Result<Record, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

/// The termination message: the record, and as many whole results as fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Termination {
    /// How the step ended.
    #[serde(flatten)]
    pub record: Record,
    /// Small results, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub results: BTreeMap<String, String>,
    /// How many results are in the step's folder alone.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more_results: u32,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// Writes a termination message: always valid JSON, at most [`MAX_TERMINATION_BYTES`] long.
///
/// The smallest results go first, so that as many as can be are whole; a result that does not fit is
/// counted in `moreResults`. A message too long for what the results leave is cut.
pub fn termination_message(record: &Record, results: &BTreeMap<String, String>) -> Vec<u8> {
    let mut term = Termination {
        record: record.clone(),
        results: BTreeMap::new(),
        more_results: u32::MAX,
    };
    cut_message(&mut term);
    let mut room = MAX_TERMINATION_BYTES.saturating_sub(json_len(&term) + "\"results\":{},".len());
    let mut sorted: Vec<_> = results
        .iter()
        .map(|(k, v)| (json_len(k) + json_len(v) + 2, k, v))
        .collect();
    sorted.sort();
    let mut left_out = 0;
    for (len, name, value) in sorted {
        if len <= room {
            room -= len;
            term.results.insert(name.clone(), value.clone());
        } else {
            left_out += 1;
        }
    }
    term.more_results = left_out;
    serde_json::to_vec(&term).unwrap_or_default()
}

fn cut_message(term: &mut Termination) {
    while json_len(term) > MAX_TERMINATION_BYTES / 2 && !term.record.message.is_empty() {
        let half = term.record.message.len() / 2;
        let cut = (0..=half)
            .rev()
            .find(|i| term.record.message.is_char_boundary(*i))
            .unwrap_or(0);
        term.record.message.truncate(cut);
        if cut > 0 {
            term.record.message.push('…');
        }
        if cut <= '…'.len_utf8() {
            term.record.message.clear();
        }
    }
}

fn json_len<T: Serialize>(value: &T) -> usize {
    serde_json::to_vec(value).map_or(usize::MAX / 4, |v| v.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::SystemTime;

    fn record() -> Record {
        Record::new(Reason::Completed, 0, Timestamp(SystemTime::UNIX_EPOCH))
    }

    #[test]
    fn a_record_reads_back_and_leaves_out_what_is_not_so() {
        let json = record().to_json();
        assert_eq!(Record::from_json(&json).unwrap(), record());
        assert!(!String::from_utf8(json).unwrap().contains("continued"));
    }

    #[test]
    fn an_unknown_field_of_a_newer_entrypoint_is_no_error() {
        let json =
            br#"{"reason":"OOMKilled","exitCode":137,"finishedAt":"2026-01-01T00:00:00Z","new":1}"#;
        assert_eq!(Record::from_json(json).unwrap().reason, Reason::OomKilled);
    }

    #[test]
    fn a_reason_reads_as_in_json() {
        for reason in [Reason::OomKilled, Reason::TimedOut, Reason::StartError] {
            let json = serde_json::to_string(&reason).unwrap();
            assert_eq!(json, format!("\"{reason}\""));
        }
    }

    #[test]
    fn no_number_is_larger_than_kubernetes_can_carry() {
        let json = br#"{"reason":"Completed","exitCode":0,"finishedAt":"2026-01-01T00:00:00Z","peakBytes":18446744073709551615,"userUs":9223372036854775807}"#;
        let record = Record::from_json(json).unwrap();
        assert_eq!(
            (record.peak_bytes, record.user_us),
            (i64::MAX as u64, i64::MAX as u64)
        );
    }

    #[test]
    fn a_record_of_another_form_is_refused() {
        for bad in [
            "",
            "{}",
            "[]",
            "{\"reason\":\"Levitated\",\"exitCode\":0}",
            "{\"reason\":1}",
        ] {
            assert!(Record::from_json(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn small_results_go_first() {
        let results = BTreeMap::from([
            ("big".to_owned(), "x".repeat(5000)),
            ("digest".to_owned(), "sha256:abc".to_owned()),
        ]);
        let message: Termination =
            serde_json::from_slice(&termination_message(&record(), &results)).unwrap();
        assert_eq!(
            message.results,
            BTreeMap::from([("digest".to_owned(), "sha256:abc".to_owned())])
        );
        assert_eq!(message.more_results, 1);
    }

    proptest! {
        #[test]
        fn the_message_is_valid_and_bounded_whatever_happens(
            message in "\\PC{0,3000}|(\\x00|\"){0,3000}",
            results in proptest::collection::btree_map("[a-z]{1,63}", "\\PC{0,600}|\\x01{0,900}", 0..60),
        ) {
            let mut record = record();
            record.message = message;
            let bytes = termination_message(&record, &results);
            prop_assert!(bytes.len() <= MAX_TERMINATION_BYTES, "{} bytes", bytes.len());
            let read: Termination = serde_json::from_slice(&bytes).unwrap();
            prop_assert_eq!(read.results.len() + read.more_results as usize, results.len());
            for (name, value) in &read.results {
                prop_assert_eq!(Some(value), results.get(name));
            }
        }
    }
}
