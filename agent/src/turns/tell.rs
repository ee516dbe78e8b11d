//! The thread that tells: it makes events of notices, reads the results of ended steps, and may wait
//! for its sink.

use std::collections::HashMap;
use std::path::Path;

use baton_events::{MAX_TASK_RESULTS_BYTES, MissingResult, PodRef, StepResult, Told, What};
use baton_node::{Notice, results_within};
use baton_protocol::Timestamp;
use baton_protocol::layout::MAX_NAME_BYTES;
use baton_protocol::text::cut;
use sha2::{Digest, Sha256};

use super::Sink;
use super::outbox::{Item, Kept, Outbox};

/// Most items that are taken before the sink has them.
const BATCH: usize = 64;
/// Most results of one step that are named though they are not given.
const MAX_MISSING: usize = 64;

pub(super) fn run(outbox: &Outbox, mut sink: impl Sink) {
    let mut teller = Teller::default();
    while let Some(taken) = outbox.take(BATCH) {
        for took in taken.times {
            sink.handed_over(took);
        }
        for item in taken.items {
            match item {
                Item::Notice(kept, at, notice) => teller.take(&kept, at, &notice),
                Item::LeftOut(kept, at, count) => {
                    let message =
                        format!("{count} events were left out: more came than could be told");
                    teller
                        .told
                        .push(warning(&kept.pod, at, 0, "left-out", message));
                }
                Item::Told(told) => teller.told.push(*told),
                Item::Sync(gone, reply) => {
                    teller.flush(&mut sink);
                    if let Some(kept) = gone {
                        teller.rooms.remove(&kept.pod.uid);
                    }
                    sink.sync();
                    // Who asked may have given up waiting.
                    let _ = reply.send(());
                }
            }
            if teller.bytes >= MAX_TASK_RESULTS_BYTES {
                teller.flush(&mut sink);
            }
        }
        teller.flush(&mut sink);
    }
    sink.sync();
}

#[derive(Default)]
struct Teller {
    told: Vec<Told>,
    /// Bytes of results in `told`.
    bytes: usize,
    /// Bytes that are left for the results of each pod's task, by UID; all of them where it is not here.
    rooms: HashMap<String, usize>,
}

impl Teller {
    fn take(&mut self, kept: &Kept, now: Timestamp, notice: &Notice) {
        let told = match notice {
            Notice::Run(notice) => {
                let (at, mut what) = What::of_notice(notice, now);
                if let What::StepFinished {
                    number,
                    results,
                    missing,
                    ..
                } = &mut what
                {
                    let room = self
                        .rooms
                        .entry(kept.pod.uid.clone())
                        .or_insert(MAX_TASK_RESULTS_BYTES);
                    let before = *room;
                    (*results, *missing) = results_of(&kept.root, *number, room);
                    self.bytes += before - *room;
                }
                let pod = PodRef::clone(&kept.pod);
                Told { pod, at, what }
            }
            Notice::Kill { number } => {
                let message = "its time to stop is over, and its entrypoint is still there; \
                               the pod has to be deleted";
                warning(&kept.pod, now, *number, "kill", message.to_owned())
            }
            Notice::Bad {
                number,
                file,
                cause,
            } => {
                let about = format!("bad-{file}-{}", mark(cause));
                warning(&kept.pod, now, *number, &about, format!("{file}: {cause}"))
            }
            Notice::Trouble { message } => {
                let about = format!("trouble-{}", mark(message));
                tracing::warn!(pod = %kept.pod, "{message}");
                warning(&kept.pod, now, 0, &about, message.clone())
            }
        };
        self.told.push(told);
    }

    fn flush(&mut self, sink: &mut impl Sink) {
        self.bytes = 0;
        if !self.told.is_empty() {
            sink.keep(std::mem::take(&mut self.told));
        }
    }
}

fn warning(pod: &PodRef, at: Timestamp, number: u32, about: &str, message: String) -> Told {
    let about = about.to_owned();
    Told {
        pod: pod.clone(),
        at,
        what: What::Warning {
            number,
            about,
            message,
        },
    }
}

