//! The processes that `baton run` starts, from their start to the last descendant's end.
//!
//! One thread takes the signals that are meant for the whole run: SIGCHLD, and those by which somebody
//! asks for the end (SIGINT, SIGTERM, SIGHUP). Baton is a child subreaper, so what an entrypoint leaves
//! behind when it is killed becomes our child, is killed and reaped.
//!
//! Several things may run at once: each has a [group](Children::group) of processes for itself.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use baton_pid1::{Ended, Reaped, reap};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigHandler, SigSet, Signal};
use nix::unistd::Pid;

/// How long processes that were killed have until they are given up: only one that hangs in the
/// kernel takes longer.
const MAX_DYING: Duration = Duration::from_secs(5);

/// What the run is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Somebody asks for the end, for the `nth` time.
    Stop {
        /// By this signal.
        signal: Signal,
        /// How often it was asked by now, from 1.
        nth: u32,
    },
    /// An entrypoint is gone.
    Ended {
        /// The step's number.
        number: u32,
        /// How.
        how: Ended,
    },
}

type Hook = Box<dyn Fn(Told) + Send>;

/// The processes of the run, or of a group of them. A clone is another hand on the same.
#[derive(Clone)]
pub struct Children {
    shared: Arc<Shared>,
    group: GroupId,
}

/// A group of processes; the first one is told of signals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct GroupId(u32);

const FIRST: GroupId = GroupId(0);

struct Shared {
    state: Mutex<State>,
    ended: Condvar,
    given: Given,
}

#[derive(Default)]
struct State {
    /// The entrypoints that were not reaped yet, by process id: of which group, and their numbers in
    /// it. A process is reaped and taken out under one lock, so an id in here is never somebody else's.
    live: BTreeMap<i32, (GroupId, u32)>,
    groups: BTreeMap<GroupId, Group>,
    made: u32,
}

/// Who is told of a group, and how often its end was asked for.
#[derive(Default)]
struct Group {
    hook: Option<Hook>,
    stops: u32,
}

impl State {
    fn group(&mut self, id: GroupId) -> &mut Group {
        self.groups.entry(id).or_default()
    }

    fn is_live(&self, id: GroupId) -> bool {
        self.live.values().any(|(group, _)| *group == id)
    }
}

/// What we were given and change for ourselves: the children get it as it was.
#[derive(Debug, Clone, Copy)]
struct Given {
    mask: SigSet,
    files: Option<(u64, u64)>,
}

