//! The API server away, and a kubelet.

use std::time::{Duration, Instant};

use baton_e2e::{Cluster, until};
use serde_json::Value;

use crate::batch::{Batch, Shape};
use baton_e2e::system::{self, Undo};

#[test]
#[ignore = "needs a cluster"]
fn tasks_go_on_while_the_api_server_is_away() {
    const AWAY: Duration = Duration::from_secs(30);
    let cluster = Cluster::alone();
    let kubectl = cluster.kubectl();
    let parts = system::parts(&cluster);
    let ns = cluster.namespace("server-away");
    system::whole(kubectl);
    let shape = Shape {
        tasks: 8,
        steps: 6,
        sleep: "2",
        ..Shape::default()
    };
    let batch = Batch::apply(&ns, &parts, cluster.size(), shape);
    let agent = system::agent(kubectl, 1, None);
    until(Duration::from_secs(60), "every Task runs", || {
        (batch.marks().len() == 8).then_some(())
    });
    let _back = Undo(|| parts.start("apiserver"));
    parts.stop("apiserver", "KILL");
    let gone = Instant::now();
    let begun = batch.begun();
    assert!(begun < 8 * 6, "steps are left to run: {begun} ran");
    // An agent that starts without the API server goes on with its pods, too.
    system::kill(&parts, &agent);
    until(AWAY, "every step began", || batch.all_begun().then_some(()));
    println!(
        "{begun} steps began before, all of them {:?} after",
        gone.elapsed()
    );
    assert!(
        !kubectl
            .run(&["get", "--raw", "/readyz", "--request-timeout=2s"])
            .ok
    );
    std::thread::sleep(AWAY.saturating_sub(gone.elapsed()));
    parts.start("apiserver");
    let back = Instant::now();
    until(Duration::from_secs(60), "the API server is ready", || {
        kubectl.run(&["get", "--raw", "/readyz"]).ok.then_some(())
    });
    let statuses = batch.ran_once(Duration::from_secs(120));
    println!("all over {:?} after it was back", back.elapsed());
    // The times are those of the steps, not of the news of them.
    for status in statuses {
        let step = status.steps.last().expect("it has steps");
        assert!(step.record.is_some(), "{step:?}");
    }
    system::whole(kubectl);
}

/// Whether all of a pod's containers were started.
fn has_all(pod: &Value, containers: usize) -> bool {
    let statuses = pod["status"]["containerStatuses"].as_array();
    let started = |it: &&Value| !it["state"]["waiting"].is_object();
    statuses.is_some_and(|all| all.iter().filter(started).count() == containers)
}

#[test]
#[ignore = "needs a cluster"]
fn a_kubelet_is_killed_and_started_again() {
    let cluster = Cluster::alone();
    let kubectl = cluster.kubectl();
    let parts = system::parts(&cluster);
    let ns = cluster.namespace("kubelet-killed");
    system::whole(kubectl);
    let shape = Shape {
        tasks: 3,
        steps: 4,
        sleep: "4",
        node: "node1",
        ..Shape::default()
    };
    let batch = Batch::apply(&ns, &parts, cluster.size(), shape);
    // Containers that a killed kubelet was just making are not made again: that is Kubernetes' own way with pods
    // that run once.
    until(Duration::from_secs(60), "all containers run", || {
        let pods = ns.list("pods", "baton.dev/managed=true");
        let made = pods.iter().filter(|pod| has_all(pod, 4)).count();
        (made == batch.names().count()).then_some(())
    });
    let _back = Undo(|| parts.start("kubelet1"));
    parts.stop("kubelet1", "KILL");
    until(Duration::from_secs(60), "they go on without it", || {
        let now = batch.marks();
        let over = |task: String| now.get(&task).is_some_and(|steps| steps.len() == 4);
        batch.names().all(over).then_some(())
    });
    parts.start("kubelet1");
    batch.ran_once(Duration::from_secs(90));
    system::whole(kubectl);
}
