//! One seed at a time on one volume, also where several nodes mount it.
//!
//! Two layers, because neither is enough alone:
//! - A record lock (`fcntl`) on `lock`. The kernel drops it when its holder dies, so a restart after
//!   SIGKILL goes on at once. It reaches across nodes on NFSv4, CephFS and the like, but not where a
//!   volume is mounted with `nolock` or `local_lock`, and some file systems have no locks at all.
//!   (`flock` is no better: on NFS it is the same lock, and on some file systems it is local only.)
//! - A file `owner`, made with O_EXCL, which is atomic on every file system. It names the kernel
//!   that its maker runs on (the boot id) and counts heartbeats while he works. Who finds it there
//!   with the record lock in hand and the *same* boot id knows that its maker is dead: on one kernel
//!   the record lock always works. With another boot id he watches it, by his own clock and not by
//!   the other's: after ten seconds without a heartbeat its maker is taken for dead. Then he puts his
//!   own name there, waits longer than any other who judges at the same moment could need to
//!   overwrite it, and goes on if his name still stands (Fischer's protocol).
//!
//! A holder that was taken for dead and is not (a node that stood still for ten seconds) finds
//! another name in `owner` at its next heartbeat and gives up; it asks once more before it commits.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::fs::{self as rfs, AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::at::{self, CREATE, READ};
use super::error::{Error, Place};
use super::file::write_all;

/// The file of the record lock.
pub const LOCK: &str = "lock";
/// The file that names who works.
pub const OWNER: &str = "owner";

/// Largest owner file that is read.
const MAX_OWNER: usize = 256;

/// How the lock is taken.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Which kernel we run on.
    pub boot: String,
    /// Use record locks; false where a test plays a file system without them.
    pub record_locks: bool,
    /// Between two heartbeats.
    pub beat: Duration,
    /// Without a heartbeat for so long, an owner is dead.
    pub dead_after: Duration,
    /// How long a new name must stand.
    pub settle: Duration,
}

impl Rules {
    /// The rules on this machine.
    pub fn here() -> Rules {
        Rules {
            boot: kernel_id("boot_id"),
            record_locks: true,
            beat: Duration::from_secs(2),
            dead_after: Duration::from_secs(10),
            settle: Duration::from_secs(3),
        }
    }
}

/// An id that the kernel gives; empty where it is hidden from us.
fn kernel_id(which: &str) -> String {
    let id = std::fs::read_to_string(format!("/proc/sys/kernel/random/{which}"));
    id.unwrap_or_default().trim().to_owned()
}

/// The lock, held. Dropping it lets go of the record lock and stops the heartbeat, and leaves the
/// owner file: call [`release`](Lock::release) where the work is done.
#[derive(Debug)]
pub struct Lock {
    state: Arc<OwnedFd>,
    place: Place,
    _record: OwnedFd,
    mine: String,
    heart: Heart,
}

/// Takes the lock in the open state folder `state`; waits for whoever has it. `say` is called once
/// where it has to wait.
///
/// # Errors
/// Where the lock's files cannot be made.
pub fn take(
    state: Arc<OwnedFd>,
    place: &Place,
    rules: &Rules,
    say: impl Fn(&str),
) -> Result<Lock, Error> {
    let mut said = false;
    let mut once = |text: &str| {
        if !std::mem::replace(&mut said, true) {
            say(text);
        }
    };
    let (record, exclusive) = record_lock(&state, place, rules, &mut once)?;
    let token = match kernel_id("uuid") {
        id if id.is_empty() => format!("{}-{:?}", std::process::id(), Instant::now()),
        id => id,
    };
    let mine = format!("{} {token}", rules.boot);
    claim(&state, place, rules, exclusive, &mine, &mut once)?;
    let heart = Heart::start(Arc::clone(&state), mine.clone(), rules.beat);
    Ok(Lock {
        state,
        place: place.clone(),
        _record: record,
        mine,
        heart,
    })
}

impl Lock {
    /// Fails where somebody else took over.
    ///
    /// # Errors
    /// [`Error::LostLock`].
    pub fn check(&self) -> Result<(), Error> {
        match !self.heart.lost() && owner_is(&self.state, &self.mine) {
            true => Ok(()),
            false => Err(Error::LostLock(self.place.at(b""))),
        }
    }

    /// Lets go, and removes the owner file.
    pub fn release(self) {
        self.heart.stop();
        if owner_is(&self.state, &self.mine) {
            let _ = rfs::unlinkat(&*self.state, OWNER, AtFlags::empty());
        }
    }
}

/// Takes the record lock. False where the file system has none.
fn record_lock(
    state: &OwnedFd,
    place: &Place,
    rules: &Rules,
    once: &mut impl FnMut(&str),
) -> Result<(OwnedFd, bool), Error> {
    let failed = || place.err("lock", LOCK.as_bytes());
    loop {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rfs::openat(state, LOCK, flags, Mode::from_raw_mode(0o664)).map_err(failed())?;
        if !rules.record_locks {
            return Ok((file, false));
        }
        let mut got = rfs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive);
        if matches!(got, Err(Errno::AGAIN | Errno::ACCESS)) {
            once("another seed of this volume is at work; waiting for it");
            while {
                got = rfs::fcntl_lock(&file, FlockOperation::LockExclusive);
                got == Err(Errno::INTR)
            } {}
        }
        match got {
            Ok(()) => {}
            Err(Errno::NOLCK | Errno::NOTSUP | Errno::NOSYS | Errno::INVAL) => {
                return Ok((file, false));
            }
            Err(e) => return Err(failed()(e)),
        }
        // A seed that failed removes its state folder's files: then ours is one that nobody sees.
        let here = at::stat(state, LOCK.as_bytes()).map_err(failed())?;
        let ours = rfs::fstat(&file).map_err(failed())?;
        if here.is_some_and(|here| (here.st_dev, here.st_ino) == (ours.st_dev, ours.st_ino)) {
            return Ok((file, true));
        }
        // The whole folder may be gone, too.
        if rfs::fstat(state).is_ok_and(|stat| stat.st_nlink == 0) {
            return Err(failed()(Errno::NOENT));
        }
    }
}

