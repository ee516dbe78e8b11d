//! The coordinator's certificate authority, as the cluster has it.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};

/// The ConfigMap that the coordinator publishes.
pub const CA_MAP: &str = "baton-ca";
/// The key in it.
pub const CA_KEY: &str = "ca.crt";
/// Longest that the API server is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest authority that is taken, in bytes: some certificates beside each other.
const MAX_BYTES: usize = 64 << 10;

/// Reads the authority from the API server.
#[derive(Clone)]
pub struct CaMap {
    maps: Api<ConfigMap>,
    namespace: String,
}

impl CaMap {
    /// The one of the installation in `namespace`.
    pub fn new(client: Client, namespace: &str) -> CaMap {
        CaMap {
            maps: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
        }
    }

    /// The certificates as PEM.
    ///
    /// # Errors
    /// A sentence: the API server does not answer, or has no such map yet.
    pub async fn read(&self) -> Result<Vec<u8>, String> {
        let named = |cause: String| {
            let namespace = &self.namespace;
            format!(
                "reading the coordinator's certificate authority from ConfigMap {namespace}/{CA_MAP}: {cause}"
            )
        };
        let map = tokio::time::timeout(PATIENCE, self.maps.get_opt(CA_MAP))
            .await
            .map_err(|_| named("the API server did not answer in time".into()))?
            .map_err(|e| named(super::explain(&e)))?
            .ok_or_else(|| named("there is none; is the coordinator installed?".into()))?;
        let text = map.data.unwrap_or_default().remove(CA_KEY);
        let text = text.ok_or_else(|| named(format!("it has no key {CA_KEY}")))?;
        if text.len() > MAX_BYTES {
            return Err(named(format!("it has more than {MAX_BYTES} bytes")));
        }
        Ok(text.into_bytes())
    }
}
