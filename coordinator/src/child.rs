//! What controllers do with their own objects and the children they make: each call names the UID of
//! what it is about, so that it cannot hit another object of the same name.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::marker::PhantomData;

use baton_pod::names::{ATTEMPT_ANNOTATION, INDEX_ANNOTATION, OWN_PREFIX};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{
    Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy,
};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value, json};

/// The field manager of everything that is written.
pub const MANAGER: &str = "baton-coordinator";
/// Longest note of a Kubernetes Event, in bytes.
const MAX_NOTE: usize = 1000;
/// Answers after which the same would be answered again: what was asked for cannot be read, is too
/// large, or is invalid.
const REFUSALS: [u16; 3] = [400, 413, 422];

/// One of Baton's kinds.
pub trait Kind: Debug + Clone + Default + Send + Sync + 'static {
    /// Its name.
    const KIND: &'static str;
    /// The name of its resource.
    const PLURAL: &'static str;
}

/// An object of one of Baton's kinds, with its spec and status as they were written: anything may be in
/// them.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(bound = "")]
pub struct Object<K: Kind> {
    /// Its name, namespace, UID and so on.
    pub metadata: ObjectMeta,
    /// Its spec.
    #[serde(default)]
    pub spec: Value,
    /// Its status.
    #[serde(default)]
    pub status: Value,
    #[serde(skip)]
    kind: PhantomData<K>,
}

impl<K: Kind> Serialize for Object<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = Written {
            api_version: baton_api::flow::API_VERSION,
            kind: K::KIND,
            metadata: &self.metadata,
            spec: &self.spec,
            status: &self.status,
        };
        written.serialize(serializer)
    }
}

/// An object as the API server takes it: one that is made has to say its kind.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Written<'a> {
    pub(crate) api_version: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) metadata: &'a ObjectMeta,
    pub(crate) spec: &'a Value,
    #[serde(skip_serializing_if = "Value::is_null")]
    pub(crate) status: &'a Value,
}

impl<K: Kind> Resource for Object<K> {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        K::KIND.into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "baton.dev".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1alpha1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        K::PLURAL.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl<K: Kind> Object<K> {
    /// The object as a document of its kind, as it is reviewed: metadata that somebody writes, and the
    /// spec.
    pub fn document(&self) -> String {
        let meta = &self.metadata;
        json!({
            "apiVersion": baton_api::flow::API_VERSION,
            "kind": K::KIND,
            "metadata": { "name": meta.name, "namespace": meta.namespace, "labels": meta.labels },
            "spec": self.spec,
        })
        .to_string()
    }

    /// The status: what can be read of it. One that somebody else broke counts as none.
    pub fn read_status<S: DeserializeOwned + Default>(&self) -> S {
        match &self.status {
            Value::Null => S::default(),
            status => S::deserialize(status).unwrap_or_else(|e| {
                let name = self.metadata.name.as_deref().unwrap_or_default();
                tracing::warn!(kind = K::KIND, name, error = %e, "the status cannot be read and counts as none");
                S::default()
            }),
        }
    }
}

/// What came of making a child.
#[derive(Debug)]
pub enum Create<T> {
    /// It is there: made, or made before.
    Done(T),
    /// Something of this name is there that is another's, or was made for something else.
    Taken(String),
}

/// Makes a child, or takes the one that is there where it was made for the same.
///
/// # Errors
/// What the API server answers; [`is_refusal`] tells whether it always would.
pub async fn create<T>(api: &Api<T>, child: &T) -> Result<Create<T>, kube::Error>
where
    T: Resource + Clone + Debug + DeserializeOwned + Serialize,
{
    let params = PostParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PostParams::default()
    };
    let error = match api.create(&params, child).await {
        Ok(child) => return Ok(Create::Done(child)),
        Err(kube::Error::Api(e)) if e.code == 409 && e.reason == "AlreadyExists" => e,
        Err(e) => return Err(e),
    };
    let name = child.meta().name.clone().unwrap_or_default();
    match api.get_opt(&name).await? {
        Some(there) if is_same(child.meta(), there.meta()) => Ok(Create::Done(there)),
        Some(_) => Ok(Create::Taken(name)),
        None => Err(kube::Error::Api(error)),
    }
}

