//! Delivery against a real HTTPS server that fails in every way: whatever it does, all events arrive, and
//! in their order.

// A test fails by panicking, in its helpers too.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::collections::{HashSet, VecDeque};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use baton_agent::deliver::{CaSource, DeliveryView, Queue, Reach, Target, coordinator_url, run};
use baton_agent::metrics::{Metrics, Now};
use baton_events::{PodRef, Told, What, read_batch};
use baton_protocol::Timestamp;
use rustls::pki_types::PrivateKeyDer;

/// What the server does with a batch.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Do {
    /// Takes it.
    Accept,
    /// Takes it, and hangs up before it says so.
    AcceptSilently,
    /// Takes it, and breaks off in the middle of the answer.
    AcceptHalf,
    /// Answers this, with these headers and body.
    Answer(u16, &'static str, &'static str),
    /// Says nothing, for longer than anybody waits.
    Hang,
    /// Hangs up.
    Reset,
}

#[derive(Default)]
struct Seen {
    script: VecDeque<Do>,
    /// What the server took, in order, repeats included.
    taken: Vec<Told>,
    tokens: HashSet<String>,
    connections: usize,
}

struct Server {
    address: SocketAddr,
    certificate: String,
    seen: Arc<Mutex<Seen>>,
}

/// An id that this server's intake cannot read: any batch with it is refused as a whole.
const POISON: u32 = 666;

impl Server {
    fn start(script: &[Do]) -> Server {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = rustls::crypto::ring::default_provider();
        let config = rustls::ServerConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Server {
            address: listener.local_addr().unwrap(),
            certificate: made.cert.pem(),
            seen: Arc::default(),
        };
        server.seen.lock().unwrap().script = script.iter().copied().collect();
        let (seen, config) = (Arc::clone(&server.seen), Arc::new(config));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let tls = rustls::ServerConnection::new(config.clone()).unwrap();
                let stream = rustls::StreamOwned::new(tls, stream.unwrap());
                let seen = Arc::clone(&seen);
                std::thread::spawn(move || converse(stream, &seen));
            }
        });
        server
    }

    fn taken(&self) -> Vec<Told> {
        self.seen.lock().unwrap().taken.clone()
    }
}

type Stream = rustls::StreamOwned<rustls::ServerConnection, TcpStream>;

