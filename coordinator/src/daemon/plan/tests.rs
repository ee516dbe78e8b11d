//! What a status is to be, and what is done by one that is durable.

use std::time::SystemTime;

use baton_flow::daemon::{JobSeen, Member};
use serde_json::{Value, json};

use super::*;
use crate::daemon::object::DaemonObject;
use crate::daemon::present::notes;
use baton_api::flow_status::JobFlowPhase;

fn at(seconds: u64) -> Timestamp {
    Timestamp(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

fn view(spec: Value, rerun: &str) -> DaemonView {
    let mut all = json!({"template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}});
    for (key, value) in spec.as_object().unwrap() {
        all[key] = value.clone();
    }
    // Another spec has another generation.
    let generation = all.to_string().len();
    let object: DaemonObject = serde_json::from_value(json!({
        "metadata": {
            "name": "d", "namespace": "n", "uid": "u", "generation": generation,
            "annotations": {"baton.dev/rerun": rerun},
        },
        "spec": all,
    }))
    .unwrap();
    DaemonView::read(&object, None)
}

/// A cluster of these nodes, in which Jobs are as this says.
struct World {
    members: Members,
    jobs: JobSeen,
    durable: DaemonJobStatus,
    now: u64,
}

impl World {
    fn new(nodes: usize) -> World {
        let member = |i: usize| {
            let member = Member {
                uid: i.to_string(),
                place: Place::Eligible,
                hold: None,
                not_ready_since: None,
            };
            (format!("node{i}"), member)
        };
        World {
            members: (1..=nodes).map(member).collect(),
            jobs: JobSeen::Absent,
            durable: DaemonJobStatus::default(),
            now: 1000,
        }
    }

    fn plan(&self, view: &DaemonView) -> Next {
        plan(&Known {
            view,
            durable: &self.durable,
            members: &self.members,
            seen: &|_, _| self.jobs.clone(),
            trouble: None,
            now: at(self.now),
        })
    }

    /// Plans, and makes the status durable; what is to be started by it.
    fn go(&mut self, view: &DaemonView) -> usize {
        let next = self.plan(view);
        assert_eq!(
            serde_json::to_value(&next.status)
                .and_then(serde_json::from_value::<DaemonJobStatus>)
                .unwrap(),
            next.status
        );
        self.durable = next.status;
        let actions = self.plan(view).actions.into_iter();
        actions
            .filter(|a| matches!(a, DaemonAction::Start { .. }))
            .count()
    }
}

fn reason(status: &DaemonJobStatus, kind: &str) -> String {
    let condition = status.conditions.iter().find(|c| c.kind == kind);
    condition.map(|c| c.reason.clone()).unwrap_or_default()
}

#[test]
fn a_job_is_made_by_a_status_that_is_durable() {
    let mut world = World::new(2);
    let view = view(json!({}), "");
    let next = world.plan(&view);
    assert!(next.is_urgent && next.actions.is_empty(), "{next:?}");
    assert_eq!(world.go(&view), 2);
    assert_eq!(world.durable.nodes[1].job, "d-node2");
    world.jobs = JobSeen::Live;
    let next = world.plan(&view);
    assert!(!next.is_urgent && next.actions.is_empty(), "{next:?}");
    assert_eq!(world.go(&view), 0);
    world.jobs = JobSeen::Succeeded;
    let before = world.durable.clone();
    world.go(&view);
    assert_eq!(world.durable.phase, JobFlowPhase::Succeeded);
    assert_eq!(
        (
            world.durable.progress.as_str(),
            world.durable.message.as_str()
        ),
        ("2/2", "2 nodes: 2 succeeded")
    );
    let told: Vec<_> = notes(&before, &world.durable, &[])
        .into_iter()
        .map(|n| n.reason)
        .collect();
    assert_eq!(told, ["Succeeded"]);
    // Nothing more, whatever becomes of its Jobs and nodes.
    world.jobs = JobSeen::Absent;
    world.members.clear();
    assert_eq!(world.plan(&view).status, world.durable);
}

#[test]
fn a_spec_that_did_not_change_goes_on_after_an_upgrade() {
    for suspend in [false, true] {
        let mut world = World::new(2);
        let one = view(json!({"parallelism": 1, "suspend": false}), "");
        assert_eq!(world.go(&one), 1);
        let digest = world.durable.template_digest.clone();
        world.jobs = JobSeen::Live;
        let view = view(json!({"parallelism": 1, "suspend": suspend}), "");
        world.go(&view);
        // As a Baton wrote it whose types were others.
        world.durable.template_digest = "older".into();
        world.go(&view);
        assert_eq!(reason(&world.durable, "Accepted"), "Accepted");
        assert_eq!(world.durable.template_digest, digest, "{suspend}");
    }
}

#[test]
fn another_template_is_taken_by_a_new_run_alone() {
    let mut world = World::new(2);
    let one = json!({"parallelism": 1});
    assert_eq!(world.go(&view(one.clone(), "a")), 1);
    let first = world.durable.template_digest.clone();
    world.jobs = JobSeen::Live;
    let changed = json!({"parallelism": 1, "backoffLimit": 0});
    world.go(&view(changed.clone(), "a"));
    assert_eq!(reason(&world.durable, "Accepted"), "TemplateChanged");
    assert_eq!((world.durable.counts.running, world.durable.run), (1, 1));
    world.jobs = JobSeen::Succeeded;
    assert_eq!(world.go(&view(changed.clone(), "a")), 0);
    assert_eq!(world.durable.counts.waiting, 1, "nothing more is started");
    // As it was, or by a re-run.
    world.jobs = JobSeen::Absent;
    assert_eq!(world.plan(&view(one, "a")).status.counts.running, 1);
    assert_eq!(world.go(&view(changed, "b")), 1);
    assert_eq!(world.durable.run, 2);
    assert_ne!(world.durable.template_digest, first);
    assert_eq!(world.durable.counts.succeeded, 1, "what succeeded is kept");
}

#[test]
fn a_rerun_of_all_begins_with_new_jobs() {
    let mut world = World::new(1);
    world.go(&view(json!({}), ""));
    world.jobs = JobSeen::Succeeded;
    world.go(&view(json!({}), ""));
    assert!(world.durable.phase.is_over());
    assert!(
        world.plan(&view(json!({}), "1")).status.phase.is_over(),
        "there is nothing to run again"
    );
    world.jobs = JobSeen::Absent;
    assert_eq!(world.go(&view(json!({}), "all-1")), 1);
    assert_eq!(world.durable.nodes[0].job, "d-node1-r2");
}

#[test]
fn it_is_kept_as_long_as_it_says() {
    let mut world = World::new(1);
    let view = view(json!({"ttlSecondsAfterFinished": 60}), "");
    world.go(&view);
    world.jobs = JobSeen::Failed("BackoffLimitExceeded".into());
    world.go(&view);
    assert_eq!(world.durable.reason, "BackoffLimitExceeded");
    let next = world.plan(&view);
    assert_eq!((next.is_expired, next.wake), (false, Some(at(1060))));
    world.now = 1060;
    assert!(world.plan(&view).is_expired);
}

#[test]
fn what_cannot_be_run_says_so_until_it_can() {
    let mut world = World::new(1);
    let bad = view(json!({"parallelism": "0%"}), "");
    assert_eq!(world.go(&bad), 0);
    assert_eq!(
        (world.durable.phase, world.durable.reason.as_str()),
        (JobFlowPhase::Failed, "Invalid")
    );
    assert!(
        world.durable.message.contains("parallelism"),
        "{}",
        world.durable.message
    );
    assert_eq!(world.go(&view(json!({}), "")), 1);
    assert_eq!(world.durable.phase, JobFlowPhase::Running);
    assert_eq!(reason(&world.durable, "Accepted"), "Accepted");
}

#[test]
fn a_status_of_a_whole_cluster_fits() {
    let mut world = World::new(MAX_DAEMON_NODES);
    for (name, member) in std::mem::take(&mut world.members) {
        let name = format!("{name}.a-long-name-of-a-cluster.internal");
        let uid = format!("6666993b-d54d-4b19-8f1f-{:0>12}", member.uid);
        world.members.insert(name, Member { uid, ..member });
    }
    let view = view(json!({}), "");
    assert_eq!(world.go(&view), MAX_DAEMON_NODES);
    world.jobs = JobSeen::Failed("BackoffLimitExceeded".into());
    world.go(&view);
    let bytes = serde_json::to_string(&world.durable).unwrap().len();
    assert!(bytes < 1_400_000, "{bytes}");
    // One more is not taken.
    let more = Member {
        uid: "more".into(),
        place: Place::Eligible,
        hold: None,
        not_ready_since: None,
    };
    world.members.insert("more".into(), more);
    world.durable = DaemonJobStatus::default();
    assert_eq!(world.go(&view), 0);
    assert_eq!(reason(&world.durable, "Accepted"), "TooManyNodes");
}

#[test]
fn a_node_that_is_to_start_is_not_started_from_another_template() {
    let mut world = World::new(1);
    let one = json!({});
    let changed = json!({"backoffLimit": 0});
    // It is let go, and its Job cannot be made yet.
    assert_eq!(world.go(&view(one.clone(), "a")), 1);
    assert_eq!(world.go(&view(changed.clone(), "a")), 0);
    assert_eq!(reason(&world.durable, "Accepted"), "TemplateChanged");
    assert_eq!(world.durable.counts.running, 1, "it is still to start");
    assert_eq!(world.plan(&view(one, "a")).actions.len(), 1, "as it was");
    // Or by another run, once that is durable.
    assert_eq!(world.plan(&view(changed.clone(), "b")).actions, []);
    assert_eq!(world.go(&view(changed, "b")), 1);
    assert_eq!(world.durable.run, 2);
}
