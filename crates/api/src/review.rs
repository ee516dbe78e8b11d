//! Objects as a cluster has them: the checks of `baton run`, and those that only a cluster needs.

use std::collections::BTreeMap;

use crate::diagnostic::{Diagnostic, FieldPath};
use crate::document::{Object, Source, parse};
use crate::render::{Rendered, render};
use crate::report::Report;
use crate::task::Callback;

/// Reads a Task in JSON, as the API server has it or an admission review brings it, and makes it ready
/// to run. Parameters have their defaults: nobody can give any in a cluster.
///
/// # Errors
/// Every mistake as one sentence, which begins with the field that it is in
/// (`spec.steps[1].timeout: ...`); at least one.
pub fn review(json: &str) -> Result<Rendered, Vec<String>> {
    let (object, mut all) = read(json, "task")?;
    let Object::Task(task) = object else {
        return Err(vec!["this is not one Task".to_owned()]);
    };
    match render(&task, &BTreeMap::new()) {
        Ok(rendered) if all.is_empty() => Ok(rendered),
        rendered => {
            all.extend(sentences(rendered.err().unwrap_or_default()));
            Err(all)
        }
    }
}

/// Reads an object of any kind in JSON, as the API server has it or an admission review brings it.
///
/// # Errors
/// As [`review`]; of a Task, what its parameters make of it is not looked at.
pub fn review_object(json: &str) -> Result<Object, Vec<String>> {
    match read(json, "object")? {
        (object, found) if found.is_empty() => Ok(object),
        (_, found) => Err(found),
    }
}

/// Reads one object, and what is wrong with it in a cluster alone.
fn read(json: &str, name: &str) -> Result<(Object, Vec<String>), Vec<String>> {
    let source = Source {
        name,
        text: json.as_bytes(),
    };
    let mut documents = parse(source).map_err(sentences)?;
    let object = match (documents.pop().map(|d| d.object), documents.len()) {
        (Some(object), 0) => object,
        _ => return Err(vec![format!("this is not one {name}")]),
    };
    let path = FieldPath::default().key("spec");
    let found = match &object {
        Object::Task(task) => {
            let mut report = Report::new(task.origin.clone());
            cluster_only(&task.spec.callbacks, &path, &mut report);
            report.finish()
        }
        Object::JobFlow(flow) => {
            let mut report = Report::new(flow.origin.clone());
            cluster_only(&flow.spec.callbacks, &path, &mut report);
            for (field, flows) in [("flows", &flow.spec.flows), ("finally", &flow.spec.finally)] {
                for (i, flow) in flows.iter().enumerate() {
                    if let Some(task) = &flow.task_template {
                        let path = path.key(field).index(i).key("taskTemplate");
                        cluster_only(&task.callbacks, &path, &mut report);
                    }
                }
            }
            report.finish()
        }
        Object::Job(_) | Object::JobTemplate(_) | Object::DaemonJob(_) => Vec::new(),
    };
    Ok((object, sentences(found)))
}

/// What has a meaning without a cluster alone.
fn cluster_only(callbacks: &[Callback], path: &FieldPath, report: &mut Report) {
    for (i, callback) in callbacks.iter().enumerate() {
        if callback.secret.as_ref().is_some_and(|s| s.env.is_some()) {
            let path = path.key("callbacks").index(i).key("secret").key("env");
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
    fn every_kind_is_reviewed() {
        let flow = |flows: &str| {
            format!(
                r#"{{"apiVersion":"baton.dev/v1alpha1","kind":"JobFlow",
                     "metadata":{{"name":"f","uid":"u","managedFields":[]}},
                     "spec":{{"callbacks":[{{"url":"http://h/","secret":{{"env":"KEY"}}}}],"flows":[{flows}]}},
                     "status":{{"phase":"Running"}}}}"#
            )
        };
        let job = r#"{"name":"a","jobTemplate":{"template":{"spec":{"containers":[{"name":"a","image":"i"}]}}}}"#;
        let found = review_object(&flow(job)).unwrap_err();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with("spec.callbacks[0].secret.env: "),
            "{found:?}"
        );
        let found = review_object(&flow(&job.replace("image", "imgae"))).unwrap_err();
        assert_eq!(
            found,
            [
                "spec.flows[0].jobTemplate.template.spec.containers[0].imgae: unknown field; did you mean image?"
            ]
        );
        let task = r#"{"name":"t","taskTemplate":{"callbacks":[{"url":"http://h/","secret":{"env":"KEY"}}],
            "steps":[{"name":"s","image":"i","command":["x"]}]}}"#;
        let found = review_object(&flow(task)).unwrap_err();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[1].starts_with("spec.flows[0].taskTemplate.callbacks[0].secret.env: "),
            "{found:?}"
        );
        assert_eq!(review_object("[]").unwrap_err().len(), 1);
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
