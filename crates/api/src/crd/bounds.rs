//! What the types do not say: what has to be given, the bounds, and what excludes what.

use serde_json::{Value, json};

use super::{Rules, at};
use crate::params::MAX_PARAM_NAME;
use crate::schedule::{MAX_KEPT, MAX_STARTING_DEADLINE};
use crate::task::{MAX_STEPS, MAX_TASK_RETRIES};
use baton_protocol::invocation::MAX_RETRIES;
use baton_schedule::MAX_CRON;

/// Longest duration as a text, in characters: more than any that is one.
const MAX_DURATION_TEXT: usize = 64;

/// The spec of a Task.
pub(super) fn spec(schema: &mut Value, rules: Rules) {
    set(schema, &[], json!({"required": ["steps"]}));
    for list in ["steps", "finally", "sidecars"] {
        set(schema, &[list], json!({"maxItems": MAX_STEPS}));
        let named =
            json!({"minLength": 1, "maxLength": 63, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"});
        set(schema, &[list, "[]", "name"], named);
        set(schema, &[list, "[]"], json!({"required": ["name"]}));
        for list_of_names in ["env", "volumeMounts"] {
            set(
                schema,
                &[list, "[]", list_of_names, "[]"],
                json!({"required": ["name"]}),
            );
        }
    }
    set(schema, &["steps"], json!({"minItems": 1}));
    for list in ["params", "volumes"] {
        set(schema, &[list, "[]"], json!({"required": ["name"]}));
    }
    let param = json!({"maxLength": MAX_PARAM_NAME, "pattern": "^[A-Za-z_][A-Za-z0-9_-]*$"});
    set(schema, &["params", "[]", "name"], param);
    let duration = json!({"minLength": 1, "maxLength": MAX_DURATION_TEXT});
    for path in [
        &["timeout"][..],
        &["gracePeriod"],
        &["steps", "[]", "timeout"],
        &["steps", "[]", "retryDelay"],
        &["finally", "[]", "timeout"],
        &["finally", "[]", "retryDelay"],
    ] {
        set(schema, path, duration.clone());
    }
    for field in ["infrastructure", "failure"] {
        set(
            schema,
            &["taskRetries", field],
            json!({"maximum": MAX_TASK_RETRIES}),
        );
    }
    for list in ["steps", "finally"] {
        set(
            schema,
            &[list, "[]", "retries"],
            json!({"maximum": MAX_RETRIES}),
        );
        set(
            schema,
            &[list, "[]", "results", "[]"],
            json!({"required": ["name"]}),
        );
        let when = json!({"required": ["input", "operator", "values"]});
        set(schema, &[list, "[]", "when", "[]"], when);
        let operator = json!({"enum": ["in", "notin"]});
        set(schema, &[list, "[]", "when", "[]", "operator"], operator);
        set(
            schema,
            &[list, "[]", "when", "[]", "values"],
            json!({"minItems": 1}),
        );
        for stream in ["stdout", "stderr"] {
            set(schema, &[list, "[]", stream], json!({"required": ["path"]}));
        }
    }
    set(
        schema,
        &["sidecars", "[]", "readiness", "port"],
        json!({"minimum": 1}),
    );
    callbacks(schema, rules);
    self::schedule(schema);
    if rules == Rules::Checked {
        self::rules(schema);
    }
}

/// Most receivers of one object.
const MAX_CALLBACKS: usize = 100;

/// Those who are told of an object's events.
pub(super) fn callbacks(schema: &mut Value, rules: Rules) {
    set(schema, &["callbacks", "[]"], json!({"required": ["url"]}));
    set(schema, &["callbacks"], json!({"maxItems": MAX_CALLBACKS}));
    if rules == Rules::Checked {
        let secret = json!([{
            "rule": "has(self.value) != has(self.valueFrom)",
            "message": "has to have one of value or valueFrom in a cluster",
        }]);
        set(
            schema,
            &["callbacks", "[]", "secret"],
            json!({"x-kubernetes-validations": secret}),
        );
    }
}

/// When an object's runs begin.
pub(super) fn schedule(schema: &mut Value) {
    set(schema, &["schedule"], json!({"required": ["cron"]}));
    let cron = json!({"minLength": 1, "maxLength": MAX_CRON});
    set(schema, &["schedule", "cron"], cron);
    let zone = json!({"minLength": 1, "maxLength": 100});
    set(schema, &["schedule", "timeZone"], zone);
    let seconds = json!({"minimum": 1, "maximum": MAX_STARTING_DEADLINE});
    set(schema, &["schedule", "startingDeadlineSeconds"], seconds);
    for limit in ["successfulRunsHistoryLimit", "failedRunsHistoryLimit"] {
        set(schema, &["schedule", limit], json!({"maximum": MAX_KEPT}));
    }
}

/// An environment variable has one source.
pub(super) fn env_rule() -> Value {
    json!([{
        "rule": "!(has(self.value) && has(self.valueFrom))",
        "message": "value and valueFrom are given; only one of them can be",
    }])
}

/// A status. It has no bounds of its own: whoever writes it has them, and a status that the
/// server refuses helps nobody.
pub(super) fn status(schema: &mut Value) {
    set(
        schema,
        &["conditions"],
        json!({"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
    );
    set(
        schema,
        &["conditions", "[]"],
        json!({"required": ["type", "status"]}),
    );
}

/// What excludes what.
fn rules(schema: &mut Value) {
    let program = json!([{
        "rule": "has(self.command) != has(self.script)",
        "message": "has to have one of command or script",
    }]);
    let env = env_rule();
    for list in ["steps", "finally", "sidecars"] {
        set(
            schema,
            &[list, "[]"],
            json!({"x-kubernetes-validations": program}),
        );
        set(
            schema,
            &[list, "[]", "env", "[]"],
            json!({"x-kubernetes-validations": env}),
        );
    }
    let readiness = json!([{
        "rule": "has(self.port) != has(self.command)",
        "message": "has to have one of port or command",
    }]);
    set(
        schema,
        &["sidecars", "[]", "readiness"],
        json!({"x-kubernetes-validations": readiness}),
    );
    let count = json!([{
        "rule": "size(self.steps) + (has(self.finally) ? size(self.finally) : 0) + (has(self.sidecars) ? size(self.sidecars) : 0) <= 1000",
        "message": "a Task has at most 1000 steps and sidecars",
    }]);
    set(schema, &[], json!({"x-kubernetes-validations": count}));
}

/// Adds keywords to the schema of a field. A field that is not there shows in the tests.
pub(super) fn set(schema: &mut Value, path: &[&str], keywords: Value) {
    let Some(fields) = at(schema, path) else {
        debug_assert!(false, "there is no field {path:?} to bound");
        return;
    };
    if let Value::Object(keywords) = keywords {
        fields.extend(keywords);
    }
}
