//! `POST /v1/events`: what agents tell.
//!
//! A batch is answered once it is durable. What cannot be taken now is refused at once, so that a
//! flood costs no memory: agents keep what they tell on their disks, and tell it again.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use baton_events::{CONTENT_TYPE, MAX_BATCH_BYTES, read_batch};
use futures::StreamExt;
use serde::Serialize;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot, watch};

use crate::inbox::{Answer, Batch};
use crate::metrics::{BatchOutcome, Metrics};
use crate::server::identity::{Denied, Identities};

/// Longest that a body may take to come in.
const BODY: Duration = Duration::from_secs(20);
/// Longest that the controller may take to make a batch durable.
const DURABLE: Duration = Duration::from_secs(20);
/// Most bytes of bodies that are held at once.
const MAX_HELD_BYTES: usize = 64 << 20;
/// Most bytes of a refused body that are let pass by, and the longest that this may take.
const MAX_DRAINED_BYTES: usize = 2 * MAX_BATCH_BYTES;
const DRAINING: Duration = Duration::from_secs(5);
/// What a body is counted as, at least.
const MIN_HELD_BYTES: usize = 16 << 10;

/// The inbox of the controller that runs; none where this replica does not lead.
pub type Inbox = watch::Receiver<Option<mpsc::Sender<Batch>>>;

/// Takes batches in.
#[derive(Debug)]
pub struct Intake {
    identities: Identities,
    inbox: Inbox,
    metrics: Metrics,
    held: Semaphore,
}

impl Intake {
    /// Takes batches of the agents that `identities` knows, for the controller behind `inbox`.
    pub fn new(identities: Identities, inbox: Inbox, metrics: Metrics) -> Intake {
        Intake {
            identities,
            inbox,
            metrics,
            held: Semaphore::new(MAX_HELD_BYTES),
        }
    }

    /// The routes.
    pub fn routes(self) -> Router {
        Router::new()
            .route("/v1/events", post(handle))
            // Bounded where it is read, together with everything else that is held.
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::new(self))
    }

    async fn take(&self, headers: &HeaderMap, body: &mut Body) -> Result<Taken, Refusal> {
        let Some(inbox) = self.inbox.borrow().clone() else {
            return Err(Refusal::NotLeader);
        };
        let token = bearer(headers)?;
        let node = self.identities.node(token).await?;
        let bytes = content_length(headers)?;
        let _held = self.hold(bytes)?;
        let body = read(std::mem::take(body), bytes).await?;
        let mut refused = Vec::new();
        let mut events = Vec::new();
        let batch = read_batch(&body).map_err(|e| Refusal::Malformed(e.to_string()))?;
        drop(body);
        for (i, event) in batch.into_iter().enumerate() {
            match event {
                Ok(told) => events.push(told),
                Err(why) => refused.push(RefusedEvent {
                    id: String::new(),
                    why: format!("event {i} of the batch: {why}"),
                }),
            }
        }
        let told = events.len();
        if !events.is_empty() {
            let answer = self.deliver(&inbox, &node, events).await?;
            refused.extend(
                answer
                    .refused
                    .into_iter()
                    .map(|(id, why)| RefusedEvent { id, why }),
            );
        }
        for event in &refused {
            tracing::warn!(node, id = event.id, why = event.why, "refused an event");
        }
        Ok(Taken { told, refused })
    }

    async fn deliver(
        &self,
        inbox: &mpsc::Sender<Batch>,
        node: &str,
        events: Vec<baton_events::Told>,
    ) -> Result<Answer, Refusal> {
        let (answer, answered) = oneshot::channel();
        let batch = Batch {
            node: node.to_owned(),
            events,
            answer,
        };
        inbox.try_send(batch).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Refusal::Flooded,
            mpsc::error::TrySendError::Closed(_) => Refusal::NotLeader,
        })?;
        match tokio::time::timeout(DURABLE, answered).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(Refusal::Unavailable(
                "the events could not be made durable; tell them again".to_owned(),
            )),
            Err(_) => Err(Refusal::Unavailable(format!(
                "the events were not durable within {DURABLE:?}; tell them again"
            ))),
        }
    }

    fn hold(&self, bytes: Option<usize>) -> Result<SemaphorePermit<'_>, Refusal> {
        let bytes = bytes.unwrap_or(MAX_BATCH_BYTES).max(MIN_HELD_BYTES);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.held
            .try_acquire_many(bytes)
            .map_err(|_| Refusal::Flooded)
    }
}

async fn handle(State(intake): State<Arc<Intake>>, request: Request) -> Response {
    let (head, mut body) = request.into_parts();
    match intake.take(&head.headers, &mut body).await {
        Ok(taken) => {
            intake.metrics.count_batch(BatchOutcome::Accepted);
            let refused = taken.refused.len();
            let accepted = taken.told.saturating_sub(refused);
            intake.metrics.count_events(accepted, refused);
            let refused = taken.refused;
            axum::Json(Answered { refused }).into_response()
        }
        Err(refusal) => {
            intake.metrics.count_batch(refusal.outcome());
            drain(body).await;
            refusal.into_response()
        }
    }
}

