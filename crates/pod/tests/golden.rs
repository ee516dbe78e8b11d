//! Pods, as `tests/golden` has them. `BATON_UPDATE_GOLDEN=1` writes them anew; `tests/accepted` asks
//! a real API server what it thinks of them.

#![allow(clippy::panic, clippy::unwrap_used)] // a test's helpers fail as tests do

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use baton_api::crd::to_yaml;
use baton_api::status::Carrier;
use baton_api::{Object, Rendered, Source, parse, render};
use baton_pod::build::DEFAULT_USER;
use baton_pod::{PodInputs, build};
use k8s_openapi::api::core::v1::Pod;

fn rendered(path: &str) -> Rendered {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let text = std::fs::read(&path).unwrap();
    let name = path.display().to_string();
    let source = Source {
        name: &name,
        text: &text,
    };
    let document = parse(source).unwrap().pop().unwrap();
    let Object::Task(task) = document.object else {
        panic!("{name} is no Task");
    };
    render(&task, &BTreeMap::new()).unwrap()
}

fn inputs(carrier: Carrier) -> PodInputs<'static> {
    PodInputs {
        run: 1,
        owner_uid: "5a4d4d5c-0b6e-4d0c-8f5e-2a1b3c4d5e6f",
        carrier,
        tools_image: "baton.dev/baton-tools:0.1.0",
        tools_pull_policy: None,
        user: Some(DEFAULT_USER),
        node: None,
    }
}

fn compare(name: &str, pod: &Pod) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    let want = to_yaml(&serde_json::to_value(pod).unwrap());
    if std::env::var_os("BATON_UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &want).unwrap();
    }
    let have = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        have == want,
        "{name} is not as built; BATON_UPDATE_GOLDEN=1 writes it anew"
    );
}

#[test]
fn the_seeds_task() {
    let task = rendered("../../examples/seed-task.yaml");
    compare(
        "seed.yaml",
        &build(&task, &inputs(Carrier::Volume)).unwrap(),
    );
    compare(
        "seed-fallback.yaml",
        &build(&task, &inputs(Carrier::DownwardAPI)).unwrap(),
    );
}

#[test]
fn dollars_and_scripts() {
    let task = rendered("tests/tasks/scripts.yaml");
    compare(
        "scripts.yaml",
        &build(&task, &inputs(Carrier::Volume)).unwrap(),
    );
}

#[test]
fn everything_that_baton_gives_a_meaning() {
    let task = rendered("tests/tasks/everything.yaml");
    compare(
        "everything.yaml",
        &build(&task, &inputs(Carrier::Volume)).unwrap(),
    );
    compare(
        "everything-fallback.yaml",
        &build(&task, &inputs(Carrier::DownwardAPI)).unwrap(),
    );
}

#[test]
fn native_fields() {
    let task = rendered("tests/tasks/native.yaml");
    compare(
        "native.yaml",
        &build(&task, &inputs(Carrier::Volume)).unwrap(),
    );
    let pinned = PodInputs {
        node: Some("node-7"),
        user: None,
        run: 3,
        ..inputs(Carrier::DownwardAPI)
    };
    compare("native-pinned.yaml", &build(&task, &pinned).unwrap());
}
