//! A flood of events.

use std::process::Command;
use std::time::Duration;

use baton_api::status::TaskPhase;
use baton_e2e::{Cluster, Kubectl};

use baton_e2e::system::{self, SYSTEM};

/// A token of an agent, as the kubelet would mount it.
fn token(kubectl: &Kubectl) -> String {
    let agent = system::running(kubectl, "agent").remove(0).pod;
    let args = [
        "-n",
        SYSTEM,
        "create",
        "token",
        "baton-agent",
        "--audience=baton-coordinator",
        "--bound-object-kind=Pod",
        "--bound-object-name",
        &agent,
    ];
    kubectl.run(&args).success("a token").trim().to_owned()
}

#[test]
#[ignore = "needs a cluster"]
fn a_flood_of_events_is_told_to_come_back_later() {
    const CONNECTIONS: usize = 80;
    let cluster = Cluster::alone();
    let kubectl = cluster.kubectl();
    let parts = system::parts(&cluster);
    let ns = cluster.namespace("flood");
    system::whole(kubectl);
    let args = [
        "-n",
        SYSTEM,
        "get",
        "lease",
        "baton-coordinator",
        "-o",
        "jsonpath={.spec.holderIdentity}",
    ];
    let leader = kubectl.run(&args).success("the lease");
    let leader = system::running(kubectl, "coordinator")
        .into_iter()
        .find(|it| it.pod == leader)
        .expect("the leader runs");
    let folder = std::env::temp_dir().join(ns.name());
    std::fs::create_dir(&folder).expect("a folder");
    let body = folder.join("body");
    // As long as a batch may be, and no sense in it; it comes slowly.
    std::fs::write(&body, vec![b'['; 4 << 20]).expect("a file");
    let url = format!("https://{}:8443/v1/events", leader.ip);
    let mut curl = Command::new("curl");
    curl.args(["-sk", "-Z", "--parallel-immediate", "--parallel-max"])
        .arg(CONNECTIONS.to_string())
        .args(["--limit-rate", "100k", "--max-time", "30", "--http1.1"])
        .args([
            "-H",
            "content-type: application/cloudevents-batch+json",
            "-H",
            "expect:",
        ])
        .args(["-H", &format!("authorization: Bearer {}", token(kubectl))])
        .args(["-w", "%{http_code} %header{retry-after}\n"])
        .arg("--data-binary")
        .arg(format!("@{}", body.display()));
    for _ in 0..CONNECTIONS {
        curl.args(["-o", "/dev/null", &url]);
    }
    let flood = std::thread::spawn(move || curl.output().expect("curl runs"));

    // While it lasts, and after it, work goes on.
    ns.apply(include_str!("../../../../examples/seed-task.yaml"));
    let status = ns.finished("ordered", Duration::from_secs(120));
    assert_eq!(status.phase, TaskPhase::Succeeded, "{status:?}");
    let peak = peak(&parts, &leader);
    let out = flood.join().expect("curl ends");
    let answers = String::from_utf8_lossy(&out.stdout);
    let _ = std::fs::remove_dir_all(&folder);
    let count = |answer: &str| answers.lines().filter(|line| line.trim() == answer).count();
    println!(
        "429: {}, 400: {}, of {CONNECTIONS}; peak {peak} KiB",
        count("429 1"),
        count("400")
    );
    assert!(count("429 1") >= CONNECTIONS / 2, "{answers}");
    assert!(peak < 200 << 10, "the coordinator grew to {peak} KiB");
    assert_eq!(
        system::running(kubectl, "coordinator")
            .iter()
            .filter(|it| (&it.pod, &it.container) == (&leader.pod, &leader.container))
            .count(),
        1,
        "it is the same process"
    );
}

/// The largest resident set that a container's first process ever had, in KiB.
fn peak(parts: &baton_e2e::Parts, it: &system::Running) -> u64 {
    let status = parts.status(it.node, &it.container);
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.expect("a peak").parse().expect("a number")
}
