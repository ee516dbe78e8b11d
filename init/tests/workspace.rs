//! `init workspace`, `init run` and `init status`, by the real binary.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail as tests do"
)]

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const INIT: &str = env!("CARGO_BIN_EXE_init");
const LONG: Duration = Duration::from_secs(30);

/// Waits for a condition.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !is_so() {
        assert!(Instant::now() < end, "{what} does not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A supervisor in a folder of its own; killed with its services when the test fails.
struct Live {
    folder: tempfile::TempDir,
    child: Child,
}

impl Live {
    fn start(files: &[(&str, &str)], args: &[&str]) -> Live {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("step")).unwrap();
        for (name, content) in files {
            fs::write(folder.path().join(name), content).unwrap();
        }
        let child = command(folder.path(), args)
            .stdout(fs::File::create(folder.path().join("out")).unwrap())
            .stderr(fs::File::create(folder.path().join("err")).unwrap())
            .spawn()
            .unwrap();
        Live { folder, child }
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }

    fn exists(&self, name: &str) -> bool {
        self.folder.path().join(name).exists()
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(sent.unwrap().success());
    }

    fn end(&mut self) -> ExitStatus {
        let mut status = None;
        until("the end", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    fn code(&mut self) -> Option<i32> {
        self.end().code()
    }

    /// The types of the events, with the service of each.
    fn events(&self) -> Vec<String> {
        let lines = self.read("step/events");
        let events = lines.lines().map(|line| {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            let service = event["service"].as_str().unwrap_or_default();
            format!("{} {service}", event["type"].as_str().unwrap())
                .trim_end()
                .to_owned()
        });
        events.collect()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            // Twice: at once.
            self.signal("TERM");
            self.signal("TERM");
            let _ = self.child.wait();
        }
    }
}

fn command(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(INIT);
    command
        .args(args)
        .current_dir(folder)
        .env_remove("USER_WORKSPACE")
        .env("BATON_STEP_DIR", folder.join("step"))
        .stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let output = command(folder.path(), args).output().unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

const WORKSPACE: &[&str] = &["workspace", "--config", "w.toml", "--state", "state"];

#[test]
fn run_gives_the_commands_code() {
    assert_eq!(run(&["run", "--", "sh", "-c", "exit 7"]).0, Some(7));
    assert_eq!(run(&["run", "sh", "-c", "kill -9 $$"]).0, Some(137));
    let remapped = [
        "run",
        "--success-code",
        "7",
        "--success-code",
        "143",
        "--",
        "sh",
        "-c",
        "exit 7",
    ];
    assert_eq!(run(&remapped).0, Some(0));
    assert_eq!(run(&["run", "--", "no-such-program"]).0, Some(127));
    assert_eq!(run(&["run", "--", "/"]).0, Some(126));
    let (code, said) = run(&["run", "--sucess-code", "7", "--", "true"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("did you mean --success-code?"), "{said}");
}

/// A command whose child hears signals only where they go to the whole group.
const PARENT: &str = "trap 'echo parent >> got' USR1
sh -c 'trap \"echo child >> got; exit\" USR1; echo > child-ready; while :; do sleep 0.01; done' &
echo > ready; until [ -e done ]; do sleep 0.01; done; kill -9 $! || :";

#[test]
fn signals_go_to_the_group_or_to_one() {
    for single in [false, true] {
        let mut args = vec!["run", "--", "sh", "-c", PARENT];
        if single {
            args.insert(1, "--single-child");
        }
        let mut live = Live::start(&[], &args);
        until("both", || {
            live.exists("ready") && live.exists("child-ready")
        });
        live.signal("USR1");
        until("the signal", || live.read("got").contains("parent"));
        if !single {
            until("the child's", || live.read("got").contains("child"));
        }
        fs::write(live.folder.path().join("done"), "").unwrap();
        assert_eq!(live.code(), Some(0));
        assert_eq!(live.read("got").contains("child"), !single);
    }
}

#[test]
fn services_start_in_order_and_stop_in_reverse() {
    let service = |name: &str, rest: &str| {
        format!(
            "[[service]]\nname = \"{name}\"\n{rest}\ncommand = [\"sh\", \"-c\", \"trap 'echo {name} >> stops; exit 5' TERM; echo {name} >> starts; echo hello; echo >&$NOTIFY_FD; while :; do sleep 0.01; done\"]\nready = {{ fd = 3 }}\n"
        )
    };
    let config = service("db", "needs = [\"prepare\"]")
        + &service("ide", "needs = [\"db\"]\nmain = true")
        + "[[service]]\nname = \"prepare\"\nkind = \"oneshot\"\ncommand = [\"sh\", \"-c\", \"echo prepare >> starts\"]\n";
    let mut live = Live::start(&[("w.toml", &config)], WORKSPACE);
    until("readiness", || live.events().contains(&"Ready".to_owned()));
    let status = command(
        live.folder.path(),
        &["status", "--state", "state", "-o", "json"],
    )
    .output()
    .unwrap();
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["pid"], live.child.id());
    assert_eq!(status["services"][1]["name"], "ide");
    live.signal("TERM");
    assert_eq!(live.code(), Some(5), "the main service's");
    assert_eq!(live.read("starts"), "prepare\ndb\nide\n");
    assert_eq!(live.read("stops"), "ide\ndb\n");
    assert!(live.read("out").contains("ide | hello\n"));
    let events = [
        "Starting prepare",
        "ServiceReady prepare",
        "Starting db",
        "ServiceReady db",
        "Starting ide",
        "ServiceReady ide",
        "Ready",
        "Stopping",
        "ServiceDied ide",
        "ServiceDied db",
        "Stopped",
    ];
    assert_eq!(live.events(), events);
    let status = command(live.folder.path(), &["status", "--state", "state"])
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(1), "it runs no more");
}

#[test]
fn a_service_that_dies_is_restarted_and_given_up_at_last() {
    let config = "[[service]]\nname = \"bad\"\ncommand = [\"sh\", \"-c\", \"echo x >> runs; exit 9\"]\nrestart = { delay = \"10ms\", max_delay = \"20ms\", deaths = 3 }\n";
    let mut live = Live::start(&[("w.toml", config)], WORKSPACE);
    assert_eq!(live.code(), Some(9));
    assert_eq!(live.read("runs"), "x\nx\nx\n");
    assert_eq!(
        live.events()
            .iter()
            .filter(|e| *e == "Restarting bad")
            .count(),
        2
    );
    assert!(live.events().contains(&"GaveUp bad".to_owned()));
}

#[test]
fn folders_and_seeds_come_before_the_service() {
    let files = [("w.toml", "")];
    let script = "cat home/data/hello && test -d home/ws && echo good > result";
    let args = [
        "workspace",
        "--state",
        "state",
        "--user-dir",
        "home/ws",
        "--seed",
        "src:home/data",
        "--restart",
        "never",
        "--",
        "sh",
        "-c",
        script,
    ];
    let mut live = Live::start(
        &files,
        &["run", "--", "sh", "-c", "mkdir src; echo hi > src/hello"],
    );
    assert_eq!(live.code(), Some(0));
    for round in ["first", "again"] {
        let output = command(live.folder.path(), &args).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{round}: {output:?}");
        assert_eq!(
            String::from_utf8(output.stdout).unwrap(),
            "hi\n",
            "{round}: untouched"
        );
    }
    assert_eq!(live.read("result"), "good\n");
    assert_eq!(live.events().iter().filter(|e| *e == "Seeding").count(), 1);
    let missing = [
        "workspace",
        "--state",
        "state",
        "--seed",
        "nothing:home/x",
        "--",
        "sh",
    ];
    let output = command(live.folder.path(), &missing).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

#[test]
fn a_deaf_service_is_killed_by_the_deadline_or_a_second_signal() {
    for deadline in ["50ms", "1h"] {
        let args = [
            "workspace",
            "--state",
            "state",
            "--stop-deadline",
            deadline,
            "--",
            "sh",
            "-c",
            "trap '' TERM; setsid sh -c 'echo $$ > orphan; while :; do sleep 0.01; done' & echo > ready; while :; do sleep 0.01; done",
        ];
        let mut live = Live::start(&[], &args);
        until("the service", || {
            live.exists("ready") && !live.read("orphan").is_empty()
        });
        live.signal("TERM");
        if deadline == "1h" {
            until("the stop", || {
                live.events().contains(&"Stopping".to_owned())
            });
            live.signal("TERM");
        }
        assert_eq!(live.code(), Some(137));
        let orphan = live.read("orphan");
        assert!(
            !Path::new("/proc").join(orphan.trim()).exists(),
            "nothing is left"
        );
    }
}

#[test]
fn readiness_is_asked_by_http_and_clients_are_counted_since() {
    // Below the ports that the kernel gives to clients, so that none takes it in between.
    let first = 10_000 + u16::try_from(std::process::id() % 20_000).unwrap();
    let port = (first..first + 100)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .unwrap();
    let (port_text, script) = (
        port.to_string(),
        "import http.server, os, sys
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(204 if self.path == '/healthz' and os.path.exists('well') else 503)
        self.end_headers()
    def log_message(self, *a):
        open('asked', 'w').close()
http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), H).serve_forever()",
    );
    let args = [
        "workspace",
        "--state",
        "state",
        "--port",
        &port_text,
        "--ready-http",
        "/healthz",
        "--",
        "python3",
        "server.py",
        &port_text,
    ];
    let mut live = Live::start(&[("server.py", script)], &args);
    until("a first question", || live.exists("asked"));
    assert_eq!(live.events(), ["Starting python3"], "503 is not ready");
    fs::write(live.folder.path().join("well"), "").unwrap();
    until("readiness", || live.events().contains(&"Ready".to_owned()));
    until("its activity", || live.exists("step/activity"));
    let activity: serde_json::Value = serde_json::from_str(&live.read("step/activity")).unwrap();
    assert_eq!(activity["port"], port);
    assert!(
        activity["lastSeen"].is_null(),
        "our own probes are no clients"
    );
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    client.write_all(b"GET ").unwrap();
    until("the client is seen", || {
        let activity: serde_json::Value =
            serde_json::from_str(&live.read("step/activity")).unwrap();
        activity["connections"] == 1 && activity["lastSeen"].is_string()
    });
    drop(client);
    live.signal("TERM");
    assert_eq!(live.code(), Some(143));
}

