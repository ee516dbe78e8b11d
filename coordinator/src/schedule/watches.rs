//! What the controller watches, as one stream.

use kube::Client;
use kube::runtime::watcher::Config;

use super::object::{Thin, Thing};
use crate::child::Kind;
use crate::watching::{Watches, api, spaces};

/// Watches the objects of a kind in the given namespaces; in all where there is none.
pub(super) fn watch<K: Kind>(client: &Client, namespaces: &[String]) -> Watches<(), Thing> {
    let mut all = Watches::none();
    for namespace in spaces(namespaces) {
        let space = namespace.as_deref();
        let objects = api::<Thin<K>>(client, space);
        all.add(((), space), objects, Config::default(), Thing::read);
    }
    all
}
