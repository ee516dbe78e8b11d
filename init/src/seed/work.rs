//! A few threads over a list of jobs.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::error::Error;
use super::progress::Progress;

/// Does the jobs `0..count` on at most `threads` threads and gives their results, in no order. Each
/// thread has a state of its own. The first failure stops all of them and is the one returned.
///
/// # Errors
/// The first failure of a job.
pub fn each<S, T: Send>(
    count: usize,
    threads: usize,
    progress: &Progress,
    state: impl Fn() -> S + Sync,
    job: impl Fn(&mut S, usize) -> Result<T, Error> + Sync,
) -> Result<Vec<T>, Error> {
    let next = AtomicUsize::new(0);
    let failure = Mutex::new(None);
    let work = || {
        let mut state = state();
        let mut done = Vec::new();
        while progress.check().is_ok() {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                break;
            }
            match job(&mut state, index) {
                Ok(result) => done.push(result),
                Err(e) => {
                    if let Ok(mut first) = failure.lock() {
                        first.get_or_insert(e);
                    }
                    progress.stop();
                }
            }
        }
        done
    };
    let done = std::thread::scope(|scope| {
        // Where there are no more threads (a limit on processes), fewer do the work.
        let others: Vec<_> = (1..threads.min(count))
            .map_while(|_| std::thread::Builder::new().spawn_scoped(scope, work).ok())
            .collect();
        let mut done = work();
        for other in others {
            done.extend(other.join().unwrap_or_default());
        }
        done
    });
    match failure.into_inner() {
        Ok(Some(e)) => Err(e),
        _ => Ok(done),
    }
}
