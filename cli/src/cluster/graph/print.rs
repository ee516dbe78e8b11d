//! The logs of a JobFlow's or DaemonJob's last attempts, as far as there are any.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use tokio::sync::{mpsc, watch};

use super::super::act::Target;
use super::super::connect::Cluster;
use super::super::error::ClusterError;
use super::super::kind::Kind;
use super::super::logs::{Piece, Source, Standing};
use super::super::object::Object;
use super::pods::{child_of, selector};
use super::status::{Status, is_of, task_nodes};
use crate::run::shown::warn;
use crate::show::lines::Lines;
use crate::show::style::width;
use crate::show::terminal::{Terminal, To};
use crate::show::text::{Look, prefix, write_line};

/// Widest name that is shown whole.
const MAX_NAME: usize = 40;
/// Most pods that are asked for at once.
const PAGE: u32 = 500;
/// Most pieces that wait to be shown.
const MAX_WAITING: usize = 16;

/// A log that is there.
struct Found {
    name: String,
    hue: u32,
    pod: String,
    container: String,
}

/// Prints the logs of the parts that are named, or of all; of these containers alone, where some are.
pub(crate) async fn print(
    cluster: &Cluster,
    object: &Object,
    only: &[String],
    containers: &[String],
    look: Look,
    terminal: &mut Terminal,
) -> Result<(), ClusterError> {
    let target = Target::of(object);
    let (kind, name) = (target.kind, target.name);
    let parts = Status::of(object)?.parts();
    if let Some(unknown) = only
        .iter()
        .find(|name| !parts.iter().any(|p| is_of(&p.label, name)))
    {
        let known: Vec<_> = parts.iter().map(|p| p.label.as_str()).collect();
        return Err(ClusterError::Other(format!(
            "{kind} {name} has no node {unknown}; it has {}",
            known.join(", ")
        )));
    }
    let tasks = task_nodes(&object.spec);
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), target.namespace);
    let mut by_child: HashMap<String, Vec<Pod>> = HashMap::new();
    for pod in list(cluster, &pods, &selector(kind, name)).await? {
        let child = child_of(&pod).unwrap_or_default().to_owned();
        by_child.entry(child).or_default().push(pod);
    }
    let mut found = Vec::new();
    let wanted = parts.iter().zip(1u32..).filter(|(part, _)| {
        let chosen = only.is_empty() || only.iter().any(|name| is_of(&part.label, name));
        chosen && !part.child.is_empty()
    });
    for (part, hue) in wanted {
        let of_task = tasks.iter().any(|name| is_of(&part.label, name));
        let own = match of_task {
            true => list(cluster, &pods, &selector(Kind::Task, &part.child)).await?,
            false => by_child.remove(&part.child).unwrap_or_default(),
        };
        found.extend(logs(&part.label, hue, own, containers));
    }
    if found.is_empty() {
        let said = format!("{kind} {name} has no logs: none of its pods has run, or they are gone");
        warn(terminal, &said);
        return Ok(());
    }
    let columns = found.iter().map(|f| width(&f.name)).max().unwrap_or(0);
    for log in found {
        read(&pods, log, columns.min(MAX_NAME), look, terminal).await;
    }
    Ok(())
}

async fn list(
    cluster: &Cluster,
    pods: &Api<Pod>,
    selector: &str,
) -> Result<Vec<Pod>, ClusterError> {
    let mut params = ListParams::default().labels(selector).limit(PAGE);
    let mut found = Vec::new();
    loop {
        let page = pods.list(&params).await;
        let page = page.map_err(cluster.cannot("list pods"))?;
        found.extend(page.items);
        params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
        if params.continue_token.is_none() {
            return Ok(found);
        }
    }
}

/// The logs of a part's pods, in the order in which the pods were made.
fn logs(label: &str, hue: u32, mut pods: Vec<Pod>, only: &[String]) -> Vec<Found> {
    let made = |pod: &Pod| pod.metadata.creation_timestamp.clone().map(|t| t.0);
    pods.sort_by_key(made);
    let mut found = Vec::new();
    for (place, pod) in pods.iter().enumerate() {
        let pod_name = pod.metadata.name.clone().unwrap_or_default();
        let suffix = pod_name.rsplit('-').next().unwrap_or_default();
        let label = match place {
            0 => label.to_owned(),
            _ => format!("{label}~{suffix}"),
        };
        let ran = super::pods::containers(pod);
        let single = ran.len() == 1;
        for (container, standing) in ran {
            let chosen = only.is_empty() || only.contains(&container);
            if chosen && standing != Standing::Waiting {
                found.push(Found {
                    name: match single {
                        true => label.clone(),
                        false => format!("{label}/{container}"),
                    },
                    hue,
                    pod: pod_name.clone(),
                    container,
                });
            }
        }
    }
    found
}

/// Prints a log as far as it is there.
async fn read(pods: &Api<Pod>, log: Found, columns: usize, look: Look, terminal: &mut Terminal) {
    let (tell, mut pieces) = mpsc::channel(MAX_WAITING);
    let source = Source {
        pods: pods.clone(),
        pod: log.pod,
        container: log.container,
        number: 0,
        follow: false,
    };
    let standing = watch::Sender::new(Standing::Ended);
    let reading = tokio::spawn(source.read(standing.subscribe(), tell));
    let prefix = prefix(&look, log.hue, &log.name, columns);
    let mut lines = Lines::default();
    while let Some((_, piece)) = pieces.recv().await {
        let mut out = Vec::new();
        match piece {
            Piece::Printed(bytes) => lines.feed(&bytes, |line| {
                write_line(&look, &prefix, line, &mut out);
            }),
            Piece::Pause => {}
            Piece::Warning(text) => warn(terminal, &text),
            Piece::End => break,
        }
        terminal.put(To::Steps, &out);
        terminal.flush();
    }
    reading.abort();
    let mut out = Vec::new();
    lines.finish(|line| write_line(&look, &prefix, line, &mut out));
    terminal.put(To::Steps, &out);
    terminal.flush();
}
