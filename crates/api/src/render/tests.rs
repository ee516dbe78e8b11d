use super::*;
use crate::document::{Object, Source, parse};
use proptest::prelude::*;

const EVERYTHING: &str = include_str!("../../tests/good/everything.yaml");

pub(crate) fn task(text: &str) -> Task {
    let source = Source {
        name: "task.yaml",
        text: text.as_bytes(),
    };
    match parse(source) {
        Ok(mut documents) => match documents.remove(0).object {
            Object::Task(task) => *task,
            other => panic!("{other:?}"),
        },
        Err(mistakes) => panic!("{mistakes:#?}"),
    }
}

fn given(params: &[(&str, &str)]) -> BTreeMap<String, ParamValue> {
    params
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).into()))
        .collect()
}

fn messages(task: &Task, params: &[(&str, &str)]) -> Vec<String> {
    match render(task, &given(params)) {
        Ok(_) => Vec::new(),
        Err(mistakes) => mistakes.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn parameters_are_put_in_their_places() {
    let params = given(&[("who", "me"), ("image", "{\"tag\": \"v2\"}")]);
    let rendered = render(&task(EVERYTHING), &params).unwrap();
    let spec = rendered.spec();
    let [fetch, build, push] = &spec.steps[..] else {
        panic!("{spec:?}");
    };
    assert_eq!(fetch.image.as_deref(), Some("alpine/git:main"));
    assert_eq!(fetch.command, ["git", "clone", "--branch=main", "me"]);
    assert_eq!(fetch.env[1].value.as_deref(), Some("me@$(HOME)"));
    assert_eq!(fetch.working_dir.as_deref(), Some("/work/main"));
    assert_eq!(
        build.args,
        [
            "-O2",
            "-DNAME=$$(HOME)",
            "-O2",
            "-o",
            "$(results.binary.path)",
            "$$(params.who)"
        ]
    );
    assert_eq!(push.args, ["registry.example/app:v2"]);
    assert_eq!(push.when[0].input, "main");
    assert_eq!(
        push.when[0].values,
        ["main", "$(steps.fetch.results.commit)"]
    );
    assert_eq!(spec.sidecars[0].args, ["me"]);
    let readiness = spec.sidecars[1].readiness.as_ref().unwrap();
    assert_eq!(readiness.command, ["curl", "-f", "http://me/"]);
    assert_eq!(spec.callbacks[0].url, "http://me/hook?a=b");
    assert_eq!(rendered.timeout(), Some(Duration::from_secs(5400)));
    assert_eq!(rendered.grace(), Duration::from_secs(5));
    assert_eq!(rendered.params()["revision"], "main".into());
}

#[test]
fn what_is_given_has_to_fit() {
    let task = task(EVERYTHING);
    assert_eq!(
        messages(&task, &[("hwo", "x"), ("flags", "[1]"), ("image", "x")]),
        [
            "task.yaml: parameter \"hwo\" was given, and there is none of this name; did you mean who?",
            "task.yaml:12:7: spec.params[1]: parameter \"flags\": expected a JSON array of strings: invalid type: integer `1`, expected a string at line 1 column 2",
            "task.yaml:13:7: spec.params[2]: parameter \"image\": expected a JSON object of strings: expected value at line 1 column 1",
            "task.yaml:17:7: spec.params[3]: parameter \"who\" has no default and was not given",
        ]
    );
    assert_eq!(
        messages(&task, &[("who", "x y"), ("flags", "")]),
        [
            "task.yaml:57:36: spec.steps[1].args[1]: $(params.flags[0]): \"flags\" has 0 elements",
            "task.yaml:80:7: spec.callbacks[0].url: \"http://x y/hook?a=b\" is not an http or https URL",
        ]
    );
    assert_eq!(messages(&task, &[("who", "a\0b")]).len(), 7);
}

#[test]
fn a_command_that_parameters_empty_is_refused() {
    let text = "{apiVersion: baton.dev/v1alpha1, kind: Task, metadata: {name: a}, spec: {\
        params: [{name: p}, {name: l, type: array}], \
        steps: [{name: a, command: ['$(params.p)', x]}, {name: b, command: ['$(params.l[*])']}]}}";
    let task = task(text);
    assert_eq!(messages(&task, &[("p", ""), ("l", "")]).len(), 2);
    assert_eq!(messages(&task, &[("p", "a"), ("l", "a,b")]), [""; 0]);
}

#[test]
fn what_parameters_bring_is_bounded() {
    let args = "'$(params.p)', ".repeat(2000);
    let text = format!(
        "{{apiVersion: baton.dev/v1alpha1, kind: Task, metadata: {{name: a}}, spec: {{\
        params: [{{name: p}}], steps: [{{name: a, command: [x, {args}]}}]}}}}"
    );
    let long = "x".repeat(1 << 20);
    let got = messages(&task(&text), &[("p", &long)]);
    assert_eq!(got.len(), 1, "{got:.200?}");
    assert!(got[0].ends_with("parameters make more than 16777216 bytes of text"));
}

#[test]
fn a_task_from_elsewhere_is_validated_too() {
    let task = Task::default();
    assert_eq!(
        messages(&task, &[]),
        [
            "-: metadata.name: is missing",
            "-: spec.steps: has to have at least one step"
        ]
    );
}

proptest! {
    /// Whatever a parameter holds reaches the program as it is: neither the kubelet's references nor
    /// the entrypoint's in it are followed.
    #[test]
    fn a_value_is_never_read_as_a_reference(
        value in "([$()x]|\\$\\(steps\\.a\\.results\\.r\\)|\\$\\(HOME\\)|\\$\\(params\\.p\\)|\\$\\(results\\.r\\.path\\))*"
    ) {
        let text = "{apiVersion: baton.dev/v1alpha1, kind: Task, metadata: {name: a}, spec: {\
            params: [{name: p}], steps: [{name: a, command: [x, '$(params.p)'], env: [{name: V, value: '$(params.p)'}], results: [{name: r}], \
            when: [{input: '$(params.p)', operator: in, values: [x]}]}]}}";
        let rendered = render(&task(text), &given(&[("p", &value)])).unwrap();
        let places = crate::Places { root: "/b".into(), also_wait: Vec::new(), termination_message: None };
        let invocations = crate::invocations(&rendered, &places);
        let word = invocations[0].command[1].to_str().unwrap();
        let expand = |text: &str| crate::expand_env(text, |name| (name == "HOME").then_some("/home"));
        let expanded = expand(word);
        // The step refers to no results, so that nobody reads its environment after the kubelet.
        let environments = crate::environments(&rendered, &places);
        prop_assert_eq!(expand(environments[0][0].value.as_ref().unwrap()), value.clone());
        let resolve = |text: &str| {
            let never = |_: &_| -> Result<Vec<u8>, ()> { Err(()) };
            baton_protocol::reference::resolve(text.as_bytes(), never)
        };
        prop_assert_eq!(resolve(&expanded), Ok(value.clone().into_bytes()));
        prop_assert_eq!(resolve(&invocations[0].when[0].input), Ok(value.into_bytes()));
    }
}
