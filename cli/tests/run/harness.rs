//! A folder with manifests, and `baton` run in it.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::signals::heard;

/// No test takes near as long; what hangs ends here.
const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) struct Bench {
    dir: tempfile::TempDir,
}

pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A Task of steps given as YAML list items, two spaces deep, and further fields of its spec.
pub(crate) fn task(name: &str, spec: &str) -> String {
    format!("apiVersion: baton.dev/v1alpha1\nkind: Task\nmetadata: {{name: {name}}}\nspec:\n{spec}")
}

impl Bench {
    pub(crate) fn new() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("tmp")).unwrap();
        Bench { dir }
    }

    pub(crate) fn with(manifest: &str) -> Bench {
        let bench = Bench::new();
        bench.write("t.yaml", manifest);
        bench
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// The scratch folders that were left behind.
    pub(crate) fn leftovers(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.path("tmp")).unwrap();
        entries.map(|e| e.unwrap().path()).collect()
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_baton"));
        command
            .args(args)
            .current_dir(self.dir.path())
            .env("TMPDIR", self.path("tmp"))
            .env_remove("BATON_ENTRYPOINT")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        heard(&mut command);
        command
    }

    pub(crate) fn baton(&self, args: &[&str]) -> Ran {
        finish(self.command(args).spawn().unwrap())
    }

    /// `baton run t.yaml` with these arguments.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        let ran = self.baton(&[&["run", "t.yaml"], args].concat());
        assert!(self.leftovers().is_empty(), "{}", ran.stderr);
        ran
    }

    pub(crate) fn json(&self, args: &[&str]) -> (Ran, serde_json::Value) {
        let ran = self.run(&[&["-o", "json"], args].concat());
        let json = serde_json::from_str(&ran.stdout)
            .unwrap_or_else(|e| panic!("{e}: {}\n{}", ran.stdout, ran.stderr));
        (ran, json)
    }

    pub(crate) fn run_on_stdin(&self, text: &str, args: &[&str]) -> Ran {
        let mut child = self
            .command(&[&["run", "-"], args].concat())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        // A refusal may come before everything was read.
        let _ = child.stdin.take().unwrap().write_all(text.as_bytes());
        finish(child)
    }
}

/// Waits for a child's end and takes its output.
pub(crate) fn finish(mut child: Child) -> Ran {
    let stdout = child.stdout.take().map(collect);
    let stderr = child.stderr.take().map(collect);
    let deadline = Instant::now() + DEADLINE;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() >= deadline {
            let _ = child.kill();
            panic!("baton does not end");
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let text = |reader: Option<std::thread::JoinHandle<Vec<u8>>>| {
        reader
            .map(|r| String::from_utf8_lossy(&r.join().unwrap()).into_owned())
            .unwrap_or_default()
    };
    Ran {
        code: status.code().unwrap_or(-1),
        stdout: text(stdout),
        stderr: text(stderr),
    }
}

fn collect(mut stream: impl Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

/// Looks until there is something.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "this did not happen: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The number that a step wrote to a file.
pub(crate) fn pid_in(file: &Path) -> i32 {
    until("a pid is written", || {
        std::fs::read_to_string(file).ok()?.trim().parse().ok()
    })
}

/// Whether a process is there and no zombie.
pub(crate) fn is_alive(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or("").starts_with(" Z"))
}

pub(crate) fn signal(child: &Child, signal: nix::sys::signal::Signal) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, signal).unwrap();
}
