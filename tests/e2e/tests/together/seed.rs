//! The seed's Task and its failing variant, as they are in `examples/`.

use std::time::Duration;

use baton_api::status::TaskPhase;
use baton_e2e::Cluster;

const SOON: Duration = Duration::from_secs(120);

#[test]
#[ignore = "needs a cluster"]
fn the_seed_succeeds_in_order() {
    let cluster = Cluster::shared();
    let ns = cluster.namespace("seed");
    let orders = ns.orders();
    ns.apply(include_str!("../../../../examples/seed-task.yaml"));
    let status = ns.finished("ordered", SOON);
    assert_eq!(status.phase, TaskPhase::Succeeded, "{status:?}");
    assert_eq!(status.progress, "4/4");
    let out = ns.kubectl(&[
        "wait",
        "--for=condition=Succeeded",
        "task/ordered",
        "--timeout=60s",
    ]);
    assert!(out.ok, "{}", out.stderr);

    let pod = status.pod.as_ref().expect("it had a pod").name.clone();
    assert_eq!(ns.log(&pod, "step1"), "step1 runs first\n");
    assert_eq!(ns.log(&pod, "step2"), "step2 runs second\n");
    assert_eq!(
        ns.log(&pod, "step4"),
        "step4 is a script\nline 1\nline 2\nline 3\n"
    );
    let times: Vec<_> = status
        .steps
        .iter()
        .map(|step| (step.started_at, step.finished_at))
        .collect();
    for pair in times.windows(2) {
        assert!(
            pair[0].1.is_some() && pair[0].1 <= pair[1].0,
            "one after the other: {times:?}"
        );
    }

    // The annotation follows.
    let orders = orders.until_last(SOON, "5");
    let orders: Vec<i32> = orders
        .iter()
        .map(|order| order.parse().expect("a number"))
        .collect();
    assert!(orders.is_sorted(), "it never goes back: {orders:?}");
    assert_eq!(orders.first(), Some(&0), "{orders:?}");
}

#[test]
#[ignore = "needs a cluster"]
fn the_failing_seed_stops_at_its_second_step() {
    let cluster = Cluster::shared();
    let ns = cluster.namespace("seed-failing");
    let orders = ns.orders();
    ns.apply(include_str!("../../../../examples/seed-task-failing.yaml"));
    let status = ns.finished("ordered-failing", SOON);
    assert_eq!(status.phase, TaskPhase::Failed, "{status:?}");
    let out = ns.kubectl(&[
        "wait",
        "--for=condition=Succeeded=false",
        "task/ordered-failing",
        "--timeout=60s",
    ]);
    assert!(out.ok, "{}", out.stderr);

    let pod = status.pod.as_ref().expect("it had a pod").name.clone();
    assert_eq!(ns.log(&pod, "step2"), "step2 fails\n");
    assert!(
        !ns.log(&pod, "step4").contains("step4 is a script"),
        "it never ran"
    );
    // The annotation follows.
    orders.until_last(SOON, "-1");
}