#[test]
fn mistakes_start_nothing_and_are_named() {
    for (config, said) in [
        (
            "[[service]]\nname = \"a\"\ncommand = [\"exprr\"]\n",
            "w.toml:3: the service `a`: PATH has no program exprr; did you mean `expr`?",
        ),
        (
            "[[service]]\nname = \"a\"\ncommand = [\"./w.toml\"]\n",
            "w.toml:3: the service `a`: cannot execute ./w.toml",
        ),
        (
            "[[service]]\nname = \"a\"\ncommand = [\"sh\"]\nuser = \"no-such-user\"\n",
            "w.toml:3: the service `a`: /etc/passwd has no user `no-such-user`",
        ),
        (
            "[[service]]\nname = \"a\"\ncommand = [\"sh\"]\nneeds = [\"a\"]\n",
            "w.toml:2: services need each other in a circle: a -> a",
        ),
    ] {
        let mut live = Live::start(&[("w.toml", config)], WORKSPACE);
        assert_eq!(live.code(), Some(2), "{config}");
        assert_eq!(live.read("err"), format!("init: {said}\n"));
        assert_eq!(live.read("step/events"), "");
    }
    let (code, said) = run(&["workspace", "--prot", "1", "--", "true"]);
    assert_eq!(
        (code, said.trim()),
        (
            Some(2),
            "init: init workspace has no option --prot; did you mean --port?"
        )
    );
    let (code, said) = run(&["workspace", "--config", "nowhere.toml"]);
    assert_eq!(code, Some(2));
    assert!(
        said.starts_with("init: nowhere.toml: cannot read"),
        "{said}"
    );
}

