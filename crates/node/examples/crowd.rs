//! Measures what a hand-off of one pod costs a watcher that serves other pods beside it, which wait: from
//! the rename of a step's final record to the order, and the processor time of the watcher's thread.
//! Then what it costs where all the pods hand over at once, and what it takes to add and to remove them.
//!
//! A crowd of one and a large one in one run, in turns, so that the machine is the same for both.
//!
//! `cargo run --release -p baton-node --example crowd [PODS [FOLDER]]`; a FOLDER in memory keeps the disk
//! out of it.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use baton_node::{Access, Deaths, Watcher, prepare};
use baton_protocol::layout::{EVENTS, EXIT, ORDER, step_dir};
use baton_protocol::{Order, Reason, Record};
use baton_steps::{Event, Plan};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::time::{ClockId, clock_gettime};

/// Steps of the pod that is measured, and of each one beside it.
const STEPS: u32 = 40;
const BESIDE: u32 = 3;
const ROUNDS: usize = 8;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// What one round took.
#[derive(Default)]
struct Cost {
    hand_offs: Vec<Duration>,
    /// Processor time of the watcher's thread for each.
    thread: Vec<Duration>,
    add: Duration,
    remove: Duration,
    /// All the others, and how many hand-offs these were.
    burst: Duration,
    burst_size: u32,
}

fn main() -> Result<(), Error> {
    let pods = std::env::args().nth(1).map_or(Ok(300), |n| n.parse())?;
    let parent = std::env::args_os().nth(2).map(PathBuf::from);
    let scratch = parent.unwrap_or_else(std::env::temp_dir);
    let scratch = scratch.join(format!("baton-crowd-{}", std::process::id()));
    let (mut alone, mut crowd) = (Cost::default(), Cost::default());
    for round in 0..ROUNDS {
        measure(&scratch.join(format!("1-{round}")), 1, &mut alone)?;
        measure(&scratch.join(format!("n-{round}")), pods, &mut crowd)?;
    }
    fs::remove_dir_all(&scratch)?;
    let mut out = io::stdout();
    let one = report(&mut out, 1, &mut alone)?;
    let many = report(&mut out, pods, &mut crowd)?;
    writeln!(
        out,
        "ratio: p50 {:.2}, processor time {:.2}",
        many.0 / one.0,
        many.1 / one.1
    )?;
    Ok(())
}

fn report(out: &mut impl Write, pods: u32, cost: &mut Cost) -> io::Result<(f64, f64)> {
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    let each = |time: Duration, times: u32| micros(time) / f64::from(times.max(1));
    let at = |times: &mut Vec<Duration>, percent: usize| {
        times.sort();
        let found = times.get(times.len() * percent / 100).copied();
        micros(found.unwrap_or_default())
    };
    let (p50, p99) = (at(&mut cost.hand_offs, 50), at(&mut cost.hand_offs, 99));
    let thread = at(&mut cost.thread, 50);
    let all = pods * u32::try_from(ROUNDS).unwrap_or(1);
    writeln!(
        out,
        "{pods} pods: p50 {p50:.0} us, p99 {p99:.0} us, processor time p50 {thread:.0} us; a pod: \
         added in {:.0} us, removed in {:.0} us; a hand-off of {} at once: {:.0} us",
        each(cost.add, all),
        each(cost.remove, all),
        cost.burst_size,
        each(cost.burst, cost.burst_size),
    )?;
    Ok((p50, thread))
}

fn thread_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// Plays the steps of one pod, one after the other, while the others wait; and then those of the others.
fn measure(root: &Path, pods: u32, cost: &mut Cost) -> Result<(), Error> {
    let roots: Vec<_> = (0..pods).map(|n| root.join(n.to_string())).collect();
    let record = Record::new(Reason::Completed, 0, SystemTime::now().into()).to_json();
    for (n, root) in (0..).zip(&roots) {
        fs::create_dir_all(root)?;
        let steps = if n == 0 { STEPS } else { BESIDE };
        prepare(root, &plan(steps), Access::Owner)?;
        for number in 1..=steps {
            fs::write(step_dir(root, number).join(".exit"), &record)?;
        }
    }
    let stop = Arc::new(AtomicBool::new(false));
    let server = {
        let (roots, stop) = (roots.clone(), Arc::clone(&stop));
        thread::spawn(move || serve(&roots, &stop))
    };
    let Some((first, others)) = roots.split_first() else {
        return Ok(());
    };
    roots.iter().for_each(|root| await_order(root, 1));
    let mut open = Vec::new();
    for number in 1..=STEPS {
        open.push(fs::File::create(step_dir(first, number).join(EVENTS))?);
        // The watcher sleeps when a step ends.
        thread::sleep(Duration::from_millis(3));
        let start = Instant::now();
        end(first, number)?;
        await_order(first, number + 1);
        cost.hand_offs.push(start.elapsed());
    }
    let start = Instant::now();
    for number in 1..=BESIDE {
        for root in others {
            end(root, number)?;
        }
        for root in others {
            await_order(root, number + 1);
            cost.burst_size += 1;
        }
    }
    cost.burst += start.elapsed();
    stop.store(true, Ordering::Relaxed);
    // One more event, to wake it.
    fs::write(step_dir(first, 1).join(EVENTS), "\n")?;
    let (times, add, remove) = server.join().map_err(|_| "the watcher panicked")??;
    cost.thread.extend(times);
    cost.add += add;
    cost.remove += remove;
    fs::remove_dir_all(root)?;
    Ok(())
}

fn plan(steps: u32) -> Plan {
    Plan::of_steps((1..=steps).map(|n| format!("step-{n}")))
}

fn end(root: &Path, number: u32) -> io::Result<()> {
    let dir = step_dir(root, number);
    fs::rename(dir.join(".exit"), dir.join(EXIT))
}

fn await_order(root: &Path, number: u32) {
    let path = root.join(ORDER);
    while fs::read(&path).ok().and_then(|c| Order::parse(&c)) != Some(Order::Turn(number)) {
        std::hint::spin_loop();
    }
}

/// Serves the pods until it is told to stop. Gives the processor time of each wake-up that handed over for
/// the first of them alone, and the time it took to add and to remove them all.
fn serve(
    roots: &[PathBuf],
    stop: &AtomicBool,
) -> Result<(Vec<Duration>, Duration, Duration), Error> {
    let mut watcher = Watcher::new();
    let (mut ids, mut times) = (Vec::new(), Vec::new());
    let start = Instant::now();
    for (n, root) in (0..).zip(roots) {
        let steps = if n == 0 { STEPS } else { BESIDE };
        let id = watcher.add(root, plan(steps), Deaths::ByClose)?;
        watcher.apply(id, Event::Begin, &mut |_, _| {});
        ids.push(id);
    }
    let add = start.elapsed();
    watcher.dispatch(&mut |_, _| {});
    while !stop.load(Ordering::Relaxed) {
        let fd = watcher.fd().ok_or("inotify is used up")?;
        poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], PollTimeout::NONE)?;
        let before = thread_time();
        watcher.dispatch(&mut |_, _| {});
        let spent = thread_time().saturating_sub(before);
        if watcher.hand_offs().len() == 1 {
            times.push(spent);
        }
    }
    let start = Instant::now();
    for id in ids {
        watcher.remove(id);
    }
    Ok((times, add, start.elapsed()))
}
