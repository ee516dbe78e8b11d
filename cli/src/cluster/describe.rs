//! `baton describe`.

mod page;
pub mod text;

use std::time::SystemTime;

use baton_api::status::TaskStatus;
use baton_protocol::{Timestamp, exit};
use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::ListParams;

use self::text::{EventLine, Known, text};
use super::act::find;
use super::connect::Cluster;
use super::error::{ClusterError, cause};
use super::object::Object;
use crate::args;
use crate::run::{complain, print_json};
use crate::show::terminal::{Terminal, To};

/// Most events that are shown, the newest.
const MAX_EVENTS: usize = 12;

/// Shows a Task, and gives the exit code.
pub(super) async fn describe(
    args: &args::Describe,
    terminal: &mut Terminal,
) -> Result<i32, ClusterError> {
    let cluster = Cluster::connect(&args.target).await?;
    let task = find(&cluster, &args.object).await?;
    if args.output == args::Output::Json {
        return Ok(match print_json(&task) {
            Ok(()) => 0,
            Err(e) => {
                complain(terminal, &format!("cannot write the JSON: {e}"));
                exit::FAILED
            }
        });
    }
    let status: TaskStatus = task.status().map_err(|source| ClusterError::Status {
        kind: task.kind(),
        name: task.name().to_owned(),
        source,
    })?;
    let pod = status.pod.as_ref().map(|p| p.name.as_str());
    let events = events(&cluster, &task, pod.unwrap_or_default()).await;
    let known = Known {
        task: &task,
        status: &status,
        events: events.as_deref().map_err(Clone::clone),
        now: Timestamp(SystemTime::now()),
    };
    terminal.put(To::Steps, text(&known, terminal.steps).as_bytes());
    terminal.flush();
    Ok(0)
}

/// The newest events of a Task and its pod, the newest last; or why there are none to show.
async fn events(cluster: &Cluster, task: &Object, pod: &str) -> Result<Vec<EventLine>, String> {
    let api: Api<Event> = Api::namespaced(cluster.client.clone(), task.namespace());
    let mut lines = Vec::new();
    let of_pod = (!pod.is_empty()).then_some(("Pod", pod));
    for (kind, name) in [Some(("Task", task.name())), of_pod].into_iter().flatten() {
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
