//! What the agent answers over HTTP: metrics, and whether it works.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::metrics::CONTENT_TYPE;

/// What is asked for.
pub trait Health: Send + Sync + 'static {
    /// All metrics, as Prometheus reads them.
    fn metrics(&self) -> String;

    /// Whether every part works; otherwise what does not. A restart is the remedy.
    ///
    /// # Errors
    /// A sentence.
    fn alive(&self) -> Result<(), String>;

    /// Whether pods can be served; otherwise why not. It may pass.
    ///
    /// # Errors
    /// A sentence.
    fn ready(&self) -> Result<(), String>;
}

/// Most connections at a time: scrapes and probes are one each, for a moment.
const MAX_CONNECTIONS: usize = 64;

/// Serves `/metrics`, `/healthz` and `/readyz` until `stop` becomes true.
pub async fn serve(listener: TcpListener, health: impl Health, stop: watch::Receiver<bool>) {
    let routes = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .with_state(Shared(Arc::new(health)));
    baton_daemon::serve::serve(listener, None, routes, MAX_CONNECTIONS, stop).await;
}

#[derive(Clone)]
struct Shared(Arc<dyn Health>);

async fn metrics(State(Shared(health)): State<Shared>) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], health.metrics()).into_response()
}

async fn alive(State(Shared(health)): State<Shared>) -> Response {
    answer(health.alive())
}

async fn ready(State(Shared(health)): State<Shared>) -> Response {
    answer(health.ready())
}

fn answer(state: Result<(), String>) -> Response {
    match state {
        Ok(()) => "ok\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}
