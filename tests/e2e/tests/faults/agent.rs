//! The agent, killed at any moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use baton_e2e::{Cluster, Kubectl, Parts};

use crate::batch::{Batch, Shape};
use crate::system::{self, Random, Running, SYSTEM};

/// Kills agents until `over`, now on this node and now on that; says how often.
fn reap(kubectl: &Kubectl, parts: &Parts, nodes: u64, over: &AtomicBool) -> usize {
    let mut random = Random::new();
    let mut kills = 0;
    let mut last = Vec::<Option<Running>>::new();
    last.resize(usize::try_from(nodes).expect("a few nodes"), None);
    while !over.load(Ordering::SeqCst) {
        let place = random.below(nodes);
        let slot = &mut last[usize::try_from(place).expect("a few nodes")];
        let node = u32::try_from(place + 1).expect("a few nodes");
        // The same pod is killed twice, and then made way for: the kubelet waits ever longer before
        // it starts a container again.
        let known = slot.take();
        let agent = system::agent(kubectl, node, known.as_ref());
        std::thread::sleep(Duration::from_millis(random.below(1500)));
        system::kill(parts, &agent);
        kills += 1;
        if known.is_some_and(|known| known.pod == agent.pod) {
            let delete = ["-n", SYSTEM, "delete", "pod", &agent.pod, "--wait=false"];
            kubectl.run(&delete).success("the agent's pod goes");
        }
        *slot = Some(agent);
    }
    kills
}

#[test]
#[ignore = "needs a cluster"]
fn the_agents_are_killed_at_random_moments_over_fifty_tasks() {
    let cluster = Cluster::alone();
    let parts = system::parts(&cluster);
    let nodes = cluster.nodes().len();
    let ns = cluster.namespace("agent-killed");
    let begin = Instant::now();
    let over = Arc::new(AtomicBool::new(false));
    let reaper = {
        let (kubectl, parts, over) = (cluster.kubectl().clone(), parts.clone(), over.clone());
        let nodes = u64::try_from(nodes).expect("a few nodes");
        std::thread::spawn(move || reap(&kubectl, &parts, nodes, &over))
    };
    let shape = Shape {
        tasks: 50,
        steps: 3,
        sleep: "0.5",
        ..Shape::default()
    };
    let batch = Batch::apply(&ns, &parts, nodes, shape);
    let all_begun = baton_e2e::until(Duration::from_secs(180), "every step began", || {
        std::thread::sleep(Duration::from_millis(500));
        batch.all_begun().then(|| begin.elapsed())
    });
    over.store(true, Ordering::SeqCst);
    let kills = reaper.join().expect("the reaper ends");
    println!("{kills} agents killed in {all_begun:?}");
    batch.ran_once(Duration::from_secs(60));
    println!("all over after {:?}", begin.elapsed());
    assert!(kills >= 5, "only {kills} agents were killed");
    system::whole(cluster.kubectl());
}