struct Taken {
    told: usize,
    refused: Vec<RefusedEvent>,
}

#[derive(Serialize)]
struct Answered {
    refused: Vec<RefusedEvent>,
}

/// An event that was refused. It need not be told again.
#[derive(Serialize)]
struct RefusedEvent {
    /// Its id; empty where it could not be read.
    id: String,
    why: String,
}

/// Why a batch is not taken.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    NotLeader,
    Denied(Denied),
    Type,
    TooLong(usize),
    Malformed(String),
    Flooded,
    Unavailable(String),
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        Refusal::Denied(denied)
    }
}

impl Refusal {
    fn outcome(&self) -> BatchOutcome {
        match self {
            Refusal::NotLeader
            | Refusal::Unavailable(_)
            | Refusal::Denied(Denied::Unavailable(_)) => BatchOutcome::Unavailable,
            Refusal::Flooded | Refusal::Denied(Denied::Busy) => BatchOutcome::Flooded,
            Refusal::Denied(_) => BatchOutcome::Denied,
            Refusal::Type | Refusal::TooLong(_) | Refusal::Malformed(_) => BatchOutcome::Malformed,
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Refusal::Denied(Denied::Unauthenticated(_)) => StatusCode::UNAUTHORIZED,
            Refusal::Denied(Denied::Forbidden(_)) => StatusCode::FORBIDDEN,
            Refusal::Flooded | Refusal::Denied(Denied::Busy) => StatusCode::TOO_MANY_REQUESTS,
            Refusal::NotLeader
            | Refusal::Unavailable(_)
            | Refusal::Denied(Denied::Unavailable(_)) => StatusCode::SERVICE_UNAVAILABLE,
            Refusal::Type => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Refusal::TooLong(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::Malformed(_) => StatusCode::BAD_REQUEST,
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refusal::NotLeader => f.write_str("not the leader"),
            Refusal::Denied(denied) => denied.fmt(f),
            Refusal::Type => write!(f, "the content type must be {CONTENT_TYPE}"),
            Refusal::TooLong(bytes) => {
                write!(f, "the body has {bytes} bytes, more than {MAX_BATCH_BYTES}")
            }
            Refusal::Flooded => f.write_str("too much at once; come back later"),
            Refusal::Malformed(why) | Refusal::Unavailable(why) => f.write_str(why),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = axum::Json(serde_json::json!({"error": self.to_string()}));
        let mut response = (self.status(), body).into_response();
        let headers = response.headers_mut();
        if matches!(
            self.status(),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        ) {
            headers.insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
        }
        if self == Refusal::NotLeader {
            // The Service may lead another connection to the leader.
            headers.insert(
                header::CONNECTION,
                header::HeaderValue::from_static("close"),
            );
        }
        response
    }
}

/// The bearer token of a request of the right type.
fn bearer(headers: &HeaderMap) -> Result<&str, Refusal> {
    let of = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let media = of(header::CONTENT_TYPE).and_then(|v| v.split(';').next());
    if !media.is_some_and(|m| m.trim().eq_ignore_ascii_case(CONTENT_TYPE)) {
        return Err(Refusal::Type);
    }
    of(header::AUTHORIZATION)
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .ok_or_else(|| {
            Denied::Unauthenticated("there is no bearer token in the request".to_owned()).into()
        })
}

fn content_length(headers: &HeaderMap) -> Result<Option<usize>, Refusal> {
    let Some(value) = headers.get(header::CONTENT_LENGTH) else {
        return Ok(None);
    };
    let bytes = value.to_str().ok().and_then(|v| v.parse::<usize>().ok());
    let bytes = bytes.ok_or_else(|| Refusal::Malformed("the content length is none".to_owned()))?;
    if bytes > MAX_BATCH_BYTES {
        return Err(Refusal::TooLong(bytes));
    }
    Ok(Some(bytes))
}

/// Lets the rest of a refused body pass by: one who still writes would see a broken connection in
/// place of the answer.
async fn drain(body: Body) {
    let mut pieces = body.into_data_stream();
    let mut left = MAX_DRAINED_BYTES;
    let _ = tokio::time::timeout(DRAINING, async {
        while let Some(Ok(piece)) = pieces.next().await {
            left = left.saturating_sub(piece.len());
            if left == 0 {
                break;
            }
        }
    })
    .await;
}

async fn read(body: Body, announced: Option<usize>) -> Result<Bytes, Refusal> {
    let limit = announced.unwrap_or(MAX_BATCH_BYTES);
    match tokio::time::timeout(BODY, axum::body::to_bytes(body, limit)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => Err(Refusal::Malformed(format!("reading the body: {error}"))),
        Err(_) => Err(Refusal::Malformed(format!(
            "the body did not come in within {BODY:?}"
        ))),
    }
}
