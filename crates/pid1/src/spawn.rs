//! Starting a command that inherits exactly what we were given.
//!
//! The child shares our memory until it execs (`CLONE_VM | CLONE_VFORK`), so nothing is copied and
//! the start is as fast as the kernel makes it. It runs a handful of system calls and allocates
//! nothing: everything it needs is prepared before.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::fd::RawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::ptr;

use nix::unistd::Pid;

use crate::signals::{Inherited, set_disposition, set_mask};

/// Where commands are looked for when there is no PATH, as the C library does it.
const DEFAULT_PATH: &[u8] = b"/bin:/usr/bin";

/// A command to start.
#[derive(Debug, Clone)]
pub struct Command {
    /// The program and its arguments.
    pub argv: Vec<OsString>,
    /// Variables set besides those that we were given.
    pub env: Vec<(OsString, OsString)>,
    /// The folder to start in, where it is not ours.
    pub folder: Option<OsString>,
    /// Standard input, where it is not ours.
    pub stdin: Option<RawFd>,
    /// Standard output, where it is not ours.
    pub stdout: Option<RawFd>,
    /// Standard error, where it is not ours.
    pub stderr: Option<RawFd>,
    /// A descriptor of ours that the command gets as well, and the number that it has there.
    pub pass: Option<(RawFd, RawFd)>,
    /// Whom the command runs as, where not as us.
    pub user: Option<User>,
    /// A terminal whose foreground process group the command is to be.
    pub terminal: Option<RawFd>,
}

/// Whom a command runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The user's number.
    pub uid: u32,
    /// The number of the user's first group.
    pub gid: u32,
    /// The numbers of the other groups.
    pub groups: Vec<u32>,
}

/// Why a command could not be started.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SpawnError {
    /// There is no such program.
    #[error("cannot run {program:?}: {}", missing(.program))]
    NotFound {
        /// The program as it was named.
        program: OsString,
    },
    /// The program is there and cannot be executed.
    #[error("cannot run {program:?}: {source}{}", hint(*.source))]
    NotExecutable {
        /// The program as it was named.
        program: OsString,
        /// Why.
        source: nix::Error,
    },
    /// The folder to start in cannot be entered.
    #[error("cannot enter the working directory {folder:?}: {source}")]
    Folder {
        /// The folder.
        folder: OsString,
        /// Why.
        source: nix::Error,
    },
    /// We may not become the user.
    #[error("cannot run as user {uid}: {source}")]
    User {
        /// The user's number.
        uid: u32,
        /// Why.
        source: nix::Error,
    },
    /// No process could be made.
    #[error("cannot start a process: {0}")]
    Fork(nix::Error),
    /// A word with a NUL byte cannot be passed to a program.
    #[error("{0:?} contains a NUL byte")]
    Nul(OsString),
    /// There is no command.
    #[error("the command is empty")]
    Empty,
}

fn missing(program: &OsStr) -> &'static str {
    if program.as_bytes().contains(&b'/') {
        "there is no such file (or the interpreter that it names is missing)"
    } else {
        "there is no program of this name in PATH"
    }
}

fn hint(source: nix::Error) -> &'static str {
    match source {
        nix::Error::EACCES => " (is it executable, and on a file system mounted without noexec?)",
        nix::Error::ENOEXEC => " (is it built for this machine?)",
        nix::Error::E2BIG => {
            " (one argument or variable may hold 128 KiB; pass what is longer by file)"
        }
        _ => "",
    }
}

/// What failed in the child, told through the shared memory.
#[derive(Clone, Copy, PartialEq)]
enum Failed {
    Not,
    User(i32),
    Folder(i32),
    Exec(i32),
}

/// Everything that the child needs, prepared.
struct Child<'a> {
    inherited: &'a Inherited,
    candidates: &'a [CString],
    argv: &'a [*const libc::c_char],
    /// `/bin/sh FILE ARGS...`, for a file that the kernel cannot execute; its second word is set to
    /// the file by the child.
    shell: &'a mut [*const libc::c_char],
    envp: *const *const libc::c_char,
    folder: Option<&'a CStr>,
    stdin: Option<RawFd>,
    stdout: Option<RawFd>,
    stderr: Option<RawFd>,
    pass: Option<(RawFd, RawFd)>,
    user: Option<&'a User>,
    terminal: Option<RawFd>,
    failed: Failed,
}

impl Command {
    /// A command with nothing changed but its words.
    pub fn new(argv: Vec<OsString>) -> Command {
        Command {
            argv,
            env: Vec::new(),
            folder: None,
            stdin: None,
            stdout: None,
            stderr: None,
            pass: None,
            user: None,
            terminal: None,
        }
    }

