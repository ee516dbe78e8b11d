//! Pods that write what they should not: they harm themselves at most.

use std::time::Duration;

use baton_api::status::{TaskPhase, TaskStatus};
use baton_e2e::{Cluster, Namespace};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(120);

fn step<'a>(status: &'a TaskStatus, name: &str) -> &'a baton_api::status::StepStatus {
    status.steps.iter().find(|s| s.name == name).expect("there")
}

/// What tells that the agents are those of before: their containers, none started again.
fn agents(cluster: &Cluster) -> Vec<(String, Value)> {
    let out = cluster.kubectl().run(&[
        "get",
        "pods",
        "-n",
        "baton-system",
        "-l",
        "app.kubernetes.io/component=agent",
        "-o",
        "json",
    ]);
    let list: Value = serde_json::from_str(&out.success("agents")).expect("JSON");
    let container = |pod: &Value| {
        let status = &pod["status"]["containerStatuses"][0];
        (
            pod["metadata"]["name"].to_string(),
            status["containerID"].clone(),
        )
    };
    list["items"]
        .as_array()
        .expect("a list")
        .iter()
        .map(container)
        .collect()
}

/// A Task that runs on a node, and ends as it should.
fn goes_well(ns: &Namespace, name: &str, node: &str) {
    ns.apply(&format!(
        "
apiVersion: baton.dev/v1alpha1
kind: Task
metadata: {{name: {name}}}
spec:
  podTemplate: {{spec: {{nodeName: {node}}}}}
  steps:
  - {{name: one, image: busybox, results: [{{name: r}}], script: 'printf fine > $(results.r.path)'}}
  - {{name: two, image: busybox, command: [echo, $(steps.one.results.r)]}}
"
    ));
    let status = ns.finished(name, SOON);
    assert_eq!(status.phase, TaskPhase::Succeeded, "{status:?}");
    assert_eq!(status.steps[0].results[0].value, "fine");
}

