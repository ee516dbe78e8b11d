//! The loop that sends one sink's events, in order.

use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use reqwest::{Method, Response, header};
use tokio::sync::Notify;

use crate::backlog::Backlog;
use crate::event::{Event, Kind};
use crate::message::{Message, Sink};
use crate::retry::{Decision, Policy, Reply, retry_after};

/// Most bytes of an answer that are read; the connection of a longer one is closed.
const MAX_ANSWER_BYTES: usize = 16 << 10;
/// How much of an answer a message repeats, in characters.
const EXCERPT_CHARS: usize = 120;
/// Most given-up events that a report describes; the rest is counted.
const MAX_DESCRIBED: usize = 16;

/// An HTTP client that knows how patient to be. Cheap to clone; share one.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    policy: Policy,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// TLS could not be set up.
    #[error("setting up TLS for callbacks: {0}")]
    Tls(#[from] rustls::Error),
    /// The HTTP client could not be built.
    #[error("setting up the HTTP client for callbacks: {0}")]
    Http(#[from] reqwest::Error),
}

/// Why a receiver may not be sent to; a resolver's answer, see [`Client::guarded`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

impl Client {
    /// How patient it is.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// A client that trusts the machine's certificates (`SSL_CERT_FILE` and `SSL_CERT_DIR` count),
    /// or Mozilla's list where the machine has none, as minimal images do not.
    ///
    /// # Errors
    /// Where TLS or the client cannot be set up.
    pub fn new(policy: Policy) -> Result<Client, ClientError> {
        Client::build(policy, |http| http)
    }

    /// The same, with names looked up by `resolver`, which answers with [`Refused`] where it must not
    /// be sent to. No proxy is used: one would look names up by itself. An address in a URL is not
    /// looked up; that is for the caller to judge.
    ///
    /// # Errors
    /// Where TLS or the client cannot be set up.
    pub fn guarded(
        policy: Policy,
        resolver: Arc<dyn reqwest::dns::Resolve>,
    ) -> Result<Client, ClientError> {
        Client::build(policy, |http| http.no_proxy().dns_resolver(resolver))
    }

    fn build(
        policy: Policy,
        finish: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
    ) -> Result<Client, ClientError> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        let provider = rustls::crypto::ring::default_provider();
        let tls = rustls::ClientConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let http = finish(reqwest::Client::builder())
            .tls_backend_preconfigured(tls)
            // A redirect could carry a signed message to a host that nobody named.
            .redirect(reqwest::redirect::Policy::none())
            .timeout(policy.timeout)
            .user_agent(concat!("baton/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Client { http, policy })
    }

    /// Makes one attempt.
    pub async fn attempt(&self, message: &Message) -> Reply {
        let method = match message.content_type {
            Some(_) => Method::POST,
            None => Method::GET,
        };
        let now = SystemTime::now();
        let mut request = self.http.request(method, message.url.clone());
        for (name, value) in message.headers(unix_seconds(now)) {
            request = request.header(name, value);
        }
        if message.content_type.is_some() {
            request = request.body(message.body.clone());
        }
        match request.send().await {
            Ok(response) => read(response, now).await,
            Err(e) => self.explain(e),
        }
    }

    fn explain(&self, error: reqwest::Error) -> Reply {
        if error.is_timeout() {
            return Reply::Unreachable(format!("no answer within {:?}", self.policy.timeout));
        }
        // The URL may hold secrets. The outermost errors name the library's layers; the innermost
        // names the cause.
        let error = error.without_url();
        let mut cause: &dyn Error = &error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        if let Some(Refused(why)) = cause.downcast_ref() {
            return Reply::Refused(why.clone());
        }
        Reply::Unreachable(match error.is_connect() {
            true => format!("connecting: {cause}"),
            false => format!("sending: {cause}"),
        })
    }
}

fn unix_seconds(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

async fn read(mut response: Response, now: SystemTime) -> Reply {
    let code = response.status().as_u16();
    let retry_after = response
        .headers()
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| retry_after(value, now));
    // A short answer is read to its end, so that the connection can serve the next event; the
    // status alone decides, so an answer that breaks off is no failure.
    let mut body = Vec::new();
    while let Ok(Some(piece)) = response.chunk().await {
        body.extend_from_slice(piece.get(..MAX_ANSWER_BYTES).unwrap_or(&piece));
        if body.len() >= MAX_ANSWER_BYTES {
            break;
        }
    }
    let excerpt = String::from_utf8_lossy(&body)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(EXCERPT_CHARS)
        .collect::<String>();
    Reply::Status {
        code,
        retry_after,
        excerpt: excerpt.trim().to_owned(),
    }
}

/// An event that was never accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GaveUp {
    /// Its id.
    pub id: String,
    /// What it told of.
    pub kind: Kind,
    /// Why.
    pub cause: String,
}

/// What became of a sink's events.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeliveryReport {
    /// The sink, as [`Sink::label`] shows it.
    pub sink: String,
    /// Events that the receiver accepted.
    pub delivered: u64,
    /// Attempts that failed and were followed by another.
    pub retries: u64,
    /// The first events that were given up, with the cause.
    pub gave_up: Vec<GaveUp>,
    /// How many events were given up in all.
    pub gave_up_total: u64,
    /// Events that the full queue dropped.
    pub dropped: u64,
    /// Events that still waited at the end.
    pub unsent: u64,
    /// Why the last attempt failed, where one did and none succeeded since.
    pub last_error: Option<String>,
}