    /// Starts the command, in a process group of its own.
    ///
    /// On return the command runs: it has been executed, and it is in its group.
    ///
    /// # Errors
    /// Where the program is missing (exit code 127 by convention) or cannot be executed (126), or
    /// where no process can be made.
    pub fn spawn(&self, inherited: &Inherited) -> Result<Pid, SpawnError> {
        let program = self.argv.first().ok_or(SpawnError::Empty)?;
        let words = self
            .argv
            .iter()
            .map(|w| c_string(w))
            .collect::<Result<Vec<_>, _>>()?;
        let env = Environment::with(&self.env)?;
        let candidates = candidates(program, env.get(b"PATH").unwrap_or(DEFAULT_PATH))?;
        let folder = self.folder.as_deref().map(c_string).transpose()?;
        let argv: Vec<_> = words
            .iter()
            .map(|w| w.as_ptr())
            .chain([ptr::null()])
            .collect();
        let mut shell: Vec<_> = [c"/bin/sh".as_ptr(), ptr::null()]
            .into_iter()
            .chain(argv.iter().skip(1).copied())
            .collect();
        let mut child = Child {
            inherited,
            candidates: &candidates,
            argv: &argv,
            shell: &mut shell,
            envp: env.pointers.as_ptr(),
            folder: folder.as_deref(),
            stdin: self.stdin,
            stdout: self.stdout,
            stderr: self.stderr,
            pass: self.pass,
            user: self.user.as_ref(),
            terminal: self.terminal,
            failed: Failed::Not,
        };
        let pid = vfork(&mut child).map_err(SpawnError::Fork)?;
        let failed = child.failed;
        if failed == Failed::Not {
            return Ok(pid);
        }
        // It is over already; what is reaped here is nobody's news.
        // SAFETY: no status is asked for.
        unsafe { libc::waitpid(pid.as_raw(), ptr::null_mut(), 0) };
        Err(match failed {
            Failed::User(errno) => SpawnError::User {
                uid: self.user.as_ref().map_or(0, |user| user.uid),
                source: nix::Error::from_raw(errno),
            },
            Failed::Folder(errno) => SpawnError::Folder {
                folder: self.folder.clone().unwrap_or_default(),
                source: nix::Error::from_raw(errno),
            },
            Failed::Exec(errno) => match nix::Error::from_raw(errno) {
                nix::Error::ENOENT | nix::Error::ENOTDIR => SpawnError::NotFound {
                    program: program.clone(),
                },
                source => SpawnError::NotExecutable {
                    program: program.clone(),
                    source,
                },
            },
            Failed::Not => SpawnError::Empty,
        })
    }
}

/// Starts a child that runs [`in_child`] in our memory while we are held.
fn vfork(child: &mut Child<'_>) -> Result<Pid, nix::Error> {
    const STACK: usize = 64 << 10;
    let mut stack = Vec::<u128>::with_capacity(STACK / size_of::<u128>());
    let top = stack.as_mut_ptr_range().start.wrapping_byte_add(STACK);
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the stack is ours alone and outlives the child's use of it, as CLONE_VFORK holds us
    // until the child has executed or exited; so does `child`. Every signal is blocked, and there
    // are no handlers, so nothing else runs on the shared memory.
    let pid = unsafe { libc::clone(in_child, top.cast(), flags, ptr::from_mut(child).cast()) };
    nix::Error::result(pid).map(Pid::from_raw)
}