/// Serves one connection until it ends.
fn converse(mut stream: Stream, seen: &Mutex<Seen>) {
    let mut is_new = true;
    while let Some((head, body)) = request(&mut stream) {
        let mut seen = seen.lock().unwrap();
        seen.connections += usize::from(is_new);
        is_new = false;
        assert!(head.starts_with("POST /v1/events HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("content-type: application/cloudevents-batch+json\r\n"));
        let token = head.split("authorization: Bearer ").nth(1).unwrap();
        seen.tokens.insert(token.lines().next().unwrap().to_owned());
        let batch: Vec<Told> = read_batch(&body)
            .unwrap()
            .into_iter()
            .map(Result::unwrap)
            .collect();
        let poisoned = batch
            .iter()
            .any(|told| matches!(told.what, What::StepStarted { number, .. } if number == POISON));
        let what = match seen.script.pop_front().unwrap_or(Do::Accept) {
            Do::Accept if poisoned => Do::Answer(400, "", "this is no event"),
            what => what,
        };
        if matches!(what, Do::Accept | Do::AcceptSilently | Do::AcceptHalf) {
            seen.taken.extend(batch);
        }
        drop(seen);
        let answer = |code: u16, headers: &str, body: &str, length: usize| {
            format!("HTTP/1.1 {code} X\r\ncontent-length: {length}\r\n{headers}\r\n{body}")
        };
        let sent = match what {
            Do::Accept => answer(200, "", "{\"refused\":[]}", 14),
            Do::Answer(code, headers, body) => answer(code, headers, body, body.len()),
            Do::AcceptHalf => answer(200, "", "{\"ref", 14),
            Do::AcceptSilently | Do::Reset => String::new(),
            Do::Hang => {
                // Until the other side has had enough.
                let _ = stream.read(&mut [0; 1]);
                return;
            }
        };
        if stream.write_all(sent.as_bytes()).is_err() || sent.is_empty() || what == Do::AcceptHalf {
            return;
        }
    }
}

/// The head and the body of the next request; `None` at the end.
fn request(stream: &mut Stream) -> Option<(String, Vec<u8>)> {
    let (mut bytes, mut piece) = (Vec::new(), [0; 16 << 10]);
    loop {
        let head = bytes.windows(4).position(|w| w == b"\r\n\r\n");
        if let Some(end) = head.map(|at| at + 4) {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let length = head.split("content-length: ").nth(1)?;
            let length: usize = length.lines().next()?.parse().ok()?;
            if bytes.len() >= end + length {
                return Some((head, bytes[end..end + length].to_vec()));
            }
        }
        match stream.read(&mut piece) {
            Ok(n) if n > 0 => bytes.extend_from_slice(&piece[..n]),
            _ => return None,
        }
    }
}

fn event(pod: &str, number: u32, attempt: u32) -> Told {
    Told {
        pod: PodRef {
            namespace: "ns".into(),
            name: pod.into(),
            uid: format!("uid-{pod}"),
        },
        at: Timestamp(SystemTime::UNIX_EPOCH),
        what: What::StepStarted { number, attempt },
    }
}

/// A delivery that runs, with its folder.
struct Agent {
    queue: Queue,
    view: DeliveryView,
    metrics: Metrics,
    task: tokio::task::JoinHandle<()>,
    stop: tokio::sync::oneshot::Sender<()>,
}

impl Agent {
    fn start(folder: &Path, url: &str) -> Agent {
        Agent::with_patience(folder, url, Duration::from_secs(30))
    }

    /// One that soon has enough of a server that says nothing.
    fn with_patience(folder: &Path, url: &str, patience: Duration) -> Agent {
        let metrics = Metrics::new();
        let queue = Queue::open(&folder.join("spool"), 8 << 20, metrics.clone()).unwrap();
        let view = DeliveryView::default();
        let target = Target {
            url: coordinator_url(url).unwrap(),
            token_file: folder.join("token"),
            ca: CaSource::File(folder.join("ca.crt")),
            service: None,
            patience,
        };
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let task = tokio::spawn({
            let (queue, view, metrics) = (queue.clone(), view.clone(), metrics.clone());
            async move {
                let stopped = async { stopped.await.unwrap_or_default() };
                run(target, "n1", &queue, &view, &metrics, stopped).await;
            }
        });
        Agent {
            queue,
            view,
            metrics,
            task,
            stop,
        }
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(
            Instant::now() < deadline,
            "in a minute it was not so: {what}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The events without repeats, in the order in which they came first.
fn firsts(taken: &[Told]) -> Vec<String> {
    let mut known = HashSet::new();
    let ids = taken.iter().map(Told::id);
    ids.filter(|id| known.insert(id.clone())).collect()
}

fn folder(server: &Server) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), "first\n").unwrap();
    std::fs::write(folder.path().join("ca.crt"), &server.certificate).unwrap();
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_arrives_in_order_whatever_the_coordinator_does() {
    const FOLLOWER: Do = Do::Answer(503, "retry-after: 1\r\n", "{\"error\":\"not the leader\"}");
    let server = Server::start(&[
        Do::Answer(500, "", "no"),
        FOLLOWER,
        FOLLOWER,
        Do::AcceptSilently,
        Do::Reset,
        Do::Accept,
        Do::Answer(429, "retry-after: 1\r\n", "busy"),
        Do::Accept,
        Do::AcceptHalf,
        Do::Hang,
        Do::Answer(200, "", "<html>a proxy's page</html>"),
        Do::Answer(401, "", "who are you"),
        Do::Accept,
        Do::Answer(503, "", "later"),
    ]);
    let folder = folder(&server);
    let url = format!("https://localhost:{}", server.address.port());
    let agent = Agent::with_patience(folder.path(), &url, Duration::from_secs(2));
    let mut ids = Vec::new();
    let mut append = |count: u32| {
        let from = u32::try_from(ids.len()).unwrap();
        for n in from..from + count {
            let told = event(["a", "b", "c"][n as usize % 3], 1, n);
            ids.push(told.id());
            agent.queue.append(&[told]);
        }
    };
    append(300);
    until("the first arrived", || !server.taken().is_empty()).await;
    std::fs::write(folder.path().join("token"), "second").unwrap();
    append(300);
    // Until the server has done all that it was to do.
    until("all arrived", || {
        let idle = agent.queue.depth().events == 0;
        let done = server.seen.lock().unwrap().script.is_empty();
        if idle && !done {
            append(1);
        }
        idle && done
    })
    .await;
    assert_eq!(firsts(&server.taken()), ids);
    {
        let seen = server.seen.lock().unwrap();
        assert!(seen.script.is_empty(), "{:?}", seen.script);
        assert!(seen.tokens.contains("second"), "{:?}", seen.tokens);
    }
    assert!(matches!(agent.view.reach(), Reach::Reached { .. }));
    let text = agent.metrics.text(Now::default());
    // One answer of the two may have come too late, where the machine was slow.
    let deferred = |n| format!("deliveries_total{{outcome=\"deferred\"}} {n}\n");
    assert!((1..=2).any(|n| text.contains(&deferred(n))), "{text}");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_event_is_dropped_and_harms_no_other() {
    let server = Server::start(&[Do::Answer(500, "", "not yet")]);
    let folder = folder(&server);
    let url = format!("https://localhost:{}", server.address.port());
    let agent = Agent::start(folder.path(), &url);
    let all: Vec<_> = (0..40)
        .map(|n| event("a", if n == 17 { POISON } else { 1 }, n))
        .collect();
    agent.queue.append(&all);
    until("all is settled", || agent.queue.depth().events == 0).await;
    let good = all.iter().enumerate().filter(|(n, _)| *n != 17);
    let good: Vec<_> = good.map(|(_, told)| told.id()).collect();
    assert_eq!(firsts(&server.taken()), good);
    assert_eq!(
        server.taken().len(),
        good.len(),
        "and nothing was sent twice"
    );
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_gets_no_token_and_a_new_authority_is_found() {
    let (server, stranger) = (Server::start(&[]), Server::start(&[]));
    let folder = folder(&stranger);
    let url = format!("https://localhost:{}", server.address.port());
    let agent = Agent::start(folder.path(), &url);
    agent.queue.append(&[event("a", 1, 1)]);
    until(
        "it is not trusted",
        || matches!(agent.view.reach(), Reach::Lost { error, .. } if error.contains("certificate")),
    )
    .await;
    assert!(server.taken().is_empty() && server.seen.lock().unwrap().tokens.is_empty());
    std::fs::write(folder.path().join("ca.crt"), &server.certificate).unwrap();
    until("it arrived", || server.taken().len() == 1).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_amid_delivery_loses_nothing() {
    let server = Server::start(&[Do::Accept, Do::Hang]);
    let folder = folder(&server);
    let url = format!("https://localhost:{}", server.address.port());
    let agent = Agent::with_patience(folder.path(), &url, Duration::from_secs(2));
    agent.queue.append(&[event("a", 1, 1)]);
    until("the first is settled", || agent.queue.depth().events == 0).await;
    agent.queue.append(&[event("a", 1, 2), event("a", 1, 3)]);
    until("the next hangs", || {
        server.seen.lock().unwrap().script.is_empty()
    })
    .await;
    agent.stop().await;
    let agent = Agent::start(folder.path(), &url);
    until("all arrived", || agent.queue.depth().events == 0).await;
    let all: Vec<_> = (1..=3).map(|n| event("a", 1, n).id()).collect();
    assert_eq!(firsts(&server.taken()), all);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_serves_many_batches() {
    let server = Server::start(&[]);
    let folder = folder(&server);
    let url = format!("https://localhost:{}", server.address.port());
    let agent = Agent::start(folder.path(), &url);
    for n in 0..4 {
        agent.queue.append(&[event("a", 1, n)]);
        until("it arrived", || agent.queue.depth().events == 0).await;
    }
    assert_eq!(server.seen.lock().unwrap().connections, 1);
    assert_eq!(server.taken().len(), 4);
    agent.stop().await;
}
