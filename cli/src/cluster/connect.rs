//! Which cluster: kubeconfig conventions, as kubectl has them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Api, Client, Config};

use super::error::ClusterError;
use super::kind::Kind;
use super::object::Object;
use crate::args::Target;

/// A person waits for it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A cluster, and a namespace of it.
#[derive(Clone)]
pub struct Cluster {
    /// Talks to the API server.
    pub client: Client,
    /// The namespace that is meant where none is named.
    pub namespace: String,
    /// The namespace was named on the command line.
    pub namespace_given: bool,
    /// Which cluster, for messages.
    pub place: Arc<Place>,
}

/// How a cluster was found, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its API server's URL.
    pub server: String,
    /// What named it: a context of a kubeconfig, or the pod.
    pub from: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.server, self.from)
    }
}

impl Cluster {
    /// Finds the cluster. Nothing is sent yet.
    ///
    /// # Errors
    /// Where no kubeconfig names one, or it cannot be used.
    pub async fn connect(target: &Target) -> Result<Cluster, ClusterError> {
        let (mut config, from) = configuration(target).await?;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        let place = Arc::new(Place {
            server: config.cluster_url.to_string().trim_end_matches('/').into(),
            from,
        });
        let named = target.namespace.clone();
        let namespace_given = named.is_some();
        let namespace = named.unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config)
            .map_err(|e| ClusterError::api("prepare the connection", &place, e))?;
        Ok(Cluster {
            client,
            namespace,
            namespace_given,
            place,
        })
    }

    /// The objects of a kind in a namespace.
    pub fn objects(&self, kind: Kind, namespace: &str) -> Api<Object> {
        Api::namespaced_with(self.client.clone(), namespace, &kind)
    }

    /// The objects of a kind in all namespaces.
    pub fn all_objects(&self, kind: Kind) -> Api<Object> {
        Api::all_with(self.client.clone(), &kind)
    }

    /// Wraps an error of the API server: `cannot DOING: ...`.
    pub fn cannot(&self, doing: impl Into<String>) -> impl FnOnce(kube::Error) -> ClusterError {
        let (doing, place) = (doing.into(), self.place.clone());
        move |e| ClusterError::api(doing, &place, e)
    }
}

/// Reads the kubeconfig, or else what a pod is given.
async fn configuration(target: &Target) -> Result<(Config, String), ClusterError> {
    let files = match &target.kubeconfig {
        Some(file) => vec![file.clone()],
        None => default_files(
            std::env::var_os("KUBECONFIG").as_deref(),
            std::env::home_dir().as_deref(),
        ),
    };
    let named = target.kubeconfig.is_some();
    // As kubectl: of a list, the files that exist count.
    let present: Vec<&PathBuf> = files.iter().filter(|f| named || f.exists()).collect();
    if present.is_empty() {
        return match (Config::incluster(), &target.context) {
            (Ok(config), None) => Ok((config, "the pod's service account".to_owned())),
            _ => Err(ClusterError::NoConfig {
                tried: list(&files),
            }),
        };
    }
    let from = list(&present);
    let bad = |source: KubeconfigError| ClusterError::Config {
        files: from.clone(),
        contexts: Vec::new(),
        source: Box::new(source),
    };
    let mut merged = Kubeconfig::default();
    for file in &present {
        let read = Kubeconfig::read_from(file).map_err(bad)?;
        merged = merged.merge(read).map_err(bad)?;
    }
    let context = target.context.clone().or(merged.current_context.clone());
    let contexts = merged.contexts.iter().map(|c| c.name.clone()).collect();
    let options = KubeConfigOptions {
        context: target.context.clone(),
        ..KubeConfigOptions::default()
    };
    let config = Config::from_custom_kubeconfig(merged, &options)
        .await
        .map_err(|source| ClusterError::Config {
            files: from.clone(),
            contexts,
            source: Box::new(source),
        })?;
    let context = context.unwrap_or_default();
    Ok((config, format!("context {context} of {from}")))
}

/// Where a kubeconfig is looked for where none is named.
fn default_files(variable: Option<&std::ffi::OsStr>, home: Option<&Path>) -> Vec<PathBuf> {
    let listed: Vec<PathBuf> = variable
        .map(|v| std::env::split_paths(v).collect())
        .unwrap_or_default();
    let listed: Vec<_> = listed
        .into_iter()
        .filter(|p| !p.as_os_str().is_empty())
        .collect();
    match (listed.is_empty(), home) {
        (false, _) => listed,
        (true, Some(home)) => vec![home.join(".kube/config")],
        (true, None) => Vec::new(),
    }
}

fn list(files: &[impl AsRef<Path>]) -> String {
    let names: Vec<_> = files
        .iter()
        .map(|f| f.as_ref().display().to_string())
        .collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_kubeconfig_is_looked_for() {
        let home = Some(Path::new("/home/p"));
        let of = |variable: Option<&str>| default_files(variable.map(AsRef::as_ref), home);
        assert_eq!(of(Some("/a::/b")), [Path::new("/a"), Path::new("/b")]);
        assert_eq!(of(Some("")), [Path::new("/home/p/.kube/config")]);
        assert_eq!(of(None), [Path::new("/home/p/.kube/config")]);
        assert!(default_files(None, None).is_empty());
    }
}
