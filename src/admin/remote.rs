//! Calls over the network: whoever has no good token gets no further than this.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONNECTION, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router, middleware};
use tidegate_health::id::Name;
use tokio::time::{Instant, timeout};

use super::api::problem::{Problem, problem};
use super::api::{Admin, BODY_BYTES_MAX};
use super::caller::Caller;
use super::failures::Failures;
use super::tokens::{Tokens, Verdict};
use crate::clock::wall;
use crate::metrics::Metrics;

/// A request's body as a whole.
const BODY_MAX: Duration = Duration::from_secs(10);

/// Where a call comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source(pub(super) IpAddr);

/// Who keeps the door. Cheap to clone; all listeners share one, so that failures count wherever they happen.
#[derive(Clone)]
pub struct Door {
    tokens: Tokens,
    failures: Arc<Failures>,
    metrics: Arc<Metrics>,
}

/// Why a call has no caller.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fault {
    NoToken,
    Malformed,
    Unknown,
    Expired(Name),
}

impl Door {
    #[must_use]
    pub fn new(tokens: Tokens, metrics: Arc<Metrics>) -> Self {
        Self { tokens, failures: Arc::default(), metrics }
    }

    #[must_use]
    pub(super) fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    fn caller(&self, headers: &HeaderMap) -> Result<Caller, Fault> {
        let token = bearer(headers)?;
        let advice = "call with a token that has that role; `tidegate token create` on the edge makes one";
        match self.tokens.judge(token, wall()) {
            Verdict::Good { name, role } => {
                Ok(Caller { actor: format!("token {name}").into(), role, advice })
            }
            Verdict::Malformed => Err(Fault::Malformed),
            Verdict::Unknown => Err(Fault::Unknown),
            Verdict::Expired { name } => Err(Fault::Expired(name)),
        }
    }

    /// What somebody without a good token is told; it counts.
    fn turn_away(&self, source: IpAddr, fault: &Fault) -> Response {
        if let Err(wait) = self.failures.count(source, Instant::now()) {
            return self.put_off(wait);
        }
        self.metrics.api.refused(fault.label());
        // As often as failures are counted, which is bounded, and without a word of what was shown.
        tracing::warn!(from = %source, fault = fault.label(), "a call of the API was refused: {fault}");
        let challenge = match fault {
            Fault::NoToken => "Bearer realm=\"tidegate\"",
            _ => "Bearer realm=\"tidegate\", error=\"invalid_token\"",
        };
        let next = "send `Authorization: Bearer TOKEN`; `tidegate token create` on the edge makes a token";
        let told = problem(StatusCode::UNAUTHORIZED, fault.label(), fault.to_string(), Some(next.into()));
        closing(told, WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
    }

    fn put_off(&self, wait: Duration) -> Response {
        self.metrics.api.refused("throttled");
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let message = format!("too many calls without a good token came from here: wait {seconds} s");
        let told =
            problem(StatusCode::TOO_MANY_REQUESTS, "throttled", message, Some("wait, then ask again".into()));
        closing(told, RETRY_AFTER, HeaderValue::from(seconds))
    }
}

impl Admin {
    /// The whole API for callers that show a token.
    pub(super) fn remote(self) -> Router {
        let door = self.door.clone();
        self.whole().layer(middleware::from_fn_with_state(door, admit))
    }
}

/// Finds out who is calling; reads what they send, in bounds of size and time.
async fn admit(
    State(door): State<Door>,
    Extension(Source(source)): Extension<Source>,
    request: Request,
    next: Next,
) -> Response {
    if let Some(wait) = door.failures.wait(source, Instant::now()) {
        return door.put_off(wait);
    }
    let caller = match door.caller(request.headers()) {
        Ok(caller) => caller,
        Err(fault) => return door.turn_away(source, &fault),
    };
    let (mut parts, body) = request.into_parts();
    let body = match timeout(BODY_MAX, to_bytes(body, BODY_BYTES_MAX)).await {
        Ok(Ok(body)) => body,
        Ok(Err(error)) => return too_large(&error).into_response(),
        Err(_) => {
            let message = format!("the body did not come within {} s", BODY_MAX.as_secs());
            let told =
                problem(StatusCode::REQUEST_TIMEOUT, "too-slow", message, Some("send it again".into()));
            return closing(told, CONNECTION, HeaderValue::from_static("close"));
        }
    };
    parts.extensions.insert(caller);
    next.run(Request::from_parts(parts, Body::from(body))).await
}

/// A body that is longer than it may be, or does not end.
pub(super) fn too_large(error: &axum::Error) -> Problem {
    let next = Some("send less at once".into());
    let is_long = std::error::Error::source(error)
        .is_some_and(|source| source.downcast_ref::<http_body_util::LengthLimitError>().is_some());
    if is_long {
        let message = format!("a body has at most {BODY_BYTES_MAX} bytes");
        return problem(StatusCode::PAYLOAD_TOO_LARGE, "too-large", message, next);
    }
    problem(StatusCode::BAD_REQUEST, "bad-request", "the body ends before its time".into(), next)
}

/// The token that a request shows (RFC 6750, section 2.1); the other ways to show one leave it in logs.
fn bearer(headers: &HeaderMap) -> Result<&str, Fault> {
    let mut shown = headers.get_all(AUTHORIZATION).iter();
    let first = shown.next().ok_or(Fault::NoToken)?;
    if shown.next().is_some() {
        return Err(Fault::Malformed);
    }
    let text = first.to_str().map_err(|_| Fault::Malformed)?;
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim()),
        _ => Err(Fault::NoToken),
    }
}

/// An answer after which the connection ends: whoever cannot say who they are keeps no place.
fn closing(told: Problem, name: HeaderName, value: HeaderValue) -> Response {
    let mut response = told.into_response();
    response.headers_mut().insert(name, value);
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

impl Fault {
    fn label(&self) -> &'static str {
        match self {
            Self::NoToken => "no-token",
            Self::Malformed => "malformed-token",
            Self::Unknown => "unknown-token",
            Self::Expired(_) => "expired-token",
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoToken => f.write_str("there is no token with it"),
            Self::Malformed => f.write_str("what it shows is no token: its form or its checksum is wrong"),
            Self::Unknown => f.write_str("the token is not known; it may have been revoked"),
            Self::Expired(name) => write!(f, "the token `{name}` has expired"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_shown_in_one_way_only() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, value.parse().expect("a value"));
            }
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(of(&["Bearer abc"]), Ok("abc".into()));
        assert_eq!(of(&["bearer  abc"]), Ok("abc".into()));
        assert_eq!(of(&[]), Err(Fault::NoToken));
        assert_eq!(of(&["Basic YTpi"]), Err(Fault::NoToken));
        assert_eq!(of(&["Bearer"]), Err(Fault::NoToken));
        assert_eq!(of(&["Bearer a", "Bearer b"]), Err(Fault::Malformed));
    }
}
