//! Watches of the API server as streams that never end, and what their lists hold.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Debug;
use std::hash::Hash;

use futures::stream::{BoxStream, SelectAll};
use futures::{Stream, StreamExt};
use k8s_openapi::NamespaceResourceScope;
use kube::api::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Config, Event, watcher};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;

/// What a watch tells.
#[derive(Debug)]
pub(crate) enum Change<T> {
    /// It is there, like this.
    Put(T),
    /// It is gone.
    Gone(T),
    /// A new list begins: what is not in it is gone.
    ListBegins,
    /// The list is complete.
    ListEnds,
}

/// One watch: a kind, and the namespace that it is limited to, if any.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Scope<K> {
    /// The kind.
    pub(crate) kind: K,
    /// The namespace; all where there is none, and where the kind has none.
    pub(crate) namespace: Option<String>,
}

impl<K> Scope<K> {
    /// Whether what is in this namespace is watched.
    pub(crate) fn covers(&self, namespace: &str) -> bool {
        self.namespace.as_deref().is_none_or(|n| n == namespace)
    }
}

/// Changes, each with the watch that tells it; they never end.
pub(crate) type Changes<K, T> = SelectAll<BoxStream<'static, (Scope<K>, Change<T>)>>;

/// Several watches, as one stream.
pub(crate) struct Watches<K, T> {
    scopes: Vec<Scope<K>>,
    changes: Changes<K, T>,
}

impl<K, T> Watches<K, T>
where
    K: Clone + Debug + Eq + Hash + Send + 'static,
    T: Send + 'static,
{
    /// None yet.
    pub(crate) fn none() -> Watches<K, T> {
        Watches {
            scopes: Vec::new(),
            changes: SelectAll::new(),
        }
    }

    /// Watches one more kind, in one namespace or in all.
    pub(crate) fn add<O>(
        &mut self,
        (kind, namespace): (K, Option<&str>),
        api: Api<O>,
        config: Config,
        thing: impl Fn(O) -> T + Send + 'static,
    ) where
        O: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let scope = Scope {
            kind,
            namespace: namespace.map(str::to_owned),
        };
        self.scopes.push(scope.clone());
        self.changes.push(changes(api, config, scope, thing));
    }

    /// What their lists hold, and their stream.
    pub(crate) fn begin(self) -> (Lists<K>, Changes<K, T>) {
        (Lists::new(self.scopes), self.changes)
    }
}

/// What the lists hold that watches have under way, by UID or by what else objects are known by; and
/// which watches have not read everything once.
#[derive(Debug)]
pub(crate) struct Lists<K> {
    open: HashMap<Scope<K>, BTreeSet<String>>,
    unread: HashSet<Scope<K>>,
}

impl<K: Clone + Eq + Hash> Lists<K> {
    /// Those of watches that read nothing yet.
    pub(crate) fn new(scopes: Vec<Scope<K>>) -> Lists<K> {
        Lists {
            open: HashMap::new(),
            unread: scopes.into_iter().collect(),
        }
    }

    /// Whether every watch has read everything once.
    pub(crate) fn is_read(&self) -> bool {
        self.unread.is_empty()
    }

    /// A watch begins a new list.
    pub(crate) fn begin(&mut self, scope: &Scope<K>) {
        self.open.insert(scope.clone(), BTreeSet::new());
    }

    /// A watch tells of an object, in a list or after it.
    pub(crate) fn told(&mut self, scope: &Scope<K>, id: String) {
        if let Some(list) = self.open.get_mut(scope) {
            list.insert(id);
        }
    }

    /// An object of a kind is there, as an answer to a call shows it: a list that is under way may have
    /// been made before.
    pub(crate) fn answered(&mut self, kind: &K, id: &str) {
        let lists = self.open.iter_mut().filter(|(s, _)| s.kind == *kind);
        lists.for_each(|(_, list)| {
            list.insert(id.to_owned());
        });
    }

    /// A watch has read a list: what it holds.
    pub(crate) fn end(&mut self, scope: &Scope<K>) -> BTreeSet<String> {
        self.unread.remove(scope);
        self.open.remove(scope).unwrap_or_default()
    }
}

/// The objects of a kind in a namespace; in all where none is given.
pub(crate) fn api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// The scopes to watch: one for each namespace, or one for all where there is none.
pub(crate) fn spaces(namespaces: &[String]) -> Vec<Option<String>> {
    match namespaces {
        [] => vec![None],
        some => some.iter().cloned().map(Some).collect(),
    }
}

/// Watches objects. A watch that breaks is begun again, with more and more time between; what broke it
/// is logged.
fn changes<K, O, T>(
    api: Api<O>,
    config: Config,
    scope: Scope<K>,
    thing: impl Fn(O) -> T + Send + 'static,
) -> BoxStream<'static, (Scope<K>, Change<T>)>
where
    K: Clone + Debug + Send + 'static,
    O: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
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

fn told<O>(
    events: impl Stream<Item = Result<Event<O>, watcher::Error>> + Send + 'static,
    name: String,
) -> impl Stream<Item = Event<O>> + Send + 'static
where
    O: Send + 'static,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_holds_what_came_while_it_was_under_way() {
        let scope = |kind, namespace: Option<&str>| Scope {
            kind,
            namespace: namespace.map(str::to_owned),
        };
        let (here, all) = (scope('a', Some("n")), scope('b', None));
        assert!(here.covers("n") && !here.covers("m") && all.covers("m"));

        let mut lists = Lists::new(vec![here.clone(), all.clone()]);
        lists.told(&here, "before".into());
        lists.begin(&here);
        lists.told(&here, "1".into());
        lists.told(&all, "other".into());
        lists.answered(&'a', "2");
        lists.answered(&'b', "3");
        let known = lists.end(&here);
        assert_eq!(known, BTreeSet::from(["1".to_owned(), "2".to_owned()]));
        assert!(!lists.is_read(), "one watch read nothing yet");
        lists.begin(&all);
        assert!(lists.end(&all).is_empty() && lists.is_read());
        // One that is begun again.
        lists.begin(&here);
        assert!(lists.is_read() && lists.end(&here).is_empty());
    }
}
