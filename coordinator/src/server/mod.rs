//! What the coordinator serves: HTTPS for agents and the API server, plain HTTP for probes and
//! metrics. Connections, headers, bodies and times are bounded.

pub mod admission;
pub mod certs;
pub mod http;
pub mod identity;
pub mod intake;
pub mod keeper;
pub mod tls;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// Most connections of one listener; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 512;

/// Serves `routes` on a listener, with TLS where there is some, until `stop` becomes true; then
/// requests that came in are answered, for a few seconds at most.
pub async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    routes: Router,
    stop: watch::Receiver<bool>,
) {
    baton_daemon::serve::serve(listener, tls, routes, MAX_CONNECTIONS, stop).await;
}
