//! Tokens: who may call over the network, under `/api/v1/tokens`.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use tidegate_config::parse_duration;

use super::problem::{Problem, bad, problem, wrong_body};
use super::table::Routes;
use super::{Admin, Answer};
use crate::admin::caller::{Caller, Role};
use crate::admin::shape::{TokenBody, TokenMade, TokenRevoked, TokenShape};
use crate::admin::tokens::{LENGTH_MAX, NAME_MAX, TokenError, is_name};
use crate::clock::wall;

const BODY: &str = "send JSON: {\"name\": \"NAME\", \"role\": \"operate\"}, with \"expires_in\": \"90d\" for one that ends; the \
                    roles are push, view, operate, admin";

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .get("/api/v1/tokens", Role::Admin, list)
        // Its answer is a secret, which is not remembered; names are unique, so that it is not made twice either.
        .post_unremembered("/api/v1/tokens", Role::Admin, make)
        .delete("/api/v1/tokens/{name}", Role::Admin, revoke)
}

async fn list(State(admin): State<Admin>) -> Json<Vec<TokenShape>> {
    Json(admin.door.tokens().list(wall()).into_iter().map(TokenShape::from).collect())
}

async fn make(
    State(admin): State<Admin>,
    caller: Caller,
    body: Result<Json<TokenBody>, JsonRejection>,
) -> Result<(StatusCode, Json<TokenMade>), Problem> {
    let Json(body) = body.map_err(|error| wrong_body(&error, BODY))?;
    if !is_name(&body.name) {
        let message = format!(
            "a token's name has 1 to {NAME_MAX} of letters, digits, `-`, `_` and `.`, the first a letter or a digit"
        );
        return Err(bad(message, BODY));
    }
    let length = body.expires_in.as_deref().map(parse_duration).transpose();
    let length =
        length.map_err(|error| bad(format!("`expires_in`: {error}"), "write a duration, as 90d or 12h"))?;
    if length.is_some_and(|length| length.is_zero() || length > LENGTH_MAX) {
        return Err(bad("`expires_in` is more than nothing and less than thirty years".into(), BODY));
    }
    let made = admin.door.tokens().make(body.name.into(), body.role, length, caller.actor).await;
    let (record, secret) = made.map_err(|error| refused(&error))?;
    let made =
        TokenMade { name: record.name.to_string(), role: record.role, expires: record.expires, secret };
    Ok((StatusCode::CREATED, Json(made)))
}

async fn revoke(
    State(admin): State<Admin>,
    caller: Caller,
    name: Result<Path<String>, PathRejection>,
) -> Answer<TokenRevoked> {
    let Path(name) = name.map_err(|error| bad(error.body_text(), BODY))?;
    admin.door.tokens().revoke(&name, caller.actor).await.map_err(|error| refused(&error))?;
    Ok(Json(TokenRevoked { revoked: name }))
}

fn refused(error: &TokenError) -> Problem {
    let (status, label, next) = match error {
        TokenError::Exists(_) => {
            (StatusCode::CONFLICT, "token-exists", "take another name, or revoke that one first")
        }
        TokenError::Missing(_) => (StatusCode::NOT_FOUND, "no-such-token", "tidegate token list"),
        TokenError::TooMany => (StatusCode::CONFLICT, "too-many", "revoke those that nobody uses"),
        TokenError::NotMade(_) | TokenError::NotRevoked(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "store",
            "look at the disk that holds state_dir, then repeat the order",
        ),
        TokenError::NoRandomness => (StatusCode::SERVICE_UNAVAILABLE, "no-randomness", "look at the system"),
    };
    problem(status, label, error.to_string(), Some(next.into()))
}