/// Whether what is there was made for the same: it has the same controlling owner, and says as much by
/// Baton's own labels, and by which attempt and element it is for.
fn is_same(child: &ObjectMeta, there: &ObjectMeta) -> bool {
    let has = |of: &Option<BTreeMap<String, String>>, key: &String, value: &String| {
        of.as_ref().and_then(|of| of.get(key)) == Some(value)
    };
    let labels = child.labels.iter().flatten();
    let mut labels = labels.filter(|(key, _)| key.starts_with(OWN_PREFIX));
    let annotations = child.annotations.iter().flatten();
    let mut annotations = annotations
        .filter(|(key, _)| [ATTEMPT_ANNOTATION, INDEX_ANNOTATION].contains(&key.as_str()));
    let owner = controller(child);
    owner.is_some()
        && owner == controller(there)
        && labels.all(|(key, value)| has(&there.labels, key, value))
        && annotations.all(|(key, value)| has(&there.annotations, key, value))
}

/// The UID of the object that controls this one, where that is one of Baton's.
pub fn controller(meta: &ObjectMeta) -> Option<&str> {
    let owners = meta.owner_references.as_deref().unwrap_or_default();
    let ours = |o: &&k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference| {
        o.controller == Some(true) && o.api_version.starts_with("baton.dev/")
    };
    owners.iter().find(ours).map(|o| o.uid.as_str())
}

/// Deletes an object, and has the garbage collector delete what it owns. One that is gone, or in whose
/// place another one is, is none of ours.
///
/// # Errors
/// What the API server answers.
pub async fn delete<T>(api: &Api<T>, name: &str, uid: &str) -> Result<(), kube::Error>
where
    T: Resource + Clone + Debug + DeserializeOwned,
{
    delete_by(api, name, uid, PropagationPolicy::Background).await
}

/// As [`delete`], but the object stays until what it owns is gone.
///
/// # Errors
/// What the API server answers.
pub async fn delete_with_pods<T>(api: &Api<T>, name: &str, uid: &str) -> Result<(), kube::Error>
where
    T: Resource + Clone + Debug + DeserializeOwned,
{
    delete_by(api, name, uid, PropagationPolicy::Foreground).await
}

async fn delete_by<T>(
    api: &Api<T>,
    name: &str,
    uid: &str,
    policy: PropagationPolicy,
) -> Result<(), kube::Error>
where
    T: Resource + Clone + Debug + DeserializeOwned,
{
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some(uid.to_owned()),
            resource_version: None,
        }),
        propagation_policy: Some(policy),
        ..DeleteParams::default()
    };
    match api.delete(name, &params).await {
        Ok(_) => Ok(()),
        Err(e) if is_gone(&e) => Ok(()),
        Err(e) => Err(e),
    }
}

/// Patches an object; `None` where it is gone, or another one is in its place.
///
/// # Errors
/// What the API server answers.
pub async fn patch<T>(
    api: &Api<T>,
    name: &str,
    uid: &str,
    mut patch: Value,
) -> Result<Option<T>, kube::Error>
where
    T: Resource + Clone + Debug + DeserializeOwned,
{
    if let Some(patch) = patch.as_object_mut() {
        let metadata = patch.entry("metadata").or_insert_with(|| json!({}));
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.insert("uid".to_owned(), json!(uid));
        }
    }
    let params = PatchParams::apply(MANAGER);
    match api.patch(name, &params, &Patch::Merge(patch)).await {
        Ok(object) => Ok(Some(object)),
        Err(e) if is_gone(&e) => Ok(None),
        Err(e) => Err(e),
    }
}

