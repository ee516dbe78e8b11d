//! Parts that fail: the coordinator that leads, and the API server.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use baton_e2e::{Cluster, Kubectl, Made, UNTIL_TOLD, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use baton_e2e::flow::{Flow, ran_in_order, seed_with, yaml};
use baton_e2e::system::{self, Random, SYSTEM, Undo, leader};

/// The process of a coordinator's pod that lives now: from the machine itself, for what the API server
/// says comes late on a busy one.
fn process(kubectl: &Kubectl, pod: &str) -> Option<Pid> {
    let path = "jsonpath={.metadata.uid}";
    let uid = kubectl.run(&["-n", SYSTEM, "get", "pod", pod, "-o", path]);
    let uid = uid.ok.then_some(uid.stdout).filter(|uid| !uid.is_empty())?;
    let is_it = |process: &Path| {
        let text = |name: &str| std::fs::read_to_string(process.join(name)).unwrap_or_default();
        text("comm").starts_with("baton-coord") && text("cgroup").contains(&uid)
    };
    let mut processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    let process = processes.find(|entry| is_it(&entry.path()))?;
    Some(Pid::from_raw(process.file_name().to_str()?.parse().ok()?))
}

/// Kills the coordinator that leads, until `over`; says how often.
fn reap(kubectl: &Kubectl, over: &AtomicBool) -> usize {
    let mut random = Random::by_clock();
    let mut kills = HashMap::<String, usize>::new();
    while !over.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(500 + random.below(5000)));
        let leader = leader(kubectl);
        let Some(victim) = process(kubectl, &leader) else {
            continue;
        };
        // It may have ended by itself since.
        if kill(victim, Signal::SIGKILL).is_err() {
            continue;
        }
        let times = kills.entry(leader.clone()).or_default();
        *times += 1;
        // The kubelet waits ever longer before it starts a container again: the pod makes way.
        if *times >= 2 {
            let force = [
                "--force",
                "--grace-period=0",
                "--ignore-not-found",
                "--wait=false",
            ];
            kubectl.run(&[&["-n", SYSTEM, "delete", "pod", &leader], &force[..]].concat());
        }
    }
    kills.values().sum()
}

#[test]
#[ignore = "needs a cluster"]
fn the_leader_is_killed_at_random_moments_over_twenty_flows() {
    const FLOWS: usize = 20;
    let cluster = Cluster::alone();
    let kubectl = cluster.kubectl();
    system::parts(&cluster);
    let ns = cluster.namespace("leader-killed");
    system::whole(kubectl);
    let made = Made::follow(&ns);
    let over = Arc::new(AtomicBool::new(false));
    let reaper = {
        let (kubectl, over) = (kubectl.clone(), over.clone());
        std::thread::spawn(move || reap(&kubectl, &over))
    };
    let stop = Undo(|| over.store(true, Ordering::SeqCst));
    let begin = Instant::now();
    let names: Vec<String> = (1..=FLOWS).map(|i| format!("f{i}")).collect();
    // A few at a time: they are applied, and begin, amid the kills.
    for batch in names.chunks(5) {
        let all: Vec<String> = batch
            .iter()
            .map(|name| yaml(name, &seed_with(|_| "sleep 1".to_owned()), ""))
            .collect();
        // Where no coordinator answers, its webhook does not either.
        until(Duration::from_secs(60), "applied", || {
            ns.try_apply(&all.join("---\n")).ok.then_some(())
        });
    }
    for name in &names {
        Flow::of(&ns, name).succeeded(Duration::from_secs(300));
    }
    drop(stop);
    let kills = reaper.join().expect("the reaper ends");
    println!("{kills} leaders killed in {:?}", begin.elapsed());
    assert!(kills >= 3, "only {kills} leaders were killed");
    let made = made.stop();
    assert_eq!(made.len(), FLOWS * 5, "{made:?}");
    assert!(
        made.values().all(|times| *times == 1),
        "each Job is made once: {made:?}"
    );
    for name in &names {
        ran_in_order(&ns, name);
    }
    system::whole(kubectl);
}

/// Lets a container end that runs [`UNTIL_TOLD`], from its node: with no API server.
fn tell(process: &Pid) {
    let file = format!("/proc/{process}/root/tmp/done");
    std::fs::write(&file, "").unwrap_or_else(|e| panic!("{file}: {e}"));
}

#[test]
#[ignore = "needs a cluster"]
fn the_api_server_is_away_amid_flows() {
    const AWAY: Duration = Duration::from_secs(20);
    let cluster = Cluster::alone();
    let kubectl = cluster.kubectl();
    let parts = system::parts(&cluster);
    let ns = cluster.namespace("server-away");
    system::whole(kubectl);
    let names: Vec<String> = (1..=6).map(|i| format!("f{i}")).collect();
    let nodes = seed_with(|name| match name {
        "job1" => UNTIL_TOLD.to_owned(),
        _ => "sleep 2".to_owned(),
    });
    for name in &names {
        ns.apply(&yaml(name, &nodes, ""));
    }
    let first: Vec<Pid> = names
        .iter()
        .map(|name| Flow::of(&ns, name).until_runs("job1").process(&parts))
        .collect();
    let _back = Undo(|| parts.start("apiserver"));
    parts.stop("apiserver", "KILL");
    // Half of them end while nobody can be told, half after that.
    let (amid, after) = first.split_at(names.len() / 2);
    amid.iter().for_each(tell);
    std::thread::sleep(AWAY);
    parts.start("apiserver");
    after.iter().for_each(tell);
    let back = Instant::now();
    until(Duration::from_secs(60), "the API server is ready", || {
        kubectl.run(&["get", "--raw", "/readyz"]).ok.then_some(())
    });
    for name in &names {
        Flow::of(&ns, name).succeeded(Duration::from_secs(180));
        ran_in_order(&ns, name);
    }
    println!("all over {:?} after it was back", back.elapsed());
    assert_eq!(ns.list("jobs", "").len(), names.len() * 5);
    system::whole(kubectl);
}
