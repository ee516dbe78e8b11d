//! Conditions of statuses.

use baton_api::status::Condition;
use baton_protocol::Timestamp;

use crate::text::cut;

/// Longest message of a condition, in characters.
const MAX_MESSAGE: usize = 8000;

/// Sets a condition to a value, with a reason and a message; its time is that of the last change of
/// its value.
pub fn set(
    conditions: &mut Vec<Condition>,
    kind: &str,
    generation: Option<i64>,
    (value, reason, message): (&str, &str, &str),
    at: Timestamp,
) {
    let known = conditions.iter_mut().find(|c| c.kind == kind);
    let since = match &known {
        Some(known) if known.status == value => known.last_transition_time,
        _ => Some(at),
    };
    let condition = Condition {
        kind: kind.to_owned(),
        status: value.to_owned(),
        reason: reason.to_owned(),
        message: cut(message, MAX_MESSAGE),
        last_transition_time: since,
        observed_generation: generation,
    };
    match known {
        Some(known) => *known = condition,
        None => conditions.push(condition),
    }
}