/// What came of writing a status.
#[derive(Debug)]
pub enum Write<T> {
    /// It is durable; the object as it is now.
    Done(T),
    /// The object was changed in between: as it is now.
    Conflict(T),
    /// The object is gone.
    Gone,
}

/// Writes what differs between the status that is durable and this one, where the object is still of
/// this version.
///
/// # Errors
/// What the API server answers.
pub async fn write_status<T, S>(
    api: &Api<T>,
    object: &ObjectReference,
    durable: &S,
    status: &S,
) -> Result<Write<T>, kube::Error>
where
    T: Resource + Clone + Debug + DeserializeOwned,
    S: Serialize + Default + PartialEq,
{
    let name = object.name.as_deref().unwrap_or_default();
    let patch = json!({
        "metadata": { "uid": object.uid, "resourceVersion": object.resource_version },
        "status": difference(durable, status),
    });
    let params = PatchParams::apply(MANAGER);
    match api.patch_status(name, &params, &Patch::Merge(patch)).await {
        Ok(now) => Ok(Write::Done(now)),
        Err(kube::Error::Api(e)) if e.code == 409 => match api.get_opt(name).await? {
            Some(now) if now.meta().uid == object.uid => Ok(Write::Conflict(now)),
            _ => Ok(Write::Gone),
        },
        Err(kube::Error::Api(e)) if e.code == 404 => Ok(Write::Gone),
        Err(e) => Err(e),
    }
}

/// A merge patch from one status to another: the fields that differ, lists whole.
pub fn difference<S: Serialize + Default + PartialEq>(from: &S, to: &S) -> Value {
    let fields = |status| match serde_json::to_value(status) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    Value::Object(match *from == S::default() {
        // None was written yet: also what has its default is news.
        true => fields(to),
        false => fields_that_differ(&fields(from), fields(to)),
    })
}

fn fields_that_differ(from: &Map<String, Value>, to: Map<String, Value>) -> Map<String, Value> {
    let gone = from.keys().filter(|name| !to.contains_key(*name));
    let mut patch: Map<_, _> = gone.map(|name| (name.clone(), Value::Null)).collect();
    for (name, to) in to {
        match (from.get(&name), to) {
            (Some(from), to) if *from == to => {}
            (Some(Value::Object(from)), Value::Object(to)) => {
                patch.insert(name, Value::Object(fields_that_differ(from, to)));
            }
            (_, to) => {
                patch.insert(name, to);
            }
        }
    }
    patch
}

/// A Kubernetes Event to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Something is wrong.
    pub is_warning: bool,
    /// One word.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

/// What writes Kubernetes Events in the name of a replica.
pub fn recorder(client: &Client, replica: &str) -> Recorder {
    let reporter = Reporter {
        controller: MANAGER.to_owned(),
        instance: Some(replica.to_owned()),
    };
    Recorder::new(client.clone(), reporter)
}

/// Writes a Kubernetes Event. Events are for people who look now: one that cannot be written is not
/// tried again.
pub async fn emit(recorder: &Recorder, object: &ObjectReference, note: Note) {
    let event = Event {
        type_: match note.is_warning {
            true => EventType::Warning,
            false => EventType::Normal,
        },
        reason: note.reason,
        note: Some(crate::text::cut(&note.message, MAX_NOTE / 4)),
        action: "Run".to_owned(),
        secondary: None,
    };
    if let Err(e) = recorder.publish(&event, object).await {
        let (name, namespace) = (&object.name, &object.namespace);
        tracing::debug!(?name, ?namespace, error = %e, "writing an event");
    }
}

/// How an object is spoken of in calls: its kind, name, namespace, UID and version.
pub fn reference<T: Resource<DynamicType = ()>>(meta: &ObjectMeta) -> ObjectReference {
    ObjectReference {
        api_version: Some(T::api_version(&()).into_owned()),
        kind: Some(T::kind(&()).into_owned()),
        name: meta.name.clone(),
        namespace: meta.namespace.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        ..ObjectReference::default()
    }
}

