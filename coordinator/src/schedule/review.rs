//! Which objects are templates, and that they stay what they are.

use serde::Deserialize;
use serde_json::Value;

/// Whether a spec makes its object a template, which does not run itself.
pub fn is_template(spec: &Value) -> bool {
    spec.get("schedule").is_some_and(|s| !s.is_null())
}

/// What is wrong with a change of an object, both in JSON: one that runs cannot become a template of
/// runs, nor a template one that runs.
pub fn review_change(object: &str, before: &str) -> Vec<String> {
    #[derive(Deserialize)]
    struct Read {
        #[serde(default)]
        spec: Value,
    }
    let has_schedule = |json| {
        let read = serde_json::from_str(json);
        read.is_ok_and(|read: Read| is_template(&read.spec))
    };
    match (has_schedule(before), has_schedule(object)) {
        (false, true) => vec![
            "spec.schedule: it cannot be given a schedule once it is there; make another one"
                .to_owned(),
        ],
        (true, false) => vec![
            "spec.schedule: it cannot be taken away; schedule.suspend stops its runs from beginning"
                .to_owned(),
        ],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_schedule_makes_a_template() {
        assert!(is_template(&json!({"schedule": {}})) && !is_template(&json!({"schedule": null})));
    }

    #[test]
    fn a_schedule_stays_and_changes() {
        let (with, other) = (
            r#"{"spec":{"schedule":{"cron":"a"}}}"#,
            r#"{"spec":{"schedule":{}}}"#,
        );
        let without = r#"{"spec":{"schedule":null,"steps":[]}}"#;
        assert!(review_change(with, other).is_empty() && review_change(without, "{}").is_empty());
        assert!(review_change(with, without)[0].starts_with("spec.schedule: "));
        assert!(review_change(without, with)[0].contains("taken away"));
    }
}