/// Inside a PID namespace of its own, so that `init` is PID 1.
fn as_pid_1(script: &str) -> ExitStatus {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new("unshare")
        .current_dir(folder.path())
        .args([
            "--pid",
            "--fork",
            "--mount-proc",
            "--kill-child",
            "sh",
            "-c",
            script,
        ])
        .env("INIT", INIT)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut out)
        .unwrap();
    child.wait().unwrap()
}

#[test]
#[ignore = "needs root"]
fn as_pid_1_orphans_are_reaped_and_nothing_outlives_it() {
    // The main service waits until no zombie of an orphan is left.
    let service = "(sh -c true & exec true) ; n=0; while grep -q '^State:.Z' /proc/[0-9]*/status 2>/dev/null; do n=$((n+1)); [ $n -lt 1000 ] || exit 99; sleep 0.01; done; exit 6";
    let run = format!("exec $INIT run -- sh -c \"{service}\"");
    assert_eq!(
        as_pid_1(&run.replace("$((n+1))", "\\$((n+1))").replace("$n", "\\$n")).code(),
        Some(6)
    );
    let workspace =
        "exec $INIT workspace --state state --restart never -- sh -c 'setsid sleep 1000 & exit 4'";
    let ended = as_pid_1(workspace);
    assert_eq!((ended.code(), ended.signal()), (Some(4), None));
}

#[test]
#[ignore = "needs root"]
fn a_service_runs_as_its_user_in_its_groups() {
    let config = "[[service]]\nname = \"who\"\nuser = \"nobody:4711\"\ncommand = [\"sh\", \"-c\", \"id -u; id -g; id -G; grep NoNewPrivs /proc/self/status; echo $USER $HOME; echo own > own/file\"]\nrestart = { when = \"never\" }\n[workspace]\nfolders = [\"own\"]\n";
    let mut live = Live::start(&[("w.toml", config)], &["run", "true"]);
    assert_eq!(live.code(), Some(0));
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(live.folder.path(), open).unwrap();
    let output = command(live.folder.path(), WORKSPACE).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    let said: Vec<_> = said.lines().collect();
    assert_eq!(said[..3], ["65534", "4711", "4711"]);
    assert!(said[4].starts_with("nobody /"), "{said:?}");
    assert_eq!(live.read("own/file"), "own\n", "the folder is the user's");
}
