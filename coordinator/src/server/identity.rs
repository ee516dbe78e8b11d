//! Who speaks: an agent's service account token to the node that it runs on.
//!
//! The token proves a pod (the kubelet mounted it there), and the pod has a node. So an agent speaks
//! for its own node alone, whatever it says.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, PostParams};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

/// The audience that agents' tokens are made for.
pub const AUDIENCE: &str = "baton-coordinator";
/// The agents' service account.
pub const AGENT: &str = "baton-agent";
/// Longest token that is looked at, in bytes.
pub const MAX_TOKEN_BYTES: usize = 8 << 10;
/// How long a token is believed without asking again: the longest that one lives on which was
/// revoked.
const BELIEVED: Duration = Duration::from_secs(60);
/// How long a token is refused without asking again.
const REFUSED: Duration = Duration::from_secs(5);
/// Most tokens that are remembered: one an agent, and some that were tried.
const MAX_REMEMBERED: usize = 4096;
/// Most questions to the API server at a time.
const MAX_REVIEWS: usize = 8;
/// Longest that the API server may take.
const PATIENCE: Duration = Duration::from_secs(10);

const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";

/// Why somebody is not listened to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// It is not known who speaks.
    #[error("{0}")]
    Unauthenticated(String),
    /// It is known, and may not.
    #[error("{0}")]
    Forbidden(String),
    /// Too many ask at once.
    #[error("too many tokens are being reviewed")]
    Busy,
    /// The API server could not say.
    #[error("{0}")]
    Unavailable(String),
}

/// Finds out who speaks.
#[derive(Debug)]
pub struct Identities {
    reviews: Api<TokenReview>,
    pods: Api<Pod>,
    user: String,
    room: Semaphore,
    known: Mutex<Known>,
}

impl Identities {
    /// Agents of the installation in `namespace`.
    pub fn new(client: kube::Client, namespace: &str) -> Identities {
        Identities {
            reviews: Api::all(client.clone()),
            pods: Api::namespaced(client, namespace),
            user: format!("system:serviceaccount:{namespace}:{AGENT}"),
            room: Semaphore::new(MAX_REVIEWS),
            known: Mutex::default(),
        }
    }

    /// The node of the agent whose token this is.
    ///
    /// # Errors
    /// Where it is not one, or nobody can say.
    pub async fn node(&self, token: &str) -> Result<String, Denied> {
        let shaped = token.len() <= MAX_TOKEN_BYTES
            && token.split('.').count() == 3
            && token.bytes().all(|b| b.is_ascii_graphic());
        if !shaped {
            return Err(Denied::Unauthenticated(
                "the bearer token is no service account token".to_owned(),
            ));
        }
        let key: Key = Sha256::digest(token.as_bytes()).into();
        if let Some(answer) = self.known().get(&key, Instant::now()) {
            return answer;
        }
        let _place = self.room.try_acquire().map_err(|_| Denied::Busy)?;
        let answer = match tokio::time::timeout(PATIENCE, self.ask(token)).await {
            Ok(answer) => answer,
            Err(_) => Err(Denied::Unavailable(
                "the API server did not review the token in time".to_owned(),
            )),
        };
        self.known().put(key, &answer, Instant::now());
        answer
    }

    async fn ask(&self, token: &str) -> Result<String, Denied> {
        let review = TokenReview {
            spec: TokenReviewSpec {
                audiences: Some(vec![AUDIENCE.to_owned()]),
                token: Some(token.to_owned()),
            },
            ..TokenReview::default()
        };
        let review = self.reviews.create(&PostParams::default(), &review).await;
        let status = review
            .map_err(|e| Denied::Unavailable(format!("reviewing the token: {e}")))?
            .status
            .unwrap_or_default();
        let for_us = status
            .audiences
            .iter()
            .flatten()
            .any(|audience| audience == AUDIENCE);
        if status.authenticated != Some(true) || !for_us {
            let why = status.error.unwrap_or_else(|| "it is not valid".to_owned());
            return Err(Denied::Unauthenticated(format!(
                "the bearer token is refused for the audience {AUDIENCE}: {why}"
            )));
        }
        let (name, uid) = pod_of(status.user.unwrap_or_default(), &self.user)?;
        self.node_of(&name, &uid).await
    }