/// There is no such object, or another one in its place.
pub fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(e) if e.code == 404 || e.code == 409)
}

/// Whether the API server would give the same answer each time.
pub fn is_refusal(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(e) if REFUSALS.contains(&e.code))
}

/// Whether the server may have done what was asked for, although it is not known.
pub fn is_open(error: &kube::Error) -> bool {
    !matches!(error, kube::Error::Api(_))
}

/// What is wrong, for people.
pub fn message(error: kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message,
        e => e.to_string(),
    }
}

/// Whether a version of an object is older than one that is known. Versions that are no numbers are as
/// new.
pub fn is_older(version: Option<&str>, known: &str) -> bool {
    let number = |text: &str| text.parse::<u64>().ok();
    match (version.and_then(number), number(known)) {
        (Some(version), Some(known)) => version < known,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_api::status::{TaskPhase, TaskStatus};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

    #[test]
    fn a_patch_holds_what_differs_and_removes_what_is_no_more() {
        let from = TaskStatus {
            run: 1,
            reason: "Creating".into(),
            progress: "0/2".into(),
            ..TaskStatus::default()
        };
        let to = TaskStatus {
            phase: TaskPhase::Running,
            reason: String::new(),
            ..from.clone()
        };
        let patch = json!({ "phase": "Running", "reason": null });
        assert_eq!(difference(&from, &to), patch);
        assert_eq!(difference(&to, &to), json!({}));

        let from = json!({ "nodes": {"running": ["a"], "over": []}, "run": 1 });
        let to = json!({ "nodes": {"over": ["a"]}, "run": 1 });
        let patch = json!({ "nodes": {"running": null, "over": ["a"]} });
        assert_eq!(difference(&from, &to), patch);
    }

    #[test]
    fn what_is_made_says_its_kind() {
        let read = json!({"metadata": {"name": "a"}, "spec": {"steps": []}});
        let task: crate::task::object::TaskObject = serde_json::from_value(read.clone()).unwrap();
        let flow: crate::flow::object::JobFlowObject = serde_json::from_value(read).unwrap();
        let of = |kind: &str| {
            json!({"apiVersion": "baton.dev/v1alpha1", "kind": kind,
                   "metadata": {"name": "a"}, "spec": {"steps": []}})
        };
        assert_eq!(serde_json::to_value(task).unwrap(), of("Task"));
        assert_eq!(serde_json::to_value(flow).unwrap(), of("JobFlow"));
    }

    #[test]
    fn a_foreign_object_is_not_adopted() {
        let meta = |uid: &str, attempt: &str| ObjectMeta {
            owner_references: Some(vec![OwnerReference {
                api_version: "baton.dev/v1alpha1".into(),
                kind: "JobFlow".into(),
                name: "f".into(),
                uid: uid.into(),
                controller: Some(true),
                ..OwnerReference::default()
            }]),
            annotations: Some(BTreeMap::from([
                ("baton.dev/attempt".to_owned(), attempt.to_owned()),
                ("baton.dev/template".to_owned(), format!("t@{attempt}{uid}")),
            ])),
            ..ObjectMeta::default()
        };
        assert!(is_same(&meta("a", "1"), &meta("a", "1")));
        assert!(!is_same(&meta("a", "1"), &meta("b", "1")));
        assert!(!is_same(&meta("a", "1"), &meta("a", "2")));
        assert!(!is_same(&meta("a", "1"), &ObjectMeta::default()));
        assert!(!is_same(&ObjectMeta::default(), &ObjectMeta::default()));
        let mut more = meta("a", "1");
        more.labels = Some(BTreeMap::from([("team".into(), "x".into())]));
        assert!(is_same(&meta("a", "1"), &more), "what others add is theirs");
    }
}
