//! How a JobFlow or DaemonJob ended: for people, programs and the report. Pure.

use std::collections::BTreeMap;
use std::time::UNIX_EPOCH;

use baton_api::daemon_status::DaemonJobStatus;
use baton_api::flow_status::{CauseStatus, FlowNodeStatus, JobFlowPhase, JobFlowStatus};
use baton_flow::daemon::DaemonPhase;
use baton_flow::{Graph, Node, NodePhase};
use baton_protocol::{Timestamp, exit};
use baton_steps::CANCELLED_EXIT_CODE;
use serde_json::{Value, json};

use super::super::describe::daemon::node_rows;
use super::super::describe::flow::graph;
use super::super::object::Object;
use super::follow::Over;
use super::rows::rows;
use super::status::Status;
use crate::flow::{self, FlowStory};
use crate::report;
use crate::show::style::{GREEN, Palette, RED, YELLOW, one_line};
use crate::show::table::write_rows;

/// The exit code: 0 where it succeeded, 130 where it was cancelled, 124 where its time was up, 1
/// otherwise.
pub(crate) fn exit_code(over: &Over) -> i32 {
    let (phase, cause) = match &over.status {
        Status::Flow(status) => (status.phase, &status.cause),
        Status::Daemon(status) => (status.phase, &status.cause),
    };
    let timed_out = cause.as_ref().is_some_and(CauseStatus::is_own_deadline);
    match phase {
        JobFlowPhase::Succeeded => 0,
        JobFlowPhase::Cancelled => CANCELLED_EXIT_CODE,
        _ if timed_out => exit::TIMED_OUT,
        _ => 1,
    }
}

/// What is printed at the end: the table, and the closing line.
pub(crate) fn conclusion(
    over: &Over,
    source: &str,
    palette: Palette,
    with_table: bool,
    quiet: bool,
) -> String {
    let mut text = String::new();
    let (phase, reason, message) = match (&over.status, story(over, source)) {
        (Status::Flow(_), Some(story)) => {
            return flow::conclusion(&story, palette, with_table, quiet);
        }
        // Nothing of it ever was.
        (Status::Flow(status), None) => (status.phase, &status.reason, status.message.clone()),
        (Status::Daemon(status), _) => {
            if with_table && !quiet && !status.nodes.is_empty() {
                let now = status.finished_at.unwrap_or(Timestamp(UNIX_EPOCH));
                text.push('\n');
                write_rows(&node_rows(status, now).0, palette, &mut text);
                text.push('\n');
            }
            (status.phase, &status.reason, status.message.clone())
        }
    };
    let code = exit_code(over);
    let (style, why) = match code {
        0 => (GREEN, String::new()),
        CANCELLED_EXIT_CODE => (YELLOW, String::new()),
        _ => (RED, format!(" ({reason})")),
    };
    if !quiet || code != 0 {
        let said = one_line(&format!("{phase:?}{why}: {message}"));
        let (kind, name) = (over.object.kind(), over.object.name());
        text.push_str(&format!("{kind} {name}: {}\n", palette.paint(style, said)));
    }
    text
}

/// The same for programs.
pub(crate) fn json(over: &Over, source: &str) -> Value {
    match (&over.status, story(over, source)) {
        (Status::Flow(_), Some(story)) => flow::json(&story),
        _ => json!({
            "kind": over.object.kind().name(),
            "name": over.object.name(),
            "source": source,
            "exitCode": exit_code(over),
            "status": over.object.status,
        }),
    }
}

/// The same for the report; none where nothing of it ever was.
pub(crate) fn facts(over: &Over, source: &str) -> Option<report::Facts> {
    let mut story = story(over, source)?;
    let (rows, notes) = rows(&over.object, &over.status, &over.kept);
    story.notes.extend(notes);
    let facts = flow::facts_with(&story, rows);
    Some(report::Facts {
        kind: over.object.kind().name().to_owned(),
        exit_code: exit_code(over),
        ..facts
    })
}

/// The story of a run: that of a DaemonJob is one of nodes with nothing between them.
fn story(over: &Over, source: &str) -> Option<FlowStory> {
    let status = match &over.status {
        Status::Flow(status) => (**status).clone(),
        Status::Daemon(status) => as_flow(status),
    };
    let start = status.started_at?;
    Some(FlowStory {
        name: over.object.name().to_owned(),
        source: source.to_owned(),
        graph: matching(&over.object, &status)?,
        attempts: BTreeMap::new(),
        notes: Vec::new(),
        cancelled: status.phase == JobFlowPhase::Cancelled,
        started_at: start,
        finished_at: status.finished_at.unwrap_or(start),
        status,
    })
}

/// The graph of the status' nodes: the spec's, where it is the one that ran.
fn matching(object: &Object, status: &JobFlowStatus) -> Option<Graph> {
    let names = || status.nodes.iter().map(|n| n.name.as_str());
    let of_spec = graph(object).filter(|g| g.nodes().iter().map(|n| n.name.as_str()).eq(names()));
    of_spec.or_else(|| {
        let node = |name: &str| Node {
            name: name.to_owned(),
            ..Node::default()
        };
        Graph::new(names().map(node).collect()).ok()
    })
}

fn as_flow(status: &DaemonJobStatus) -> JobFlowStatus {
    let node = |node: &baton_api::daemon_status::NodeStatus| FlowNodeStatus {
        name: node.node.name.clone(),
        state: match node.node.state {
            DaemonPhase::Waiting => NodePhase::Waiting,
            DaemonPhase::Starting | DaemonPhase::Running => NodePhase::Running,
            DaemonPhase::Succeeded => NodePhase::Succeeded,
            DaemonPhase::Failed => NodePhase::Failed,
            DaemonPhase::Cancelled => NodePhase::Cancelled,
            DaemonPhase::Removed => NodePhase::Skipped,
        },
        reason: node.node.reason.clone(),
        started_at: node.node.started_at,
        finished_at: node.node.finished_at,
        ..FlowNodeStatus::default()
    };
    JobFlowStatus {
        phase: status.phase,
        reason: status.reason.clone(),
        message: status.message.clone(),
        started_at: status.started_at,
        finished_at: status.finished_at,
        stopped: status.stopped.clone(),
        cause: status.cause.clone(),
        nodes: status.nodes.iter().map(node).collect(),
        ..JobFlowStatus::default()
    }
}
