//! Pods under the restricted Pod Security profile, of any user, on a read-only root.

use std::time::Duration;

use baton_api::status::TaskPhase;
use baton_e2e::{Cluster, Kubectl, Namespace, Parts};

const SOON: Duration = Duration::from_secs(120);

/// Nothing said, a user and a read-only root of its own, and one that asks for what is not allowed.
const TASKS: &str = r#"
apiVersion: baton.dev/v1alpha1
kind: Task
metadata: {name: plain}
spec:
  steps:
  - {name: one, image: busybox, results: [{name: r}], script: 'id -u > $(results.r.path)'}
  - {name: two, image: busybox, command: [echo, $(steps.one.results.r)]}
---
apiVersion: baton.dev/v1alpha1
kind: Task
metadata: {name: other-user}
spec:
  volumes: [{name: work, emptyDir: {}}]
  steps:
  - name: one
    image: busybox
    securityContext: {runAsUser: 4242, readOnlyRootFilesystem: true}
    results: [{name: r}]
    script: |
      #!/bin/sh -e
      id -u > $(results.r.path)
      if (: > /tmp/x) 2>/dev/null; then exit 9; fi
  - name: two
    image: busybox
    securityContext: {runAsUser: 1234567, readOnlyRootFilesystem: true}
    volumeMounts: [{name: work, mountPath: /work}]
    script: 'test "$(id -u)" = 1234567 && echo "$1" > /work/x'
    args: [$(steps.one.results.r)]
"#;
const PRIVILEGED: &str = r#"
apiVersion: baton.dev/v1alpha1
kind: Task
metadata: {name: privileged}
spec:
  steps:
  - name: one
    image: busybox
    securityContext: {privileged: true}
    command: ["true"]
"#;

fn both_run(ns: &Namespace) {
    ns.apply(TASKS);
    for (task, user) in [("plain", "65532"), ("other-user", "4242")] {
        let status = ns.finished(task, SOON);
        assert_eq!(status.phase, TaskPhase::Succeeded, "{status:?}");
        assert_eq!(status.steps[0].results[0].value.trim(), user);
    }
}

#[test]
#[ignore = "needs a cluster"]
fn pods_are_as_restricted_as_can_be_and_of_any_user() {
    let cluster = Cluster::shared();
    let ns = cluster.namespace("security");
    if cluster.at_least(25) {
        let label = "pod-security.kubernetes.io/enforce=restricted";
        cluster
            .kubectl()
            .run(&["label", "namespace", ns.name(), label])
            .success("label");
    }
    both_run(&ns);
    for pod in ns.list("pods", "") {
        let spec = &pod["spec"];
        assert!(spec["initContainers"].is_null(), "there is none");
        assert_eq!(spec["automountServiceAccountToken"], false);
        for container in spec["containers"].as_array().expect("a list") {
            let of_both = |field: &str| match &container["securityContext"][field] {
                serde_json::Value::Null => &spec["securityContext"][field],
                of_container => of_container,
            };
            assert_eq!(of_both("runAsNonRoot"), true, "{container}");
            assert_eq!(of_both("seccompProfile")["type"], "RuntimeDefault");
            let own = &container["securityContext"];
            assert_eq!(own["allowPrivilegeEscalation"], false);
            assert_eq!(own["capabilities"]["drop"][0], "ALL");
        }
        let volumes = spec["volumes"].as_array().expect("a list");
        assert!(
            volumes.iter().all(|v| v["hostPath"].is_null()),
            "{volumes:?}"
        );
    }
}

/// The API server with PodSecurityPolicy, until the end of a test.
struct Policies<'a> {
    parts: Parts,
    kubectl: &'a Kubectl,
}

impl<'a> Policies<'a> {
    fn new(parts: Parts, kubectl: &'a Kubectl) -> Self {
        let policies = Policies { parts, kubectl };
        policies.parts.stop("apiserver", "TERM");
        policies.parts.start_apiserver_with("PodSecurityPolicy");
        policies.ready();
        policies
    }

    fn ready(&self) {
        baton_e2e::until(SOON, "the API server is ready", || {
            self.kubectl
                .run(&["get", "--raw", "/readyz"])
                .ok
                .then_some(())
        });
    }
}

impl Drop for Policies<'_> {
    fn drop(&mut self) {
        self.parts.stop("apiserver", "TERM");
        self.parts.start("apiserver");
        if !std::thread::panicking() {
            self.ready();
        }
    }
}

const POLICY: &str = r#"
apiVersion: policy/v1beta1
kind: PodSecurityPolicy
metadata:
  name: NAME
  annotations:
    seccomp.security.alpha.kubernetes.io/allowedProfileNames: runtime/default
spec:
  privileged: false
  allowPrivilegeEscalation: false
  requiredDropCapabilities: [ALL]
  volumes: [configMap, emptyDir, projected, secret, downwardAPI, csi]
  allowedCSIDrivers: [{name: csi.baton.dev}]
  runAsUser: {rule: MustRunAsNonRoot}
  seLinux: {rule: RunAsAny}
  supplementalGroups: {rule: RunAsAny}
  fsGroup: {rule: RunAsAny}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: restricted}
rules: [{apiGroups: [policy], resources: [podsecuritypolicies], resourceNames: [NAME], verbs: [use]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: restricted}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: restricted}
subjects: [{kind: ServiceAccount, name: default}]
"#;

#[test]
#[ignore = "needs a cluster"]
fn a_server_that_enforces_the_profile_takes_the_pods() {
    let cluster = Cluster::alone();
    let ns = cluster.namespace("enforced");
    if cluster.at_least(25) {
        let label = "pod-security.kubernetes.io/enforce=restricted";
        cluster
            .kubectl()
            .run(&["label", "namespace", ns.name(), label])
            .success("label");
        enforced(&ns);
    } else {
        let Some(parts) = cluster.parts() else { return };
        ns.apply(&POLICY.replace("NAME", ns.name()));
        let policies = Policies::new(parts, cluster.kubectl());
        enforced(&ns);
        drop(policies);
        cluster
            .kubectl()
            .run(&["delete", "podsecuritypolicy", ns.name()])
            .success("the policy goes");
    }
}

fn enforced(ns: &Namespace) {
    both_run(ns);
    ns.apply(PRIVILEGED);
    ns.wait(
        "task",
        "privileged",
        SOON,
        "it says why it does not run",
        |task| {
            let message = task["status"]["message"].as_str().unwrap_or_default();
            message.contains("rivileged")
        },
    );
    assert!(ns.list("pods", "baton.dev/task=privileged").is_empty());
}