impl Children {
    /// Makes this process the one that all descendants fall back to, and starts the thread that takes
    /// signals. To be called once, by the main thread, before any other thread is started.
    ///
    /// # Errors
    /// Where the kernel refuses a thread or the signal mask.
    pub fn take_charge() -> io::Result<Children> {
        // Where it is refused, orphans go to init; everything else works.
        let _ = baton_pid1::tree::adopt_orphans();
        // Where somebody had us ignore it, the kernel would reap for us, and nobody knew how.
        // SAFETY: the default disposition runs no code of ours.
        unsafe { nix::sys::signal::signal(Signal::SIGCHLD, SigHandler::SigDfl) }?;
        let mut taken = SigSet::empty();
        taken.add(Signal::SIGCHLD);
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            // A signal that was ignored when we were started (nohup, a job in the background) stays
            // so: blocked, it would be delivered to us.
            if !is_ignored(signal) {
                taken.add(signal);
            }
        }
        let given = Given {
            mask: taken.thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK)?,
            files: raise_file_limit(),
        };
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            ended: Condvar::new(),
            given,
        });
        let theirs = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                while let Ok(signal) = taken.wait() {
                    match signal {
                        Signal::SIGCHLD => theirs.reap(),
                        signal => theirs.stop(signal),
                    }
                }
            })?;
        Ok(Children {
            shared,
            group: FIRST,
        })
    }

    /// A new group of processes: with numbers of its own, told of its own processes' ends alone, and
    /// stopped by [`Children::stop`] in place of signals.
    pub fn group(&self) -> Children {
        let mut state = self.shared.lock();
        state.made += 1;
        let group = GroupId(state.made);
        drop(state);
        Children {
            shared: Arc::clone(&self.shared),
            group,
        }
    }

    /// Asks a group for its end, for the `nth` time: what a signal does for the first group. Nothing
    /// where it was asked as often before.
    pub fn stop(&self, nth: u32) {
        let mut state = self.shared.lock();
        let group = state.group(self.group);
        while group.stops < nth {
            group.stops += 1;
            if let Some(hook) = &group.hook {
                hook(Told::Stop {
                    signal: Signal::SIGTERM,
                    nth: group.stops,
                });
            }
        }
    }

    /// Sets who is told from now on, on the thread that takes signals. It must not call back.
    pub fn tell(&self, hook: impl Fn(Told) + Send + 'static) {
        self.shared.lock().group(self.group).hook = Some(Box::new(hook));
    }

    /// Tells nobody any more: from now on who asks for the end gets it at once.
    pub fn tell_nobody(&self) {
        self.shared.lock().group(self.group).hook = None;
    }

    /// How often somebody asked for the end.
    pub fn stops(&self) -> u32 {
        self.shared.lock().group(self.group).stops
    }

    /// Starts an entrypoint: in a process group of its own, so that Ctrl-C reaches it through us
    /// alone, and told to stop by the kernel should we die. The end of the thread that calls this is
    /// what the kernel takes for our death: it has to outlive the process.
    ///
    /// # Errors
    /// Where the process cannot be started.
    pub fn spawn(&self, number: u32, command: &mut Command) -> io::Result<()> {
        let given = self.shared.given;
        let parent = nix::unistd::getpid();
        // SAFETY: between fork and exec it makes system calls alone: no allocation, no lock.
        unsafe {
            command.pre_exec(move || prepare(&given, parent));
        }
        let mut state = self.shared.lock();
        // Under the lock: a child that ends at once is known before it is reaped.
        let child = command.process_group(0).spawn()?;
        let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
        state.live.insert(pid, (self.group, number));
        Ok(())
    }

    /// Asks an entrypoint to stop what it runs, within its grace.
    pub fn terminate(&self, number: u32) {
        let state = self.shared.lock();
        for (pid, _) in state
            .live
            .iter()
            .filter(|(_, of)| **of == (self.group, number))
        {
            // One that is gone already is no error.
            let _ = nix::sys::signal::kill(Pid::from_raw(*pid), Signal::SIGTERM);
        }
    }

    /// Kills an entrypoint. What it leaves behind is killed when it is reaped.
    pub fn kill(&self, number: u32) {
        let state = self.shared.lock();
        for (pid, _) in state
            .live
            .iter()
            .filter(|(_, of)| **of == (self.group, number))
        {
            kill(*pid);
        }
    }

    /// Kills every descendant, now; in a group its entrypoints, whose descendants are killed as soon
    /// as they are orphans.
    pub fn kill_all(&self) {
        if self.group == FIRST {
            return baton_pid1::tree::kill_all();
        }
        let state = self.shared.lock();
        for (pid, _) in state.live.iter().filter(|(_, (of, _))| *of == self.group) {
            kill(*pid);
        }
    }

    /// Waits until every entrypoint has ended by itself, at most `patience`; then kills what is left
    /// and waits until nothing is: of all descendants, or of the group. Gives how many entrypoints had
    /// to be killed.
    pub fn settle(&self, patience: Duration) -> usize {
        let by_then = |state: &mut State| match self.group {
            FIRST => !state.live.is_empty(),
            group => state.is_live(group),
        };
        let shared = &self.shared;
        let (state, _) = shared
            .ended
            .wait_timeout_while(shared.lock(), patience, by_then)
            .unwrap_or_else(PoisonError::into_inner);
        let live = state.live.values();
        let late = live.filter(|(of, _)| self.group == FIRST || *of == self.group);
        let late = late.count();
        drop(state);
        let deadline = Instant::now() + MAX_DYING;
        while self.is_anything_left() && Instant::now() < deadline {
            self.kill_all();
            // Each end sends SIGCHLD, which the other thread takes; a process may have made more in
            // the meantime, so look again.
            let state = shared.lock();
            let _ = shared.ended.wait_timeout(state, Duration::from_millis(5));
        }
        late
    }

    fn is_anything_left(&self) -> bool {
        if self.group == FIRST {
            return !baton_pid1::tree::descendants().is_empty();
        }
        let state = self.shared.lock();
        // Whose orphans they are cannot be told; all are about to be gone.
        state.is_live(self.group) || orphans(&state.live).next().is_some()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self, signal: Signal) {
        let mut state = self.lock();
        let group = state.group(FIRST);
        group.stops += 1;
        let nth = group.stops;
        match &group.hook {
            Some(hook) => hook(Told::Stop { signal, nth }),
            // Nothing runs that would have to be ended in order.
            None => abandon(),
        }
    }

    /// Reaps everything that has ended: SIGCHLDs merge. Under the lock, so that nothing is reaped
    /// before it is known, or while the one who failed to start it looks for the reason.
    fn reap(&self) {
        let mut state = self.lock();
        let mut orphans = false;
        loop {
            let (pid, how) = match reap() {
                Reaped::Ended { pid, how, .. } => (pid.as_raw(), how),
                Reaped::Stopped(_) => continue,
                Reaped::None | Reaped::NoChildren => break,
            };
            match state.live.remove(&pid) {
                Some((group, number)) => {
                    orphans |= matches!(how, Ended::Killed(_));
                    if let Some(hook) = &state.group(group).hook {
                        hook(Told::Ended { number, how });
                    }
                }
                // An orphan's end may have made orphans of its own children.
                None => orphans = true,
            }
        }
        if orphans {
            kill_orphans(&state.live);
        }
        drop(state);
        self.ended.notify_all();
    }
}

