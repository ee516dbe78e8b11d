//! The seed's JobFlows, as they are in `examples/` but for the node's name and shorter sleeps.

use baton_api::flow_status::{JobFlowPhase, JobFlowStatus};
use baton_e2e::flow::{Flow, SOON, status};
use baton_e2e::{Cluster, Namespace, Receiver, Request, until};
use baton_flow::NodePhase;
use serde_json::{Value, json};

fn finished(ns: &Namespace, name: &str) -> JobFlowStatus {
    Flow::of(ns, name).over(SOON)
}

fn short(yaml: &str) -> String {
    let yaml = yaml.replace("sleep 100s", "sleep 2s");
    yaml.replace("sleep 10s", "sleep 1s")
}

fn seed(node: &str) -> String {
    let yaml = include_str!("../../../../examples/jobflow.yaml");
    short(yaml).replace("nodeName: minikube", &format!("nodeName: {node}"))
}

#[test]
#[ignore = "needs a cluster"]
fn the_seeds_flow_runs_in_order_on_its_node() {
    let cluster = Cluster::shared();
    let ns = cluster.namespace("flow-seed");
    let node = cluster.nodes().pop().expect("a node");
    ns.apply(&seed(&node));
    let status = finished(&ns, "jobflow-example");
    assert_eq!(status.phase, JobFlowPhase::Succeeded, "{status:?}");
    assert_eq!((status.progress.as_str(), status.run), ("5/5", 1));
    let out = ns.kubectl(&[
        "wait",
        "--for=condition=Succeeded",
        "jobflow/jobflow-example",
        "--timeout=60s",
    ]);
    assert!(out.ok, "{}", out.stderr);
    let at = |name: &str| {
        let node = status.node(name).expect("a node");
        assert_eq!(node.state, NodePhase::Succeeded, "{name}");
        assert_eq!(node.jobs.len(), 1);
        assert_eq!(node.jobs[0].name, format!("jobflow-example-{name}"));
        (node.started_at.unwrap(), node.finished_at.unwrap())
    };
    for (after, before) in [
        ("job2", "job1"),
        ("job3", "job2"),
        ("job5", "job2"),
        ("job5", "job4"),
    ] {
        assert!(at(after).0 >= at(before).1, "{after} before {before}");
    }

    let jobs = ns.list("jobs", "baton.dev/jobflow=jobflow-example");
    assert_eq!(jobs.len(), 5);
    for job in &jobs {
        assert_eq!(job["metadata"]["annotations"]["key1"], "value1");
        assert_eq!(job["metadata"]["labels"]["key2"], "value2");
        let owner = &job["metadata"]["ownerReferences"][0];
        assert_eq!(
            (&owner["kind"], &owner["controller"]),
            (&json!("JobFlow"), &json!(true))
        );
    }
    let pods = ns.list("pods", "key1=value1");
    assert_eq!(pods.len(), 5);
    for pod in &pods {
        assert_eq!(pod["spec"]["nodeName"], node.as_str());
        assert_eq!(pod["spec"]["restartPolicy"], "Never");
        let env = pod["spec"]["containers"][0]["env"].clone();
        let want = json!([{"name": "FOO", "value": "bar"}, {"name": "QUE", "value": "pasa"}]);
        assert_eq!(env, want);
    }
    let table = ns.kubectl(&["get", "jobflows"]).success("a table");
    assert!(table.contains("STATUS") && table.contains("AGE"), "{table}");
    assert!(
        table.contains("Succeeded") && table.contains("5/5"),
        "{table}"
    );
}

#[test]
#[ignore = "needs a cluster"]
fn templates_may_come_after_the_flow() {
    let cluster = Cluster::shared();
    let ns = cluster.namespace("flow-template");
    let yaml = short(include_str!("../../../../examples/jobflow-template.yaml"));
    let (templates, flow) = yaml.rsplit_once("---\n").expect("several documents");
    ns.apply(flow);
    let name = "jobflow-example-template";
    let waits = |object: &Value| {
        let node = status(object);
        let node = node.node("job1");
        node.is_some_and(|n| n.state == NodePhase::Waiting && n.reason == "JobTemplateMissing")
    };
    ns.wait("jobflow", name, SOON, "it waits for its template", waits);
    ns.apply(templates);
    let status = finished(&ns, name);
    assert_eq!(status.phase, JobFlowPhase::Succeeded, "{status:?}");
    let job = ns.get("job", &format!("{name}-job2")).expect("its Job");
    assert_eq!(
        job["metadata"]["annotations"]["baton.dev/template"],
        "job2-template@1"
    );
}

