//! Where things are: the baton volume's files, the downward API's, and names in the cluster.
//!
//! ```text
//! /baton/bin/entrypoint, init
//! /baton/order
//! /baton/turns/<i>/order
//! /baton/steps/<i>/events, exit, stdout, stderr, script, results/<name>
//! ```

use std::path::{Path, PathBuf};

/// Where the volume is mounted in every container of a step pod.
pub const ROOT: &str = "/baton";
/// The order file that the downward API provides.
pub const DOWNWARD_ORDER: &str = "/etc/podinfo/order";
/// The pod annotation that holds the order.
pub const ORDER_ANNOTATION: &str = "baton.dev/order";

/// The order file, in the volume's root.
pub const ORDER: &str = "order";
/// The folder of the steps' own order files, in the volume's root. Each has a folder to itself, so
/// that the order changes in sight of the step that it concerns and wakes no other.
pub const TURNS: &str = "turns";
/// The folder of the steps' folders, in the volume's root.
pub const STEPS: &str = "steps";
/// The folder of the tools, in the volume's root.
pub const BIN: &str = "bin";
/// A step's event file: JSON lines, append-only.
pub const EVENTS: &str = "events";
/// A step's final record, made by rename once all of the step is over. Behind it comes nothing but its repetition.
pub const EXIT: &str = "exit";
/// The folder of a step's results.
pub const RESULTS: &str = "results";
/// A step's unpacked script.
pub const SCRIPT: &str = "script";
/// A step's captured standard output, where asked for.
pub const STDOUT: &str = "stdout";
/// A step's captured standard error, where asked for.
pub const STDERR: &str = "stderr";

/// Largest event file that is read, in bytes; what follows is ignored, and said so.
pub const MAX_EVENTS_BYTES: u64 = 1 << 20;
/// Longest line of an event file, in bytes.
pub const MAX_EVENT_LINE: usize = 16 << 10;
/// Largest final record, in bytes.
pub const MAX_RECORD_BYTES: u64 = 64 << 10;
/// Longest message of a final record that is written and kept, in bytes: a line of events has room for it,
/// however JSON writes it.
pub const MAX_MESSAGE_BYTES: usize = 2048;
/// Longest account of what is wrong with a file or text from outside, in bytes: its own words may be in it.
pub const MAX_CAUSE_BYTES: usize = 256;
/// Largest result, in bytes.
pub const MAX_RESULT_BYTES: u64 = 1 << 20;
/// Longest name of a step or a result, in bytes.
pub const MAX_NAME_BYTES: usize = 63;
/// Largest termination message that Kubernetes keeps, in bytes.
pub const MAX_TERMINATION_BYTES: usize = 4096;

/// The environment variable that names the step's results folder to its command.
pub const RESULTS_ENV: &str = "BATON_RESULTS";
/// The environment variable that holds the number of the attempt, from 1.
pub const ATTEMPT_ENV: &str = "BATON_ATTEMPT";

/// The folder of step `number` (steps and `finally` steps from 1, then sidecars) below `root`.
pub fn step_dir(root: &Path, number: u32) -> PathBuf {
    root.join(STEPS).join(number.to_string())
}

/// The order file of step `number` alone, below `root`.
pub fn turn_file(root: &Path, number: u32) -> PathBuf {
    root.join(TURNS).join(number.to_string()).join(ORDER)
}

/// Whether `name` can name a step or a result: letters, digits, `-`, `_` and `.`, not starting with
/// `.` or `-`, and at most [`MAX_NAME_BYTES`] bytes. Such a name is always one plain path component.
pub fn is_name(name: &str) -> bool {
    name.len() <= MAX_NAME_BYTES
        && !name.is_empty()
        && !name.starts_with(['.', '-'])
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_path_components() {
        for good in ["a", "build-1", "JAVA_HOME", "v1.2"] {
            assert!(is_name(good), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            ".hidden",
            "-x",
            "a/b",
            "a b",
            "é",
            "a\0",
            &"x".repeat(64),
        ] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }
}