/// The child's whole life. System calls only: no allocation, no lock, no panic.
extern "C" fn in_child(child: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `vfork` passes its `Child`, and is held while we run.
    let child = unsafe { &mut *child.cast::<Child<'_>>() };
    // SAFETY: plain system calls on prepared, NUL-terminated data.
    unsafe {
        libc::setpgid(0, 0);
        if let Some(terminal) = child.terminal {
            // SIGTTOU is blocked. ENOTTY, ENXIO and EBADF mean that there is nothing to hand over.
            libc::tcsetpgrp(terminal, libc::getpid());
        }
        if let Some(fd) = child.stdin {
            libc::dup2(fd, libc::STDIN_FILENO);
        }
        if let Some(fd) = child.stdout {
            libc::dup2(fd, libc::STDOUT_FILENO);
        }
        if let Some(fd) = child.stderr {
            libc::dup2(fd, libc::STDERR_FILENO);
        }
        match child.pass {
            Some((fd, number)) if fd == number => {
                libc::fcntl(fd, libc::F_SETFD, 0);
            }
            Some((fd, number)) => {
                libc::dup2(fd, number);
            }
            None => {}
        }
        if let Some(errno) = child.user.and_then(|user| become_user(user).err()) {
            child.failed = Failed::User(errno);
            libc::_exit(126);
        }
        if child
            .folder
            .is_some_and(|folder| libc::chdir(folder.as_ptr()) != 0)
        {
            child.failed = Failed::Folder(nix::Error::last_raw());
            libc::_exit(126);
        }
        let _ = set_disposition(libc::SIGPIPE, child.inherited.pipe);
        let _ = set_disposition(libc::SIGCHLD, child.inherited.child);
        let _ = set_mask(child.inherited.mask);
        let mut errno = libc::ENOENT;
        for candidate in child.candidates {
            libc::execve(candidate.as_ptr(), child.argv.as_ptr(), child.envp);
            match nix::Error::last_raw() {
                libc::ENOENT | libc::ENOTDIR => continue,
                libc::ENOEXEC => {
                    // A script without a `#!` line: what a shell and execvp do with it.
                    if let Some(file) = child.shell.get_mut(1) {
                        *file = candidate.as_ptr();
                    }
                    libc::execve(c"/bin/sh".as_ptr(), child.shell.as_ptr(), child.envp);
                    errno = libc::ENOEXEC;
                    break;
                }
                // The name may stand in a later folder of PATH as well. A folder that may not be
                // searched says the same, and has nothing for us.
                libc::EACCES => {
                    if libc::access(candidate.as_ptr(), libc::F_OK) == 0 {
                        errno = libc::EACCES;
                    }
                }
                other => {
                    errno = other;
                    break;
                }
            }
        }
        child.failed = Failed::Exec(errno);
        libc::_exit(127);
    }
}

/// Gives the errno where it fails. The kernel's calls, as the C library's would tell other threads,
/// of which there are none, through memory that is not ours alone.
fn become_user(user: &User) -> Result<(), i32> {
    let done = |result: libc::c_long| match result {
        -1 => Err(nix::Error::last_raw()),
        _ => Ok(()),
    };
    // SAFETY: the list is as long as said.
    unsafe {
        done(libc::syscall(
            libc::SYS_setgroups,
            user.groups.len(),
            user.groups.as_ptr(),
        ))?;
        done(libc::syscall(
            libc::SYS_setresgid,
            user.gid,
            user.gid,
            user.gid,
        ))?;
        done(libc::syscall(
            libc::SYS_setresuid,
            user.uid,
            user.uid,
            user.uid,
        ))
    }
}

/// The files that a program's name may mean, in order.
fn candidates(program: &OsStr, path: &[u8]) -> Result<Vec<CString>, SpawnError> {
    let name = program.as_bytes();
    if name.is_empty() {
        return Err(SpawnError::Empty);
    }
    if name.contains(&b'/') {
        return Ok(vec![c_string(program)?]);
    }
    let in_folder = |folder: &[u8]| {
        let folder = if folder.is_empty() { b"." } else { folder };
        c_string(OsStr::from_bytes(&[folder, b"/", name].concat()))
    };
    path.split(|b| *b == b':').map(in_folder).collect()
}

/// The environment that we were given, byte for byte, with some variables set.
struct Environment {
    pointers: Vec<*const libc::c_char>,
    _set: Vec<CString>,
}

impl Environment {
    fn with(set: &[(OsString, OsString)]) -> Result<Environment, SpawnError> {
        let mut joined = Vec::with_capacity(set.len());
        for (name, value) in set {
            let text = [name.as_bytes(), b"=", value.as_bytes()].concat();
            joined.push(c_string(OsStr::from_bytes(&text))?);
        }
        let replaced = |given: &CStr| {
            set.iter().any(|(name, _)| {
                given
                    .to_bytes()
                    .strip_prefix(name.as_bytes())
                    .is_some_and(|v| v.starts_with(b"="))
            })
        };
        let mut pointers: Vec<_> = given()
            .filter(|entry| !replaced(entry))
            .map(CStr::as_ptr)
            .collect();
        pointers.extend(joined.iter().map(|text| text.as_ptr()));
        pointers.push(ptr::null());
        Ok(Environment {
            pointers,
            _set: joined,
        })
    }

    fn get(&self, name: &[u8]) -> Option<&[u8]> {
        let mut values = self
            .pointers
            .iter()
            .filter(|p| !p.is_null())
            .filter_map(|p| {
                // SAFETY: each is NUL-terminated and lives as long as we do, or as the process.
                let entry = unsafe { CStr::from_ptr(*p) }.to_bytes();
                entry.strip_prefix(name)?.strip_prefix(b"=")
            });
        values.next()
    }
}

/// The entries of the environment that we were given, also those that are no UTF-8 or no pairs.
pub fn given() -> impl Iterator<Item = &'static CStr> {
    unsafe extern "C" {
        static environ: *const *const libc::c_char;
    }
    // SAFETY: the C library's list; nobody changes it, as there is no other thread and no setenv.
    let mut next = unsafe { environ };
    std::iter::from_fn(move || {
        if next.is_null() {
            return None;
        }
        // SAFETY: the list ends with a null pointer, and no step goes past it.
        unsafe {
            let entry = *next;
            if entry.is_null() {
                return None;
            }
            next = next.add(1);
            Some(CStr::from_ptr(entry))
        }
    })
}

fn c_string(text: &OsStr) -> Result<CString, SpawnError> {
    CString::new(text.as_bytes()).map_err(|e| SpawnError::Nul(OsString::from_vec(e.into_vec())))
}