impl DeliveryReport {
    /// Whether the receiver has everything that it was to be told.
    pub fn is_complete(&self) -> bool {
        self.gave_up_total == 0 && self.dropped == 0 && self.unsent == 0
    }

    /// One line that says what did not arrive and why; `None` where everything did.
    pub fn complaint(&self) -> Option<String> {
        if self.is_complete() {
            return None;
        }
        let parts = [
            (self.gave_up_total, "given up"),
            (self.unsent, "not sent in time"),
            (self.dropped, "dropped from a full queue"),
        ];
        let counts: Vec<_> = parts
            .iter()
            .filter(|(n, _)| *n > 0)
            .map(|(n, what)| format!("{n} {what}"))
            .collect();
        let cause = self
            .gave_up
            .last()
            .map(|g| g.cause.as_str())
            .or(self.last_error.as_deref());
        let cause = cause.map(|c| format!(": {c}")).unwrap_or_default();
        let counts = counts.join(", ");
        Some(format!(
            "callback {}: {} events delivered, {counts}{cause}",
            self.sink, self.delivered
        ))
    }
}

/// One sink with its queue. Share it by reference: one part pushes, one runs [`Lane::run`].
#[derive(Debug)]
pub struct Lane {
    sink: Sink,
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Debug)]
struct State {
    backlog: Backlog,
    /// Taken from the backlog and not yet accepted or given up: no push can drop them, and they
    /// count as unsent where the loop is stopped.
    in_hand: Vec<Event>,
    closed: bool,
    report: DeliveryReport,
}

impl Lane {
    /// A lane for `sink` that queues at most `capacity` events.
    pub fn new(sink: Sink, capacity: usize) -> Lane {
        let report = DeliveryReport {
            sink: sink.label(),
            ..DeliveryReport::default()
        };
        Lane {
            sink,
            state: Mutex::new(State {
                backlog: Backlog::new(capacity),
                in_hand: Vec::new(),
                closed: false,
                report,
            }),
            wake: Notify::new(),
        }
    }

    /// Queues an event, where the sink wants such. Never blocks; a full queue drops the newest
    /// event that is not final.
    pub fn push(&self, event: &Event) {
        if self.sink.wants(event.kind()) {
            self.state().backlog.push(event.clone());
            self.wake.notify_one();
        }
    }

    /// Nothing more is pushed: [`run`](Lane::run) ends once the queue is empty.
    pub fn close(&self) {
        self.state().closed = true;
        self.wake.notify_one();
    }

    /// What became of the events so far.
    pub fn report(&self) -> DeliveryReport {
        let state = self.state();
        let mut report = state.report.clone();
        report.dropped = state.backlog.dropped();
        report.unsent = (state.backlog.len() + state.in_hand.len()) as u64;
        report
    }

    /// Sends what is pushed, one message at a time, until the lane is closed and empty.
    ///
    /// May be dropped at any time: what was not accepted is then `unsent`, and another `run` takes
    /// it up again.
    pub async fn run(&self, client: &Client) {
        loop {
            let Some(message) = self.take() else {
                if self.state().closed {
                    return;
                }
                self.wake.notified().await;
                continue;
            };
            let outcome = self.deliver(client, &message).await;
            self.settle(outcome);
        }
    }

    async fn deliver(&self, client: &Client, message: &Message) -> Result<(), String> {
        let mut attempt = 1;
        loop {
            let reply = client.attempt(message).await;
            match client.policy.next(attempt, &reply, fastrand::f64()) {
                Decision::Accepted => return Ok(()),
                Decision::GiveUp(cause) => return Err(cause),
                Decision::Retry(delay) => {
                    self.note_retry(reply.to_string());
                    tokio::time::sleep(delay).await;
                    attempt += 1;
                }
            }
        }
    }

    /// The next message; its events are in hand until [`settle`](Lane::settle).
    fn take(&self) -> Option<Message> {
        let mut state = self.state();
        let State {
            backlog, in_hand, ..
        } = &mut *state;
        if in_hand.is_empty() {
            let next = std::iter::from_fn(|| backlog.pop());
            in_hand.extend(next.take(self.sink.batch_size()));
        }
        self.sink.message(in_hand)
    }

    fn settle(&self, outcome: Result<(), String>) {
        let mut state = self.state();
        let events = std::mem::take(&mut state.in_hand);
        let report = &mut state.report;
        match outcome {
            Ok(()) => {
                report.delivered += events.len() as u64;
                report.last_error = None;
            }
            Err(cause) => {
                report.gave_up_total += events.len() as u64;
                let room = MAX_DESCRIBED.saturating_sub(report.gave_up.len());
                let described = events.iter().take(room).map(|event| GaveUp {
                    id: event.id.clone(),
                    kind: event.kind(),
                    cause: cause.clone(),
                });
                report.gave_up.extend(described);
                report.last_error = Some(cause);
            }
        }
    }

    fn note_retry(&self, cause: String) {
        let report = &mut self.state().report;
        report.retries += 1;
        report.last_error = Some(cause);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock, and plain counters stay usable if it did.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_complains_in_one_line() {
        let mut report = DeliveryReport {
            sink: "http://h/hook".into(),
            delivered: 3,
            ..DeliveryReport::default()
        };
        assert_eq!(report.complaint(), None);
        report.unsent = 2;
        report.last_error = Some("connecting: refused".into());
        assert_eq!(
            report.complaint().unwrap(),
            "callback http://h/hook: 3 events delivered, 2 not sent in time: connecting: refused"
        );
    }
}
