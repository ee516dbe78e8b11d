//! What a person sees of a flow.

use crate::harness::{Place, flow, node};

#[test]
fn a_person_sees_the_graph_and_how_it_went() {
    let place = Place::new();
    let nodes = [
        node("build", "", "echo built"),
        node("test", "dependencies: [build]", "exit 2"),
        node("deploy", "dependencies: [test]", "true"),
    ];
    let output = place.run(&flow("", &nodes), &["--report", "r.html"]);
    assert_eq!(output.status.code(), Some(1));
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.starts_with("f-build-1"), "{printed}");
    assert!(printed.ends_with("| built\n"), "{printed}");
    let said = String::from_utf8_lossy(&output.stderr);
    for told in [
        "  build ─▶ test ─▶ deploy\n",
        "build ✔ succeeded in",
        "test ✘ failed after",
        "deploy ○ skipped: test did not succeed",
        "1 of 3 succeeded, 1 skipped. flow \"test\" failed: BackoffLimitExceeded",
    ] {
        assert!(said.contains(told), "{told} in\n{said}");
    }
    let page = place.lines("r.html").join("\n");
    for told in [
        "<svg class=\"graph\"",
        "<g class=\"node bad\"><title>test: Failed",
        "<g class=\"node wait\"><title>deploy: Skipped",
        "f-build-1",
    ] {
        assert!(page.contains(told), "{told}");
    }
}
