//! The seed's example, and what a failure, a deadline and a cancellation mean.

use baton_api::flow_status::JobFlowPhase;
use baton_e2e::{Cluster, UNTIL_TOLD};
use baton_flow::daemon::DaemonPhase::{Cancelled, Failed, Running, Succeeded, Waiting};

use baton_e2e::daemon::{SOON, events, finished, nodes, runs, until, yaml};

/// The seed's manifest, with a list that fits these nodes and a shorter sleep.
fn seed(exclude: &str) -> String {
    format!(
        r#"
apiVersion: baton.dev/v1alpha1
kind: DaemonJob
metadata:
  name: daemonjob-example
spec:
  globalParams:
    env:
      - name: "FOO"
        value: "bar"
      - name: "QUE"
        value: "pasa"
    annotations:
      key1: value1
      key2: value2
    labels:
      key1: value1
      key2: value2
  excludeNodeList: {exclude}
  template:
    spec:
      restartPolicy: OnFailure
      containers:
        - image: busybox:1.28
          command:
            - sh
            - -c
            - sleep 1s; echo $FOO $QUE
          imagePullPolicy: IfNotPresent
          name: nginx
"#
    )
}

#[test]
#[ignore = "needs a cluster"]
fn the_seed_runs_on_every_node_but_those_of_its_list() {
    let cluster = Cluster::shared();
    let ns = cluster.namespace("daemon-seed");
    ns.apply(&seed("node2 , node3"));
    let status = finished(&ns, "daemonjob-example");
    assert_eq!(status.phase, JobFlowPhase::Succeeded, "{status:?}");
    assert_eq!(nodes(&status), [("node1", Succeeded, "")]);
    assert_eq!(status.progress, "1/1");
    assert_eq!(status.nodes_by_state.succeeded, ["node1"]);
    ns.kubectl(&[
        "wait",
        "--for=condition=Succeeded",
        "daemonjob/daemonjob-example",
        "--timeout=60s",
    ])
    .success("its condition");

    let jobs = ns.list("jobs", "key1=value1");
    assert_eq!(jobs.len(), 1);
    let job = &jobs[0];
    assert_eq!(job["metadata"]["name"], "daemonjob-example-node1");
    assert_eq!(job["metadata"]["annotations"]["key2"], "value2");
    let pod = &ns.list("pods", "key2=value2")[0];
    assert_eq!(pod["metadata"]["annotations"]["key1"], "value1");
    let spec = &pod["spec"];
    assert_eq!(
        (&spec["nodeName"], &spec["restartPolicy"]),
        (&"node1".into(), &"Never".into())
    );
    let terms = &spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        ["nodeSelectorTerms"];
    assert_eq!(terms[0]["matchFields"][0]["values"][0], "node1", "{terms}");
    let name = pod["metadata"]["name"].as_str().expect("it has a name");
    assert_eq!(ns.log(name, "nginx"), "bar pasa\n");
    let told = events(&ns, "daemonjob-example", "Succeeded");
    assert!(told.contains(&"Started".to_owned()), "{told:?}");

    // As it is in the seed, these two nodes are both excluded: one that counts is waited for.
    ns.kubectl(&["delete", "daemonjob", "daemonjob-example"])
        .success("delete");
    ns.apply(&seed("node1, node2"));
    let status = until(&ns, "daemonjob-example", "it waits", |s| {
        s.reason == "NoEligibleNodes"
    });
    assert_eq!(status.phase, JobFlowPhase::Pending);
}

