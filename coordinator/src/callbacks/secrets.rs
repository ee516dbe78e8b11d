//! Keys of receivers, read where they are kept.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use baton_callbacks::Secret;
use k8s_openapi::api::core::v1;
use kube::{Api, Client};

use super::target::Key;

/// How long a key of a Secret is used before it is read again: the longest that a changed one is not
/// noticed.
const FRESH: Duration = Duration::from_secs(30);
/// Most keys that are remembered.
const MAX_REMEMBERED: usize = 1024;
/// Longest that reading a Secret may take.
const PATIENCE: Duration = Duration::from_secs(10);

type Place = (String, String, String);

/// Reads keys.
pub(super) struct Secrets {
    client: Client,
    known: Mutex<HashMap<Place, (Secret, Instant)>>,
}

impl Secrets {
    pub(super) fn new(client: Client) -> Secrets {
        Secrets {
            client,
            known: Mutex::default(),
        }
    }

    /// The key of a receiver of a Task in `namespace`; `Ok(None)` where nothing is signed. The error
    /// says what is missing, and never what was found.
    pub(super) async fn get(&self, namespace: &str, key: &Key) -> Result<Option<Secret>, String> {
        match key {
            Key::None => Ok(None),
            Key::Value(text) => read(text.as_bytes(), "secret.value").map(Some),
            Key::File(path) => file(path).await.map(Some),
            Key::Secret { name, key } => {
                let place = (namespace.to_owned(), name.clone(), key.clone());
                if let Some(secret) = self.known(&place) {
                    return Ok(Some(secret));
                }
                let secret = self.fetch(&place).await?;
                self.remember(place, secret.clone());
                Ok(Some(secret))
            }
        }
    }

    async fn fetch(&self, (namespace, name, key): &Place) -> Result<Secret, String> {
        let what = format!("key {key} of Secret {namespace}/{name}");
        let secrets: Api<v1::Secret> = Api::namespaced(self.client.clone(), namespace);
        let found = match tokio::time::timeout(PATIENCE, secrets.get_opt(name)).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => return Err(format!("reading {what}: {error}")),
            Err(_) => return Err(format!("reading {what}: no answer within {PATIENCE:?}")),
        };
        let data = found
            .ok_or_else(|| format!("{what}: there is no such Secret"))?
            .data
            .unwrap_or_default();
        let value = data
            .get(key)
            .ok_or_else(|| format!("{what}: the Secret has no such key"))?;
        read(&value.0, &what)
    }

    fn known(&self, place: &Place) -> Option<Secret> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (secret, at) = known.get(place)?;
        (at.elapsed() < FRESH).then(|| secret.clone())
    }

    fn remember(&self, place: Place, secret: Secret) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_REMEMBERED {
            known.retain(|_, (_, at)| at.elapsed() < FRESH);
        }
        if known.len() < MAX_REMEMBERED {
            known.insert(place, (secret, Instant::now()));
        }
    }
}

async fn file(path: &Path) -> Result<Secret, String> {
    let what = format!("the file {}", path.display());
    let path = path.to_owned();
    // Read anew each time: a mounted Secret is replaced in place. It is small, and on a thread where
    // a file system that hangs holds nobody.
    let bytes = tokio::task::spawn_blocking(move || {
        use std::io::Read;
        let mut bytes = Vec::new();
        let limit = baton_callbacks::sign::MAX_SECRET_BYTES as u64 * 2;
        std::fs::File::open(path)?
            .take(limit)
            .read_to_end(&mut bytes)?;
        std::io::Result::Ok(bytes)
    });
    match bytes.await {
        Ok(Ok(bytes)) => read(&bytes, &what),
        Ok(Err(error)) => Err(format!("reading {what}: {error}")),
        Err(error) => Err(format!("reading {what}: {error}")),
    }
}

fn read(bytes: &[u8], what: &str) -> Result<Secret, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| format!("{what} is no text"))?;
    text.parse().map_err(|e| format!("{what}: {e}"))
}
