//! What the nodes of a JobFlow take of others: results of Tasks that are over by then.

use baton_flow::Graph;
use serde_json::Value;

use crate::diagnostic::{FieldPath, excerpt};
use crate::flow::Flow;
use crate::flow_reference::{FlowReference, Piece, pieces};
use crate::report::Report;

/// Checks the references of every node: `graph` is that of `all`.
pub(super) fn check(all: &[(FieldPath, &Flow)], graph: &Graph, report: &mut Report) {
    let references = References { all, graph };
    for i in 0..all.len() {
        references.node(i, report);
    }
}

/// References of nodes to others.
struct References<'a> {
    all: &'a [(FieldPath, &'a Flow)],
    graph: &'a Graph,
}

impl References<'_> {
    fn node(&self, i: usize, report: &mut Report) {
        let Some((path, flow)) = self.all.get(i) else {
            return;
        };
        // Which nodes come before is looked for only where something refers to one.
        let mut before = None;
        texts(flow, path, &mut |path, text| {
            for piece in pieces(text) {
                match piece {
                    Piece::Literal(_) => {}
                    Piece::Malformed(written) => {
                        let message = format!(
                            "{:?} is no reference; $(flows.FLOW.steps.STEP.results.NAME) is, and \
                             $$( stands for the text",
                            excerpt(written)
                        );
                        report.at(path, message);
                    }
                    Piece::Reference(written, FlowReference::Item | FlowReference::Index) => {
                        if flow.for_each.is_none() {
                            report.at(path, format!("{written} is for flows with forEach alone"));
                        }
                    }
                    Piece::Reference(written, FlowReference::Result { node, step, result }) => {
                        let before = before.get_or_insert_with(|| self.before(i));
                        let names = [node.as_str(), &step, &result];
                        let mut wrong = |why: &str, given: &str, known: &[&str]| {
                            let message = format!("{}: {why}", excerpt(written));
                            report.suggest(path, message, given, known.iter().copied());
                        };
                        self.result(before, names, &mut wrong);
                    }
                }
            }
        });
    }

    /// The nodes that are over with certainty when this one starts.
    fn before(&self, node: usize) -> Vec<bool> {
        let mut seen = vec![false; self.graph.len()];
        let mut open: Vec<usize> = self.graph.needs(node).iter().map(|(n, _)| *n).collect();
        if self.graph.is_finally(node) {
            open.extend((0..self.graph.len()).filter(|n| !self.graph.is_finally(*n)));
        }
        while let Some(n) = open.pop() {
            if let Some(seen) = seen.get_mut(n).filter(|s| !**s) {
                *seen = true;
                open.extend(self.graph.needs(n).iter().map(|(n, _)| *n));
            }
        }
        seen
    }

    /// Says what is wrong with a reference to a result: why, what was given, and what it could be.
    fn result(
        &self,
        before: &[bool],
        [node, step, result]: [&str; 3],
        wrong: &mut dyn FnMut(&str, &str, &[&str]),
    ) {
        let Some(place) = self.graph.place(node) else {
            let known: Vec<_> = self.all.iter().map(|(_, f)| f.name.as_str()).collect();
            return wrong("there is no flow of this name", node, &known);
        };
        let mut at_all = |why: String| wrong(&why, "", &[]);
        if before.get(place) != Some(&true) {
            return at_all(format!("{node:?} need not be over by then; depend on it"));
        }
        let Some((_, flow)) = self.all.get(place) else {
            return;
        };
        if flow.for_each.is_some() {
            let why = format!("{node:?} runs once for each element, so it has no one result");
            return at_all(why);
        }
        let Some(task) = &flow.task_template else {
            return at_all(format!("{node:?} is a Job, and only Tasks have results"));
        };
        let steps = || task.steps.iter().chain(&task.finally);
        let Some(found) = steps().find(|s| s.name == step) else {
            let known: Vec<_> = steps().map(|s| s.name.as_str()).collect();
            return wrong(&format!("{node:?} has no step {step:?}"), step, &known);
        };
        let known: Vec<_> = found.results.iter().map(|r| r.name.as_str()).collect();
        if !known.contains(&result) {
            let why = format!("step {step:?} has no result {result:?}");
            wrong(&why, result, &known);
        }
    }
}

/// The texts of a node that references are filled in.
fn texts(flow: &Flow, path: &FieldPath, tell: &mut dyn FnMut(&FieldPath, &str)) {
    for (i, param) in flow.params.iter().enumerate() {
        let path = path.key("params").index(i).key("value");
        match &param.value {
            Value::String(text) => tell(&path, text),
            Value::Array(all) => {
                for (i, text) in all.iter().enumerate() {
                    tell(&path.index(i), text.as_str().unwrap_or_default());
                }
            }
            Value::Object(all) => {
                for (key, text) in all {
                    tell(&path.key(key), text.as_str().unwrap_or_default());
                }
            }
            _ => {}
        }
    }
    for (i, when) in flow.when.iter().enumerate() {
        let path = path.key("when").index(i);
        tell(&path.key("input"), &when.input);
        for (i, value) in when.values.iter().enumerate() {
            tell(&path.key("values").index(i), value);
        }
    }
    if let Some(from) = flow.for_each.as_ref().and_then(|f| f.from.as_ref()) {
        tell(&path.key("forEach").key("from"), from);
    }
    let Some(job) = &flow.job_template else {
        return;
    };
    let path = path.key("jobTemplate").key("template").key("spec");
    let pod = &job.template.spec;
    for (field, containers) in [
        ("initContainers", &pod.init_containers),
        ("containers", &pod.containers),
    ] {
        for (i, container) in containers.iter().enumerate() {
            let path = path.key(field).index(i);
            for (field, words) in [("command", &container.command), ("args", &container.args)] {
                for (i, word) in words.iter().enumerate() {
                    tell(&path.key(field).index(i), word);
                }
            }
            for (i, var) in container.env.iter().enumerate() {
                if let Some(value) = &var.value {
                    tell(&path.key("env").index(i).key("value"), value);
                }
            }
        }
    }
}
