//! The coordinator, away amid callbacks, and its leader killed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use baton_api::status::TaskPhase;
use baton_e2e::{Cluster, Kubectl, Receiver, Request, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::batch::{Batch, Shape};
use baton_e2e::system::{self, SYSTEM, Undo};

fn scale(kubectl: &Kubectl, replicas: u32) {
    let replicas = format!("--replicas={replicas}");
    let args = [
        "-n",
        SYSTEM,
        "scale",
        "deployment/baton-coordinator",
        &replicas,
    ];
    kubectl.run(&args).success("scale");
}

/// What was told of each Task, in the order in which it first came, and how often each came.
fn told(requests: &[Request]) -> BTreeMap<String, Vec<(String, String, usize)>> {
    let mut told = BTreeMap::<String, Vec<(String, String, usize)>>::new();
    for request in requests {
        let event: Value = serde_json::from_slice(&request.body).expect("an event");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let id = text(&event["id"]);
        assert_eq!(request.headers.get("webhook-id"), Some(&id));
        let kind = text(&event["type"]);
        let what = format!(
            "{} {}",
            kind.trim_start_matches("dev.baton."),
            text(&event["subject"])
        );
        let events = told.entry(text(&event["data"]["task"])).or_default();
        match events.iter_mut().find(|(known, ..)| *known == id) {
            Some((_, known, times)) => {
                assert_eq!(*known, what, "an id stands for one event");
                *times += 1;
            }
            None => events.push((id, what, 1)),
        }
    }
    told
}

#[test]
#[ignore = "needs a cluster"]
fn what_happened_while_the_coordinator_was_away_is_told_afterwards() {
    const AWAY: Duration = Duration::from_secs(60);
    let cluster = Cluster::alone();
    let kubectl = cluster.kubectl();
    let parts = system::parts(&cluster);
    let ns = cluster.namespace("coordinator-away");
    let receiver = Receiver::start(&cluster);
    let shape = Shape {
        tasks: 10,
        steps: 4,
        sleep: "4",
        callback: receiver.url("/hook"),
        ..Shape::default()
    };
    let batch = Batch::apply(&ns, &parts, cluster.size(), shape);
    // Every pod is there, and the telling has begun.
    until(Duration::from_secs(60), "every Task runs", || {
        (batch.marks().len() == 10 && receiver.requests().len() >= 10).then_some(())
    });
    let _back = Undo(|| scale(kubectl, 2));
    let victims: Vec<Pid> = system::running(kubectl, "coordinator")
        .iter()
        .map(|it| it.process(&parts))
        .collect();
    scale(kubectl, 0);
    for victim in victims {
        // One that did not lead may have ended by itself already.
        let _ = kill(victim, Signal::SIGKILL);
    }
    let gone = Instant::now();
    until(Duration::from_secs(60), "no coordinator runs", || {
        system::running(kubectl, "coordinator")
            .is_empty()
            .then_some(())
    });
    let before = receiver.requests().len();
    assert!(before < 10 * 10, "not everything was told before: {before}");
    until(AWAY, "the Tasks go on without it", || {
        batch.all_begun().then_some(())
    });
    std::thread::sleep(AWAY.saturating_sub(gone.elapsed()));
    assert_eq!(receiver.requests().len(), before, "nobody tells anything");

    scale(kubectl, 2);
    batch.ran_once(Duration::from_secs(120));
    let mut want = vec!["task.started ".to_owned()];
    for i in 1..=4 {
        want.push(format!("step.started s{i}"));
        want.push(format!("step.finished s{i}"));
    }
    want.push("task.finished ".to_owned());
    let deadline = Duration::from_secs(120);
    let told = until(deadline, "every event is told", || {
        let told = told(&receiver.requests());
        let events: usize = told.values().map(Vec::len).sum();
        (events >= 10 * want.len()).then_some(told)
    });
    for (task, events) in &told {
        let kinds: Vec<&str> = events.iter().map(|(_, what, _)| what.trim_end()).collect();
        let want: Vec<&str> = want.iter().map(|what| what.trim_end()).collect();
        assert_eq!(kinds, want, "{task}: each once, in order");
    }
    // What the status did not say yet when the coordinator was killed, a second's worth of each Task,
    // may come again, with the same id.
    let again: usize = told.values().flatten().map(|(.., times)| times - 1).sum();
    println!("{before} told before, {again} of them again");
    assert!(again <= 10 * 3, "{again} of {before} came again");
    ns.wait(
        "task",
        "t1",
        Duration::from_secs(60),
        "the status says so",
        |task| {
            let sink = &task["status"]["callbacks"][0];
            sink["delivered"] == 10 && sink["waiting"].is_null()
        },
    );
    system::whole(kubectl);
}

#[test]
#[ignore = "needs a cluster"]
fn another_coordinator_goes_on_where_the_leader_is_killed() {
    let cluster = Cluster::alone();
    let kubectl = cluster.kubectl();
    let parts = system::parts(&cluster);
    let ns = cluster.namespace("leader-killed");
    system::whole(kubectl);
    let holder = || {
        let args = [
            "-n",
            SYSTEM,
            "get",
            "lease",
            "baton-coordinator",
            "-o",
            "jsonpath={.spec.holderIdentity}",
        ];
        kubectl.run(&args).success("the lease")
    };
    let shape = Shape {
        tasks: 6,
        steps: 3,
        sleep: "1",
        ..Shape::default()
    };
    let batch = Batch::apply(&ns, &parts, cluster.size(), shape);
    until(Duration::from_secs(60), "the Tasks run", || {
        (batch.begun() >= 3).then_some(())
    });
    let first = holder();
    let leader = system::running(kubectl, "coordinator")
        .into_iter()
        .find(|it| it.pod == first)
        .expect("the leader runs");
    system::kill(&parts, &leader);
    let args = [
        "-n",
        SYSTEM,
        "delete",
        "pod",
        &first,
        "--force",
        "--grace-period=0",
    ];
    kubectl.run(&args).success("the leader's pod goes");
    let begin = Instant::now();
    ns.apply(
        "apiVersion: baton.dev/v1alpha1\nkind: Task\nmetadata: {name: late}\nspec:\n  \
         steps: [{name: one, image: busybox, command: ['true']}]\n",
    );
    let status = ns.finished("late", Duration::from_secs(120));
    assert_eq!(status.phase, TaskPhase::Succeeded, "{status:?}");
    println!(
        "a Task applied without a leader was over after {:?}",
        begin.elapsed()
    );
    assert_ne!(holder(), first);
    // The pod of `late` is one of them.
    ns.kubectl(&["delete", "task", "late"]).success("delete");
    let gone = |_: ()| {
        ns.list("pods", "baton.dev/task=late")
            .is_empty()
            .then_some(())
    };
    until(Duration::from_secs(60), "its pod is gone", || gone(()));
    batch.ran_once(Duration::from_secs(120));
    system::whole(kubectl);
}