/// Sets a message apart from others, the same each time.
fn mark(message: &str) -> String {
    let digest = Sha256::digest(message.as_bytes());
    digest.iter().take(4).map(|b| format!("{b:02x}")).collect()
}

/// The results of a step as far as there is `room`, which they use up, and those that are not given.
fn results_of(root: &Path, number: u32, room: &mut usize) -> (Vec<StepResult>, Vec<MissingResult>) {
    let (mut given, mut missing) = (Vec::new(), Vec::new());
    let found = match results_within(root, number, *room) {
        Ok(found) => found,
        Err(e) => {
            let (name, why) = ("*".to_owned(), e.to_string());
            return (given, vec![MissingResult { name, why }]);
        }
    };
    let no_room = || {
        format!(
            "the results of the task are longer than {} KiB together",
            MAX_TASK_RESULTS_BYTES >> 10
        )
    };
    let mut more = 0_usize;
    for (name, value) in found {
        let value = match value {
            Ok(bytes) => String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned()),
            Err(baton_node::ResultError::Sum) => Err(no_room()),
            Err(e) => Err(e.to_string()),
        };
        let used = value.as_ref().map_or(0, |v| name.len() + v.len());
        match value {
            Ok(value) if used <= *room => {
                *room -= used;
                given.push(StepResult { name, value });
            }
            _ if missing.len() == MAX_MISSING => more += 1,
            Ok(_) => {
                let why = no_room();
                missing.push(MissingResult { name, why });
            }
            // A file that no result can be may have a name of any kind.
            Err(why) => {
                let name = cut(&name, MAX_NAME_BYTES);
                missing.push(MissingResult { name, why });
            }
        }
    }
    if more > 0 {
        let (name, why) = ("*".to_owned(), format!("{more} more are not given"));
        missing.push(MissingResult { name, why });
    }
    (given, missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_node::MAX_RESULTS;
    use baton_protocol::layout::{RESULTS, step_dir};
    use std::fs;

    #[test]
    fn files_that_are_no_results_are_named_briefly() {
        let root = tempfile::tempdir().unwrap();
        let dir = step_dir(root.path(), 1).join(RESULTS);
        fs::create_dir_all(&dir).unwrap();
        for i in 0..MAX_RESULTS - 1 {
            fs::write(dir.join(format!("{}{i:03}", "\u{1}".repeat(250))), "").unwrap();
        }
        fs::write(dir.join("good"), "yes").unwrap();
        let (given, missing) = results_of(root.path(), 1, &mut 100);
        assert_eq!(given.len(), 1);
        assert_eq!(missing.len(), MAX_MISSING + 1);
        assert_eq!(missing[MAX_MISSING].name, "*");
        assert_eq!(missing[MAX_MISSING].why, "935 more are not given");
        let bytes = serde_json::to_vec(&missing).unwrap().len();
        assert!(bytes < 64 << 10, "{bytes} bytes");
    }

    #[test]
    fn results_are_given_as_far_as_there_is_room_and_the_rest_is_named() {
        let root = tempfile::tempdir().unwrap();
        let dir = step_dir(root.path(), 1).join(RESULTS);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("a"), "12345").unwrap();
        fs::write(dir.join("b"), [0xff]).unwrap();
        fs::write(dir.join("c"), "x".repeat(100)).unwrap();
        fs::write(dir.join("d"), "6").unwrap();
        let mut room = 10;
        let (given, missing) = results_of(root.path(), 1, &mut room);
        let given: Vec<_> = given
            .iter()
            .map(|r| (r.name.as_str(), r.value.as_str()))
            .collect();
        assert_eq!(given, [("a", "12345"), ("d", "6")]);
        assert_eq!(room, 2);
        let names: Vec<_> = missing.iter().map(|m| m.name.as_str()).collect();
        assert_eq!(names, ["b", "c"]);
        assert_eq!(missing[0].why, "it is not UTF-8 text");
        assert_eq!(
            missing[1].why,
            "the results of the task are longer than 256 KiB together"
        );
    }
}
