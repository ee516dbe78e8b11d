//! The coordinator's certificates against a real API server: made once, published, renewed.
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use baton_coordinator::metrics::Metrics;
use baton_coordinator::server::certs;
use baton_coordinator::server::keeper::{Places, keep};
use baton_coordinator::server::tls::Serving;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;

/// Waits until `get` gives something.
async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, get: impl Fn() -> F) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(value) = get().await {
            return value;
        }
        assert!(Instant::now() < deadline, "{what} did not come");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn ca(map: &ConfigMap) -> Option<String> {
    map.data.as_ref()?.get("ca.crt").cloned()
}

fn bundles(hooks: &ValidatingWebhookConfiguration) -> Vec<Option<ByteString>> {
    let hooks = hooks.webhooks.iter().flatten();
    hooks.map(|h| h.client_config.ca_bundle.clone()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster"]
async fn they_are_made_once_published_and_renewed() {
    let client = Client::try_default().await.unwrap();
    let name = format!("baton-test-certs-{}", std::process::id());
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let webhooks: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &name);
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &name);
    let post = PostParams::default();
    let namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    namespaces.create(&post, &namespace).await.unwrap();
    // Two webhooks, whose own fields must survive, and one that leads to somebody else.
    let hook = |n: u32, service: &str| {
        json!({
            "name": format!("h{n}.baton.dev"), "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "failurePolicy": "Ignore", "timeoutSeconds": 3 + n,
            "clientConfig": {"service": {"namespace": name, "name": service, "path": "/admit"}},
            "rules": [{"apiGroups": ["none.baton.dev"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["nothings"]}]
        })
    };
    let hooks = json!({"metadata": {"name": name}, "webhooks": [hook(1, "coordinator"), hook(2, "coordinator"), hook(3, "another")]});
    let hooks: ValidatingWebhookConfiguration = serde_json::from_value(hooks).unwrap();
    webhooks.create(&post, &hooks).await.unwrap();

    let places = Places {
        namespace: name.clone(),
        secret: "tls".to_owned(),
        config_map: "ca".to_owned(),
        webhook: name.clone(),
        service: "coordinator".to_owned(),
    };
    // Three replicas begin at once.
    let replicas: Vec<_> = (0..3)
        .map(|_| {
            let serving = Arc::new(Serving::default());
            let metrics = Metrics::new();
            let run = keep(client.clone(), places.clone(), serving.clone(), metrics);
            (serving, tokio::spawn(run))
        })
        .collect();
    for (serving, _) in &replicas {
        eventually("a certificate", || async {
            serving.is_ready().then_some(())
        })
        .await;
    }
    let text = |secret: &Secret, key: &str| {
        let data = secret.data.as_ref().unwrap();
        String::from_utf8(data[key].0.clone()).unwrap()
    };
    let secret = secrets.get("tls").await.unwrap();
    let published = |secret: Secret| {
        let want = text(&secret, "ca.crt");
        let (maps, webhooks, name) = (maps.clone(), webhooks.clone(), name.clone());
        async move {
            let got = maps.get_opt("ca").await.unwrap();
            let got = got.as_ref().and_then(ca);
            let hooks = webhooks.get(&name).await.unwrap();
            let told = bundles(&hooks)
                .iter()
                .take(2)
                .all(|b| b.as_ref().map(|b| &b.0[..]) == Some(want.as_bytes()));
            (told && got.as_ref() == Some(&want)).then_some(hooks)
        }
    };
    let hooks = eventually("the authority", || published(secret.clone())).await;
    let timeouts: Vec<_> = hooks
        .webhooks
        .iter()
        .flatten()
        .map(|h| h.timeout_seconds)
        .collect();
    assert_eq!(timeouts, [Some(4), Some(5), Some(6)]);
    assert_eq!(bundles(&hooks)[2], None);

    // What others overwrite is published again.
    let empty = Patch::Merge(json!({"data": {"ca.crt": "nobody"}}));
    maps.patch("ca", &PatchParams::default(), &empty)
        .await
        .unwrap();
    eventually("the authority again", || published(secret.clone())).await;

    // A serving certificate that is near its end is renewed; its authority stays.
    let bundle = certs::Bundle {
        ca_crt: text(&secret, "ca.crt"),
        ca_key: text(&secret, "ca.key"),
        tls_crt: String::new(),
        tls_key: String::new(),
    };
    let long_ago = SystemTime::now() - certs::SERVING_LIFE * 3 / 4;
    let old = certs::renew(&bundle, &places.names(), long_ago).unwrap();
    let patch = json!({"data": {
        "tls.crt": ByteString(old.tls_crt.clone().into_bytes()),
        "tls.key": ByteString(old.tls_key.clone().into_bytes()),
    }});
    secrets
        .patch("tls", &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
    let renewed = eventually("the renewal", || async {
        let secret = secrets.get("tls").await.unwrap();
        (text(&secret, "tls.crt") != old.tls_crt).then_some(secret)
    })
    .await;
    assert_eq!(text(&renewed, "ca.crt"), bundle.ca_crt);

    // A Secret that was deleted is made anew, and the new authority is published.
    secrets
        .delete("tls", &DeleteParams::default())
        .await
        .unwrap();
    let anew = eventually("a new Secret", || async {
        secrets.get_opt("tls").await.unwrap()
    })
    .await;
    assert_ne!(text(&anew, "ca.crt"), bundle.ca_crt);
    eventually("the new authority", || published(anew.clone())).await;

    for (_, task) in replicas {
        task.abort();
    }
    let delete = DeleteParams::default();
    webhooks.delete(&name, &delete).await.unwrap();
    namespaces.delete(&name, &delete).await.unwrap();
}