#[test]
#[ignore = "needs a cluster"]
fn steps_that_write_garbage_harm_themselves_at_most() {
    let cluster = Cluster::shared();
    let ns = cluster.namespace("hostile");
    let before = agents(&cluster);
    let nodes = cluster.nodes();
    let node = &nodes[0];
    ns.apply(&format!(
        r#"
apiVersion: baton.dev/v1alpha1
kind: Task
metadata: {{name: hostile}}
spec:
  podTemplate: {{spec: {{nodeName: {node}}}}}
  steps:
  - name: garbage
    image: busybox
    onError: continue
    script: |
      cd ${{BATON_RESULTS%/*}}
      head -c 3000000 /dev/urandom >> events
      printf '\n{{"kind":"Finished","pod":"victim-1","namespace":"kube-system","number":2,"exitCode":0}}\n' >> events
      head -c 3000000 /dev/zero | tr '\0' x >> events
  - name: links
    image: busybox
    results: [{{name: good}}]
    script: |
      ln -s /etc/passwd $BATON_RESULTS/link
      ln -s ../../../../../../etc/hostname $BATON_RESULTS/up
      ln -s /proc/self/environ $BATON_RESULTS/environ
      mkfifo $BATON_RESULTS/pipe
      mkdir $BATON_RESULTS/folder
      printf '\377\376' > $BATON_RESULTS/not-text
      printf ok > $BATON_RESULTS/good
  - name: others
    image: busybox
    script: |
      for f in order facts turns/5/order steps/1/exit steps/5/exit steps/5/results/x bin/x x; do
        if (echo 99 > /baton/$f) 2>/dev/null; then echo "wrote $f"; exit 9; fi
      done
      echo nothing written
  - name: forge
    image: busybox
    onError: continue
    script: |
      cd ${{BATON_RESULTS%/*}}
      rm -rf events exit results
      ln -s /etc/shadow exit
      ln -s /etc results
  - {{name: after, image: busybox, command: [echo, after]}}
"#
    ));
    let status = ns.finished("hostile", SOON);
    let links = step(&status, "links");
    let values: Vec<_> = links
        .results
        .iter()
        .map(|r| (r.name.as_str(), r.value.as_str()))
        .collect();
    assert_eq!(values, [("good", "ok")], "what links lead to is not read");
    let missing: Vec<_> = links
        .missing_results
        .iter()
        .map(|r| r.name.as_str())
        .collect();
    for name in ["environ", "folder", "link", "not-text", "pipe", "up"] {
        assert!(missing.contains(&name), "{missing:?}");
    }
    let pod = status.pod.as_ref().expect("it had a pod").name.clone();
    assert_eq!(ns.log(&pod, "others"), "nothing written\n");
    assert!(!step(&status, "garbage").warnings.is_empty(), "{status:?}");
    // Whatever became of the step that forged its own end, it is told, and nobody else's file is.
    assert!(status.phase.is_over());
    let text = serde_json::to_string(&status).expect("JSON");
    assert!(!text.contains("root:"), "{text}");
    goes_well(&ns, "beside", node);
    assert_eq!(agents(&cluster), before, "no agent was started again");
}

#[test]
#[ignore = "needs a cluster"]
fn a_pod_that_fills_its_volume_fills_nobody_elses() {
    let cluster = Cluster::shared();
    let ns = cluster.namespace("full");
    let before = agents(&cluster);
    let nodes = cluster.nodes();
    let node = &nodes[0];
    ns.apply(&format!(
        r#"
apiVersion: baton.dev/v1alpha1
kind: Task
metadata: {{name: full}}
spec:
  gracePeriod: 2s
  podTemplate: {{spec: {{nodeName: {node}}}}}
  steps:
  - name: bytes
    image: busybox
    onError: continue
    script: |
      cd ${{BATON_RESULTS%/*}}
      head -c 1000000000 /dev/zero > big || true
      echo "$(($(wc -c < big) >> 20)) MiB"
      i=0
      while (: > f$i) 2>/dev/null && [ $i -lt 200000 ]; do i=$((i+1)); done
      echo "$i files"
      [ $i -lt 200000 ]
  - {{name: after, image: busybox, command: [echo, after]}}
"#
    ));
    goes_well(&ns, "beside", node);
    let status = ns.finished("full", SOON);
    assert!(status.phase.is_over(), "{status:?}");
    let pod = status.pod.as_ref().expect("it had a pod").name.clone();
    let log = ns.log(&pod, "bytes");
    let said = log.lines().find_map(|line| line.strip_suffix(" MiB"));
    let mib: u32 = said.and_then(|n| n.parse().ok()).expect(&log);
    assert!(mib <= 64, "{log}");
    assert!(log.contains(" files"), "{log}");
    goes_well(&ns, "afterwards", node);
    assert_eq!(agents(&cluster), before, "no agent was started again");
}

#[test]
#[ignore = "needs a cluster"]
fn a_pod_that_has_the_whole_volume_leaves_nothing_behind() {
    let cluster = Cluster::shared();
    let ns = cluster.namespace("hostile-pod");
    let before = agents(&cluster);
    let nodes = cluster.nodes();
    let node = &nodes[0];
    ns.apply(&format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: hostile, labels: {{baton.dev/managed: "true"}}}}
spec:
  nodeName: {node}
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  containers:
  - name: one
    image: busybox
    securityContext: {{runAsUser: 0}}
    volumeMounts: [{{name: baton, mountPath: /baton}}]
    command: [sh, -c]
    args:
    - |
      cd /baton; ls -la . steps
      for i in 1 2 3; do
        echo 99 > order; echo 99 > turns/2/order; head -c 300000 /dev/urandom > facts
        mv steps steps-$i && mkdir -p steps/1 && ln -s /etc/passwd steps/1/exit && ln -s /proc/1/root steps/2
        head -c 100000 /dev/zero | tr '\0' '\n' > steps/1/events
        rm -rf turns; ln -s / turns; ln -s /etc order.new
        rm -rf steps; ln -s ../../../../.. steps
        rm steps; mkdir steps
      done
      mount -t tmpfs x /baton/steps 2>/dev/null
      rm -rf /baton/order /baton/facts
      ln -s /etc/passwd order; ln -s /etc/passwd facts
      echo done
  - {{name: two, image: busybox, command: [sleep, "600"]}}
  volumes:
  - name: baton
    csi:
      driver: csi.baton.dev
      volumeAttributes: {{plan: '{{"version":1,"steps":[{{"name":"one"}},{{"name":"two"}}],"graceMs":1000}}'}}
"#
    ));
    assert!(ns.log("hostile", "one").ends_with("done\n"));
    let pod = ns.get("pod", "hostile").expect("there");
    let uid = pod["metadata"]["uid"].as_str().expect("a UID").to_owned();
    goes_well(&ns, "beside", node);
    ns.kubectl(&["delete", "pod", "hostile", "--timeout=60s"])
        .success("it goes");
    if let Some(parts) = cluster.parts() {
        baton_e2e::until(SOON, "nothing of it is mounted", || {
            let mounts = parts.in_node(1, &["cat", "/proc/mounts"]).success("mounts");
            (!mounts.contains(&uid)).then_some(())
        });
        let hostname = parts
            .in_node(1, &["sh", "-c", "cat /etc/passwd | head -1"])
            .success("passwd");
        assert!(hostname.starts_with("root:"), "{hostname}");
    }
    goes_well(&ns, "afterwards", node);
    assert_eq!(agents(&cluster), before, "no agent was started again");
}
