//! What a DaemonJob's status is to be, and what is to be done by the one that is durable. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use baton_api::daemon_status::DaemonJobStatus;
use baton_flow::daemon::{
    DaemonAction, DaemonNode, DaemonPhase, DaemonRules, DaemonState, Look, MAX_DAEMON_NODES,
    Members, Place, daemon_actions, daemon_fold,
};
use baton_protocol::Timestamp;

use super::object::{DaemonView, Spec};
use super::present::{CHANGED, INVALID, Refusal, present};
use crate::clock::later;

/// What begins a re-run of everything; any other is one of the nodes that did not succeed.
const ALL: &str = "all-";

/// What is known when it is planned.
pub(super) struct Known<'a> {
    pub(super) view: &'a DaemonView,
    /// The status as the API server has it.
    pub(super) durable: &'a DaemonJobStatus,
    /// Every node of the cluster.
    pub(super) members: &'a Members,
    pub(super) seen: Look<'a>,
    /// What calls that concern the whole failed for.
    pub(super) trouble: Option<&'a str>,
    pub(super) now: Timestamp,
}

/// What is to be done next.
#[derive(Debug)]
pub(super) struct Next {
    /// What the status is to be.
    pub(super) status: DaemonJobStatus,
    /// Something waits for it to be durable.
    pub(super) is_urgent: bool,
    /// What is to be done by the status that is durable.
    pub(super) actions: Vec<DaemonAction>,
    /// The DaemonJob has been kept as long as it was to be.
    pub(super) is_expired: bool,
    /// When to look again though nothing happens.
    pub(super) wake: Option<Timestamp>,
}

/// Plans.
pub(super) fn plan(known: &Known<'_>) -> Next {
    let (view, durable, now) = (known.view, known.durable, known.now);
    let mut status = durable.clone();
    let mut state = durable.state();
    begin(&mut status, &mut state, view);
    let spec = view.spec.as_deref();
    let refusal = refusal(view, &status, &state, known.members);
    let mut actions = Vec::new();
    let mut suspended = false;
    if let Ok(spec) = spec {
        let rules = DaemonRules {
            suspended: spec.rules.suspended || refusal.is_some(),
            ..spec.rules.clone()
        };
        suspended = spec.rules.suspended;
        actions = daemon_actions(&rules, &durable.state(), known.members, now, known.seen);
        state = daemon_fold(&rules, &state, known.members, now, known.seen);
        let begins = !state.nodes.is_empty() && !rules.suspended;
        // An older Baton may have written another digest of the same spec.
        let goes_on = refusal.is_none() && durable.finished_at.is_none();
        if begins && status.template_digest.is_empty()
            || goes_on && !status.template_digest.is_empty()
        {
            status.template_digest.clone_from(&spec.digest);
        }
        // What is to start may have been given up in between.
        let started = starting(state.nodes.iter());
        // Its Job would be made of another template than those of the run that is durable.
        let is_changed = is_changed(view, spec, durable);
        actions.retain(|action| match action {
            DaemonAction::Start { node, attempt } => {
                !is_changed && started.contains(&(node.as_str(), *attempt))
            }
            _ => true,
        });
    }
    let job = |node: &DaemonNode| view.job_name(&node.name, node.attempts);
    status.set_state(&state, &job);
    let generation = view.meta.generation;
    present(
        &mut status,
        &state,
        suspended,
        refusal.as_ref(),
        known.trouble,
        generation,
        now,
    );
    let ttl = spec
        .ok()
        .and_then(|s| s.daemon.spec.ttl_seconds_after_finished);
    let expires = ttl
        .zip(durable.finished_at.filter(|_| state.finished_at.is_some()))
        .map(|(ttl, at)| later(at, Duration::from_secs(ttl.into())));
    let mut wake = expires.filter(|at| *at > now);
    for action in &actions {
        if let DaemonAction::WakeAt(at) = action {
            wake = wake.into_iter().chain([*at]).min();
        }
    }
    Next {
        is_urgent: is_urgent(durable, &status),
        is_expired: expires.is_some_and(|at| at <= now),
        status,
        actions,
        wake,
    }
}

/// Begins the first run, or one that is asked for. One that is being stopped has to stop before.
fn begin(status: &mut DaemonJobStatus, state: &mut DaemonState, view: &DaemonView) {
    if status.run == 0 {
        status.run = 1;
        status.rerun.clone_from(&view.rerun);
    }
    let stops = state.stopped.is_some() && state.finished_at.is_none();
    if view.rerun.is_empty() || view.rerun == status.rerun || stops || view.spec.is_err() {
        return;
    }
    state.rerun(view.rerun.starts_with(ALL));
    status.run = status.run.saturating_add(1);
    status.rerun.clone_from(&view.rerun);
    // What it is made of now counts.
    status.template_digest.clear();
}

/// Whether Jobs of this spec would be made of something else than those of the run.
fn is_changed(view: &DaemonView, spec: &Spec, status: &DaemonJobStatus) -> bool {
    let generation = view.meta.generation;
    // An older Baton may have written another digest of the same spec.
    let is_same = generation.is_some() && generation == status.observed_generation;
    !is_same && !status.template_digest.is_empty() && status.template_digest != spec.digest
}

fn refusal(
    view: &DaemonView,
    status: &DaemonJobStatus,
    state: &DaemonState,
    members: &Members,
) -> Option<Refusal> {
    let spec = match &view.spec {
        Ok(spec) => spec,
        Err(mistakes) => return Some((INVALID, mistakes.clone())),
    };
    if state.finished_at.is_some() {
        return None;
    }
    if is_changed(view, spec, status) {
        let message = "its template, globalParams or backoffLimit changed amid the run: no further \
                       node is started until they are as they were, or a re-run is asked for \
                       (annotation baton.dev/rerun)";
        return Some((CHANGED, message.to_owned()));
    }
    let eligible = members.values().filter(|m| m.place == Place::Eligible);
    let count = eligible.count();
    let message = format!("{count} nodes count: a DaemonJob has at most {MAX_DAEMON_NODES}");
    (count > MAX_DAEMON_NODES).then_some(("TooManyNodes", message))
}

/// Whether a node waits for the write in order to start, or somebody for the end.
fn is_urgent(durable: &DaemonJobStatus, status: &DaemonJobStatus) -> bool {
    let [was, is] = [durable, status].map(|s| starting(s.nodes.iter().map(|n| &n.node)));
    durable.phase != status.phase
        || durable.run != status.run
        || durable.finished_at != status.finished_at
        || !is.is_subset(&was)
}

/// The nodes that are let go, and which attempt.
fn starting<'a>(nodes: impl Iterator<Item = &'a DaemonNode>) -> BTreeSet<(&'a str, u32)> {
    nodes
        .filter(|n| n.state == DaemonPhase::Starting)
        .map(|n| (n.name.as_str(), n.attempts))
        .collect()
}

#[cfg(test)]
mod tests;
