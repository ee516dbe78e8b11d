//! What can go wrong with a cluster, and what a person can do about it.

use kube::config::KubeconfigError;

use super::connect::Place;
use super::kind::Kind;

/// How to install Baton, for messages.
const INSTALL: &str = "install Baton with `kubectl apply -k deploy/` or its Helm chart";

/// Why a command against a cluster failed.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// There is no kubeconfig.
    #[error("no cluster is known: there is no kubeconfig{}, and this is no pod\n  \
             name one with --kubeconfig or KUBECONFIG; `baton run` without --cluster needs none",
            if .tried.is_empty() { String::new() } else { format!(" at {tried}") })]
    NoConfig {
        /// Where it was looked for.
        tried: String,
    },
    /// The kubeconfig cannot be used.
    #[error("cannot use the kubeconfig {files}: {}", of_config(.source, .contexts))]
    Config {
        /// Its files.
        files: String,
        /// Its contexts.
        contexts: Vec<String>,
        /// Why not.
        source: Box<KubeconfigError>,
    },
    /// The API server, or the way to it.
    #[error("cannot {doing}: {}", of_api(.source, .place))]
    Api {
        /// What was tried.
        doing: String,
        /// Where.
        place: Place,
        /// Why it failed.
        source: Box<kube::Error>,
    },
    /// There is no such object.
    #[error(
        "there is no {what} {name} in namespace {namespace} of {place}\n  \
             `baton list -A` shows all; -n names another namespace"
    )]
    Missing {
        /// Its kind, or those that it could be of.
        what: String,
        /// Its name.
        name: String,
        /// The namespace.
        namespace: String,
        /// Where.
        place: Place,
    },
    /// A status that this version does not understand.
    #[error("the status of {kind} {name} is not one that this version of baton reads: {source}")]
    Status {
        /// Its kind.
        kind: Kind,
        /// The object.
        name: String,
        /// What is not understood.
        source: serde_json::Error,
    },
    /// A name that several objects have.
    #[error(
        "{name} is the name of {}; say which: {}",
        .kinds.iter().map(|k| format!("a {k}")).collect::<Vec<_>>().join(" and of "),
        .kinds.iter().map(|k| format!("{k}/{name}")).collect::<Vec<_>>().join(" or ")
    )]
    Ambiguous {
        /// The name.
        name: String,
        /// The kinds of those that have it.
        kinds: Vec<Kind>,
    },
    /// Something else, in a sentence.
    #[error("{0}")]
    Other(String),
}

impl ClusterError {
    /// An error of the API server.
    pub fn api(doing: impl Into<String>, place: &Place, source: kube::Error) -> ClusterError {
        ClusterError::Api {
            doing: doing.into(),
            place: place.clone(),
            source: Box::new(source),
        }
    }
}

/// The object that was asked for does not exist; its kind and namespace do.
pub fn is_missing(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => {
            let details = status.details.as_ref();
            status.code == 404
                && details.is_some_and(|d| !d.name.is_empty() && d.kind != "namespaces")
        }
        _ => false,
    }
}

/// Trying again will not help.
pub fn is_final(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 400..=428 | 430..=499))
}

fn of_config(error: &KubeconfigError, contexts: &[String]) -> String {
    match error {
        KubeconfigError::CurrentContextNotSet => {
            "it has no current context; name one with --context".to_owned()
        }
        KubeconfigError::LoadContext(name) => {
            let known = match contexts {
                [] => "it has none".to_owned(),
                known => format!("it has {}", known.join(", ")),
            };
            format!("there is no context {name} in it; {known}")
        }
        KubeconfigError::ReadConfig(source, _) => source.to_string(),
        // What follows the first line is an excerpt, which may hold credentials.
        other => {
            let said = other.to_string();
            said.lines().next().unwrap_or_default().to_owned()
        }
    }
}

fn of_api(error: &kube::Error, place: &Place) -> String {
    let kube::Error::Api(status) = error else {
        return format!(
            "{place} cannot be reached: {}\n  see that the cluster runs (`kubectl cluster-info`), or \
             name another one with --context or --kubeconfig",
            cause(error)
        );
    };
    let details = status.details.as_ref();
    let said = status.message.trim();
    match status.code {
        401 => format!(
            "{place} does not know who you are (401 Unauthorized)\n  log in again, or name other \
             credentials with --context or --kubeconfig"
        ),
        403 => {
            format!("{said}\n  ask for this right in the cluster; docs/security.md lists the roles")
        }
        404 if details.is_none_or(|d| d.name.is_empty()) => {
            format!(
                "Baton is not installed in {place}: it does not have this kind of baton.dev\n  {INSTALL}"
            )
        }
        _ => said.to_owned(),
    }
}

/// What is at the bottom of an error: the layers above repeat one another.
pub fn cause(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return status.message.trim().to_owned();
    }
    let mut last: &dyn std::error::Error = error;
    while let Some(next) = last.source() {
        last = next;
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    fn place() -> Place {
        Place {
            server: "https://h:6443".to_owned(),
            from: "context dev of /k".to_owned(),
        }
    }

    fn api(code: u16, message: &str, kind: &str, name: &str) -> kube::Error {
        let details = serde_json::json!({"name": name, "kind": kind});
        let details = serde_json::from_value(details).unwrap();
        let status = Status::failure(message, "").with_code(code);
        kube::Error::Api(status.with_details(details).boxed())
    }

    #[test]
    fn each_failure_says_what_to_do() {
        let said = |e| ClusterError::api("list tasks", &place(), e).to_string();
        let no_kind = said(api(
            404,
            "the server could not find the requested resource",
            "",
            "",
        ));
        assert!(
            no_kind.contains("not installed in https://h:6443 (context dev of /k)"),
            "{no_kind}"
        );
        assert!(no_kind.contains("kubectl apply -k deploy/"), "{no_kind}");
        let page = kube::Error::Api(
            Status::failure("404 page not found", "")
                .with_code(404)
                .boxed(),
        );
        assert!(said(page).contains("not installed"));
        assert!(said(api(401, "Unauthorized", "", "")).contains("log in again"));
        let io = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let refused = said(kube::Error::Service(Box::new(io)));
        assert!(refused.contains("cannot list tasks: https://h:6443 (context dev of /k) cannot be reached: connection refused"), "{refused}");
        assert_eq!(
            said(api(422, "spec.steps: Required", "Task", "t")),
            "cannot list tasks: spec.steps: Required"
        );
    }

    #[test]
    fn what_is_missing() {
        assert!(is_missing(&api(404, "", "tasks", "t")));
        assert!(!is_missing(&api(404, "", "", "")));
        assert!(!is_missing(&api(404, "", "namespaces", "n")));
        assert!(is_final(&api(403, "", "", "")));
        assert!(!is_final(&api(429, "", "", "")));
        assert!(!is_final(&api(503, "", "", "")));
    }
}
