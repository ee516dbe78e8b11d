//! A receiver of callbacks: a small HTTP server that pods reach, and that keeps what it was sent.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::Cluster;

/// One request that came in.
#[derive(Debug, Clone)]
pub struct Request {
    /// `POST`, `GET`.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Headers, their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

/// A server on this machine, at an address that pods reach, for as long as it lives.
#[derive(Debug)]
pub struct Receiver {
    address: IpAddr,
    port: u16,
    answer: Arc<AtomicU16>,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Receiver {
    /// Starts it; it answers 200.
    ///
    /// # Panics
    /// Where this machine has no address that the cluster's first node could reach.
    pub fn start(cluster: &Cluster) -> Self {
        let listener = TcpListener::bind(("0.0.0.0", 0)).expect("a port is free");
        let receiver = Self {
            address: own_address(cluster),
            port: listener.local_addr().expect("it has an address").port(),
            answer: Arc::new(AtomicU16::new(200)),
            requests: Arc::default(),
        };
        let (answer, requests) = (receiver.answer.clone(), receiver.requests.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, requests) = (answer.clone(), requests.clone());
                std::thread::spawn(move || serve(stream, &answer, &requests));
            }
        });
        receiver
    }

    /// `http://ADDRESS:PORT` followed by the path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}:{}{path}", self.address, self.port)
    }

    /// What it answers from now on: 200, 500, 503, ...
    pub fn answer(&self, code: u16) {
        self.answer.store(code, Ordering::SeqCst);
    }

    /// What came in so far, refused requests too.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("no server fails").clone()
    }
}

/// This machine's address on the way to the first node.
fn own_address(cluster: &Cluster) -> IpAddr {
    let out = cluster.kubectl().run(&[
        "get",
        "nodes",
        "-o",
        "jsonpath={.items[0].status.addresses[?(@.type=='InternalIP')].address}",
    ]);
    let node: IpAddr = out.success("a node").trim().parse().expect("an address");
    let socket = UdpSocket::bind(("0.0.0.0", 0)).expect("a socket");
    // Nothing is sent: connecting only chooses the route.
    socket.connect((node, 9)).expect("a route to the node");
    socket.local_addr().expect("an address").ip()
}

fn serve(stream: TcpStream, answer: &AtomicU16, requests: &Mutex<Vec<Request>>) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(60)));
    let Ok(mut write) = stream.try_clone() else {
        return;
    };
    let mut read = BufReader::new(stream);
    while let Some(request) = receive(&mut read) {
        requests.lock().expect("no server fails").push(request);
        let code = answer.load(Ordering::SeqCst);
        let head = format!("HTTP/1.1 {code} -\r\ncontent-length: 0\r\n\r\n");
        if write.write_all(head.as_bytes()).is_err() {
            return;
        }
    }
}

fn receive(read: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    read.read_line(&mut line)
        .ok()
        .filter(|length| *length > 0)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next()?, words.next()?);
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        read.read_line(&mut line)
            .ok()
            .filter(|length| *length > 0)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => {
                headers.insert(name.to_lowercase(), value.trim().to_owned());
            }
            None => break,
        }
    }
    let length = headers
        .get("content-length")
        .and_then(|length| length.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    read.read_exact(&mut body).ok()?;
    Some(Request {
        method,
        target,
        headers,
        body,
    })
}
