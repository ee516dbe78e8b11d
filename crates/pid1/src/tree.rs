//! Reaching processes: the command, its group, or every descendant.

use std::collections::{HashMap, HashSet};

use nix::unistd::{Pid, getpgid, getpid};

use crate::{OsError, failed};

/// Sends `signal`, which may be a real-time one. A process that is gone is no error.
pub fn send(pid: Pid, signal: i32) {
    // SAFETY: kill touches no memory.
    unsafe { libc::kill(pid.as_raw(), signal) };
}

/// Sends `signal` to the process group that `leader` leads.
pub fn send_group(leader: Pid, signal: i32) {
    send(Pid::from_raw(-leader.as_raw()), signal);
}

/// Sends `signal` to the group that `leader` leads and to every other descendant, also to those in
/// sessions of their own: as PID 1 to every process of the namespace, otherwise by a walk over /proc.
pub fn send_all(leader: Pid, signal: i32) {
    if getpid().as_raw() == 1 {
        send(Pid::from_raw(-1), signal);
        return;
    }
    // The group first: to it the kernel delivers at once, so none of it forks away meanwhile.
    send_group(leader, signal);
    let elsewhere = |pid: &Pid| getpgid(Some(*pid)) != Ok(leader);
    descendants()
        .into_iter()
        .filter(elsewhere)
        .for_each(|pid| send(pid, signal));
}

/// Sends SIGKILL to every descendant, until a walk finds none that was not hit before: what forked
/// while we walked is found by the next walk.
pub fn kill_all() {
    if getpid().as_raw() == 1 {
        send(Pid::from_raw(-1), libc::SIGKILL);
        return;
    }
    let mut hit = HashSet::new();
    loop {
        let fresh: Vec<_> = descendants()
            .into_iter()
            .filter(|pid| hit.insert(*pid))
            .collect();
        if fresh.is_empty() {
            return;
        }
        fresh.into_iter().for_each(|pid| send(pid, libc::SIGKILL));
    }
}

/// Kills those descendants that ignore SIGTERM: time to clean up is of no use to them.
pub fn kill_deaf() {
    for pid in descendants().into_iter().filter(|pid| ignores_term(*pid)) {
        send(pid, libc::SIGKILL);
    }
}

/// Makes orphaned descendants our children, as they are PID 1's by nature.
///
/// # Errors
/// Where the kernel refuses what it never refuses.
pub fn adopt_orphans() -> Result<(), OsError> {
    if getpid().as_raw() == 1 {
        return Ok(());
    }
    nix::sys::prctl::set_child_subreaper(true).map_err(failed("become a child subreaper"))
}

/// Our descendants as /proc lists them now; empty where there is no /proc.
pub fn descendants() -> Vec<Pid> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for pid in processes() {
        // The state does not matter: a process whose first thread is over shows as a zombie, and
        // runs on.
        if let Some(stat) = stat(pid) {
            children.entry(stat.parent).or_default().push(pid);
        }
    }
    let mut found = Vec::new();
    let mut next = vec![getpid().as_raw()];
    while let Some(pid) = next.pop() {
        for child in children.remove(&pid).unwrap_or_default() {
            found.push(Pid::from_raw(child));
            next.push(child);
        }
    }
    found
}

fn processes() -> impl Iterator<Item = i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Continues those descendants that are stopped: a signal does nothing to them before.
pub fn wake_stopped() {
    let is_stopped = |pid: &Pid| stat(pid.as_raw()).is_some_and(|stat| stat.state == "T");
    for pid in descendants().into_iter().filter(is_stopped) {
        send(pid, libc::SIGCONT);
    }
}

struct Stat {
    state: String,
    parent: i32,
}

fn stat(pid: i32) -> Option<Stat> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // `pid (name) state ppid ...`, where the name may hold anything, brackets too.
    let end = stat.iter().rposition(|b| *b == b')')?;
    let rest = std::str::from_utf8(stat.get(end + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    Some(Stat {
        state: fields.next()?.to_owned(),
        parent: fields.next()?.parse().ok()?,
    })
}

fn ignores_term(pid: Pid) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & (1 << (libc::SIGTERM - 1)) != 0)
}
