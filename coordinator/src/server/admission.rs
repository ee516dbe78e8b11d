//! `POST /admit`: the API server asks whether a Task, JobFlow, JobTemplate or DaemonJob may be written.
//!
//! The checks are those of the controllers and of `baton run`. Whatever is wrong is said at once, one
//! line for each mistake.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::metrics::Metrics;

/// Longest review that is read, in bytes: two objects of the most that the API server stores.
const MAX_REVIEW_BYTES: usize = 8 << 20;
/// Most bytes of messages that are given back.
const MAX_MESSAGE_BYTES: usize = 32 << 10;
const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// Finds every mistake of an object in JSON, and of what it was before where it is changed.
pub type Reviewer = fn(object: &str, before: Option<&str>) -> Vec<String>;

#[derive(Deserialize)]
struct Asked<'a> {
    #[serde(rename = "apiVersion")]
    api_version: String,
    kind: String,
    #[serde(borrow)]
    request: Question<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Question<'a> {
    uid: String,
    operation: String,
    #[serde(default)]
    sub_resource: String,
    #[serde(borrow, default)]
    object: Option<&'a RawValue>,
    #[serde(borrow, default)]
    old_object: Option<&'a RawValue>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answered {
    api_version: &'static str,
    kind: &'static str,
    response: Answer,
}

#[derive(Debug, Serialize)]
struct Answer {
    uid: String,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
}

#[derive(Debug, Serialize)]
struct Status {
    code: u16,
    reason: &'static str,
    message: String,
}

/// The routes. Any replica answers.
pub fn routes(review: Reviewer, metrics: Metrics) -> Router {
    Router::new()
        .route("/admit", post(admit))
        .layer(DefaultBodyLimit::max(MAX_REVIEW_BYTES))
        .with_state((review, metrics))
}

async fn admit(State((review, metrics)): State<(Reviewer, Metrics)>, body: Bytes) -> Response {
    // A large object takes milliseconds to check: not on a thread that others wait for.
    let answer = tokio::task::spawn_blocking(move || answer(&body, review)).await;
    match answer {
        Ok(Ok(response)) => {
            metrics.count_admission(response.allowed);
            axum::Json(Answered {
                api_version: API_VERSION,
                kind: KIND,
                response,
            })
            .into_response()
        }
        Ok(Err(why)) => (StatusCode::BAD_REQUEST, why).into_response(),
        Err(error) => {
            tracing::error!(error = %error, "a review failed");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn answer(body: &[u8], review: Reviewer) -> Result<Answer, String> {
    let asked: Asked<'_> =
        serde_json::from_slice(body).map_err(|e| format!("it is no {KIND}: {e}"))?;
    if asked.api_version != API_VERSION || asked.kind != KIND {
        return Err(format!(
            "it is a {} {}, not a {API_VERSION} {KIND}",
            asked.api_version, asked.kind
        ));
    }
    let question = asked.request;
    let mistakes = match (question.object, is_checked(&question)) {
        (Some(object), true) => review(object.get(), question.old_object.map(RawValue::get)),
        _ => Vec::new(),
    };
    let status = (!mistakes.is_empty()).then(|| Status {
        code: 422,
        reason: "Invalid",
        message: joined(&mistakes),
    });
    Ok(Answer {
        uid: question.uid,
        allowed: status.is_none(),
        status,
    })
}

/// Whether this write changes what is run. One that does not is never refused: an object of an earlier
/// version can still be labelled, and deleted.
fn is_checked(question: &Question<'_>) -> bool {
    if !question.sub_resource.is_empty() {
        return false;
    }
    match question.operation.as_str() {
        "CREATE" => true,
        "UPDATE" => {
            let spec = |object: Option<&RawValue>| {
                let object = object?.get();
                let object: serde_json::Value = serde_json::from_str(object).ok()?;
                object.get("spec").cloned()
            };
            spec(question.object) != spec(question.old_object)
        }
        _ => false,
    }
}

fn joined(mistakes: &[String]) -> String {
    let mut message = String::new();
    for (i, mistake) in mistakes.iter().enumerate() {
        if message.len() + mistake.len() >= MAX_MESSAGE_BYTES {
            message.push_str(&format!("\nand {} more", mistakes.len() - i));
            break;
        }
        if i > 0 {
            message.push('\n');
        }
        message.push_str(mistake);
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn picky(json: &str, _: Option<&str>) -> Vec<String> {
        let object: serde_json::Value = serde_json::from_str(json).unwrap();
        match object["spec"]["bad"].as_u64() {
            Some(n) => (0..n).map(|i| format!("spec.x[{i}]: bad")).collect(),
            None => Vec::new(),
        }
    }

    fn ask(request: serde_json::Value) -> Answer {
        let mut request = request;
        request["uid"] = json!("u-1");
        let review = json!({"apiVersion": API_VERSION, "kind": KIND, "request": request});
        let answer = answer(review.to_string().as_bytes(), picky).unwrap();
        assert_eq!(answer.uid, "u-1");
        answer
    }

    #[test]
    fn every_mistake_has_its_line() {
        let object = json!({"spec": {"bad": 2}});
        let answer = ask(json!({"operation": "CREATE", "object": object}));
        assert!(!answer.allowed);
        let status = answer.status.unwrap();
        assert_eq!(status.message, "spec.x[0]: bad\nspec.x[1]: bad");
        assert_eq!((status.code, status.reason), (422, "Invalid"));
        assert!(ask(json!({"operation": "CREATE", "object": {"spec": {}}})).allowed);
    }

    #[test]
    fn only_what_changes_the_spec_is_checked() {
        let bad = json!({"spec": {"bad": 1}, "metadata": {"labels": {"a": "b"}}});
        let old = json!({"spec": {"bad": 1}});
        for (request, allowed) in [
            (
                json!({"operation": "UPDATE", "object": bad, "oldObject": old}),
                true,
            ),
            (
                json!({"operation": "UPDATE", "object": bad, "oldObject": {"spec": {}}}),
                false,
            ),
            (
                json!({"operation": "UPDATE", "subResource": "status", "object": bad, "oldObject": {}}),
                true,
            ),
            (
                json!({"operation": "DELETE", "object": null, "oldObject": bad}),
                true,
            ),
            (json!({"operation": "CONNECT"}), true),
        ] {
            assert_eq!(ask(request.clone()).allowed, allowed, "{request}");
        }
    }

    #[test]
    fn messages_are_bounded() {
        let object = json!({"spec": {"bad": 100_000}});
        let answer = ask(json!({"operation": "CREATE", "object": object}));
        let message = answer.status.unwrap().message;
        assert!(message.len() < MAX_MESSAGE_BYTES + 30);
        assert!(
            message.ends_with(" more"),
            "{}",
            &message[message.len() - 40..]
        );
    }

    #[test]
    fn what_is_no_review_is_an_error() {
        for body in [
            "",
            "[]",
            "{}",
            r#"{"apiVersion":"v1","kind":"Pod","request":{"uid":"","operation":"CREATE"}}"#,
        ] {
            assert!(answer(body.as_bytes(), picky).is_err(), "{body}");
        }
    }
}
