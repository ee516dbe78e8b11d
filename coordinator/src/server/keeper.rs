//! Keeps the certificates: the Secret that holds them, the ConfigMap and the webhook configuration
//! that tell others whom to trust.
//!
//! Every replica does this. Two that make certificates at once are told apart by the API server,
//! which takes the first write alone; the other reads again and uses what it finds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingWebhook, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, ObjectMeta, PartialObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Resource};
use serde_json::json;

use crate::metrics::Metrics;
use crate::server::certs::{self, Bundle, CertError, Verdict};
use crate::server::tls::Serving;

/// Longest time between two looks at the certificates.
const LOOK: Duration = Duration::from_secs(3600);
/// Time between attempts that fail.
const RETRY: Duration = Duration::from_secs(5);
/// Attempts to write what another replica writes as well, in one look.
const RACES: u32 = 5;

/// Where everything is.
#[derive(Debug, Clone)]
pub struct Places {
    /// The installation's namespace.
    pub namespace: String,
    /// The Secret that holds the certificates.
    pub secret: String,
    /// The ConfigMap that publishes the authority.
    pub config_map: String,
    /// The webhook configuration that is told of the authority; it may be absent.
    pub webhook: String,
    /// The Service that is served.
    pub service: String,
}

impl Places {
    /// The names by which the Service is reached.
    pub fn names(&self) -> Vec<String> {
        let name = format!("{}.{}.svc", self.service, self.namespace);
        vec![format!("{name}.cluster.local"), name]
    }
}

/// Why the certificates are not in order.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The API server.
    #[error("{doing}: {source}")]
    Api {
        /// What was attempted.
        doing: String,
        /// What it said.
        source: Box<kube::Error>,
    },
    /// The certificates.
    #[error(transparent)]
    Cert(#[from] CertError),
    /// Others wrote at the same time, again and again.
    #[error("writing Secret {0}: others write it at the same time")]
    Contended(String),
}

fn api(doing: impl Into<String>) -> impl FnOnce(kube::Error) -> KeepError {
    let doing = doing.into();
    |source| KeepError::Api {
        doing,
        source: Box::new(source),
    }
}

/// Keeps the certificates for ever: looks whenever something of it changed, and when it is time.
pub async fn keep(client: Client, places: Places, serving: Arc<Serving>, metrics: Metrics) {
    let keeper = Keeper {
        secrets: Api::namespaced(client.clone(), &places.namespace),
        config_maps: Api::namespaced(client.clone(), &places.namespace),
        webhooks: Api::all(client),
        places,
    };
    let mut changes = keeper.changes();
    loop {
        let pause = match keeper.look(SystemTime::now()).await {
            Ok((bundle, ends_at, pause)) => {
                match certs::certified_key(&bundle) {
                    Ok(key) => serving.install(key),
                    Err(error) => tracing::error!(error = %error, "the certificate cannot be used"),
                }
                metrics.certificate_end.set(unix(ends_at));
                if let Err(error) = keeper.publish(&bundle).await {
                    tracing::warn!(error = %error, "the certificate authority could not be published");
                    pause.min(RETRY)
                } else {
                    pause
                }
            }
            Err(error) => {
                tracing::warn!(error = %error, "the certificates are not in order");
                RETRY
            }
        };
        let _ = tokio::time::timeout(pause, changes.next()).await;
    }
}

fn unix(at: SystemTime) -> i64 {
    at.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX))
}

struct Keeper {
    secrets: Api<Secret>,
    config_maps: Api<ConfigMap>,
    webhooks: Api<ValidatingWebhookConfiguration>,
    places: Places,
}

