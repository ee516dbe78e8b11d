//! Jobs and Tasks of flows, as `tests/golden` has them. `BATON_UPDATE_GOLDEN=1` writes them anew.

#![allow(clippy::panic, clippy::unwrap_used)] // a test's helpers fail as tests do

use std::collections::BTreeMap;
use std::path::PathBuf;

use baton_api::crd::to_yaml;
use baton_api::flow::{GlobalParams, JobFlow};
use baton_api::flow_run::{Item, fill_job};
use baton_api::job::JobSpec;
use baton_api::{Object, Source, parse};
use baton_pod::job::{JobInputs, Owner, job};
use baton_pod::names::{FLOW_LABEL, FLOW_NODE_LABEL};
use baton_pod::task::task;
use serde_json::{Value, json};

fn flow(text: &str) -> JobFlow {
    let source = Source {
        name: "flow.yaml",
        text: text.as_bytes(),
    };
    let document = parse(source).unwrap().pop().unwrap();
    let Object::JobFlow(flow) = document.object else {
        panic!("this is no JobFlow");
    };
    *flow
}

fn compare(name: &str, object: &Value) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    let want = to_yaml(object);
    if std::env::var_os("BATON_UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &want).unwrap();
    }
    let have = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        have == want,
        "{name} is not as built; BATON_UPDATE_GOLDEN=1 writes it anew"
    );
}

fn with_inputs<T>(flow: &JobFlow, node: &str, f: impl FnOnce(&JobInputs<'_>) -> T) -> T {
    let own = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    f(&JobInputs {
        name: &baton_pod::node_name(&flow.metadata.name, node, None, 1),
        owner: Owner {
            kind: "JobFlow",
            name: &flow.metadata.name,
            uid: "5a4d4d5c-0b6e-4d0c-8f5e-2a1b3c4d5e6f",
            namespace: "ci",
            labels: &flow.metadata.labels,
        },
        globals: &flow.spec.global_params,
        labels: &BTreeMap::from([
            own(FLOW_LABEL, &flow.metadata.name),
            own(FLOW_NODE_LABEL, node),
        ]),
        annotations: &BTreeMap::new(),
        node: None,
    })
}

fn none(_: &str, _: &str, _: &str) -> Result<String, String> {
    Err("there is none".to_owned())
}

#[test]
fn a_job_of_everything() {
    let flow = flow(include_str!("flows/everything.yaml"));
    let item = Item {
        index: 1,
        value: "green".to_owned(),
    };
    let spec = flow.spec.flows[0].job_template.as_ref().unwrap();
    let spec = fill_job(spec, &none, Some(&item)).unwrap();
    let made = with_inputs(&flow, "job1", |inputs| job(&spec, inputs)).unwrap();
    compare("flow-job.yaml", &serde_json::to_value(&made.job).unwrap());
    assert_eq!(made.ttl_seconds, Some(5));
    assert_eq!(
        made.overruled,
        [
            "labels: the template's \"key2\" wins",
            "env: the template's \"QUE\" wins in container \"nginx\"",
        ]
    );
}

#[test]
fn a_task_of_everything() {
    let flow = flow(include_str!("flows/everything.yaml"));
    let spec = flow.spec.flows[1].task(&none, None).unwrap().unwrap();
    let (made, overruled) = with_inputs(&flow, "task", |inputs| task(spec, inputs)).unwrap();
    let value = serde_json::to_value(&made).unwrap();
    compare("flow-task.yaml", &value);
    assert_eq!(
        overruled,
        ["env: the template's \"FOO\" wins in step \"hello\""]
    );
    let mistakes = baton_pod::review(&value.to_string());
    assert!(mistakes.is_empty(), "{mistakes:?}");
}

#[test]
fn what_is_batons_own_is_refused() {
    let text = json!({
        "podFailurePolcy": {},
    });
    assert!(serde_json::from_value::<JobSpec>(text).is_err());
    let spec: JobSpec = serde_json::from_value(json!({
        "podFailurePolicy": {"rulez": []},
        "template": {
            "metadata": {"labels": {"baton.dev/managed": "true"}},
            "spec": {"containers": [{"name": "a"}], "hostPID": 3},
        },
    }))
    .unwrap();
    let mut flow = flow(include_str!("flows/everything.yaml"));
    flow.spec.global_params = GlobalParams {
        annotations: BTreeMap::from([("baton.dev/order".to_owned(), "1".to_owned())]),
        ..GlobalParams::default()
    };
    let error = with_inputs(&flow, "job1", |inputs| job(&spec, inputs)).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("invalid type: integer `3`"), "{text}");
    assert!(
        text.contains(
            "globalParams.annotations[\"baton.dev/order\"]: names that begin with baton.dev/"
        ),
        "{text}"
    );
}