    async fn node_of(&self, name: &str, uid: &str) -> Result<String, Denied> {
        let pod = self.pods.get_opt(name).await;
        let pod = pod.map_err(|e| Denied::Unavailable(format!("reading pod {name}: {e}")))?;
        pod.filter(|pod| pod.metadata.uid.as_deref() == Some(uid))
            .and_then(|pod| pod.spec?.node_name)
            .filter(|node| !node.is_empty())
            .ok_or_else(|| {
                Denied::Forbidden(format!("the agent's pod {name} ({uid}) is not on a node"))
            })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pod that a reviewed token is bound to, where it is one of `agent`'s.
fn pod_of(user: UserInfo, agent: &str) -> Result<(String, String), Denied> {
    let name = user.username.unwrap_or_default();
    if name != agent {
        return Err(Denied::Forbidden(format!(
            "{name:?} may not tell events: only {agent:?} may"
        )));
    }
    let extra = user.extra.unwrap_or_default();
    let one = |key: &str| match extra.get(key).map(Vec::as_slice) {
        Some([one]) if !one.is_empty() => Ok(one.clone()),
        _ => Err(Denied::Forbidden(
            "the token is bound to no pod: agents use a projected token".to_owned(),
        )),
    };
    Ok((one(POD_NAME)?, one(POD_UID)?))
}

type Key = [u8; 32];

/// What is known of tokens, by their digest.
#[derive(Debug, Default)]
struct Known {
    answers: HashMap<Key, (Result<String, Denied>, Instant)>,
}

impl Known {
    fn get(&self, key: &Key, now: Instant) -> Option<Result<String, Denied>> {
        let (answer, until) = self.answers.get(key)?;
        (now < *until).then(|| answer.clone())
    }

    fn put(&mut self, key: Key, answer: &Result<String, Denied>, now: Instant) {
        let keep = match answer {
            Ok(_) => BELIEVED,
            Err(Denied::Unauthenticated(_) | Denied::Forbidden(_)) => REFUSED,
            // The next attempt may be answered.
            Err(Denied::Busy | Denied::Unavailable(_)) => return,
        };
        if self.answers.len() >= MAX_REMEMBERED {
            self.answers.retain(|_, (_, until)| now < *until);
        }
        if self.answers.len() >= MAX_REMEMBERED {
            // A flood of refused ones must not displace those that are believed.
            if answer.is_err() {
                return;
            }
            self.answers.retain(|_, (answer, _)| answer.is_ok());
        }
        if self.answers.len() < MAX_REMEMBERED {
            self.answers.insert(key, (answer.clone(), now + keep));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn user(name: &str, extra: &[(&str, &[&str])]) -> UserInfo {
        let extra: BTreeMap<_, _> = extra
            .iter()
            .map(|(k, v)| ((*k).to_owned(), v.iter().map(|v| (*v).to_owned()).collect()))
            .collect();
        UserInfo {
            username: Some(name.to_owned()),
            extra: Some(extra),
            ..UserInfo::default()
        }
    }

    #[test]
    fn only_pods_of_the_agent_speak() {
        let agent = "system:serviceaccount:baton-system:baton-agent";
        let bound: &[(&str, &[&str])] = &[(POD_NAME, &["a-1"]), (POD_UID, &["u-1"])];
        assert_eq!(
            pod_of(user(agent, bound), agent),
            Ok(("a-1".to_owned(), "u-1".to_owned()))
        );
        for (name, extra) in [
            ("system:serviceaccount:tenant:baton-agent", bound),
            ("", bound),
            (agent, &[]),
            (agent, &[(POD_NAME, &["a-1"])]),
            (agent, &[(POD_NAME, &["a-1", "a-2"]), (POD_UID, &["u-1"])]),
            (agent, &[(POD_NAME, &[]), (POD_UID, &["u-1"])]),
        ] {
            let got = pod_of(user(name, extra), agent);
            assert!(matches!(got, Err(Denied::Forbidden(_))), "{name} {extra:?}");
        }
    }

    #[test]
    fn answers_are_remembered_for_a_while() {
        let now = Instant::now();
        let mut known = Known::default();
        let good = Ok("node".to_owned());
        let bad = Err(Denied::Unauthenticated("no".to_owned()));
        known.put([1; 32], &good, now);
        known.put([2; 32], &bad, now);
        known.put([3; 32], &Err(Denied::Unavailable("down".to_owned())), now);
        assert_eq!(known.get(&[1; 32], now), Some(good.clone()));
        assert_eq!(known.get(&[2; 32], now), Some(bad.clone()));
        assert_eq!(known.get(&[3; 32], now), None);
        assert_eq!(known.get(&[2; 32], now + REFUSED), None);
        assert_eq!(known.get(&[1; 32], now + BELIEVED), None);
    }

    #[test]
    fn a_flood_displaces_nobody() {
        let now = Instant::now();
        let mut known = Known::default();
        known.put([255; 32], &Ok("node".to_owned()), now);
        for i in 0..2 * MAX_REMEMBERED {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&i.to_le_bytes());
            known.put(key, &Err(Denied::Forbidden("no".to_owned())), now);
        }
        assert!(known.answers.len() <= MAX_REMEMBERED);
        assert!(known.get(&[255; 32], now).is_some());
        known.put([254; 32], &Ok("other".to_owned()), now);
        assert!(known.get(&[254; 32], now).is_some());
        assert!(known.answers.len() <= 2);
    }
}
