//! Measures the hand-off on the node's side: from the rename of a step's final record to the rename of
//! the order that it leads to, as seen by a thread that does nothing but look.
//!
//! Beside it stands a bare loop that does the least: it waits by inotify for the record's rename and
//! renames a file that lies ready. Both in one run, in turns, so that the machine is the same for both.
//!
//! `cargo run --release -p baton-node --example handoff [FOLDER]`

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use baton_node::{Access, Deaths, Node, prepare};
use baton_protocol::layout::{EVENTS, EXIT, ORDER, step_dir};
use baton_protocol::{Order, Reason, Record};
use baton_steps::Plan;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

const STEPS: u32 = 40;
const ROUNDS: usize = 25;

type Error = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Error> {
    let parent = std::env::args_os().nth(1).map(PathBuf::from);
    let scratch = parent.unwrap_or_else(std::env::temp_dir);
    let scratch = scratch.join(format!("baton-handoff-{}", std::process::id()));
    fs::create_dir_all(&scratch)?;
    let (mut bare, mut node) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        bare.extend(measure(&scratch.join(format!("bare-{round}")), bare_loop)?);
        node.extend(measure(&scratch.join(format!("node-{round}")), node_loop)?);
    }
    fs::remove_dir_all(&scratch)?;
    let mut out = io::stdout();
    report(&mut out, "bare", &mut bare)?;
    report(&mut out, "node", &mut node)?;
    Ok(())
}

fn report(out: &mut impl io::Write, name: &str, times: &mut [Duration]) -> io::Result<()> {
    times.sort();
    let at = |percent: usize| times.get(times.len() * percent / 100).copied();
    let micros = |time: Option<Duration>| time.unwrap_or_default().as_secs_f64() * 1e6;
    writeln!(
        out,
        "{name}: {} hand-offs, p50 {:.0} us, p90 {:.0} us, p99 {:.0} us, max {:.0} us",
        times.len(),
        micros(at(50)),
        micros(at(90)),
        micros(at(99)),
        micros(times.last().copied()),
    )
}

fn plan() -> Plan {
    Plan::of_steps((1..=STEPS).map(|n| format!("step-{n}")))
}

/// Plays the steps, one after the other, beside `serve`, which writes the order.
fn measure(root: &Path, serve: fn(&Path) -> Result<(), Error>) -> Result<Vec<Duration>, Error> {
    prepare(root, &plan(), Access::Owner)?;
    let record = Record::new(Reason::Completed, 0, SystemTime::now().into()).to_json();
    let server = {
        let root = root.to_owned();
        thread::spawn(move || serve(&root))
    };
    let mut times = Vec::new();
    await_order(root, 1);
    for number in 1..=STEPS {
        let dir = step_dir(root, number);
        let events = fs::File::create(dir.join(EVENTS))?;
        fs::write(dir.join(".exit"), &record)?;
        // The node sleeps when a step ends.
        thread::sleep(Duration::from_millis(3));
        let start = Instant::now();
        fs::rename(dir.join(".exit"), dir.join(EXIT))?;
        await_order(root, number + 1);
        times.push(start.elapsed());
        drop(events);
    }
    server.join().map_err(|_| "the server panicked")??;
    Ok(times)
}

fn await_order(root: &Path, number: u32) {
    let path = root.join(ORDER);
    while fs::read(&path).ok().and_then(|c| Order::parse(&c)) != Some(Order::Turn(number)) {
        std::hint::spin_loop();
    }
}

fn node_loop(root: &Path) -> Result<(), Error> {
    let mut node = Node::open(root, plan(), Deaths::ByClose)?;
    node.handle().begin();
    node.run(|_| {})?;
    Ok(())
}

fn bare_loop(root: &Path) -> Result<(), Error> {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC)?;
    for number in 1..=STEPS {
        inotify.add_watch(&step_dir(root, number), AddWatchFlags::IN_MOVED_TO)?;
    }
    let (next, order) = (root.join(".order"), root.join(ORDER));
    for number in 1..=STEPS + 1 {
        fs::write(&next, number.to_string())?;
        if number > 1 {
            inotify.read_events()?;
        }
        fs::rename(&next, &order)?;
    }
    Ok(())
}
