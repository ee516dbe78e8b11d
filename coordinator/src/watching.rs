//! Watches of the API server as streams that never end.

use std::fmt::Debug;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use k8s_openapi::NamespaceResourceScope;
use kube::api::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Config, Event, watcher};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;

/// What a watch tells.
#[derive(Debug)]
pub enum Change<T> {
    /// It is there, like this.
    Put(T),
    /// It is gone.
    Gone(T),
    /// A new list begins: what is not in it is gone.
    ListBegins,
    /// The list is complete.
    ListEnds,
}

/// Changes, each with the watch that tells it.
pub type Changes<S, T> = BoxStream<'static, (S, Change<T>)>;

/// The objects of a kind in a namespace; in all where none is given.
pub fn api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// The scopes to watch: one for each namespace, or one for all where there is none.
pub fn spaces(namespaces: &[String]) -> Vec<Option<String>> {
    match namespaces {
        [] => vec![None],
        some => some.iter().cloned().map(Some).collect(),
    }
}

/// Watches objects. A watch that breaks is begun again, with more and more time between; what broke it
/// is logged.
pub fn changes<K, S, T>(
    api: Api<K>,
    config: Config,
    scope: S,
    thing: impl Fn(K) -> T + Send + 'static,
) -> Changes<S, T>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    S: Clone + Debug + Send + 'static,
    T: Send + 'static,
{
    let name = format!("{scope:?}");
    let events = watcher(api, config).default_backoff();
    told(events, name)
        .map(move |event| {
            let change = match event {
                Event::Apply(object) | Event::InitApply(object) => Change::Put(thing(object)),
                Event::Delete(object) => Change::Gone(thing(object)),
                Event::Init => Change::ListBegins,
                Event::InitDone => Change::ListEnds,
            };
            (scope.clone(), change)
        })
        .boxed()
}

fn told<K>(
    events: impl Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static,
    name: String,
) -> impl Stream<Item = Event<K>> + Send + 'static
where
    K: Send + 'static,
{
    events.filter_map(move |event| {
        let event = event
            .inspect_err(
                |e| tracing::warn!(watch = name, error = %e, "a watch broke; it is begun again"),
            )
            .ok();
        std::future::ready(event)
    })
}
