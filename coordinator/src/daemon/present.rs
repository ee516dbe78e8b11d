//! What a status says to people, and the Kubernetes Events that follow from a change of it.

use baton_api::daemon_status::DaemonJobStatus;
use baton_api::daemon_words::Wait;
use baton_api::flow_status::JobFlowPhase;
use baton_flow::daemon::{DaemonPhase, DaemonState};
use baton_protocol::Timestamp;

use crate::child::Note;
use crate::conditions::set;

/// Most nodes of one kind that Events of one change name each.
const MAX_NOTES: usize = 10;

/// The reason of one whose spec cannot be run.
pub(super) const INVALID: &str = "Invalid";
/// The reason of one whose Jobs were to be made of something else amid a run.
pub(super) const CHANGED: &str = "TemplateChanged";

/// What keeps a spec, or a change of it, from being taken: a reason, and a sentence.
pub(super) type Refusal = (&'static str, String);

/// Fills in what follows from a state for people: phase, reason, message and conditions.
///
/// `trouble` is what an API call that concerns the whole failed for.
pub(super) fn present(
    status: &mut DaemonJobStatus,
    state: &DaemonState,
    suspended: bool,
    refusal: Option<&Refusal>,
    trouble: Option<&str>,
    generation: Option<i64>,
    now: Timestamp,
) {
    let is_over = state.finished_at.is_some();
    let wait = obstacle(state, suspended, refusal, trouble);
    status.describe(state, suspended, wait.as_ref());
    if refusal.is_some_and(|(reason, _)| *reason == INVALID) && state.nodes.is_empty() {
        status.phase = JobFlowPhase::Failed;
    }
    if refusal.is_none() {
        status.observed_generation = generation;
    }

    let value = status.phase.succeeded();
    let reason = match status.reason.as_str() {
        "" => format!("{:?}", status.phase),
        reason => reason.to_owned(),
    };
    let message = status.message.clone();
    let at = state.finished_at.unwrap_or(now);
    let all = &mut status.conditions;
    set(all, "Succeeded", generation, (value, &reason, &message), at);
    let (value, reason, message) = match refusal {
        None => ("True", "Accepted", "it can be run"),
        Some((reason, message)) => ("False", *reason, message.as_str()),
    };
    set(all, "Accepted", generation, (value, reason, message), now);
    let (value, reason, message) = match &wait {
        _ if is_over => ("False", "Finished", "it is over"),
        None => ("True", "Progressing", "Jobs run, or are being made"),
        Some(wait) => ("False", wait.reason.as_str(), wait.message.as_str()),
    };
    set(
        all,
        "Progressing",
        generation,
        (value, reason, message),
        now,
    );
}

/// What is waited for where nothing goes on by itself: a reason and a sentence.
fn obstacle(
    state: &DaemonState,
    suspended: bool,
    refusal: Option<&Refusal>,
    trouble: Option<&str>,
) -> Option<Wait> {
    let of_calls = match (refusal, trouble) {
        (Some((reason, message)), _) => Some(Wait::new(*reason, message)),
        (None, trouble) => trouble.map(|trouble| Wait::new("CallFailed", trouble)),
    };
    of_calls
        .filter(|_| state.finished_at.is_none())
        .or_else(|| Wait::of(state, suspended))
}

/// The Events that tell of a change of a status that is durable; `overruled` is told when it begins.
pub(super) fn notes(
    before: &DaemonJobStatus,
    after: &DaemonJobStatus,
    overruled: &[String],
) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut note = |is_warning, reason: &str, message: String| {
        notes.push(Note {
            is_warning,
            reason: reason.to_owned(),
            message,
        });
    };
    let is_new = before.template_digest.is_empty() || before.run != after.run;
    if is_new && !after.template_digest.is_empty() {
        let nodes = after.counts.total;
        note(false, "Started", format!("it begins, on {nodes} nodes"));
        for message in overruled.iter().take(MAX_NOTES) {
            note(true, "Overruled", message.clone());
        }
    }
    let of = |status: &DaemonJobStatus, name: &str| status.node(name).map(|n| n.node.state);
    for (phase, is_warning, reason) in [
        (DaemonPhase::Failed, true, "NodeFailed"),
        (DaemonPhase::Removed, false, "NodeRemoved"),
    ] {
        let new = |n: &&baton_api::daemon_status::NodeStatus| {
            n.node.state == phase && of(before, &n.node.name) != Some(phase)
        };
        let all: Vec<_> = after.nodes.iter().filter(new).collect();
        for node in all.iter().take(MAX_NOTES) {
            let (name, why) = (&node.node.name, &node.node.reason);
            note(is_warning, reason, format!("node {name}: {why}"));
        }
        if all.len() > MAX_NOTES {
            let more = all.len() - MAX_NOTES;
            note(is_warning, reason, format!("and {more} more nodes"));
        }
    }
    let reason_of = |status: &DaemonJobStatus, kind: &str| {
        let mut all = status.conditions.iter();
        let condition = all.find(|c| c.kind == kind && c.status == "False");
        condition.map(|c| (c.reason.clone(), c.message.clone()))
    };
    for kind in ["Accepted", "Progressing"] {
        let now = reason_of(after, kind).filter(|_| kind == "Accepted" || !after.phase.is_over());
        let Some((reason, message)) = now else {
            continue;
        };
        let was = reason_of(before, kind).is_some_and(|(r, _)| r == reason);
        // What is refused keeps it from going on as well.
        let again = kind == "Progressing" && (reason == INVALID || reason == CHANGED);
        let is_warning = !matches!(reason.as_str(), "Suspended" | "NoNewNodes");
        if !was && !again {
            note(is_warning, &reason, message);
        }
    }
    if after.phase.is_over() && before.phase != after.phase && after.finished_at.is_some() {
        let is_warning = after.phase == JobFlowPhase::Failed;
        note(
            is_warning,
            &format!("{:?}", after.phase),
            after.message.clone(),
        );
    }
    notes
}
