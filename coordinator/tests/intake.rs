//! The HTTPS side over real TLS, with tokens of a real API server.
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use baton_coordinator::inbox::{Answer, Batch, INBOX_BATCHES, inbox};
use baton_coordinator::metrics::Metrics;
use baton_coordinator::server::identity::Identities;
use baton_coordinator::server::intake::Intake;
use baton_coordinator::server::keeper::{Places, keep};
use baton_coordinator::server::tls::Serving;
use baton_coordinator::server::{admission, serve};
use baton_events::{CONTENT_TYPE, PodRef, Told, What, write_batch};
use baton_protocol::Timestamp;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenReview};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, ServiceAccount};
use kube::api::{Api, DeleteParams, PostParams};
use kube::{Client, ResourceExt};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;

/// No wait of these tests takes near as long.
const PATIENCE: Duration = Duration::from_secs(60);

struct Cluster {
    client: Client,
    namespace: String,
}

impl Cluster {
    async fn start() -> Cluster {
        let client = Client::try_default().await.unwrap();
        let namespace = format!("baton-test-intake-{}", std::process::id());
        let cluster = Cluster { client, namespace };
        let object =
            serde_json::from_value(json!({"metadata": {"name": cluster.namespace}})).unwrap();
        let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
        namespaces
            .create(&PostParams::default(), &object)
            .await
            .unwrap();
        for name in ["baton-agent", "tenant"] {
            let accounts: Api<ServiceAccount> = cluster.api();
            let object = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
            accounts
                .create(&PostParams::default(), &object)
                .await
                .unwrap();
        }
        cluster
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// A pod of a service account, bound to a node; it need not run.
    async fn pod(&self, name: &str, account: &str, node: &str) -> Pod {
        let pod = serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": {
                "serviceAccountName": account, "nodeName": node,
                "containers": [{"name": "c", "image": "none.invalid/none"}],
            },
        }))
        .unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            // The service account's default token may not be there yet.
            match self.api::<Pod>().create(&PostParams::default(), &pod).await {
                Ok(pod) => return pod,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn token(&self, account: &str, audience: &str, pod: Option<&Pod>) -> String {
        let bound = pod.map(|pod| {
            json!({"apiVersion": "v1", "kind": "Pod", "name": pod.name_any(), "uid": pod.uid()})
        });
        let request: TokenRequest = serde_json::from_value(json!({
            "metadata": {}, "spec": {"audiences": [audience], "boundObjectRef": bound},
        }))
        .unwrap();
        let accounts: Api<ServiceAccount> = self.api();
        let answer = accounts
            .create_token_request(account, &PostParams::default(), &request)
            .await;
        answer.unwrap().status.unwrap().token
    }

    /// Whether the API server takes a token.
    async fn is_good(&self, token: &str, audience: &str) -> bool {
        let review = serde_json::from_value(json!({
            "metadata": {}, "spec": {"token": token, "audiences": [audience]},
        }))
        .unwrap();
        let reviews: Api<TokenReview> = Api::all(self.client.clone());
        let answer = reviews.create(&PostParams::default(), &review).await;
        answer.unwrap().status.unwrap().authenticated == Some(true)
    }
}

struct Server {
    http: reqwest::Client,
    url: String,
    leader: watch::Sender<Option<mpsc::Sender<Batch>>>,
}