#[test]
#[ignore = "needs a cluster"]
fn the_failing_variant_skips_what_depends_and_runs_again_from_there() {
    let cluster = Cluster::shared();
    let ns = cluster.namespace("flow-fails");
    let node = cluster.nodes().pop().expect("a node");
    let mut flow: Value = kubectl_json(&ns, &seed(&node));
    flow["metadata"]["name"] = json!("jobflow-example-error");
    let pod = &mut flow["spec"]["flows"][1]["jobTemplate"];
    pod["backoffLimit"] = json!(0);
    pod["template"]["spec"]["containers"][0]["command"] = json!(["sh", "-c", "sleep 1; exit 3"]);
    ns.apply(&flow.to_string());
    let failed = finished(&ns, "jobflow-example-error");
    assert_eq!(failed.phase, JobFlowPhase::Failed);
    assert_eq!(failed.reason, "BackoffLimitExceeded");
    assert!(failed.message.contains("\"job2\""), "{}", failed.message);
    let states: Vec<_> = failed.nodes.iter().map(|n| n.state).collect();
    let (ok, bad, skipped) = (NodePhase::Succeeded, NodePhase::Failed, NodePhase::Skipped);
    assert_eq!(states, [ok, bad, skipped, ok, skipped]);
    let jobs = || {
        ns.list("jobs", "baton.dev/jobflow=jobflow-example-error")
            .len()
    };
    assert_eq!(jobs(), 3, "what is skipped has no Job");

    // Repaired, and run again from the node that failed.
    flow["spec"]["flows"][1]["jobTemplate"]["template"]["spec"]["containers"][0]["command"] =
        json!(["sh", "-c", "exit 0"]);
    ns.apply(&flow.to_string());
    ns.kubectl(&[
        "annotate",
        "jobflow/jobflow-example-error",
        "baton.dev/rerun=1",
    ])
    .success("a re-run");
    let done = |object: &Value| {
        let status = status(object);
        status.run == 2 && status.phase.is_over()
    };
    let name = "jobflow-example-error";
    let again = status(&ns.wait("jobflow", name, SOON, "its second end", done));
    assert_eq!(again.phase, JobFlowPhase::Succeeded, "{again:?}");
    let job = |name: &str| again.node(name).unwrap().jobs[0].name.clone();
    assert_eq!(job("job2"), "jobflow-example-error-job2-r2");
    assert_eq!(
        again.node("job1"),
        failed.node("job1"),
        "finished work is kept"
    );
    assert_eq!(jobs(), 6);
}

/// A manifest as the API server reads it.
fn kubectl_json(ns: &Namespace, yaml: &str) -> Value {
    ns.apply(yaml);
    let object = ns.get("jobflow", "jobflow-example").expect("it is there");
    ns.kubectl(&["delete", "jobflow", "jobflow-example", "--wait=true"])
        .success("delete");
    let mut object = json!({
        "apiVersion": object["apiVersion"], "kind": object["kind"],
        "metadata": {"name": object["metadata"]["name"]}, "spec": object["spec"],
    });
    object.as_object_mut().expect("an object").remove("status");
    object
}

#[test]
#[ignore = "needs a cluster"]
fn receivers_are_told_of_flows_and_their_nodes() {
    let cluster = Cluster::shared();
    let receiver = Receiver::start(&cluster);
    let ns = cluster.namespace("flow-told");
    let task = json!({
        "steps": [{"name": "list", "image": "busybox:1.28", "imagePullPolicy": "IfNotPresent",
                   "script": "#!/bin/sh\nprintf '[\"red\",\"green\"]' > $1\n",
                   "args": ["$(results.colours.path)"], "results": [{"name": "colours"}]}],
    });
    let job = json!({"template": {"spec": {"containers": [{
        "name": "c", "image": "busybox:1.28", "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", "echo $0", "$(item)"],
    }]}}});
    let flow = json!({
        "apiVersion": "baton.dev/v1alpha1", "kind": "JobFlow", "metadata": {"name": "told"},
        "spec": {
            "callbacks": [{"url": receiver.url("/told")}],
            "flows": [
                {"name": "list", "taskTemplate": task},
                {"name": "each", "dependencies": ["list"], "jobTemplate": job,
                 "forEach": {"from": "$(flows.list.steps.list.results.colours)"}},
            ],
        },
    });
    ns.apply(&flow.to_string());
    let done = finished(&ns, "told");
    assert_eq!(done.phase, JobFlowPhase::Succeeded, "{done:?}");
    let names: Vec<_> = done
        .node("each")
        .unwrap()
        .jobs
        .iter()
        .map(|j| &j.name)
        .collect();
    assert_eq!(names, ["told-each-0", "told-each-1"]);
    let told = || -> Vec<String> {
        let of = |r: &Request| serde_json::from_slice::<Value>(&r.body).ok();
        let events = receiver
            .requests()
            .iter()
            .filter_map(of)
            .collect::<Vec<_>>();
        let flat = events.into_iter().flat_map(|e| match e {
            Value::Array(all) => all,
            one => vec![one],
        });
        let line = |e: Value| {
            let kind = e["type"].as_str().unwrap_or_default().to_owned();
            let node = e["data"]["node"].as_str().unwrap_or_default().to_owned();
            format!("{} {node}", kind.trim_start_matches("dev.baton."))
                .trim_end()
                .to_owned()
        };
        flat.map(line)
            .filter(|l| !l.starts_with("task.") && !l.starts_with("step."))
            .collect()
    };
    let mut all = until(SOON, "all is told", || {
        let told = told();
        told.iter().any(|l| l == "flow.finished").then_some(told)
    });
    // What a receiver was slow to answer comes again.
    all.dedup();
    let expected = [
        "flow.started",
        "node.started list",
        "node.finished list",
        "node.started each",
        "node.finished each",
        "flow.finished",
    ];
    assert_eq!(all, expected);
    let settled = |object: &Value| {
        let callbacks = status(object).callbacks;
        callbacks.first().is_some_and(|c| c.delivered == 6)
    };
    ns.wait(
        "jobflow",
        "told",
        SOON,
        "what was told is in the status",
        settled,
    );
}
