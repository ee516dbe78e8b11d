//! `baton describe`.

pub mod daemon;
pub mod flow;
mod page;
pub(super) mod schedule;
pub mod text;

use std::time::SystemTime;

use baton_api::status::TaskStatus;
use baton_protocol::{Timestamp, exit};
use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::ListParams;
use serde::de::DeserializeOwned;

use self::daemon::{KnownDaemon, daemon_text};
use self::flow::{KnownFlow, flow_text};
use self::text::{EventLine, Known, text};
use super::act::find;
use super::connect::Cluster;
use super::error::{ClusterError, cause};
use super::kind::Kind;
use super::object::Object;
use crate::args;
use crate::run::{complain, print_json};
use crate::show::terminal::{Terminal, To};

/// Most events that are shown, the newest.
const MAX_EVENTS: usize = 12;

/// Shows an object, and gives the exit code.
pub(super) async fn describe(
    args: &args::Describe,
    terminal: &mut Terminal,
) -> Result<i32, ClusterError> {
    let cluster = Cluster::connect(&args.target).await?;
    let object = find(&cluster, &args.object).await?;
    if args.output == args::Output::Json {
        return Ok(match print_json(&object) {
            Ok(()) => 0,
            Err(e) => {
                complain(terminal, &format!("cannot write the JSON: {e}"));
                exit::FAILED
            }
        });
    }
    let now = Timestamp(SystemTime::now());
    let text = match object.kind() {
        Kind::Task => {
            let status: TaskStatus = status(&object)?;
            let pod = status.pod.as_ref().map(|p| p.name.as_str());
            let events = events(&cluster, &object, pod.unwrap_or_default()).await;
            let known = Known {
                task: &object,
                status: &status,
                events: events.as_deref().map_err(Clone::clone),
                now,
            };
            text(&known, terminal.steps)
        }
        Kind::JobFlow => {
            let events = events(&cluster, &object, "").await;
            let known = KnownFlow {
                flow: &object,
                status: &status(&object)?,
                events: events.as_deref().map_err(Clone::clone),
                now,
                columns: terminal.columns(),
            };
            flow_text(&known, terminal.steps)
        }
        Kind::DaemonJob => {
            let events = events(&cluster, &object, "").await;
            let known = KnownDaemon {
                daemon: &object,
                status: &status(&object)?,
                events: events.as_deref().map_err(Clone::clone),
                now,
            };
            daemon_text(&known, terminal.steps)
        }
    };
    terminal.put(To::Steps, text.as_bytes());
    terminal.flush();
    Ok(0)
}

/// The status of an object's kind.
pub(super) fn status<S: DeserializeOwned + Default>(object: &Object) -> Result<S, ClusterError> {
    object.status().map_err(|source| ClusterError::Status {
        kind: object.kind(),
        name: object.name().to_owned(),
        source,
    })
}

/// The newest events of an object and its pod, the newest last; or why there are none to show.
async fn events(cluster: &Cluster, object: &Object, pod: &str) -> Result<Vec<EventLine>, String> {
    let api: Api<Event> = Api::namespaced(cluster.client.clone(), object.namespace());
    let mut lines = Vec::new();
    let of_pod = (!pod.is_empty()).then_some(("Pod", pod));
    let own = Some((object.kind().name(), object.name()));
    for (kind, name) in [own, of_pod].into_iter().flatten() {
        let fields = format!("involvedObject.kind={kind},involvedObject.name={name}");
        let found = api.list(&ListParams::default().fields(&fields)).await;
        let found = found.map_err(|e| cause(&e))?;
        lines.extend(found.items.into_iter().map(|event| line(event, kind)));
    }
    lines.sort_by_key(|line| line.at.map(|at| at.0));
    let over = lines.len().saturating_sub(MAX_EVENTS);
    lines.drain(..over);
    Ok(lines)
}

fn line(event: Event, kind: &str) -> EventLine {
    let last = event.last_timestamp.or(event.first_timestamp).map(|t| t.0);
    let at = last.or(event.event_time.map(|t| t.0));
    EventLine {
        at: at.map(|at| Timestamp(SystemTime::from(at))),
        warning: event.type_.as_deref() == Some("Warning"),
        of: kind.to_lowercase(),
        reason: event.reason.unwrap_or_default(),
        message: event.message.unwrap_or_default(),
        count: event.count.unwrap_or(1),
    }
}
