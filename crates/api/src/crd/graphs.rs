//! What the types of JobFlow, JobTemplate and DaemonJob do not say.
//!
//! The Jobs and Tasks in them have no schema: with theirs a definition is too long to apply, and a
//! rule in a list of lists costs more than the API server allows. The admission webhook checks them.

use baton_flow::MAX_NODES;
use serde_json::{Value, json};

use super::bounds::{callbacks, env_rule, schedule, set};
use super::{Rules, at};
use crate::flow::{MAX_FLOW_RETRIES, MAX_ITEMS};

/// The spec of a JobFlow.
pub(super) fn job_flow(schema: &mut Value, rules: Rules) {
    set(schema, &[], json!({"required": ["flows"]}));
    set(schema, &["flows"], json!({"minItems": 1}));
    global_params(schema, rules);
    at_least_one(schema, &["activeDeadlineSeconds"]);
    at_least_one(schema, &["maxParallel"]);
    callbacks(schema, rules);
    schedule(schema);
    for list in ["flows", "finally"] {
        set(schema, &[list], json!({"maxItems": MAX_NODES}));
        node(schema, list, rules);
    }
    if rules == Rules::Checked {
        let count = json!([{
            "rule": format!("size(self.flows) + (has(self.finally) ? size(self.finally) : 0) <= {MAX_NODES}"),
            "message": format!("a JobFlow has at most {MAX_NODES} flows"),
        }]);
        set(schema, &[], json!({"x-kubernetes-validations": count}));
    }
}

/// A node of a JobFlow.
fn node(schema: &mut Value, list: &str, rules: Rules) {
    set(schema, &[list, "[]"], json!({"required": ["name"]}));
    let name =
        json!({"minLength": 1, "maxLength": 63, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"});
    set(schema, &[list, "[]", "name"], name);
    // Each of the others once, and no node twice.
    set(
        schema,
        &[list, "[]", "dependencies"],
        json!({"maxItems": MAX_NODES}),
    );
    embedded(schema, &[list, "[]", "jobTemplate"]);
    embedded(schema, &[list, "[]", "taskTemplate"]);
    let reference = json!({"minLength": 1, "maxLength": 253});
    set(schema, &[list, "[]", "jobTemplateRef"], reference);
    set(
        schema,
        &[list, "[]", "params", "[]"],
        json!({"required": ["name", "value"]}),
    );
    let when = json!({"required": ["input", "operator", "values"]});
    set(schema, &[list, "[]", "when", "[]"], when);
    let operator = json!({"enum": ["in", "notin"]});
    set(schema, &[list, "[]", "when", "[]", "operator"], operator);
    let values = json!({"minItems": 1});
    set(schema, &[list, "[]", "when", "[]", "values"], values);
    let retries = json!({"maximum": MAX_FLOW_RETRIES});
    set(schema, &[list, "[]", "retries"], retries);
    let items = json!({"maxItems": MAX_ITEMS});
    set(schema, &[list, "[]", "forEach", "items"], items);
    at_least_one(schema, &[list, "[]", "forEach", "maxParallel"]);
    if rules == Rules::Checked {
        let one = json!([{
            "rule": "[has(self.jobTemplate), has(self.jobTemplateRef), has(self.taskTemplate)].exists_one(x, x)",
            "message": "has to have one of jobTemplate, jobTemplateRef or taskTemplate",
        }]);
        set(
            schema,
            &[list, "[]"],
            json!({"x-kubernetes-validations": one}),
        );
        let source = json!([{
            "rule": "(has(self.items) && size(self.items) > 0) != has(self.from)",
            "message": "has to have one of items or from",
        }]);
        set(
            schema,
            &[list, "[]", "forEach"],
            json!({"x-kubernetes-validations": source}),
        );
    }
}

/// The spec of a JobTemplate.
pub(super) fn job_template(schema: &mut Value) {
    set(schema, &[], json!({"required": ["jobTemplate"]}));
    embedded(schema, &["jobTemplate"]);
}

/// The spec of a DaemonJob.
pub(super) fn daemon_job(schema: &mut Value, rules: Rules) {
    set(schema, &[], json!({"required": ["template"]}));
    global_params(schema, rules);
    embedded(schema, &["template"]);
    at_least_one(schema, &["activeDeadlineSeconds"]);
    if let Some(fields) = at(schema, &["parallelism"]) {
        fields.remove("x-kubernetes-preserve-unknown-fields");
        fields.insert("x-kubernetes-int-or-string".to_owned(), json!(true));
    }
}

fn global_params(schema: &mut Value, rules: Rules) {
    let env = ["globalParams", "env", "[]"];
    set(schema, &env, json!({"required": ["name"]}));
    if rules == Rules::Checked {
        set(
            schema,
            &env,
            json!({"x-kubernetes-validations": env_rule()}),
        );
    }
}

/// A part that is kept as it is.
fn embedded(schema: &mut Value, path: &[&str]) {
    set(
        schema,
        path,
        json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
    );
}

fn at_least_one(schema: &mut Value, path: &[&str]) {
    set(schema, path, json!({"minimum": 1}));
}
