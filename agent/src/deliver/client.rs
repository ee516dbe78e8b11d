//! One request to the coordinator: its certificate, its address, the agent's token.

use std::error::Error;
use std::fmt;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Url, header};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::pace::Reply;
use crate::cluster::CaMap;

/// Longest that connecting may take.
const CONNECT: Duration = Duration::from_secs(5);
/// Longest that one request should take: the coordinator answers within 20 s.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Most bytes of an answer that are read: 256 refusals fit.
const MAX_ANSWER_BYTES: usize = 256 << 10;
/// Longest token that is read.
const MAX_TOKEN_BYTES: u64 = 64 << 10;
/// Longest that the cluster's DNS is waited for, where there is an other way.
const DNS_PATIENCE: Duration = Duration::from_millis(500);
/// How long the other way is taken without asking DNS again.
const DNS_PAUSE: Duration = Duration::from_secs(300);

/// Where the coordinator is and how it is spoken to.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its base URL: `https`, or `http` at a loopback address.
    pub url: Url,
    /// The file that holds the agent's token. It is read for each request, for the kubelet replaces it.
    pub token_file: PathBuf,
    /// Where the certificate authority is found.
    pub ca: CaSource,
    /// Where its Service is reached if its name does not resolve.
    pub service: Option<IpAddr>,
    /// Longest that one request may take: [`PATIENCE`].
    pub patience: Duration,
}

/// Where the coordinator's certificate authority is found.
#[derive(Clone)]
pub enum CaSource {
    /// In a file, as PEM.
    File(PathBuf),
    /// In the cluster.
    Map(Box<CaMap>),
}

impl fmt::Debug for CaSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CaSource::File(path) => write!(f, "File({})", path.display()),
            CaSource::Map(_) => f.write_str("Map"),
        }
    }
}

/// Why a target cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// Not a URL of this kind.
    #[error("the coordinator's URL {url:?} cannot be used: {why}")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        why: String,
    },
}

/// Reads a coordinator's URL.
///
/// # Errors
/// Where it is neither `https` nor `http` at a loopback address, for the token goes with each request.
pub fn coordinator_url(text: &str) -> Result<Url, TargetError> {
    let bad = |why: String| TargetError::Url {
        url: text.chars().take(200).collect(),
        why,
    };
    let mut url = Url::parse(text).map_err(|e| bad(e.to_string()))?;
    let host = url.host_str().unwrap_or_default();
    let host = host.trim_matches(['[', ']']);
    let loopback = host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    match url.scheme() {
        "https" => {}
        "http" if loopback => {}
        _ => {
            return Err(bad(
                "it has to be https (http is for loopback addresses)".into()
            ));
        }
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(bad("it has a query or a fragment".into()));
    }
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    url.join("v1/events").map_err(|e| bad(e.to_string()))
}

/// Speaks with the coordinator. Its connection is kept for the next request.
#[derive(Debug)]
pub struct Client {
    target: Target,
    http: Option<reqwest::Client>,
}

impl Client {
    /// A client that is not connected yet. `target.url` is one that [`coordinator_url`] gave.
    pub fn new(target: Target) -> Client {
        Client { target, http: None }
    }

    /// The next request goes over a new connection, and by the certificate authority as it is then.
    pub fn start_anew(&mut self) {
        self.http = None;
    }

    /// Sends a batch and gives what came of it.
    pub async fn post(&mut self, batch: Vec<u8>) -> Reply {
        match self.send(batch).await {
            Ok(reply) => reply,
            Err(cause) => Reply::Unreachable {
                cause,
                untrusted: false,
            },
        }
    }

    async fn send(&mut self, batch: Vec<u8>) -> Result<Reply, String> {
        let token = read_token(&self.target.token_file)?;
        let mut token = header::HeaderValue::try_from(format!("Bearer {token}"))
            .map_err(|_| "the token holds what no header can".to_owned())?;
        token.set_sensitive(true);
        let http = match &self.http {
            Some(http) => http.clone(),
            None => self.http.insert(connect(&self.target).await?).clone(),
        };
        let request = http
            .post(self.target.url.clone())
            .header(header::CONTENT_TYPE, baton_events::CONTENT_TYPE)
            .header(header::AUTHORIZATION, token)
            .body(batch);
        Ok(match request.send().await {
            Ok(response) => read(response).await,
            Err(e) => failure(e),
        })
    }
}

async fn connect(target: &Target) -> Result<reqwest::Client, String> {
    let mut builder = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT)
        .timeout(target.patience)
        .pool_max_idle_per_host(1)
        .user_agent(concat!("baton-agent/", env!("CARGO_PKG_VERSION")));
    if let Some(service) = target.service {
        builder = builder.dns_resolver(Arc::new(ServiceDns {
            service,
            failed: Arc::default(),
        }));
    }
    if target.url.scheme() == "https" {
        builder = builder.tls_backend_preconfigured(tls(&authority(&target.ca).await?)?);
    }
    builder
        .build()
        .map_err(|e| format!("setting up the HTTP client: {e}"))
}

async fn authority(source: &CaSource) -> Result<Vec<u8>, String> {
    match source {
        CaSource::File(path) => std::fs::read(path)
            .map_err(|e| format!("reading the certificate authority {}: {e}", path.display())),
        CaSource::Map(map) => map.read().await,
    }
}

