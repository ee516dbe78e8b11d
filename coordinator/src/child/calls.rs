//! Making, patching and deleting objects; calls that fail.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use baton_pod::names::{ATTEMPT_ANNOTATION, INDEX_ANNOTATION, OWN_PREFIX};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::api::{
    Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{MANAGER, controller};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Answers after which the same would be answered again: what was asked for cannot be read, is too
/// large, or is invalid.
const REFUSALS: [u16; 3] = [400, 413, 422];
/// What the API server passes on, with code 500, where an object is too large for etcd: from etcd itself, and from its
/// client.
const TOO_LARGE: [&str; 2] = ["request is too large", "larger than max"];

/// A call that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What is wrong, for people.
    pub error: String,
    /// The API server would give the same answer each time.
    pub is_refused: bool,
    /// That is because the object would be too large.
    pub is_too_large: bool,
    /// The server may have done what was asked for, although it is not known.
    pub is_open: bool,
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => {
                let is_too_large =
                    status.code == 413 || TOO_LARGE.iter().any(|t| status.message.contains(t));
                Failure {
                    is_refused: is_too_large || REFUSALS.contains(&status.code),
                    is_too_large,
                    is_open: false,
                    error: status.message,
                }
            }
            error => Failure::open(error.to_string()),
        }
    }
}

impl Failure {
    /// Nothing was answered.
    fn open(error: String) -> Failure {
        Failure {
            error,
            is_refused: false,
            is_too_large: false,
            is_open: true,
        }
    }
}

/// Waits for the outcome of a call, for 30 s at most.
///
/// # Errors
/// Where it fails, or has no outcome by then.
pub async fn patiently<T>(
    call: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(PATIENCE, call).await {
        Ok(outcome) => Ok(outcome?),
        Err(_) => Err(Failure::open(format!("no answer within {PATIENCE:?}"))),
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
/// What the API server answers; [`Failure::is_refused`] tells whether it always would.
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

/// There is no such object, or another one in its place.
pub fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(e) if e.code == 404 || e.code == 409)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

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
