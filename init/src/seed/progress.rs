//! How far a seed is, told to whoever watches.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use rustix::io::Errno;

/// A quick seed shows no bar at all.
const FIRST: Duration = Duration::from_millis(300);
/// Between two updates of the bar.
const ON_TTY: Duration = Duration::from_millis(100);
/// Between two lines of a log.
const IN_LOG: Duration = Duration::from_secs(5);

/// Counters that the workers add to, and the flag by which they stop each other.
#[derive(Debug, Default)]
pub struct Progress {
    bytes: AtomicU64,
    entries: AtomicU64,
    stop: AtomicBool,
    over: Mutex<bool>,
    wake: Condvar,
}

impl Progress {
    /// Counts copied bytes.
    pub fn add_bytes(&self, n: u64) {
        self.bytes.fetch_add(n, Ordering::Relaxed);
    }

    /// Counts finished entries.
    pub fn add_entries(&self, n: u64) {
        self.entries.fetch_add(n, Ordering::Relaxed);
    }

    /// Makes every worker stop at its next look.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Fails where the work has been stopped.
    ///
    /// # Errors
    /// [`Errno::CANCELED`] where it has.
    pub fn check(&self) -> Result<(), Errno> {
        match self.stop.load(Ordering::Relaxed) {
            true => Err(Errno::CANCELED),
            false => Ok(()),
        }
    }

    /// Does `work` and shows its progress on standard error meanwhile: a bar on a terminal, a line
    /// every few seconds elsewhere, nothing where `quiet`.
    pub fn watch<T>(&self, total: Total, quiet: bool, work: impl FnOnce() -> T) -> T {
        if quiet {
            return work();
        }
        std::thread::scope(|scope| {
            // Without a thread to spare there is no bar, and the work goes on.
            let _ = std::thread::Builder::new()
                .stack_size(64 << 10)
                .spawn_scoped(scope, || self.show(total));
            let done = work();
            if let Ok(mut over) = self.over.lock() {
                *over = true;
            }
            self.wake.notify_all();
            done
        })
    }

    fn show(&self, total: Total) {
        let tty = io::stderr().is_terminal();
        let started = Instant::now();
        let mut pause = if tty { FIRST } else { IN_LOG };
        let mut drawn = false;
        let Ok(mut over) = self.over.lock() else {
            return;
        };
        while !*over {
            let Ok((guard, timeout)) = self.wake.wait_timeout(over, pause) else {
                return;
            };
            over = guard;
            if !*over && timeout.timed_out() {
                let line = self.line(total, started.elapsed(), tty);
                let end = if tty { "\x1b[K\r" } else { "\n" };
                let _ = write!(io::stderr(), "{line}{end}");
                drawn = tty;
                pause = if tty { ON_TTY } else { IN_LOG };
            }
        }
        if drawn {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }

    fn line(&self, total: Total, elapsed: Duration, bar: bool) -> String {
        let bytes = self.bytes.load(Ordering::Relaxed);
        let entries = self.entries.load(Ordering::Relaxed);
        let rate = (bytes as f64 / elapsed.as_secs_f64().max(0.001)) as u64;
        let done = match total.bytes {
            Some(all) => {
                let percent = (bytes.min(all) * 100).checked_div(all).unwrap_or(100);
                let cells = usize::try_from(percent / 5).unwrap_or_default().min(20);
                let bar = match bar {
                    true => format!("[{:<20}] ", "#".repeat(cells)),
                    false => String::new(),
                };
                format!("{bar}{percent}%, {} of {}", human(bytes), human(all))
            }
            None => human(bytes),
        };
        format!("seeding: {done}, {entries} files, {}/s", human(rate))
    }
}

/// What there is to do.
#[derive(Debug, Clone, Copy, Default)]
pub struct Total {
    /// Bytes, where they are known before (those of an archive are not).
    pub bytes: Option<u64>,
}

/// A number of bytes for people.
pub fn human(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut units = UNITS.iter();
    let mut unit = units.next().unwrap_or(&"kB");
    while value >= 999.95 {
        value /= 1000.0;
        unit = match units.next() {
            Some(next) => next,
            None => break,
        };
    }
    format!("{value:.1} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_for_people() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (999_960, "1.0 MB"),
            (2_147_483_648, "2.1 GB"),
        ] {
            assert_eq!(human(bytes), text);
        }
    }

    #[test]
    fn a_line_tells_how_far_it_is() {
        let progress = Progress::default();
        progress.add_bytes(500_000);
        progress.add_entries(3);
        let total = Total {
            bytes: Some(1_000_000),
        };
        assert_eq!(
            progress.line(total, Duration::from_secs(1), true),
            "seeding: [##########          ] 50%, 500.0 kB of 1.0 MB, 3 files, 500.0 kB/s"
        );
        assert_eq!(
            progress.line(Total::default(), Duration::from_secs(2), false),
            "seeding: 500.0 kB, 3 files, 250.0 kB/s"
        );
    }
}
