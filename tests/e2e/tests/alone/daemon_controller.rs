//! Coordinators and API servers that fail amid a run.

use std::time::Duration;

use baton_api::flow_status::JobFlowPhase;
use baton_e2e::{Cluster, Made, until};

use baton_e2e::daemon::{finished, yaml};
use baton_e2e::system::{self, Random, SYSTEM, Undo, leader};

/// DaemonJobs that run at the same time.
const RUNS: usize = 8;

#[test]
#[ignore = "needs a cluster"]
fn coordinators_are_killed_amid_runs_and_no_job_is_made_twice() {
    let cluster = Cluster::alone();
    let kubectl = cluster.kubectl();
    let parts = system::parts(&cluster);
    let ns = cluster.namespace("daemon-killed");
    let _undo = Undo(|| system::whole(kubectl));
    let made = Made::follow(&ns);
    let mut random = Random::by_clock();
    let names: Vec<_> = (0..RUNS).map(|i| format!("run{i}")).collect();
    for name in &names {
        ns.apply(&yaml(name, "sleep 3", "  parallelism: 1", ""));
    }
    for _ in 0..4 {
        std::thread::sleep(Duration::from_millis(random.below(1500)));
        let it = until(Duration::from_secs(60), "one that leads", || {
            let leads = leader(kubectl);
            let running = system::running(kubectl, "coordinator");
            running.into_iter().find(|it| it.pod == leads)
        });
        system::kill(&parts, &it);
        // The kubelet waits ever longer before it starts a container again: the pod makes way.
        let delete = ["delete", "pod", &it.pod, "--force", "--grace-period=0"];
        kubectl.run(&[&["-n", SYSTEM], &delete[..]].concat());
        // Another one leads before the next dies.
        until(Duration::from_secs(60), "another leader", || {
            (leader(kubectl) != it.pod).then_some(())
        });
    }
    for name in &names {
        let status = finished(&ns, name);
        assert_eq!(status.phase, JobFlowPhase::Succeeded, "{status:?}");
        assert_eq!(status.counts.succeeded, 2);
        assert!(status.nodes[0].node.finished_at <= status.nodes[1].node.started_at);
    }
    let made = made.stop();
    assert_eq!(made.len(), 2 * RUNS, "{made:?}");
    assert!(made.values().all(|n| *n == 1), "{made:?}");
}

#[test]
#[ignore = "needs a cluster"]
fn an_api_server_that_restarts_amid_a_run_changes_nothing() {
    let cluster = Cluster::alone();
    let parts = system::parts(&cluster);
    let ns = cluster.namespace("daemon-apiserver");
    let names: Vec<_> = (0..RUNS).map(|i| format!("run{i}")).collect();
    for name in &names {
        ns.apply(&yaml(name, "sleep 2", "  parallelism: 1", ""));
    }
    parts.stop("apiserver", "KILL");
    parts.start("apiserver");
    let _undo = Undo(|| system::whole(cluster.kubectl()));
    for name in &names {
        let status = finished(&ns, name);
        assert_eq!(status.phase, JobFlowPhase::Succeeded, "{status:?}");
        assert!(
            status.nodes.iter().all(|n| n.node.attempts == 1),
            "{status:?}"
        );
    }
    assert_eq!(ns.list("jobs", "").len(), 2 * RUNS);
}
