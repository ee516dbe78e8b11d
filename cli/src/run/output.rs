//! Reading what the steps print: one thread for all pipes.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

/// Most that is read from one pipe before the others have their turn, in bytes.
const PIECE: usize = 64 << 10;
/// Most output that waits to be shown, in bytes. A terminal that stands still holds up the steps that
/// print, as it would without us, and nothing else.
const MAX_WAITING: usize = 4 << 20;

/// What the thread tells, in order.
#[derive(Debug, PartialEq, Eq)]
pub enum News<T> {
    /// A step printed this.
    Printed {
        /// The step's number.
        number: u32,
        /// What it printed.
        bytes: Vec<u8>,
    },
    /// Something that was to be told after all that was printed before it.
    Said(T),
}

/// The pipes' reader. What is [`said`](Handle::say) through it comes after everything that was in the
/// pipes at that time, so that a step's last words stand before its end.
#[derive(Debug)]
pub struct Reader<T> {
    shared: Arc<Shared<T>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared<T> {
    wake: EventFd,
    state: Mutex<State<T>>,
    room: Condvar,
}

#[derive(Debug)]
struct State<T> {
    said: VecDeque<T>,
    stopped: bool,
    waiting: usize,
}

impl<T: Send + 'static> Reader<T> {
    /// Starts to read `pipes`, which become non-blocking; a step may have several. `tell` gets the
    /// news on the reader's thread.
    ///
    /// # Errors
    /// Where the thread or what it needs cannot be made.
    pub fn start(
        pipes: Vec<(u32, io::PipeReader)>,
        tell: impl FnMut(News<T>) + Send + 'static,
    ) -> io::Result<Reader<T>> {
        for (_, pipe) in &pipes {
            set_nonblocking(pipe)?;
        }
        let shared = Arc::new(Shared {
            wake: EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?,
            state: Mutex::new(State {
                said: VecDeque::new(),
                stopped: false,
                waiting: 0,
            }),
            room: Condvar::new(),
        });
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("output".into())
            .spawn(move || read_all(&theirs, pipes, tell))?;
        Ok(Reader {
            shared,
            thread: Some(thread),
        })
    }

    /// A hand on the reader for another thread.
    pub fn handle(&self) -> Handle<T> {
        Handle(Arc::clone(&self.shared))
    }

    /// Waits for the thread's end, which comes after [`Handle::stop`].
    pub fn join(mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A hand on a [`Reader`].
#[derive(Debug)]
pub struct Handle<T>(Arc<Shared<T>>);

impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        Handle(Arc::clone(&self.0))
    }
}

impl<T> Handle<T> {
    /// Tells `item` after all that is in the pipes now. Never blocks.
    pub fn say(&self, item: T) {
        self.0.lock().said.push_back(item);
        self.0.wake();
    }

    /// Takes what is in the pipes now and ends, also where somebody still holds one open.
    pub fn stop(&self) {
        let mut state = self.0.lock();
        state.stopped = true;
        drop(state);
        self.0.wake();
    }

    /// Says that this many bytes were shown, which makes room for as many.
    pub fn shown(&self, bytes: usize) {
        let mut state = self.0.lock();
        state.waiting = state.waiting.saturating_sub(bytes);
        drop(state);
        self.0.room.notify_one();
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        // It fails only where the counter is full, and then the reader wakes anyway.
        let _ = self.wake.write(1);
    }

    fn wait_for_room(&self, bytes: usize) {
        let full = |state: &mut State<T>| state.waiting > 0 && state.waiting + bytes > MAX_WAITING;
        let mut state = self
            .room
            .wait_while(self.lock(), full)
            .unwrap_or_else(PoisonError::into_inner);
        state.waiting += bytes;
    }
}

fn read_all<T>(
    shared: &Shared<T>,
    mut pipes: Vec<(u32, io::PipeReader)>,
    mut tell: impl FnMut(News<T>),
) {
    let mut buffer = vec![0; PIECE];
    while let Some(mut ready) = look(shared, &pipes, PollTimeout::NONE) {
        // Before the pipes are looked at: what is said from now on comes after another look.
        let _ = shared.wake.read();
        let (said, stopped) = {
            let mut state = shared.lock();
            (std::mem::take(&mut state.said), state.stopped)
        };
        let all = !said.is_empty() || stopped;
        if all {
            ready = look(shared, &pipes, PollTimeout::ZERO).unwrap_or(ready);
        }
        // All that a pipe can hold (fs.pipe-max-size) and no more: others may print without end.
        let rounds = if all { (1 << 20) / PIECE } else { 1 };
        let mut ready = ready.into_iter();
        pipes.retain_mut(|(number, pipe)| {
            let is_ready = ready.next().unwrap_or(true);
            !is_ready || drain(*number, pipe, rounds, &mut buffer, shared, &mut tell)
        });
        said.into_iter().for_each(|item| tell(News::Said(item)));
        if stopped {
            return;
        }
    }
}

