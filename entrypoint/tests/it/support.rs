//! Starting entrypoints and waiting for what they do.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use baton_protocol::event::{EventReader, Fact};
use baton_protocol::{Record, StepEvent};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tempfile::TempDir;

/// What takes longer than this is stuck.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// The binary under test.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("BATON_ENTRYPOINT")
        .map_or_else(|| env!("CARGO_BIN_EXE_entrypoint").into(), PathBuf::from)
}

/// A folder for one test.
pub(crate) struct Scratch(TempDir);

impl Scratch {
    pub(crate) fn new() -> Scratch {
        Scratch(
            tempfile::Builder::new()
                .prefix("entrypoint-")
                .tempdir()
                .unwrap(),
        )
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    /// Writes a file as the agent does: aside, then by rename.
    pub(crate) fn replace(&self, name: &str, content: &str) {
        let aside = self.path("aside");
        fs::write(&aside, content).unwrap();
        fs::rename(aside, self.path(name)).unwrap();
    }

    /// A folder for a step.
    pub(crate) fn step(&self, name: &str) -> PathBuf {
        let dir = self.path(name);
        fs::create_dir(&dir).unwrap();
        dir
    }

    /// An entrypoint with these arguments, in this folder.
    pub(crate) fn entrypoint<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(binary());
        command
            .args(args)
            .current_dir(self.0.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs an entrypoint to its end.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        self.entrypoint(args).output().unwrap()
    }

    /// Starts an entrypoint whose output is read as it comes.
    pub(crate) fn start<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Running {
        Running::start(self.entrypoint(args))
    }
}

/// An entrypoint that runs. It is killed when the test is over.
pub(crate) struct Running {
    pub(crate) child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Running {
        // SAFETY: system calls alone, on nothing that is shared.
        unsafe { command.pre_exec(hear) };
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Running { child, stdout }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// The next line of standard output, with a deadline; an empty one at its end.
    pub(crate) fn line(&mut self) -> String {
        let mut line = Vec::new();
        loop {
            if self.stdout.buffer().is_empty() {
                let mut fds = [PollFd::new(
                    self.stdout.get_ref().as_fd(),
                    PollFlags::POLLIN,
                )];
                let wait = PollTimeout::try_from(DEADLINE).unwrap();
                let ready = poll(&mut fds, wait).unwrap();
                assert_eq!(ready, 1, "waited in vain for more than {line:?}");
            }
            let piece = self.stdout.fill_buf().unwrap();
            let end = piece.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(piece.len(), |at| at + 1);
            line.extend(piece.iter().take(taken));
            self.stdout.consume(taken);
            if taken == 0 || end.is_some() {
                return text(&line).trim_end().to_owned();
            }
        }
    }

    pub(crate) fn signal(&self, signal: i32) {
        // SAFETY: touches no memory.
        assert_eq!(unsafe { libc::kill(self.pid(), signal) }, 0);
    }

    /// Waits for the end; gives the exit code, the rest of standard output, and standard error.
    pub(crate) fn end(mut self) -> (i32, String, String) {
        let status = wait_for(&mut self.child);
        let (mut out, mut err) = (String::new(), String::new());
        self.stdout.read_to_string(&mut out).unwrap();
        self.child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut err)
            .unwrap();
        (status.code().unwrap_or(-1), out, err)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lets what is started hear signals that are ignored where these tests run under `nohup`, or in a
/// script's background.
fn hear() -> std::io::Result<()> {
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT] {
        // SAFETY: the default disposition runs no code of ours.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    Ok(())
}

/// Waits for a child, with a deadline.
pub(crate) fn wait_for(child: &mut Child) -> ExitStatus {
    let mut status = None;
    until("the entrypoint's end", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap()
}

/// Waits for a condition, with a deadline.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A port of this machine that nobody has, below those that the kernel gives out: nobody is given it
/// while a test lets go of it.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 10_000 + u16::try_from(std::process::id() % 20_000).unwrap();
    (0..100)
        .map(|_| first + NEXT.fetch_add(1, Ordering::Relaxed))
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .unwrap()
}

/// Whether a process waits in poll (it has done all that it can do for now).
pub(crate) fn is_polling(pid: i32) -> bool {
    let in_poll = |file: &str, calls: &[&str]| {
        let text = fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        calls.iter().any(|call| text.starts_with(call))
    };
    // poll is system call 7, ppoll 271, on x86-64; elsewhere the kernel function tells.
    in_poll("syscall", &["7 ", "271 "]) || in_poll("wchan", &["do_poll", "poll_schedule"])
}

pub(crate) fn exists(pid: i32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// The final record of a step's folder.
pub(crate) fn record(dir: &Path) -> Record {
    Record::from_json(&fs::read(dir.join("exit")).unwrap()).unwrap()
}

/// The events of a step's folder.
pub(crate) fn events(dir: &Path) -> Vec<StepEvent> {
    let file = fs::read(dir.join("events")).unwrap_or_default();
    EventReader::default()
        .feed(&file)
        .into_iter()
        .map(Result::unwrap)
        .collect()
}

/// The facts of a step's folder.
pub(crate) fn facts(dir: &Path) -> Vec<Fact> {
    events(dir).into_iter().map(|event| event.fact).collect()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