impl Keeper {
    /// Something whenever one of the three objects changed.
    fn changes(&self) -> BoxStream<'static, ()> {
        let (client, namespace) = (self.secrets.clone().into_client(), &self.places.namespace);
        let secrets = Api::namespaced(client.clone(), namespace);
        let config_maps = Api::namespaced(client.clone(), namespace);
        stream::select_all([
            changed::<Secret>(secrets, &self.places.secret),
            changed::<ConfigMap>(config_maps, &self.places.config_map),
            changed::<ValidatingWebhookConfiguration>(Api::all(client), &self.places.webhook),
        ])
        .boxed()
    }

    /// Reads the Secret, and makes or renews what is in it where that is due. Gives the bundle, when
    /// its serving certificate ends, and the time until the next look.
    async fn look(&self, now: SystemTime) -> Result<(Bundle, SystemTime, Duration), KeepError> {
        let (name, names) = (&self.places.secret, self.places.names());
        for _ in 0..RACES {
            let secret = self
                .secrets
                .get_opt(name)
                .await
                .map_err(api(format!("reading Secret {name}")))?;
            let bundle = secret.as_ref().and_then(read);
            let verdict = bundle.as_ref().map_or_else(
                || Verdict::Replace("there is none".to_owned()),
                |bundle| certs::check(bundle, &names, now),
            );
            let made = match (verdict, bundle) {
                (Verdict::Good { renew_at, ends_at }, Some(bundle)) => {
                    let pause = renew_at.duration_since(now).unwrap_or_default().min(LOOK);
                    return Ok((bundle, ends_at, pause));
                }
                (Verdict::Renew(why), Some(bundle)) => {
                    tracing::info!(secret = name, why, "renewing the serving certificate");
                    certs::renew(&bundle, &names, now)?
                }
                (Verdict::Replace(why), bundle) => {
                    tracing::info!(secret = name, why, "making a certificate authority");
                    certs::make(bundle.as_ref(), &names, now)?
                }
                (Verdict::Good { .. } | Verdict::Renew(_), None) => continue,
            };
            self.write(secret, &made).await?;
        }
        Err(KeepError::Contended(name.clone()))
    }

    /// Writes the Secret, unless another was faster.
    async fn write(&self, secret: Option<Secret>, bundle: &Bundle) -> Result<(), KeepError> {
        let name = &self.places.secret;
        let params = PostParams::default();
        let there = secret.is_some();
        let mut secret = secret.unwrap_or_else(|| Secret {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                ..ObjectMeta::default()
            },
            ..Secret::default()
        });
        secret.data = Some(data(bundle));
        // Type and immutability cannot be changed: what is there stays.
        let written = if there {
            self.secrets.replace(name, &params, &secret).await
        } else {
            self.secrets.create(&params, &secret).await
        };
        match written {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status))
                if status.is_conflict() || status.is_already_exists() || status.is_not_found() =>
            {
                Ok(())
            }
            Err(error) => Err(api(format!("writing Secret {name}"))(error)),
        }
    }

    /// Tells others whom to trust.
    async fn publish(&self, bundle: &Bundle) -> Result<(), KeepError> {
        self.publish_config_map(bundle).await?;
        self.publish_webhook(bundle).await
    }

    async fn publish_config_map(&self, bundle: &Bundle) -> Result<(), KeepError> {
        let name = &self.places.config_map;
        let doing = |what| api(format!("{what} ConfigMap {name}"));
        let there = self
            .config_maps
            .get_opt(name)
            .await
            .map_err(doing("reading"))?;
        let Some(there) = there else {
            let map = ConfigMap {
                metadata: ObjectMeta {
                    name: Some(name.clone()),
                    ..ObjectMeta::default()
                },
                data: Some([("ca.crt".to_owned(), bundle.ca_crt.clone())].into()),
                ..ConfigMap::default()
            };
            return match self.config_maps.create(&PostParams::default(), &map).await {
                Ok(_) => Ok(()),
                // Another replica was faster; its change brings us back.
                Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
                Err(error) => Err(doing("creating")(error)),
            };
        };
        if there.data.as_ref().and_then(|d| d.get("ca.crt")) == Some(&bundle.ca_crt) {
            return Ok(());
        }
        let patch = Patch::Merge(json!({"data": {"ca.crt": bundle.ca_crt}}));
        self.config_maps
            .patch(name, &PatchParams::default(), &patch)
            .await
            .map_err(doing("writing"))?;
        Ok(())
    }

    /// Whether a webhook leads to us: another installation's is told of another authority.
    fn is_ours(&self, hook: &ValidatingWebhook) -> bool {
        let service = hook.client_config.service.as_ref();
        service
            .is_some_and(|s| s.namespace == self.places.namespace && s.name == self.places.service)
    }

    async fn publish_webhook(&self, bundle: &Bundle) -> Result<(), KeepError> {
        let name = &self.places.webhook;
        let doing = |what| api(format!("{what} ValidatingWebhookConfiguration {name}"));
        let there = self
            .webhooks
            .get_opt(name)
            .await
            .map_err(doing("reading"))?;
        let Some(there) = there else {
            tracing::debug!(name, "there is no webhook configuration");
            return Ok(());
        };
        let want = ByteString(bundle.ca_crt.clone().into_bytes());
        let stale: Vec<_> = there
            .webhooks
            .iter()
            .flatten()
            .filter(|hook| self.is_ours(hook))
            .filter(|hook| hook.client_config.ca_bundle.as_ref() != Some(&want))
            .map(|hook| json!({"name": hook.name, "clientConfig": {"caBundle": want}}))
            .collect();
        if stale.is_empty() {
            return Ok(());
        }
        // Strategic: webhooks are merged by their names, and nothing else of them is touched.
        let patch = Patch::Strategic(json!({"webhooks": stale}));
        self.webhooks
            .patch(name, &PatchParams::default(), &patch)
            .await
            .map_err(doing("writing"))?;
        tracing::info!(name, "told the webhook configuration whom to trust");
        Ok(())
    }
}

fn changed<K>(objects: Api<PartialObjectMeta<K>>, name: &str) -> BoxStream<'static, ()>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Send + Sync + 'static,
{
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    watcher(objects, config)
        .default_backoff()
        .filter_map(|event| {
            let change = match event {
                Ok(
                    watcher::Event::Apply(_)
                    | watcher::Event::InitApply(_)
                    | watcher::Event::Delete(_),
                ) => Some(()),
                Ok(_) => None,
                Err(error) => {
                    tracing::debug!(error = %error, "watching the certificates");
                    None
                }
            };
            std::future::ready(change)
        })
        .boxed()
}

fn read(secret: &Secret) -> Option<Bundle> {
    let data = secret.data.as_ref()?;
    let text = |key: &str| String::from_utf8(data.get(key)?.0.clone()).ok();
    Some(Bundle {
        ca_crt: text("ca.crt")?,
        ca_key: text("ca.key")?,
        tls_crt: text("tls.crt")?,
        tls_key: text("tls.key")?,
    })
}

fn data(bundle: &Bundle) -> BTreeMap<String, ByteString> {
    [
        ("ca.crt", &bundle.ca_crt),
        ("ca.key", &bundle.ca_key),
        ("tls.crt", &bundle.tls_crt),
        ("tls.key", &bundle.tls_key),
    ]
    .into_iter()
    .map(|(key, text)| (key.to_owned(), ByteString(text.clone().into_bytes())))
    .collect()
}
