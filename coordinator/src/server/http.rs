//! Probes and metrics, over plain HTTP.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use crate::metrics::{CONTENT_TYPE, Metrics};

/// What is not ready yet, by name; nothing where all is.
pub type Readiness = std::sync::Arc<dyn Fn() -> Vec<&'static str> + Send + Sync>;

/// `/metrics`, `/healthz` (the process answers) and `/readyz` (it can do its work).
pub fn routes(metrics: Metrics, readiness: Readiness) -> Router {
    Router::new()
        .route("/metrics", get(text))
        .with_state(metrics)
        .route("/healthz", get(|| async { "ok\n" }))
        .merge(
            Router::new()
                .route("/readyz", get(ready))
                .with_state(readiness),
        )
}

async fn text(State(metrics): State<Metrics>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], metrics.text())
}

async fn ready(State(readiness): State<Readiness>) -> impl IntoResponse {
    let missing = readiness();
    if missing.is_empty() {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        let missing = format!("not ready: {}\n", missing.join(", "));
        (StatusCode::SERVICE_UNAVAILABLE, missing)
    }
}
