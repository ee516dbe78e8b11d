//! Calls of the API server, counted by verb, resource and code.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Method, Request, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tower::{Layer, Service};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    verb: &'static str,
    resource: &'static str,
    code: u16,
}

/// A layer for a Kubernetes client that counts the calls which pass through it. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct CountCalls {
    calls: Family<Call, Counter>,
}

impl CountCalls {
    /// Makes the counter a metric: `api_calls_total`, by `verb`, `resource` and
    /// `code`, after the registry's prefix.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "api_calls",
            "Calls of the API server, by verb, resource and code; code 0 where there was no answer",
            self.calls.clone(),
        );
    }
}

impl<S> Layer<S> for CountCalls {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted {
            inner,
            calls: self.calls.clone(),
        }
    }
}

/// A service whose calls are counted.
#[derive(Debug, Clone)]
pub struct Counted<S> {
    inner: S,
    calls: Family<Call, Counter>,
}

impl<S, A, B> Service<Request<A>> for Counted<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let verb = verb(request.method(), request.uri().query());
        let resource = resource(request.uri().path());
        let calls = self.calls.clone();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let code = answer.as_ref().map_or(0, |r| r.status().as_u16());
            let call = Call {
                verb,
                resource,
                code,
            };
            calls.get_or_create(&call).inc();
            answer
        })
    }
}

fn verb(method: &Method, query: Option<&str>) -> &'static str {
    let watches = query.is_some_and(|q| q.split('&').any(|p| p == "watch=true"));
    match method.as_str() {
        "GET" if watches => "watch",
        "GET" => "get",
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => "other",
    }
}

/// The kind of objects that a path of the API server is about: one of those that are used here, so that
/// no path makes a label of its own.
fn resource(path: &str) -> &'static str {
    const KNOWN: [&str; 15] = [
        "tasks",
        "jobflows",
        "jobtemplates",
        "daemonjobs",
        "jobs",
        "pods",
        "events",
        "leases",
        "secrets",
        "configmaps",
        "nodes",
        "csinodes",
        "tokenreviews",
        "validatingwebhookconfigurations",
        "customresourcedefinitions",
    ];
    // /api/v1 or /apis/GROUP/VERSION, then perhaps namespaces/NAME, then the resource.
    let mut parts = path.split('/').filter(|p| !p.is_empty());
    let skipped = if parts.next() == Some("api") { 1 } else { 2 };
    let mut parts = parts.skip(skipped);
    let named = match parts.next() {
        Some("namespaces") => parts.nth(1),
        other => other,
    };
    named
        .and_then(|name| KNOWN.into_iter().find(|known| *known == name))
        .unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tower::ServiceExt;

    #[tokio::test]
    async fn calls_are_counted_by_verb_resource_and_code() {
        let calls = CountCalls::default();
        let mut registry = Registry::with_prefix("baton");
        calls.register(&mut registry);
        let server = tower::service_fn(|request: Request<()>| async move {
            let code = if request.method() == Method::PUT {
                409
            } else {
                200
            };
            Response::builder().status(code).body(())
        });
        let service = calls.layer(server);
        for (method, uri) in [
            ("GET", "/api/v1/pods?watch=true"),
            ("GET", "/api/v1/pods?limit=5"),
            (
                "PUT",
                "/apis/baton.dev/v1alpha1/namespaces/x/tasks/y/status",
            ),
            (
                "PUT",
                "/apis/baton.dev/v1alpha1/namespaces/x/tasks/y/status",
            ),
        ] {
            let request = Request::builder().method(method).uri(uri).body(()).unwrap();
            service.clone().oneshot(request).await.unwrap();
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "baton_api_calls_total{verb=\"watch\",resource=\"pods\",code=\"200\"} 1",
            "baton_api_calls_total{verb=\"get\",resource=\"pods\",code=\"200\"} 1",
            "baton_api_calls_total{verb=\"update\",resource=\"tasks\",code=\"409\"} 2",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn calls_are_counted_by_what_they_are_about() {
        for (path, name) in [
            ("/api/v1/namespaces/pods/pods/x/status", "pods"),
            ("/api/v1/pods", "pods"),
            ("/api/v1/namespaces/x/configmaps/baton-ca", "configmaps"),
            ("/apis/storage.k8s.io/v1/csinodes/n", "csinodes"),
            ("/api/v1/namespaces/pods", "other"),
            ("/api/v1/namespaces/x/widgets", "other"),
            ("/version", "other"),
            ("", "other"),
        ] {
            assert_eq!(resource(path), name, "{path}");
        }
    }

    #[test]
    fn watches_are_told_from_reads() {
        let get = |query| verb(&Method::GET, query);
        assert_eq!(get(Some("limit=5&watch=true")), "watch");
        assert_eq!(get(Some("fieldSelector=watch")), "get");
        assert_eq!(verb(&Method::PATCH, None), "patch");
    }

    #[test]
    fn paths_tell_what_calls_are_about() {
        for (path, name) in [
            ("/api/v1/namespaces/pods/pods/x/status", "pods"),
            ("/api/v1/pods", "pods"),
            ("/api/v1/namespaces/x/configmaps/baton-ca", "configmaps"),
            ("/apis/storage.k8s.io/v1/csinodes/n", "csinodes"),
            ("/api/v1/namespaces/pods", "other"),
            ("/api/v1/namespaces/x/widgets", "other"),
            ("/version", "other"),
            ("", "other"),
        ] {
            assert_eq!(resource(path), name, "{path}");
        }
    }
}
