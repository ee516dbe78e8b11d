//! Whole runs, with threads in the part of the entrypoints: they write what those write.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use baton_protocol::event::{Fact, StepEvent};
use baton_protocol::layout::{EVENTS, EXIT, MAX_MESSAGE_BYTES, ORDER, STEPS, step_dir, turn_file};
use baton_protocol::order::{Awaited, Order, Verdict};
use baton_protocol::{Reason, Record, Timestamp, exit};
use baton_steps::{Cause, Death, Event, Notice as RunNotice, Outcome, Phase, Plan, Sidecar, Step};

use crate::node::{Deaths, Handle, Node};
use crate::notice::{NodeError, Notice};
use crate::root::{Access, prepare};
use crate::step::is_in_use;
use crate::watcher::Watcher;

mod hostile;
mod runs;

const DEADLINE: Duration = Duration::from_secs(30);

/// Waits until `f` gives something.
fn until<T>(what: &str, mut f: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = f() {
            return found;
        }
        assert!(start.elapsed() < DEADLINE, "no {what} within {DEADLINE:?}");
        thread::sleep(Duration::from_millis(1));
    }
}

fn now() -> Timestamp {
    SystemTime::now().into()
}

fn order(root: &Path) -> Order {
    Order::parse(&fs::read(root.join(ORDER)).unwrap()).unwrap()
}

/// An entrypoint that holds its event file open and has not ended.
struct Entrypoint {
    root: PathBuf,
    number: u32,
    events: File,
}

impl Entrypoint {
    fn start(root: &Path, number: u32) -> Entrypoint {
        let events = OpenOptions::new()
            .append(true)
            .create(true)
            .open(step_dir(root, number).join(EVENTS))
            .unwrap();
        let root = root.to_owned();
        let mut this = Entrypoint {
            root,
            number,
            events,
        };
        this.emit(Fact::Waiting);
        this
    }

    fn emit(&mut self, fact: Fact) {
        let event = StepEvent { at: now(), fact };
        self.events.write_all(&event.to_line()).unwrap();
    }

    fn turn(&self, through_cancel: bool) -> Verdict {
        let awaited = Awaited::Turn(self.number);
        until("turn", || {
            match awaited.judge(&fs::read(turn_file(&self.root, self.number)).ok()?) {
                Verdict::Wait => None,
                Verdict::Cancelled if through_cancel => None,
                verdict => Some(verdict),
            }
        })
    }

    fn exit(mut self, reason: Reason, code: i32) {
        let record = Record::new(reason, code, now());
        self.emit(Fact::Finished(record.clone()));
        leave(&self.root, self.number, &record.to_json());
    }

    /// Waits for its turn, runs a command that ends with `code`, and leaves.
    fn run(root: &Path, number: u32, through_cancel: bool, code: i32) -> JoinHandle<bool> {
        let mut this = Entrypoint::start(root, number);
        thread::spawn(move || match this.turn(through_cancel) {
            Verdict::Go => {
                this.emit(Fact::Started { attempt: 1 });
                let reason = match code {
                    0 => Reason::Completed,
                    _ => Reason::Error,
                };
                this.exit(reason, code);
                true
            }
            Verdict::Cancelled => {
                this.exit(Reason::Cancelled, exit::CANCELLED);
                false
            }
            _ => {
                this.exit(Reason::Passed, exit::CANCELLED);
                false
            }
        })
    }
}

/// Leaves a final record as an entrypoint does.
fn leave(root: &Path, number: u32, content: &[u8]) {
    let dir = step_dir(root, number);
    fs::write(dir.join(".exit"), content).unwrap();
    fs::rename(dir.join(".exit"), dir.join(EXIT)).unwrap();
}

fn ok_record() -> Vec<u8> {
    Record::new(Reason::Completed, 0, now()).to_json()
}

fn plan(steps: usize, finally: usize) -> Plan {
    let finally = (0..finally).map(|i| Step {
        name: format!("finally-{i}"),
    });
    Plan {
        finally: finally.collect(),
        ..Plan::of_steps((0..steps).map(|i| format!("step-{i}")))
    }
}

struct Pod {
    _scratch: tempfile::TempDir,
    root: PathBuf,
    plan: Plan,
}

impl Pod {
    fn new(plan: Plan) -> Pod {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("pod");
        prepare(&root, &plan, Access::Owner).unwrap();
        assert_eq!(order(&root), Order::HOLD);
        Pod {
            _scratch: scratch,
            root,
            plan,
        }
    }

    fn node(&self, deaths: Deaths) -> Node {
        Node::open(&self.root, self.plan.clone(), deaths).unwrap()
    }

    /// Runs to the end; `react` may answer each notice.
    fn run(
        &self,
        deaths: Deaths,
        mut react: impl FnMut(&Notice, &Handle),
    ) -> (Outcome, Vec<Notice>) {
        let mut node = self.node(deaths);
        let handle = node.handle();
        handle.begin();
        let mut notices = Vec::new();
        let outcome = node
            .run(|notice| {
                react(&notice, &handle);
                notices.push(notice);
            })
            .unwrap();
        (outcome, notices)
    }
}

fn words(notices: &[Notice]) -> Vec<String> {
    let word = |notice: &Notice| match notice {
        Notice::Run(RunNotice::TaskStarted { .. }) => "task".to_owned(),
        Notice::Run(RunNotice::StepStarted { number, .. }) => format!("+{number}"),
        Notice::Run(RunNotice::StepFinished { number, .. }) => format!("-{number}"),
        Notice::Run(RunNotice::TaskFinished { .. }) => "end".to_owned(),
        other => format!("{other:?}"),
    };
    notices.iter().map(word).collect()
}

fn bad(notices: &[Notice]) -> Vec<(u32, &str, &str)> {
    let bad = notices.iter().filter_map(|notice| match notice {
        Notice::Bad {
            number,
            file,
            cause,
        } => Some((*number, *file, cause.as_str())),
        _ => None,
    });
    bad.collect()
}