/// Ends this program and everything that it started, at once: nothing is tidied up.
pub fn abandon() {
    baton_pid1::tree::kill_all();
    // SAFETY: it ends the process, which is what is wanted; no destructor has to run.
    unsafe { libc::_exit(baton_steps::CANCELLED_EXIT_CODE) };
}

/// Kills our children that are no entrypoints: an entrypoint which was killed left them.
fn kill_orphans(live: &BTreeMap<i32, (GroupId, u32)>) {
    orphans(live).for_each(kill);
}

fn orphans(live: &BTreeMap<i32, (GroupId, u32)>) -> impl Iterator<Item = i32> {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten();
    let children = tasks.flatten().flat_map(|task| {
        let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        let pids = children.split_ascii_whitespace();
        pids.filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()
    });
    children.filter(|pid| !live.contains_key(pid))
}

fn kill(pid: i32) {
    // One that is gone already is no error.
    let _ = nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGKILL);
}

fn is_ignored(signal: Signal) -> bool {
    // SAFETY: sigaction is plain data, for which zeros are a value.
    let mut now: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes to `now`, which outlives the call; nothing is set.
    let got = unsafe { libc::sigaction(signal as i32, std::ptr::null(), &mut now) };
    got == 0 && now.sa_sigaction == libc::SIG_IGN
}

/// A pipe per step: a thousand steps need more descriptors than the usual soft limit. Gives the limit
/// as it was.
fn raise_file_limit() -> Option<(u64, u64)> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).ok()?;
    Some((soft, hard))
}

/// What a child does between fork and exec.
fn prepare(given: &Given, parent: Pid) -> io::Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGTERM)?;
    if nix::unistd::getppid() != parent {
        // We died before the line above could tell of it.
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    if let Some((soft, hard)) = given.files {
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?;
    }
    given.mask.thread_set_mask()?;
    Ok(())
}