/// Reads what is in a pipe, in so many pieces at most. Gives false where no more will come.
fn drain<T>(
    number: u32,
    pipe: &mut io::PipeReader,
    rounds: usize,
    buffer: &mut [u8],
    shared: &Shared<T>,
    tell: &mut impl FnMut(News<T>),
) -> bool {
    for _ in 0..rounds {
        match pipe.read(buffer) {
            Ok(0) => return false,
            Ok(len) => {
                let bytes = buffer.get(..len).unwrap_or_default().to_vec();
                shared.wait_for_room(len);
                tell(News::Printed { number, bytes });
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return true,
            Err(_) => return false,
        }
    }
    true
}

/// Waits until there is something to read or to tell, and gives which pipes have something; `None`
/// where waiting is not possible.
fn look<T>(
    shared: &Shared<T>,
    pipes: &[(u32, io::PipeReader)],
    timeout: PollTimeout,
) -> Option<Vec<bool>> {
    let wake = PollFd::new(shared.wake.as_fd(), PollFlags::POLLIN);
    let readers = pipes
        .iter()
        .map(|(_, pipe)| PollFd::new(pipe.as_fd(), PollFlags::POLLIN));
    let mut all: Vec<_> = readers.chain(std::iter::once(wake)).collect();
    loop {
        match poll(&mut all, timeout) {
            Ok(_) => break,
            Err(Errno::EINTR) => {}
            Err(_) => return None,
        }
    }
    let found = all.iter().take(pipes.len());
    Some(found.map(|fd| fd.any().unwrap_or(true)).collect())
}

fn set_nonblocking(pipe: &io::PipeReader) -> io::Result<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let flags = OFlag::from_bits_retain(fcntl(pipe, FcntlArg::F_GETFL)?);
    fcntl(pipe, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::mpsc;
    use std::time::Duration;

    const DEADLINE: Duration = Duration::from_secs(20);

    type Started = (
        Reader<&'static str>,
        mpsc::Receiver<News<&'static str>>,
        Vec<io::PipeWriter>,
    );

    fn start(count: u32) -> Started {
        let (tx, rx) = mpsc::channel();
        let (mut readers, mut writers) = (Vec::new(), Vec::new());
        for number in 1..=count {
            let (reader, writer) = io::pipe().unwrap();
            readers.push((number, reader));
            writers.push(writer);
        }
        let reader = Reader::start(readers, move |news| tx.send(news).unwrap()).unwrap();
        (reader, rx, writers)
    }

    fn printed(number: u32, text: &str) -> News<&'static str> {
        News::Printed {
            number,
            bytes: text.as_bytes().to_vec(),
        }
    }

    #[test]
    fn what_is_said_comes_after_what_was_printed() {
        let (reader, news, mut pipes) = start(2);
        for _ in 0..200 {
            pipes[1].write_all(b"last words").unwrap();
            reader.handle().say("over");
            assert_eq!(
                news.recv_timeout(DEADLINE).unwrap(),
                printed(2, "last words")
            );
            assert_eq!(news.recv_timeout(DEADLINE).unwrap(), News::Said("over"));
        }
        reader.handle().stop();
        reader.join();
    }

    #[test]
    fn a_pipe_that_somebody_holds_open_does_not_keep_it() {
        let (reader, news, mut pipes) = start(1);
        pipes[0].write_all(b"x").unwrap();
        reader.handle().stop();
        reader.join();
        assert_eq!(news.try_recv().unwrap(), printed(1, "x"));
        assert!(news.try_recv().is_err());
    }

    #[test]
    fn nothing_is_lost_and_what_waits_is_bounded() {
        let (reader, news, mut pipes) = start(1);
        const TOTAL: usize = 3 * MAX_WAITING;
        let writer = std::thread::spawn(move || pipes[0].write_all(&vec![b'x'; TOTAL]).unwrap());
        let handle = reader.handle();
        let mut got = 0;
        while got < TOTAL {
            match news.recv_timeout(DEADLINE).unwrap() {
                News::Printed { bytes, .. } => {
                    got += bytes.len();
                    assert!(reader.shared.lock().waiting <= MAX_WAITING);
                    handle.shown(bytes.len());
                }
                News::Said(_) => unreachable!(),
            }
        }
        writer.join().unwrap();
        assert_eq!(got, TOTAL);
        handle.stop();
        reader.join();
    }
}