#[test]
#[ignore = "needs a cluster"]
fn a_failure_leaves_the_others_alone_and_can_be_run_again() {
    let cluster = Cluster::shared();
    let ns = cluster.namespace("daemon-continue");
    let spec =
        "  backoffLimit: 0\n  parallelism: 50%\n  globalParams: {env: [{name: NODE, value: x}]}";
    // One of two at a time: node1 fails first, and node2 has its Job.
    let script = format!("test $NODE = node2 || {{ {UNTIL_TOLD}; exit 1; }}");
    ns.apply(&yaml("some-fail", &script, spec, ""));
    let began = until(&ns, "some-fail", "the first runs", |s| {
        s.counts.running == 1
    });
    assert_eq!(began.counts.waiting, 1, "{began:?}");
    assert_eq!(nodes(&began)[1], ("node2", Waiting, "Parallelism"));
    ns.tell("some-fail-node1");
    let status = finished(&ns, "some-fail");
    assert_eq!(status.phase, JobFlowPhase::Failed);
    assert_eq!(status.reason, "BackoffLimitExceeded");
    let failed = ("node1", Failed, "BackoffLimitExceeded");
    assert_eq!(nodes(&status), [failed, ("node2", Succeeded, "")]);
    assert!(status.nodes[0].node.finished_at <= status.nodes[1].node.started_at);
    let cause = status.cause.as_ref().expect("a cause");
    assert_eq!(cause.node, "node1");
    // What the template sets itself wins, and that is said.
    let told = events(&ns, "some-fail", "Overruled");
    assert!(told.contains(&"NodeFailed".to_owned()), "{told:?}");

    // Again, with a template that cannot fail: what succeeded is kept.
    ns.apply(&yaml("some-fail", "true", spec, ""));
    ns.kubectl(&["annotate", "daemonjob", "some-fail", "baton.dev/rerun=1"])
        .success("annotate");
    let again = until(&ns, "some-fail", "it succeeds", |s| {
        s.phase == JobFlowPhase::Succeeded
    });
    assert_eq!((again.run, again.nodes[0].node.attempts), (2, 2));
    assert_eq!(again.nodes[0].job, "some-fail-node1-r2");
    assert_eq!(again.nodes[1], status.nodes[1]);
}

#[test]
#[ignore = "needs a cluster"]
fn a_failure_stops_the_others_where_that_is_asked_for() {
    let cluster = Cluster::shared();
    let ns = cluster.namespace("daemon-failfast");
    let script = format!("test $NODE = node1 || exec sleep 300; {UNTIL_TOLD}; exit 3");
    let spec = "  backoffLimit: 0\n  failurePolicy: FailFast";
    ns.apply(&yaml("failfast", &script, spec, ""));
    runs(&ns, "failfast-node1");
    runs(&ns, "failfast-node2");
    ns.tell("failfast-node1");
    let status = finished(&ns, "failfast");
    assert_eq!(status.phase, JobFlowPhase::Failed);
    let failed = ("node1", Failed, "BackoffLimitExceeded");
    assert_eq!(nodes(&status), [failed, ("node2", Cancelled, "")]);
    assert_eq!(status.cause.expect("a cause").node, "node1");
}

#[test]
#[ignore = "needs a cluster"]
fn a_deadline_and_a_cancellation_stop_what_runs_and_a_ttl_removes_it() {
    let cluster = Cluster::shared();
    let ns = cluster.namespace("daemon-ends");
    ns.apply(&yaml("late", "sleep 300", "  activeDeadlineSeconds: 4", ""));
    ns.apply(&yaml(
        "stopped",
        "sleep 300",
        "  ttlSecondsAfterFinished: 20",
        "",
    ));
    runs(&ns, "stopped-node1");
    let running = until(&ns, "stopped", "it runs", |s| s.counts.running == 2);
    assert!(
        running
            .nodes
            .iter()
            .all(|n| n.node.state == Running || n.node.attempts == 1)
    );
    ns.kubectl(&[
        "patch",
        "daemonjob",
        "stopped",
        "--type=merge",
        "-p",
        r#"{"spec":{"cancel":true}}"#,
    ])
    .success("cancel");
    let status = finished(&ns, "stopped");
    assert_eq!(
        (status.phase, status.reason.as_str()),
        (JobFlowPhase::Cancelled, "Cancelled")
    );
    assert_eq!(
        nodes(&status),
        [("node1", Cancelled, ""), ("node2", Cancelled, "")]
    );

    let status = finished(&ns, "late");
    assert_eq!(
        (status.phase, status.reason.as_str()),
        (JobFlowPhase::Failed, "DeadlineExceeded")
    );
    let took = status
        .finished_at
        .zip(status.started_at)
        .map(|(to, from)| to.since(from));
    assert!(
        took.is_some_and(|t| t.as_secs() >= 4 && t.as_secs() < 60),
        "{took:?}"
    );

    baton_e2e::until(SOON, "it is removed, and its Jobs", || {
        let gone = ns.get("daemonjob", "stopped").is_none()
            && ns.list("jobs", "baton.dev/daemonjob=stopped").is_empty();
        gone.then_some(())
    });
    assert!(ns.get("daemonjob", "late").is_some());
}