impl Server {
    async fn start(cluster: &Cluster) -> Server {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let places = Places {
            namespace: cluster.namespace.clone(),
            secret: "tls".to_owned(),
            config_map: "ca".to_owned(),
            webhook: "baton-test-none".to_owned(),
            service: "coordinator".to_owned(),
        };
        let host = format!("coordinator.{}.svc", cluster.namespace);
        let serving = Arc::new(Serving::default());
        let metrics = Metrics::new();
        tokio::spawn(keep(
            cluster.client.clone(),
            places,
            serving.clone(),
            metrics.clone(),
        ));
        let maps: Api<ConfigMap> = cluster.api();
        let deadline = Instant::now() + PATIENCE;
        let ca = loop {
            if let Some(map) = maps.get_opt("ca").await.unwrap() {
                break map.data.unwrap().remove("ca.crt").unwrap();
            }
            assert!(Instant::now() < deadline, "no authority was published");
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let (leader, inbox) = watch::channel(None);
        let identities = Identities::new(cluster.client.clone(), &cluster.namespace);
        let routes = Intake::new(identities, inbox, metrics.clone())
            .routes()
            .merge(admission::routes(
                baton_coordinator::review::review,
                metrics,
            ));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let tls = TlsAcceptor::from(serving.config().unwrap());
        tokio::spawn(async move {
            let _stop = stop;
            serve(listener, Some(tls), routes, stopped).await;
        });
        let ca = reqwest::Certificate::from_pem(ca.as_bytes()).unwrap();
        let http = reqwest::Client::builder()
            .tls_certs_only([ca])
            .resolve(&host, address)
            .build()
            .unwrap();
        Server {
            http,
            url: format!("https://{host}:{}", address.port()),
            leader,
        }
    }

    async fn tell(&self, token: &str, body: Vec<u8>) -> (StatusCode, Option<String>, Value) {
        let answer = self
            .http
            .post(format!("{}/v1/events", self.url))
            .header("content-type", CONTENT_TYPE)
            .bearer_auth(token)
            .body(body)
            .send()
            .await
            .unwrap();
        let retry = answer.headers().get("retry-after");
        let retry = retry.map(|v| v.to_str().unwrap().to_owned());
        let status = answer.status();
        let body = answer.bytes().await.unwrap();
        (
            status,
            retry,
            serde_json::from_slice(&body).unwrap_or(Value::Null),
        )
    }

    /// What becomes of an empty batch.
    async fn knock(&self, token: &str) -> (u16, String) {
        let (status, _, body) = self.tell(token, b"[]".to_vec()).await;
        (
            status.as_u16(),
            body["error"].as_str().unwrap_or_default().to_owned(),
        )
    }
}

fn told(uid: &str) -> Told {
    Told {
        pod: PodRef {
            namespace: "ns".to_owned(),
            name: "pod".to_owned(),
            uid: uid.to_owned(),
        },
        at: Timestamp(SystemTime::now()),
        what: What::TaskStarted,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster"]
async fn agents_are_heard_and_nobody_else() {
    let cluster = Cluster::start().await;
    let server = Server::start(&cluster).await;
    let agent = cluster.pod("agent-1", "baton-agent", "node-a").await;
    let tenant = cluster.pod("tenant-1", "tenant", "node-a").await;
    let ours = "baton-coordinator";
    let good = cluster.token("baton-agent", ours, Some(&agent)).await;

    // A replica that does not lead sends everybody on.
    let (status, retry, body) = server.tell(&good, b"[]".to_vec()).await;
    assert_eq!((status.as_u16(), retry.as_deref()), (503, Some("1")));
    assert_eq!(body["error"], "not the leader");

    let (inbox_tx, mut inbox_rx) = inbox();
    server.leader.send_replace(Some(inbox_tx));
    assert_eq!(server.knock(&good).await.0, 200);
    for (token, want, about) in [
        ("a.b.c".to_owned(), 401, "refused"),
        ("no token".to_owned(), 401, "no service account token"),
        (
            cluster.token("baton-agent", "api", Some(&agent)).await,
            401,
            ours,
        ),
        (
            cluster.token("tenant", ours, Some(&tenant)).await,
            403,
            "tenant",
        ),
        (
            cluster.token("baton-agent", ours, None).await,
            403,
            "bound to no pod",
        ),
    ] {
        let (status, error) = server.knock(&token).await;
        assert!(status == want && error.contains(about), "{status} {error}");
    }

    // What is no batch is refused, and harms nothing.
    for (body, want) in [(b"{}".to_vec(), 400), (vec![b' '; (4 << 20) + 1], 413)] {
        assert_eq!(server.tell(&good, body).await.0.as_u16(), want);
    }
    let typeless = server
        .http
        .post(format!("{}/v1/events", server.url))
        .bearer_auth(&good)
        .body("[]");
    assert_eq!(typeless.send().await.unwrap().status().as_u16(), 415);

    // A batch reaches the controller with the node that the token proves, and its answer comes back.
    let controller = tokio::spawn(async move {
        let batch = inbox_rx.recv().await.unwrap();
        let refused = vec![(batch.events[1].id(), "another node's".to_owned())];
        batch.answer.send(Answer { refused }).unwrap();
        (batch.node, batch.events.len(), inbox_rx)
    });
    let batch = String::from_utf8(write_batch(
        "/baton/nodes/liar",
        &[told("u-1"), told("u-2")],
    ))
    .unwrap();
    let batch = batch.replacen('[', "[{\"x\": 1},", 1);
    let (status, _, body) = server.tell(&good, batch.into_bytes()).await;
    assert_eq!(status.as_u16(), 200);
    let refused = body["refused"].as_array().unwrap();
    assert_eq!(refused.len(), 2);
    assert_eq!(refused[0]["id"], "");
    assert_eq!(
        refused[1],
        json!({"id": told("u-2").id(), "why": "another node's"})
    );
    let (node, count, mut inbox_rx) = controller.await.unwrap();
    assert_eq!((node.as_str(), count), ("node-a", 2));

    // A flood is refused at once, and what was taken is still answered.
    let body = write_batch("/baton/nodes/node-a", &[told("u-3")]);
    let flood = (0..INBOX_BATCHES + 20).map(|_| server.tell(&good, body.clone()));
    let mut flood: FuturesUnordered<_> = flood.collect();
    // The controller answers nothing before all that have no room were refused.
    let early = flood.by_ref().take(20).collect::<Vec<_>>();
    let mut answers = tokio::time::timeout(PATIENCE, early).await.unwrap();
    while let Ok(batch) = inbox_rx.try_recv() {
        let _ = batch.answer.send(Answer::default());
    }
    answers.extend(flood.collect::<Vec<_>>().await);
    let count = |code: u16| answers.iter().filter(|(s, ..)| s.as_u16() == code).count();
    assert_eq!((count(200), count(429)), (INBOX_BATCHES, 20));
    let refused = answers.iter().find(|(s, ..)| s.as_u16() == 429).unwrap();
    assert_eq!(refused.1.as_deref(), Some("1"));

    // A controller that ends lets nobody wait.
    drop(inbox_rx);
    assert_eq!(server.tell(&good, body).await.0.as_u16(), 503);

    // An agent whose pod is gone is heard no more by those who did not know it.
    // An answer is believed for a while, so a new token asks: those of one second are all the same.
    let mut late = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while late.len() < 2 {
        let token = cluster.token("baton-agent", ours, Some(&agent)).await;
        if token != good && !late.contains(&token) {
            late.push(token);
        }
        assert!(Instant::now() < deadline, "tokens do not differ");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let now = DeleteParams::default().grace_period(0);
    cluster.api::<Pod>().delete("agent-1", &now).await.unwrap();
    // The API server learns of a deletion by a watch, and believes its own answers for a while too.
    let deadline = Instant::now() + PATIENCE;
    while cluster.is_good(&late[0], ours).await {
        assert!(Instant::now() < deadline, "the token outlives its pod");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let status = server.knock(&late[1]).await.0;
    assert!(status == 401 || status == 403, "{status}");

    // The webhook answers over the same port.
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {"uid": "u", "operation": "CREATE", "object": {
            "apiVersion": "baton.dev/v1alpha1", "kind": "Task", "metadata": {"name": "x"}, "spec": {"stepz": []},
        }},
    });
    let answer = server.http.post(format!("{}/admit", server.url));
    let answer = answer
        .header("content-type", "application/json")
        .body(review.to_string())
        .send()
        .await
        .unwrap();
    let answer: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert_eq!(answer["response"]["allowed"], false);
    let message = answer["response"]["status"]["message"].as_str().unwrap();
    assert!(message.contains("spec.stepz"), "{message}");

    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let delete = DeleteParams::default();
    namespaces
        .delete(&cluster.namespace, &delete)
        .await
        .unwrap();
}
