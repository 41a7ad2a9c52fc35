//! What a call is told that could not be done.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::admin::shape::ApiError;

/// What to do next, for those who look in the wrong place.
pub(in crate::admin) const LOOKING: &str =
    "read /api/v1/status, /api/v1/groups/GROUP/explain or /api/v1/history?limit=N&group=GROUP";

/// An error with its status.
#[derive(Debug)]
pub(in crate::admin) struct Problem(pub(in crate::admin) StatusCode, pub(in crate::admin) ApiError);

pub(in crate::admin) fn problem(
    status: StatusCode,
    label: &str,
    message: String,
    next: Option<String>,
) -> Problem {
    Problem(status, ApiError { label: label.into(), message, next })
}

/// A call that makes no sense.
pub(in crate::admin) fn bad(message: String, next: &str) -> Problem {
    problem(StatusCode::BAD_REQUEST, "bad-request", message, Some(next.into()))
}

/// A body that cannot be taken.
pub(in crate::admin) fn wrong_body(error: &JsonRejection, next: &str) -> Problem {
    let (status, label) = match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => (StatusCode::PAYLOAD_TOO_LARGE, "too-large"),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type"),
        _ => (StatusCode::BAD_REQUEST, "bad-request"),
    };
    problem(status, label, error.body_text(), Some(next.into()))
}

pub(in crate::admin) fn stopping() -> Problem {
    problem(
        StatusCode::SERVICE_UNAVAILABLE,
        "stopping",
        "the daemon is stopping, or has just taken another configuration".into(),
        Some("ask again".into()),
    )
}

pub(super) async fn nothing_here() -> Problem {
    problem(StatusCode::NOT_FOUND, "not-found", "there is nothing here".into(), Some(LOOKING.into()))
}

pub(super) async fn not_allowed() -> Problem {
    let next = Some(
        "orders are sent with POST, over the Unix socket or with a token; docs/openapi.json has all calls"
            .into(),
    );
    problem(StatusCode::METHOD_NOT_ALLOWED, "method", "this cannot be done here".into(), next)
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.0, Json(self.1)).into_response()
    }
}