/// TLS that trusts this authority and no other.
fn tls(authority: &[u8]) -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority) {
        let certificate =
            certificate.map_err(|e| format!("reading the certificate authority: {e}"))?;
        roots
            .add(certificate)
            .map_err(|e| format!("the certificate authority cannot be used: {e}"))?;
    }
    if roots.is_empty() {
        return Err("the certificate authority holds no certificate".into());
    }
    let provider = rustls::crypto::ring::default_provider();
    let tls = rustls::ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .map_err(|e| format!("setting up TLS: {e}"))?;
    Ok(tls.with_root_certificates(roots).with_no_client_auth())
}

fn read_token(path: &Path) -> Result<String, String> {
    let failed = |e: &dyn fmt::Display| format!("reading the token {}: {e}", path.display());
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_TOKEN_BYTES).read_to_string(&mut text))
        .map_err(|e| failed(&e))?;
    match text.trim() {
        "" => Err(failed(&"it is empty")),
        token => Ok(token.to_owned()),
    }
}

async fn read(mut response: reqwest::Response) -> Reply {
    let code = response.status().as_u16();
    let retry_after = response
        .headers()
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(seconds);
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(piece)) if body.len() + piece.len() <= MAX_ANSWER_BYTES => {
                body.extend_from_slice(&piece);
            }
            Ok(Some(_)) => break,
            Ok(None) => break,
            // Whether the coordinator has the batch is told by its whole answer alone.
            Err(e) => return failure(e),
        }
    }
    Reply::Answer {
        code,
        retry_after,
        body,
    }
}

/// Reads a `Retry-After` in its form of seconds, the only one that a coordinator sends.
fn seconds(value: &str) -> Option<Duration> {
    let value = value.trim();
    (value.len() <= 9).then(|| value.parse().ok().map(Duration::from_secs))?
}

fn failure(error: reqwest::Error) -> Reply {
    let untrusted = is_untrusted(&error);
    if error.is_timeout() {
        return Reply::Unreachable {
            cause: "no answer in time".into(),
            untrusted,
        };
    }
    // The outermost errors name the library's layers; the innermost names the cause.
    let mut cause: &dyn Error = &error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let cause = match error.is_connect() {
        true => format!("connecting: {cause}"),
        false => format!("sending: {cause}"),
    };
    Reply::Unreachable { cause, untrusted }
}

/// Whether TLS failed anywhere in the causes of an error. An I/O error hides what it is made of from
/// those who ask for its source.
fn is_untrusted(error: &(dyn Error + 'static)) -> bool {
    let hidden = error.downcast_ref::<io::Error>().and_then(|e| e.get_ref());
    error.is::<rustls::Error>()
        || hidden.is_some_and(|inner| is_untrusted(inner))
        || error.source().is_some_and(is_untrusted)
}

/// Asks DNS, and where that has no answer takes the Service's address that the kubelet gave us.
struct ServiceDns {
    service: IpAddr,
    failed: Arc<Mutex<Option<Instant>>>,
}

impl Resolve for ServiceDns {
    fn resolve(&self, name: Name) -> Resolving {
        let (service, failed) = (self.service, Arc::clone(&self.failed));
        Box::pin(async move {
            let ours: Addrs = Box::new(std::iter::once(SocketAddr::new(service, 0)));
            let paused = lock(&failed).is_some_and(|at| at.elapsed() < DNS_PAUSE);
            if paused {
                return Ok(ours);
            }
            let asked = tokio::net::lookup_host((name.as_str().to_owned(), 0));
            match tokio::time::timeout(DNS_PATIENCE, asked).await {
                Ok(Ok(found)) => {
                    let found: Vec<_> = found.collect();
                    Ok(Box::new(found.into_iter()))
                }
                Ok(Err(_)) | Err(_) => {
                    *lock(&failed) = Some(Instant::now());
                    Ok(ours)
                }
            }
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_never_sent_in_the_clear() {
        for (text, want) in [
            (
                "https://baton-coordinator.baton-system.svc",
                Some("https://baton-coordinator.baton-system.svc/v1/events"),
            ),
            ("https://h:8443/base", Some("https://h:8443/base/v1/events")),
            ("http://127.0.0.1:80", Some("http://127.0.0.1/v1/events")),
            ("http://[::1]:1/", Some("http://[::1]:1/v1/events")),
            ("http://10.0.0.1", None),
            ("http://baton-coordinator", None),
            ("ftp://127.0.0.1", None),
            ("https://h/?q=1", None),
            ("", None),
        ] {
            let got = coordinator_url(text).ok();
            assert_eq!(got.as_ref().map(Url::as_str), want, "{text}");
        }
    }

    #[test]
    fn a_token_is_trimmed_and_has_to_be_there() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        assert!(read_token(&file).unwrap_err().contains("token"));
        std::fs::write(&file, " \n").unwrap();
        assert!(read_token(&file).unwrap_err().ends_with("it is empty"));
        std::fs::write(&file, "abc\n").unwrap();
        assert_eq!(read_token(&file).unwrap(), "abc");
    }

    #[test]
    fn only_an_authority_is_trusted() {
        assert!(tls(b"").unwrap_err().contains("no certificate"));
        let garbage = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(tls(garbage).is_err());
    }
}
