//! A Task as a cluster has it: the checks of `baton run`, and those that only a cluster needs.

use std::collections::BTreeMap;

use crate::diagnostic::{Diagnostic, FieldPath};
use crate::document::{Object, Source, parse};
use crate::render::{Rendered, render};
use crate::report::Report;
use crate::task::Task;

/// Reads a Task in JSON, as the API server has it or an admission review brings it, and makes it ready
/// to run. Parameters have their defaults: nobody can give any in a cluster.
///
/// # Errors
/// Every mistake as one sentence, which begins with the field that it is in
/// (`spec.steps[1].timeout: ...`); at least one.
pub fn review(json: &str) -> Result<Rendered, Vec<String>> {
    let source = Source {
        name: "task",
        text: json.as_bytes(),
    };
    let mut documents = parse(source).map_err(sentences)?;
    let task = match (documents.pop().map(|d| d.object), documents.len()) {
        (Some(Object::Task(task)), 0) => task,
        _ => return Err(vec!["this is not one Task".to_owned()]),
    };
    let mut report = Report::new(task.origin.clone());
    cluster_only(&task, &mut report);
    let rendered = render(&task, &BTreeMap::new());
    match (rendered, report.finish()) {
        (Ok(rendered), found) if found.is_empty() => Ok(rendered),
        (rendered, found) => {
            let mut all = sentences(found);
            all.extend(sentences(rendered.err().unwrap_or_default()));
            Err(all)
        }
    }
}

/// What has a meaning without a cluster alone.
fn cluster_only(task: &Task, report: &mut Report) {
    let spec = FieldPath::default().key("spec");
    for (i, callback) in task.spec.callbacks.iter().enumerate() {
        if callback.secret.as_ref().is_some_and(|s| s.env.is_some()) {
            let path = spec.key("callbacks").index(i).key("secret").key("env");
            let message = "is an environment variable of baton run; a cluster keeps the key in a Secret: \
                           valueFrom.secretKeyRef";
            report.at(&path, message);
        }
    }
}

/// The mistakes without their places: nobody sees the text that they are in.
fn sentences(found: Vec<Diagnostic>) -> Vec<String> {
    let sentence = |d: Diagnostic| {
        let path = match d.path.segments() {
            [] => String::new(),
            _ => format!("{}: ", d.path),
        };
        let meant = d.suggestion.map(|meant| format!("; did you mean {meant}?"));
        format!("{path}{}{}", d.message, meant.unwrap_or_default())
    };
    found.into_iter().map(sentence).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(json: &str) -> Vec<String> {
        review(json).err().unwrap_or_default()
    }

    #[test]
    fn a_sentence_for_each_mistake_names_the_field() {
        let found = mistakes(
            r#"{"apiVersion":"baton.dev/v1alpha1","kind":"Task",
                "metadata":{"name":"t","managedFields":[],"uid":"u"},
                "spec":{"params":[{"name":"who"}],
                        "callbacks":[{"url":"http://h/","secret":{"env":"KEY"}}],
                        "taskRetries":{"failure":101},
                        "steps":[{"name":"a","image":"i","command":["x","$(params.who)"]}]}}"#,
        );
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0], "spec.taskRetries.failure: 101 is more than 100");
        let found = mistakes(
            r#"{"apiVersion":"baton.dev/v1alpha1","kind":"Task","metadata":{"name":"t"},
                "spec":{"params":[{"name":"who"}],
                        "callbacks":[{"url":"http://h/","secret":{"env":"KEY"}}],
                        "steps":[{"name":"a","image":"i","command":["x","$(params.who)"]}]}}"#,
        );
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0].starts_with("spec.callbacks[0].secret.env: "),
            "{found:?}"
        );
        assert_eq!(
            found[1],
            "spec.params[0]: parameter \"who\" has no default and was not given"
        );
        let found = mistakes(
            r#"{"apiVersion":"baton.dev/v1alpha1","kind":"Task","metadata":{"name":"t"},
                "spec":{"steps":[{"name":"a","comand":["x"]}]}}"#,
        );
        assert_eq!(
            found,
            ["spec.steps[0].comand: unknown field; did you mean command?"]
        );
    }

    #[test]
    fn what_is_no_task_is_refused() {
        let job = r#"{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"j"},"spec":{"template":{
            "spec":{"restartPolicy":"Never","containers":[{"name":"a"}]}}}}"#;
        assert_eq!(mistakes(job), ["this is not one Task"]);
        assert_eq!(mistakes("{").len(), 1);
        assert_eq!(mistakes("").len(), 1);
    }
}