/// Puts our name into the owner file.
fn claim(
    state: &OwnedFd,
    place: &Place,
    rules: &Rules,
    exclusive: bool,
    mine: &str,
    once: &mut impl FnMut(&str),
) -> Result<(), Error> {
    let failed = || place.err("lock", OWNER.as_bytes());
    let text = format!("{mine} {:016x}\n", 0);
    let mut seen: Option<(Vec<u8>, Instant)> = None;
    loop {
        match rfs::openat(state, OWNER, CREATE, Mode::from_raw_mode(0o664)) {
            Ok(file) => return write_all(&file, text.as_bytes()).map_err(failed()),
            Err(Errno::EXIST) => {}
            Err(e) => return Err(failed()(e)),
        }
        let now = read_owner(state).unwrap_or_default();
        let same_kernel = !rules.boot.is_empty()
            && now
                .strip_prefix(rules.boot.as_bytes())
                .is_some_and(|r| r.first() == Some(&b' '));
        if exclusive && same_kernel {
            return replace(state, mine, &text).map_err(failed());
        }
        let dead = match &seen {
            Some((before, since)) if *before == now => since.elapsed() >= rules.dead_after,
            _ => {
                seen = Some((now, Instant::now()));
                false
            }
        };
        if dead {
            replace(state, mine, &text).map_err(failed())?;
            std::thread::sleep(rules.settle);
            if owner_is(state, mine) {
                return Ok(());
            }
            seen = None;
        } else {
            once(
                "another node may be seeding this volume; waiting for it to finish or fall silent",
            );
            std::thread::sleep(rules.beat / 2);
        }
    }
}

/// Puts our name in the place of another's.
fn replace(state: &OwnedFd, mine: &str, text: &str) -> Result<(), Errno> {
    let token = mine.rsplit(' ').next().unwrap_or_default();
    let temporary = format!("{OWNER}.{token}");
    let file = rfs::openat(state, &temporary, CREATE, Mode::from_raw_mode(0o664))?;
    write_all(&file, text.as_bytes())?;
    drop(file);
    rfs::renameat(state, &temporary, state, OWNER)
}

/// Reads the owner file anew: opening it makes a network file system ask its server.
fn read_owner(state: &OwnedFd) -> Result<Vec<u8>, Errno> {
    read_name(&rfs::openat(state, OWNER, READ, Mode::empty())?)
}

/// Reads an owner file from its beginning, and stays there.
fn read_name(file: &OwnedFd) -> Result<Vec<u8>, Errno> {
    let mut text = vec![0; MAX_OWNER];
    let n = rustix::io::pread(file, &mut text, 0)?;
    text.truncate(n);
    Ok(text)
}

fn owner_is(state: &OwnedFd, mine: &str) -> bool {
    read_owner(state).is_ok_and(|text| text.starts_with(mine.as_bytes()))
}

/// The thread that shows that we live.
#[derive(Debug)]
struct Heart {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    over: Mutex<bool>,
    wake: Condvar,
    lost: AtomicBool,
}

impl Heart {
    fn start(state: Arc<OwnedFd>, mine: String, beat: Duration) -> Heart {
        let shared = Arc::new(Shared::default());
        let inner = Arc::clone(&shared);
        let run = move || {
            let mut count = 0_u64;
            let Ok(mut over) = inner.over.lock() else {
                return;
            };
            while !*over {
                let Ok((guard, timeout)) = inner.wake.wait_timeout(over, beat) else {
                    return;
                };
                over = guard;
                if !*over && timeout.timed_out() {
                    count += 1;
                    if !strike(&state, &mine, count) {
                        inner.lost.store(true, Ordering::Relaxed);
                        return;
                    }
                }
            }
        };
        // Without a thread nobody else knows that we live; the check before the commit remains.
        let thread = std::thread::Builder::new()
            .stack_size(64 << 10)
            .spawn(run)
            .ok();
        Heart { shared, thread }
    }

    fn lost(&self) -> bool {
        self.shared.lost.load(Ordering::Relaxed)
    }

    fn end(&mut self) {
        if let Ok(mut over) = self.shared.over.lock() {
            *over = true;
        }
        self.shared.wake.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }

    fn stop(&self) {
        if let Ok(mut over) = self.shared.over.lock() {
            *over = true;
        }
        self.shared.wake.notify_all();
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        self.end();
    }
}

/// One heartbeat. False where the name is no longer ours.
fn strike(state: &OwnedFd, mine: &str, count: u64) -> bool {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(file) = rfs::openat(state, OWNER, flags, Mode::empty()) else {
        return owner_is(state, mine);
    };
    // What is read is what is written: another's name that takes its place meanwhile is not overwritten.
    if !read_name(&file).is_ok_and(|text| text.starts_with(mine.as_bytes())) {
        return false;
    }
    // A beat that cannot be written is one beat missed, no more.
    let _ = write_all(&file, format!("{mine} {count:016x}\n").as_bytes());
    true
}

#[cfg(test)]
mod tests;
