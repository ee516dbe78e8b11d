//! Waiting for objects without polling: `kubectl get --watch`.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Kubectl;

/// A watch of one object, or of all of a kind in a namespace.
#[derive(Debug)]
pub struct Watch {
    kubectl: Kubectl,
    args: Vec<String>,
}

/// A `kubectl` that watches, ended when it goes out of scope.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Watch {
    pub(crate) fn of(kubectl: &Kubectl, namespace: &str, kind: &str, name: &str) -> Self {
        let mut args: Vec<String> = ["get", "--watch", "-o", "json", "-n", namespace, kind]
            .map(str::to_owned)
            .into();
        if !name.is_empty() {
            // By a selector: an object that is not there yet is waited for.
            args.push(format!("--field-selector=metadata.name={name}"));
        }
        Self {
            kubectl: kubectl.clone(),
            args,
        }
    }

    fn start(&self) -> (Running, Receiver<Value>) {
        self.start_with(&[], Stdio::null())
    }

    /// Starts it, and waits until the server follows the objects: none that comes after that is missed.
    fn start_and_follow(&self) -> (Running, Receiver<Value>) {
        // At this level it says each answer of the server.
        let (mut running, objects) = self.start_with(&["-v=6"], Stdio::piped());
        let said = running.0.stderr.take().expect("it is piped");
        let (send, follows) = channel();
        std::thread::spawn(move || said_follows(said, &send));
        let limit = Duration::from_secs(60);
        let followed = follows.recv_timeout(limit);
        followed.unwrap_or_else(|e| panic!("{}: not begun: {e}", self.args.join(" ")));
        (running, objects)
    }

    fn start_with(&self, more: &[&str], said: Stdio) -> (Running, Receiver<Value>) {
        let args = self.args.iter().map(String::as_str);
        let args: Vec<&str> = args.chain(more.iter().copied()).collect();
        let mut child = self
            .kubectl
            .command(&args)
            .stdout(Stdio::piped())
            .stderr(said)
            .spawn()
            .expect("kubectl starts");
        let out = child.stdout.take().expect("it is piped");
        let (send, receive) = channel();
        std::thread::spawn(move || {
            let stream = serde_json::Deserializer::from_reader(BufReader::new(out));
            for object in stream.into_iter().map_while(Result::ok) {
                if send.send(object).is_err() {
                    return;
                }
            }
        });
        (Running(child), receive)
    }

    /// Waits for an object as `condition` says. A watch that ends is begun again.
    pub(crate) fn until(
        &self,
        limit: Duration,
        what: &str,
        condition: impl Fn(&Value) -> bool,
    ) -> Value {
        let deadline = Instant::now() + limit;
        let mut last = None;
        loop {
            let (_running, objects) = self.start();
            loop {
                let left = deadline.saturating_duration_since(Instant::now());
                match objects.recv_timeout(left) {
                    Ok(object) if condition(&object) => return object,
                    Ok(object) => last = Some(object),
                    Err(RecvTimeoutError::Disconnected) => break,
                    Err(RecvTimeoutError::Timeout) => panic!(
                        "{}: {what}: not within {limit:?}; last seen: {}",
                        self.args.join(" "),
                        last.map_or("nothing".to_owned(), |object: Value| brief(&object)),
                    ),
                }
            }
            // The server is away: the next watch is not begun in a spin.
            assert!(Instant::now() < deadline, "{what}: not within {limit:?}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

/// Reads what a `kubectl` says to its end, and tells when the server has answered its watch.
fn said_follows(said: ChildStderr, follows: &Sender<()>) {
    for line in BufReader::new(said).lines().map_while(Result::ok) {
        if line.contains("watch=true") && line.contains("200 OK") {
            // Nobody waits for a second one.
            let _ = follows.send(());
        }
    }
}

/// An object's state, in a line.
fn brief(object: &Value) -> String {
    let mut text = object.get("status").unwrap_or(object).to_string();
    if let Some((at, _)) = text.char_indices().nth(2000) {
        text.truncate(at);
    }
    text
}

/// The values seen in objects, in their order, without immediate repeats.
pub struct Series {
    running: Option<Running>,
    reader: Option<JoinHandle<()>>,
    seen: Arc<Mutex<Vec<String>>>,
}

impl std::fmt::Debug for Series {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Series").field("seen", &self.seen).finish()
    }
}

impl Series {
    pub(crate) fn start(
        kubectl: &Kubectl,
        namespace: &str,
        kind: &str,
        look: impl Fn(&Value) -> Option<String> + Send + 'static,
    ) -> Self {
        let (running, objects) = Watch::of(kubectl, namespace, kind, "").start_and_follow();
        let seen = Arc::new(Mutex::new(Vec::<String>::new()));
        let filled = seen.clone();
        let reader = std::thread::spawn(move || {
            for value in objects.iter().filter_map(|object| look(&object)) {
                let mut seen = filled.lock().expect("no reader fails");
                if seen.last() != Some(&value) {
                    seen.push(value);
                }
            }
        });
        Self {
            running: Some(running),
            reader: Some(reader),
            seen,
        }
    }

    /// What was seen so far.
    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().expect("no reader fails").clone()
    }

    /// Waits until the last value seen is this one, and gives all.
    pub fn until_last(&self, limit: Duration, value: &str) -> Vec<String> {
        crate::until(limit, &format!("{value} after {:?}", self.seen()), || {
            let seen = self.seen();
            (seen.last().map(String::as_str) == Some(value)).then_some(seen)
        })
    }

    /// Ends it, and gives what was seen.
    pub fn stop(mut self) -> Vec<String> {
        drop(self.running.take());
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reader ends with the watch");
        }
        self.seen()
    }
}
