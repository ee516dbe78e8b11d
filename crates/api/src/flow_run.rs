//! A JobFlow as something that runs: its graph, its rules, what becomes of a node whose turn has come,
//! and what its Jobs and Tasks are made of once the references in them are filled.

use baton_flow::{Begin, Graph, GraphError, Need, Node, Rules};
use baton_protocol::Timestamp;

use crate::core::EnvVar;
use crate::flow::{FailurePolicy, Flow, JobFlowSpec, MAX_ITEMS};
use crate::flow_reference::{FlowReference, fill};
use crate::flow_status::MAX_FLOW_JOBS;
use crate::job::JobSpec;
use crate::params::ParamValue;
use crate::task::TaskSpec;

/// Gives a result of a node's Task by node, step and name, or says why there is none.
pub type Results<'a> = dyn Fn(&str, &str, &str) -> Result<String, String> + 'a;

/// An element of a node's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its place in the list, from 0.
    pub index: usize,
    /// The element.
    pub value: String,
}

impl JobFlowSpec {
    /// The nodes: `flows`, then `finally`.
    pub fn nodes(&self) -> impl Iterator<Item = &Flow> {
        self.flows.iter().chain(&self.finally)
    }

    /// The node at this place of the graph.
    pub fn node(&self, place: usize) -> Option<&Flow> {
        self.nodes().nth(place)
    }

    /// The graph; nodes are in the order of [`JobFlowSpec::nodes`].
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn graph(&self) -> Result<Graph, Vec<GraphError>> {
        let node = |flow: &Flow, finally| Node {
            name: flow.name.clone(),
            needs: flow
                .dependencies
                .iter()
                .map(|d| Need {
                    node: d.name.clone(),
                    on: d.condition,
                })
                .collect(),
            finally,
        };
        let flows = self.flows.iter().map(|f| node(f, false));
        let finally = self.finally.iter().map(|f| node(f, true));
        Graph::new(flows.chain(finally).collect())
    }

    /// The rules, for a flow that began at this time.
    pub fn rules(&self, started_at: Option<Timestamp>) -> Rules {
        let deadline = || {
            let seconds = std::time::Duration::from_secs(self.active_deadline_seconds?);
            started_at?.0.checked_add(seconds).map(Timestamp)
        };
        Rules {
            max_parallel: self.max_parallel,
            fail_fast: self.failure_policy == FailurePolicy::FailFast,
            suspended: self.suspend,
            cancelled: self.cancel,
            deadline: deadline(),
            retries: self.nodes().map(|f| f.retries).collect(),
            parallel: self
                .nodes()
                .map(|f| f.for_each.as_ref().and_then(|l| l.max_parallel))
                .collect(),
        }
    }
}

impl Flow {
    /// What becomes of the node, now that its dependencies let it start.
    pub fn begin(&self, results: &Results<'_>) -> Begin {
        match self.items(results) {
            Err(why) => Begin::Fail(why),
            Ok(None) => match self.holds(results, None) {
                Err(why) => Begin::Fail(why),
                Ok(false) => Begin::Skip,
                Ok(true) => Begin::Run(1),
            },
            Ok(Some(items)) if items.is_empty() && !self.when.is_empty() => Begin::Skip,
            Ok(Some(items)) if items.len() > MAX_FLOW_JOBS => Begin::Fail(format!(
                "{} Jobs are more than the {MAX_FLOW_JOBS} that a flow can have",
                items.len()
            )),
            Ok(Some(items)) => Begin::Run(items.len()),
        }
    }

    /// The elements that it runs for, by instance: those for which its conditions hold. `None` where it
    /// has no list.
    ///
    /// # Errors
    /// Where the list, or what a condition looks at, is not there or is none.
    pub fn items(&self, results: &Results<'_>) -> Result<Option<Vec<Item>>, String> {
        let Some(list) = &self.for_each else {
            return Ok(None);
        };
        let values = match &list.from {
            None => list.items.clone(),
            Some(from) => {
                let text = fill(from, &|r| lookup(r, results, None))
                    .map_err(|why| format!("forEach.from: {why}"))?;
                let values: Vec<String> = serde_json::from_str(&text)
                    .map_err(|e| format!("forEach.from: expected a JSON array of strings: {e}"))?;
                if values.len() > MAX_ITEMS {
                    let count = values.len();
                    return Err(format!(
                        "forEach.from: {count} elements are more than {MAX_ITEMS}"
                    ));
                }
                values
            }
        };
        let mut items = Vec::with_capacity(values.len());
        for (index, value) in values.into_iter().enumerate() {
            let item = Item { index, value };
            if self.holds(results, Some(&item))? {
                items.push(item);
            }
        }
        Ok(Some(items))
    }

