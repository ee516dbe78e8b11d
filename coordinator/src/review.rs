//! Whether an object may be written: what the admission webhook answers by. Pure.

/// Everything that is wrong with an object in JSON, one sentence for each mistake. `before` is what it
/// was, where it is changed.
pub fn review(object: &str, before: Option<&str>) -> Vec<String> {
    let _ = before;
    baton_pod::review_object(object)
}
