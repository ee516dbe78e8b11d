//! What a flow is made of.

use crate::harness::{Place, flow, node};

#[test]
fn what_a_template_sets_wins_over_what_all_are_given() {
    let place = Place::new();
    let globals = "globalParams: {env: [{name: A, value: all}, {name: B, value: all}]}";
    let own = node("own", "", "echo $A $B >> told").replace(
        "name: c, command",
        "name: c, env: [{name: B, value: own}], command",
    );
    let output = place.run(&flow(globals, &[own]), &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(place.lines("told"), ["all own"]);
    assert!(said.contains("template's \"B\" wins"), "{said}");
}

#[test]
fn nothing_starts_where_something_is_missing() {
    let place = Place::new();
    for (bad, why) in [
        (
            "name: b, jobTemplateRef: nowhere".to_owned(),
            "flow \"b\": there is no JobTemplate \"nowhere\" in the files that are run",
        ),
        (
            node("b", "", "true").replace("command: [sh, -c, \"true\"]", "image: perl"),
            "flow \"b\": container c has no command",
        ),
        (
            node("b", "dependencies: [b]", "true"),
            "\"b\" depends on itself",
        ),
    ] {
        let output = place.run(&flow("", &[node("a", "", "touch ran"), bad]), &[]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(why), "{said}");
    }
    assert!(!place.0.path().join("ran").exists());
}

#[test]
fn a_suspended_flow_runs_nothing() {
    let place = Place::new();
    let (run, code) = place.json(&flow("suspend: true", &[node("a", "", "touch ran")]));
    assert_eq!(code, 1);
    assert_eq!(run["status"]["phase"], "Suspended");
    assert!(!place.0.path().join("ran").exists());
}
