//! A test's own namespace.

use std::time::Duration;

use baton_api::status::TaskStatus;
use serde_json::Value;

use crate::{Kubectl, Output, Series, Watch, dump};

/// A namespace of one test. Where the test fails, what is in it is printed; at the end it is removed.
#[derive(Debug)]
pub struct Namespace {
    kubectl: Kubectl,
    name: String,
}

impl Namespace {
    pub(crate) fn create(kubectl: Kubectl, name: String) -> Self {
        kubectl
            .run(&["create", "namespace", &name])
            .success("a namespace");
        let namespace = Self { kubectl, name };
        // Before its service account is there no pod can be made.
        namespace.wait(
            "serviceaccount",
            "default",
            Duration::from_secs(60),
            "there",
            |_| true,
        );
        namespace
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `kubectl -n NAMESPACE ARGS`.
    pub fn kubectl(&self, args: &[&str]) -> Output {
        self.kubectl
            .run(&[&["-n", self.name.as_str()], args].concat())
    }

    /// Applies YAML.
    ///
    /// # Panics
    /// Where the server refuses it.
    pub fn apply(&self, yaml: &str) {
        self.try_apply(yaml).success("apply");
    }

    /// Applies YAML, and says what came of it.
    pub fn try_apply(&self, yaml: &str) -> Output {
        self.kubectl
            .run_with(&["-n", &self.name, "apply", "-f", "-"], yaml)
    }

    /// An object as it is now.
    pub fn get(&self, kind: &str, name: &str) -> Option<Value> {
        let out = self.kubectl(&["get", kind, name, "-o", "json", "--ignore-not-found"]);
        serde_json::from_str(&out.success("get")).ok()
    }

    /// The objects of a kind, by a label selector ("" for all).
    pub fn list(&self, kind: &str, selector: &str) -> Vec<Value> {
        let out = self.kubectl(&["get", kind, "-l", selector, "-o", "json"]);
        let list: Value = serde_json::from_str(&out.success("list")).expect("JSON");
        list["items"].as_array().cloned().unwrap_or_default()
    }

    /// Waits until the object is as `condition` says, and gives it.
    ///
    /// # Panics
    /// After `limit`, with the object as it is then.
    pub fn wait(
        &self,
        kind: &str,
        name: &str,
        limit: Duration,
        what: &str,
        condition: impl Fn(&Value) -> bool,
    ) -> Value {
        Watch::of(&self.kubectl, &self.name, kind, name).until(limit, what, condition)
    }

    /// Waits until a Task is over, and gives its status.
    ///
    /// # Panics
    /// After `limit`.
    pub fn finished(&self, task: &str, limit: Duration) -> TaskStatus {
        let object = self.wait("task", task, limit, "its end", |object| {
            status(object).phase.is_over()
        });
        status(&object)
    }

    /// A Task's status as it is now.
    pub fn status(&self, task: &str) -> TaskStatus {
        self.get("task", task)
            .map(|task| status(&task))
            .unwrap_or_default()
    }

    /// Follows the objects of a kind from now on: each new value that `look` finds in them.
    pub fn series(
        &self,
        kind: &str,
        look: impl Fn(&Value) -> Option<String> + Send + 'static,
    ) -> Series {
        Series::start(&self.kubectl, &self.name, kind, look)
    }

    /// The orders that pods go through from now on, as the annotation has them.
    pub fn orders(&self) -> Series {
        self.series("pods", |pod| {
            let order = &pod["metadata"]["annotations"]["baton.dev/order"];
            order.as_str().map(str::to_owned)
        })
    }

    /// Lets a Job's pod end that runs [`UNTIL_TOLD`](crate::UNTIL_TOLD).
    pub fn tell(&self, job: &str) {
        let running = |pod: &Value| {
            let name = pod["metadata"]["name"].as_str();
            let runs = pod["status"]["phase"] == "Running";
            name.filter(|_| runs).map(str::to_owned)
        };
        let pod = crate::until(Duration::from_secs(90), "the Job's pod runs", || {
            let pods = self.list("pods", &format!("job-name={job}"));
            pods.iter().find_map(running)
        });
        self.kubectl(&["exec", &pod, "--", "touch", "/tmp/done"])
            .success("exec");
    }

    /// Waits until a container has said this: what runs as its first process is up then.
    pub fn says(&self, pod: &str, container: &str, text: &str) {
        let what = format!("{container} of {pod} says {text:?}");
        crate::until(Duration::from_secs(90), &what, || {
            let log = self.kubectl(&["logs", pod, "-c", container]).stdout;
            log.contains(text).then_some(())
        });
    }

    /// The log of one container of a pod, whole: once the container is over, which the kubelet says
    /// up to a second or two after the Task's end.
    pub fn log(&self, pod: &str, container: &str) -> String {
        let over = |pod: &Value| {
            let statuses = pod["status"]["containerStatuses"].as_array();
            statuses.is_some_and(|all| {
                all.iter()
                    .any(|c| c["name"] == container && c["state"]["terminated"].is_object())
            })
        };
        let limit = Duration::from_secs(120);
        self.wait("pod", pod, limit, &format!("{container} is over"), over);
        self.kubectl(&["logs", pod, "-c", container])
            .success("logs")
    }
}

/// The status in a Task's object; the empty one where there is none.
fn status(object: &Value) -> TaskStatus {
    match object.get("status") {
        Some(status) => serde_json::from_value(status.clone())
            .unwrap_or_else(|e| panic!("a status that cannot be read: {e}: {status}")),
        None => TaskStatus::default(),
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", dump::of(&self.kubectl, &self.name));
        }
        if std::env::var_os("BATON_E2E_KEEP").is_none() {
            self.kubectl
                .run(&["delete", "namespace", &self.name, "--wait=false"]);
        }
    }
}
