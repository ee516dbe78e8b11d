//! The pods of Tasks that are there: by the Task that owns them, and by UID.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use baton_pod::names::RUN_LABEL;
use k8s_openapi::api::core::v1::Pod;

use crate::child::is_older;

/// The pods that Tasks own. Tasks and pods are named by their UIDs where nothing else is said.
#[derive(Debug, Default)]
pub(super) struct Pods {
    /// By the Task that owns them, and by name.
    by_owner: HashMap<String, BTreeMap<String, Arc<Pod>>>,
    /// The Task that owns each.
    owners: HashMap<String, String>,
}

impl Pods {
    /// The pods of a Task, by name; `None` where it has none.
    pub(super) fn of(&self, task: &str) -> Option<&BTreeMap<String, Arc<Pod>>> {
        self.by_owner.get(task)
    }

    /// The Task that owns a pod.
    pub(super) fn owner_of(&self, pod: &str) -> Option<&String> {
        self.owners.get(pod)
    }

    /// The run of its Task that a pod was made for.
    pub(super) fn run_of(&self, pod: &str) -> Option<u32> {
        let mut pods = self.by_owner.get(self.owners.get(pod)?)?.values();
        let found = pods.find(|p| p.metadata.uid.as_deref() == Some(pod))?;
        found.metadata.labels.as_ref()?.get(RUN_LABEL)?.parse().ok()
    }

    /// Takes a pod as it is now, and gives the Task that owns it; `None` where none does, or where the
    /// pod is known as it was later.
    pub(super) fn put(&mut self, pod: Arc<Pod>) -> Option<String> {
        let (owner, name) = (owner(&pod)?, pod.metadata.name.clone()?);
        let pods = self.by_owner.entry(owner.clone()).or_default();
        let version = |p: &Pod| p.metadata.resource_version.clone().unwrap_or_default();
        if let Some(known) = pods.get(&name) {
            if is_older(Some(&version(&pod)), &version(known)) {
                return None;
            }
            if known.metadata.uid != pod.metadata.uid {
                forget(&mut self.owners, known);
            }
        }
        if let Some(uid) = &pod.metadata.uid {
            self.owners.insert(uid.clone(), owner.clone());
        }
        pods.insert(name, pod);
        Some(owner)
    }

    /// Whether the pod of this name that a Task owns is this one.
    pub(super) fn has(&self, pod: &Pod) -> bool {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let known = owner(pod).and_then(|owner| self.by_owner.get(&owner)?.get(name));
        known.is_some_and(|k| k.metadata.uid == pod.metadata.uid)
    }

    /// Forgets a pod; false where another one is in its place, or none.
    pub(super) fn remove(&mut self, owner: &str, name: &str, uid: Option<&str>) -> bool {
        let Some(pods) = self.by_owner.get_mut(owner) else {
            return false;
        };
        if pods
            .get(name)
            .is_none_or(|p| p.metadata.uid.as_deref() != uid)
        {
            return false;
        }
        if let Some(pod) = pods.remove(name) {
            forget(&mut self.owners, &pod);
        }
        if pods.is_empty() {
            self.by_owner.remove(owner);
        }
        true
    }

    /// The pods of the namespaces that `here` names that are not in a list of UIDs.
    pub(super) fn missing_from(
        &self,
        list: &BTreeSet<String>,
        here: impl Fn(&str) -> bool,
    ) -> Vec<Arc<Pod>> {
        let all = self.by_owner.values().flat_map(BTreeMap::values);
        let is_gone = |pod: &&Arc<Pod>| {
            let meta = &pod.metadata;
            here(meta.namespace.as_deref().unwrap_or_default())
                && meta.uid.as_ref().is_none_or(|uid| !list.contains(uid))
        };
        all.filter(is_gone).cloned().collect()
    }
}

fn forget(owners: &mut HashMap<String, String>, pod: &Pod) {
    if let Some(uid) = &pod.metadata.uid {
        owners.remove(uid);
    }
}

/// The UID of the Task that owns a pod.
pub(super) fn owner(pod: &Pod) -> Option<String> {
    let owners = pod.metadata.owner_references.as_deref()?;
    let owner = owners.iter().find(|o| {
        o.controller == Some(true) && o.kind == "Task" && o.api_version.starts_with("baton.dev/")
    })?;
    Some(owner.uid.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

    fn pod(task: &str, uid: &str, version: &str) -> Arc<Pod> {
        let mut pod = Pod::default();
        pod.metadata.name = Some(format!("{task}-1"));
        pod.metadata.namespace = Some("ci".to_owned());
        pod.metadata.uid = Some(uid.to_owned());
        pod.metadata.resource_version = Some(version.to_owned());
        pod.metadata.labels = Some([(RUN_LABEL.to_owned(), version.to_owned())].into());
        pod.metadata.owner_references = Some(vec![OwnerReference {
            api_version: "baton.dev/v1alpha1".to_owned(),
            kind: "Task".to_owned(),
            name: task.to_owned(),
            uid: task.to_owned(),
            controller: Some(true),
            ..OwnerReference::default()
        }]);
        Arc::new(pod)
    }

    #[test]
    fn a_pod_is_found_by_its_uid_while_it_is_there() {
        let mut pods = Pods::default();
        assert_eq!(pods.put(pod("a", "a1", "5")).as_deref(), Some("a"));
        assert_eq!(pods.owner_of("a1").map(String::as_str), Some("a"));
        assert_eq!(pods.put(pod("a", "a1", "4")), None, "an older version");
        assert_eq!((pods.run_of("a1"), pods.run_of("a2")), (Some(5), None));

        // Another one in its place.
        pods.put(pod("a", "a2", "7"));
        assert_eq!(pods.owner_of("a1"), None);
        assert!(!pods.has(&pod("a", "a1", "5")));
        assert!(!pods.remove("a", "a-1", Some("a1")));
        assert!(pods.owner_of("a2").is_some());

        assert!(pods.remove("a", "a-1", Some("a2")));
        assert!(pods.owner_of("a2").is_none() && pods.of("a").is_none());
    }

    #[test]
    fn what_a_list_of_a_namespace_lacks_is_missing() {
        let mut pods = Pods::default();
        pods.put(pod("a", "a1", "1"));
        pods.put(pod("b", "b1", "2"));
        let list = BTreeSet::from(["b1".to_owned()]);
        let missing = pods.missing_from(&list, |namespace| namespace == "ci");
        let uids: Vec<_> = missing.iter().map(|p| p.metadata.uid.as_deref()).collect();
        assert_eq!(uids, [Some("a1")]);
        assert!(pods.missing_from(&list, |n| n == "other").is_empty());
    }
}
