//! How ends are told: the same words on the running log, in the table and in the advice below it.

use baton_protocol::{Reason, Record, exit};
use baton_steps::StepState;

use super::style::{FAINT, GREEN, RED, Style, YELLOW};

/// A step's end in a few words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// The mark that stands before it.
    pub mark: &'static str,
    /// The words.
    pub words: String,
    /// Its colour.
    pub style: Style,
    /// Whether a person should look at it.
    pub failed: bool,
}

/// Tells how a step stands or ended.
pub fn end(state: &StepState) -> End {
    let of = |mark, words: &str, style, failed| End {
        mark,
        words: words.to_owned(),
        style,
        failed,
    };
    match state {
        StepState::Done { record } => recorded(record),
        StepState::Died { .. } => of("✘", "died", RED, true),
        StepState::NotRun { .. } => of("·", "not run", FAINT, false),
        StepState::Pending | StepState::Released { .. } => of("·", "waiting", FAINT, false),
        StepState::Running { .. } => of("▶", "running", FAINT, false),
    }
}

fn recorded(record: &Record) -> End {
    let (mark, words, style) = match record.reason {
        Reason::Completed => ("✔", "completed".to_owned(), GREEN),
        Reason::Skipped => ("○", "skipped".to_owned(), FAINT),
        Reason::Passed => ("·", "not run".to_owned(), FAINT),
        Reason::Cancelled => ("✘", "cancelled".to_owned(), YELLOW),
        Reason::TimedOut => ("✘", "timed out".to_owned(), RED),
        Reason::OomKilled => ("✘", "out of memory".to_owned(), RED),
        Reason::StartError => ("✘", "could not start".to_owned(), RED),
        Reason::Error => match record.signal {
            Some(signal) => ("✘", format!("killed by {}", signal_name(signal)), RED),
            None => ("✘", "failed".to_owned(), RED),
        },
    };
    let failed = !record.reason.is_success() && record.reason != Reason::Passed;
    End {
        mark,
        words: if record.continued {
            format!("{words}, ignored")
        } else {
            words
        },
        style: if record.continued { YELLOW } else { style },
        failed,
    }
}

/// A signal's name.
pub fn signal_name(signal: i32) -> String {
    match nix::sys::signal::Signal::try_from(signal) {
        Ok(known) => known.as_str().to_owned(),
        Err(_) => format!("signal {signal}"),
    }
}

/// What a person can do about a failure, where the record lets us know.
pub fn advice(record: &Record) -> Option<&'static str> {
    match (record.reason, record.exit_code) {
        (Reason::TimedOut, _) => Some("give it more time with `timeout`, or see what it waits for"),
        (Reason::OomKilled, _) => Some("it needs more memory than it may use"),
        (Reason::StartError, exit::NOT_FOUND) => Some(
            "the program is not on this machine or not on PATH: images are not used here; install it, \
             or set PATH with --env",
        ),
        (Reason::Error, exit::NOT_FOUND) => {
            Some("exit code 127 of a shell means that a command was not found on this machine")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_protocol::Timestamp;
    use std::time::SystemTime;

    fn record(reason: Reason, code: i32) -> Record {
        Record::new(reason, code, Timestamp(SystemTime::UNIX_EPOCH))
    }

    #[test]
    fn ends_in_words() {
        let mut killed = record(Reason::Error, 139);
        killed.signal = Some(11);
        let mut ignored = record(Reason::Error, 1);
        ignored.continued = true;
        for (record, words, failed) in [
            (record(Reason::Completed, 0), "completed", false),
            (record(Reason::Skipped, 0), "skipped", false),
            (record(Reason::OomKilled, 137), "out of memory", true),
            (killed, "killed by SIGSEGV", true),
            (ignored, "failed, ignored", true),
        ] {
            let got = end(&StepState::Done { record });
            assert_eq!((got.words.as_str(), got.failed), (words, failed));
        }
        assert_eq!(signal_name(40), "signal 40");
    }

    #[test]
    fn advice_is_given_where_there_is_some() {
        assert!(advice(&record(Reason::StartError, 127)).is_some());
        assert_eq!(advice(&record(Reason::Error, 1)), None);
    }
}
