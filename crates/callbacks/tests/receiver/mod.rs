//! A real HTTP receiver that misbehaves as it is told.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Longest that a test waits for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A request as it came in.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn id(&self) -> &str {
        &self.headers["webhook-id"]
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// What the receiver does with a request.
pub(crate) enum Act {
    /// Answers with this status, these header lines and this body.
    Answer(u16, &'static str, &'static str),
    /// Closes the connection without a word.
    Close,
    /// Never answers, and keeps the connection.
    Hang,
    /// Answers with something that is not HTTP.
    Garble,
    /// Answers 200 with a body that never ends.
    Flood,
}

pub(crate) const OK: Act = Act::Answer(200, "", "");

#[derive(Default)]
struct Log {
    seen: Mutex<Vec<Request>>,
    changed: Condvar,
}

/// A receiver; its threads end with the test's process.
pub(crate) struct Receiver {
    pub(crate) addr: SocketAddr,
    log: Arc<Log>,
}

impl Receiver {
    /// Answers each request as `act` says; it is given the request and how many came before.
    pub(crate) fn start(act: impl Fn(usize, &Request) -> Act + Send + Sync + 'static) -> Receiver {
        Receiver::on(TcpListener::bind("127.0.0.1:0").unwrap(), act)
    }

    pub(crate) fn on(
        listener: TcpListener,
        act: impl Fn(usize, &Request) -> Act + Send + Sync + 'static,
    ) -> Receiver {
        let addr = listener.local_addr().unwrap();
        let log = Arc::new(Log::default());
        let (seen, act) = (log.clone(), Arc::new(act));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (seen, act) = (seen.clone(), act.clone());
                std::thread::spawn(move || serve(stream.unwrap(), &seen, &*act));
            }
        });
        Receiver { addr, log }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// Waits until `count` requests came, and gives all that did.
    pub(crate) fn wait_for(&self, count: usize) -> Vec<Request> {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = self.log.seen.lock().unwrap();
        while seen.len() < count {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "only {} of {count} requests came",
                seen.len()
            );
            seen = self.log.changed.wait_timeout(seen, left).unwrap().0;
        }
        seen.clone()
    }

    pub(crate) fn seen(&self) -> Vec<Request> {
        self.wait_for(0)
    }
}

fn serve(stream: TcpStream, log: &Log, act: &dyn Fn(usize, &Request) -> Act) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    while let Some(request) = read_request(&mut reader) {
        let before = {
            let mut seen = log.seen.lock().unwrap();
            seen.push(request.clone());
            log.changed.notify_all();
            seen.len() - 1
        };
        match act(before, &request) {
            Act::Answer(code, headers, body) => {
                let length = body.len();
                let answer =
                    format!("HTTP/1.1 {code} X\r\n{headers}content-length: {length}\r\n\r\n{body}");
                if stream.write_all(answer.as_bytes()).is_err() {
                    return;
                }
            }
            Act::Close => return,
            Act::Hang => {
                // Until the other side gives up.
                let _ = reader.read(&mut [0]);
                return;
            }
            Act::Garble => {
                let _ = stream.write_all(b"\0\x01 what is HTTP?\r\n\r\n");
                return;
            }
            Act::Flood => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
                while stream.write_all(&[b'x'; 4096]).is_ok() {}
                return;
            }
        }
    }
}

fn read_request(reader: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next()?, words.next()?);
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers
        .get("content-length")
        .map_or(0, |n| n.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request {
        method,
        target,
        headers,
        body,
    })
}
