//! The agent, killed at any moment.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use baton_api::status::{Carrier, TaskStatus};
use baton_e2e::{Cluster, Kubectl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::batch::{Batch, Shape, carrier};
use baton_e2e::system::{self, Random, SYSTEM};

/// The agents' processes that live now, each with the UID of its pod: from the machine itself, for
/// what the API server says comes late on a busy one. Those of this cluster alone: they know its API server by
/// the address `server`.
fn agents(server: &str) -> Vec<(Pid, String)> {
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    processes
        .filter_map(|entry| agent(&entry.path(), server))
        .collect()
}

fn agent(process: &Path, server: &str) -> Option<(Pid, String)> {
    let pid: i32 = process.file_name()?.to_str()?.parse().ok()?;
    let command = std::fs::read(process.join("cmdline")).ok()?;
    if !command.starts_with(b"/bin/baton-agent\0run\0") {
        return None;
    }
    let environment = std::fs::read(process.join("environ")).ok()?;
    let known = format!("KUBERNETES_SERVICE_HOST={server}");
    if !environment
        .split(|b| *b == 0)
        .any(|it| it == known.as_bytes())
    {
        return None;
    }
    let cgroups = std::fs::read_to_string(process.join("cgroup")).ok()?;
    let (_, pod) = cgroups.split_once("/pod")?;
    let (uid, _) = pod.split_once('/')?;
    Some((Pid::from_raw(pid), uid.to_owned()))
}

/// Most kills, and the longest time that they go on: what waits for an agent is to come to its turn.
const MAX_KILLS: usize = 20;
const KILLING: Duration = Duration::from_secs(45);

/// Kills agents until `over`, now on this node and now on that; says how often.
fn reap(kubectl: &Kubectl, over: &AtomicBool) -> usize {
    let mut random = Random::by_clock();
    let mut kills = HashMap::<String, usize>::new();
    let service = [
        "get",
        "service",
        "kubernetes",
        "-o",
        "jsonpath={.spec.clusterIP}",
    ];
    let server = kubectl.run(&service).success("the API server's address");
    let end = Instant::now() + KILLING;
    let goes_on = |kills: &HashMap<String, usize>| {
        !over.load(Ordering::SeqCst)
            && kills.values().sum::<usize>() < MAX_KILLS
            && Instant::now() < end
    };
    while goes_on(&kills) {
        std::thread::sleep(Duration::from_millis(random.below(4000)));
        let alive = agents(&server);
        let Some(at) = random.below(2).checked_rem(alive.len() as u64) else {
            continue;
        };
        let (pid, uid) = &alive[usize::try_from(at).expect("a small number")];
        // It may have ended by itself since.
        if kill(*pid, Signal::SIGKILL).is_err() {
            continue;
        }
        let times = kills.entry(uid.clone()).or_default();
        *times += 1;
        // The kubelet waits ever longer before it starts a container again: the pod makes way.
        if *times >= 2 {
            remove(kubectl, uid);
        }
    }
    kills.values().sum()
}

/// Removes the agent's pod of this UID by force: its successor starts at once.
fn remove(kubectl: &Kubectl, uid: &str) {
    let label = "app.kubernetes.io/component=agent";
    let out = kubectl.run(&["get", "pods", "-n", SYSTEM, "-l", label, "-o", "json"]);
    let list: Value = serde_json::from_str(&out.success("the agents")).expect("JSON");
    let pods = list["items"].as_array().expect("a list");
    if let Some(pod) = pods.iter().find(|pod| pod["metadata"]["uid"] == uid) {
        let name = pod["metadata"]["name"].as_str().expect("a name");
        let force = [
            "--force",
            "--grace-period=0",
            "--ignore-not-found",
            "--wait=false",
        ];
        kubectl
            .run(&[&["-n", SYSTEM, "delete", "pod", name], &force[..]].concat())
            .success("the agent's pod goes");
    }
}

#[test]
#[ignore = "needs a cluster"]
fn the_agents_are_killed_at_random_moments_over_fifty_tasks() {
    let cluster = Cluster::alone();
    let parts = system::parts(&cluster);
    let nodes = cluster.size();
    let ns = cluster.namespace("agent-killed");
    let begin = Instant::now();
    let over = Arc::new(AtomicBool::new(false));
    let reaper = {
        let (kubectl, over) = (cluster.kubectl().clone(), over.clone());
        std::thread::spawn(move || reap(&kubectl, &over))
    };
    let shape = Shape {
        tasks: 50,
        steps: 3,
        sleep: "0.5",
        ..Shape::default()
    };
    let batch = Batch::apply(&ns, &parts, nodes, shape);
    let all_begun = baton_e2e::until(Duration::from_secs(240), "every step began", || {
        std::thread::sleep(Duration::from_millis(500));
        batch.all_begun().then(|| begin.elapsed())
    });
    over.store(true, Ordering::SeqCst);
    let kills = reaper.join().expect("the reaper ends");
    println!("{kills} agents killed in {all_begun:?}");
    let statuses = batch.ran_once_by_any(Duration::from_secs(120));
    let fell_back = |status: &&TaskStatus| carrier(status) != Some(Carrier::Volume);
    println!(
        "all over after {:?}, {} of them without the agent",
        begin.elapsed(),
        statuses.iter().filter(fell_back).count()
    );
    assert!(kills >= 5, "only {kills} agents were killed");
    system::whole(cluster.kubectl());
}
