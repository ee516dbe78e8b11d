//! TLS: a receiver whose certificate the machine trusts is told; any other is not.

// A test fails by panicking, in its helpers too.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use baton_callbacks::{Format, Happening, Policy, Sender, Sink, Source};
use baton_protocol::Timestamp;
use rustls::pki_types::PrivateKeyDer;

/// An HTTPS server with a certificate of its own for `localhost`; gives its port and certificate.
fn https_server() -> (u16, String) {
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
    let port = listener.local_addr().unwrap().port();
    let config = Arc::new(config);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let tls = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut stream = rustls::StreamOwned::new(tls, stream.unwrap());
            if stream.read(&mut [0; 4096]).is_ok() {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
                // Until the other side hangs up.
                while stream.read(&mut [0; 4096]).is_ok_and(|n| n > 0) {}
            }
        }
    });
    (port, made.cert.pem())
}

// One test, because the trusted certificates come from the environment of the whole process.
#[test]
fn only_trusted_receivers_are_told() {
    let (trusted, certificate) = https_server();
    let (stranger, _) = https_server();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trusted.pem");
    std::fs::write(&file, certificate).unwrap();
    // SAFETY: no other thread of this process reads the environment at this time.
    unsafe { std::env::set_var("SSL_CERT_FILE", &file) };
    let policy = Policy {
        base: Duration::from_millis(1),
        attempts: 2,
        timeout: Duration::from_secs(60),
        ..Policy::default()
    };
    let sink = |port: u16| {
        let url = format!("https://localhost:{port}/hook");
        Sink::new(&url, Format::CloudEvents, Vec::new(), None).unwrap()
    };
    let sender = Sender::start(vec![sink(trusted), sink(stranger)], policy).unwrap();
    let now = Timestamp(std::time::SystemTime::now());
    sender.send(&Source::new("r", "t", "p").event(now, Happening::TaskStarted));
    let reports = sender.finish(Duration::from_secs(120));
    assert_eq!((reports[0].delivered, reports[0].retries), (1, 0));
    assert_eq!(reports[1].delivered, 0);
    let cause = &reports[1].gave_up[0].cause;
    assert!(cause.contains("invalid peer certificate"), "{cause}");
}