    fn holds(&self, results: &Results<'_>, item: Option<&Item>) -> Result<bool, String> {
        for (i, when) in self.when.iter().enumerate() {
            let filled = |text: &String| {
                fill(text, &|r| lookup(r, results, item)).map_err(|why| format!("when[{i}]: {why}"))
            };
            let input = filled(&when.input)?;
            let values = when
                .values
                .iter()
                .map(filled)
                .collect::<Result<Vec<_>, _>>()?;
            if !when.operator.is_some_and(|o| o.holds(&input, &values)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What its Task runs: the template, whose parameters have the values that the node gives them as
    /// defaults. `None` where it has no Task.
    ///
    /// # Errors
    /// Where a reference has no value, or a value is not of its parameter's type.
    pub fn task(
        &self,
        results: &Results<'_>,
        item: Option<&Item>,
    ) -> Result<Option<TaskSpec>, String> {
        let Some(template) = &self.task_template else {
            return Ok(None);
        };
        let mut task = (**template).clone();
        for given in &self.params {
            let name = &given.name;
            let wrong = |why: String| format!("parameter {name:?}: {why}");
            let filled = |text: String| fill(&text, &|r| lookup(r, results, item)).map_err(wrong);
            let value: ParamValue = serde_json::from_value(given.value.clone())
                .map_err(|_| wrong("its value is no text, list or object of texts".to_owned()))?;
            let value = match value {
                ParamValue::String(text) => ParamValue::String(filled(text)?),
                ParamValue::Array(all) => {
                    ParamValue::Array(all.into_iter().map(filled).collect::<Result<_, _>>()?)
                }
                ParamValue::Object(all) => {
                    let pairs = all.into_iter().map(|(k, v)| Ok((k, filled(v)?)));
                    ParamValue::Object(pairs.collect::<Result<_, String>>()?)
                }
            };
            if let Some(param) = task.params.iter_mut().find(|p| p.name == *name) {
                let kind = param.kind();
                let value = value.into_kind(kind).map_err(wrong)?;
                param.kind = Some(kind);
                param.default = serde_json::to_value(value).ok();
            }
        }
        Ok(Some(task))
    }
}

/// A Job's spec with the references in commands, arguments and environment variables filled. A dollar of
/// a value is doubled, so that the kubelet gives it back as it was.
///
/// # Errors
/// Where a reference has no value.
pub fn fill_job(
    spec: &JobSpec,
    results: &Results<'_>,
    item: Option<&Item>,
) -> Result<JobSpec, String> {
    let mut spec = spec.clone();
    let fill = |text: &mut String| -> Result<(), String> {
        if text.contains("$(") {
            let value = |r: &FlowReference| Ok(lookup(r, results, item)?.replace('$', "$$"));
            *text = fill(text, &value)?;
        }
        Ok(())
    };
    let pod = &mut spec.template.spec;
    for container in pod.init_containers.iter_mut().chain(&mut pod.containers) {
        let words = container.command.iter_mut().chain(&mut container.args);
        words.into_iter().try_for_each(fill)?;
        let values = container.env.iter_mut();
        values
            .filter_map(|var: &mut EnvVar| var.value.as_mut())
            .try_for_each(fill)?;
    }
    Ok(spec)
}

fn lookup(
    reference: &FlowReference,
    results: &Results<'_>,
    item: Option<&Item>,
) -> Result<String, String> {
    let none = || "the node has no list".to_owned();
    match reference {
        FlowReference::Item => item.map(|i| i.value.clone()).ok_or_else(none),
        FlowReference::Index => item.map(|i| i.index.to_string()).ok_or_else(none),
        FlowReference::Result { node, step, result } => results(node, step, result),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn flow(value: serde_json::Value) -> Flow {
        serde_json::from_value(value).unwrap()
    }

    fn results(node: &str, step: &str, name: &str) -> Result<String, String> {
        match (node, step, name) {
            ("a", "s", "list") => Ok(r#"["x","y","z"]"#.to_owned()),
            ("a", "s", "word") => Ok("go".to_owned()),
            _ => Err("it was skipped".to_owned()),
        }
    }

    #[test]
    fn a_node_begins_by_its_conditions_and_its_list() {
        let begin = |value| flow(value).begin(&results);
        let word = "$(flows.a.steps.s.results.word)";
        let when = |values: [&str; 1]| json!([{"input": word, "operator": "in", "values": values}]);
        assert_eq!(begin(json!({})), Begin::Run(1));
        assert_eq!(begin(json!({"when": when(["go"])})), Begin::Run(1));
        assert_eq!(begin(json!({"when": when(["stop"])})), Begin::Skip);
        let missing =
            json!([{"input": "$(flows.b.steps.s.results.r)", "operator": "in", "values": ["a"]}]);
        assert_eq!(
            begin(json!({"when": missing})),
            Begin::Fail("when[0]: $(flows.b.steps.s.results.r): it was skipped".into())
        );
        assert_eq!(
            begin(json!({"forEach": {"items": ["a", "b"]}})),
            Begin::Run(2)
        );
        let from = json!({"from": "$(flows.a.steps.s.results.list)"});
        assert_eq!(begin(json!({"forEach": from})), Begin::Run(3));
        assert!(matches!(
            begin(json!({"forEach": {"from": word}})),
            Begin::Fail(_)
        ));

        // A condition on the element leaves elements out; indexes stay as they are in the list.
        let some = json!([{"input": "$(item)", "operator": "notin", "values": ["y"]}]);
        let some = flow(json!({"forEach": from, "when": some}));
        let items = some.items(&results).unwrap().unwrap();
        let pairs: Vec<_> = items.iter().map(|i| (i.index, i.value.as_str())).collect();
        assert_eq!(pairs, [(0, "x"), (2, "z")]);
        let none = json!([{"input": "$(item)", "operator": "in", "values": ["q"]}]);
        assert_eq!(begin(json!({"forEach": from, "when": none})), Begin::Skip);
    }

    #[test]
    fn templates_are_filled() {
        let node = flow(json!({
            "taskTemplate": {"params": [{"name": "p", "type": "array"}, {"name": "q", "default": "d"}], "steps": []},
            "params": [{"name": "p", "value": "$(flows.a.steps.s.results.list)"}, {"name": "q", "value": "$(item)-$(index)"}],
        }));
        let item = Item {
            index: 4,
            value: "i".into(),
        };
        let task = node.task(&results, Some(&item)).unwrap().unwrap();
        assert_eq!(task.params[0].default, Some(json!(["x", "y", "z"])));
        assert_eq!(task.params[1].default, Some(json!("i-4")));
        assert!(node.task(&results, None).is_err());

        let job: JobSpec = serde_json::from_value(json!({"template": {"spec": {
            "initContainers": [{"name": "i", "args": ["$(item)"]}],
            "containers": [{"name": "c", "command": ["$(HOME)", "$$(item)"],
                            "env": [{"name": "A", "value": "$(flows.a.steps.s.results.word)"}]}],
        }}}))
        .unwrap();
        let filled = fill_job(&job, &results, Some(&item)).unwrap();
        let pod = &filled.template.spec;
        assert_eq!(pod.init_containers[0].args, ["i"]);
        assert_eq!(pod.containers[0].command, ["$(HOME)", "$(item)"]);
        assert_eq!(pod.containers[0].env[0].value.as_deref(), Some("go"));
        assert!(fill_job(&job, &results, None).is_err());

        // Whatever a value is, the container has it as it is.
        let value = "$(A) $$(A) $$ $x é";
        let item = Item {
            index: 0,
            value: value.into(),
        };
        let filled = fill_job(&job, &results, Some(&item)).unwrap();
        let written = &filled.template.spec.init_containers[0].args[0];
        assert_eq!(crate::expand_env(written, |_| Some("secret")), value);
    }
}
